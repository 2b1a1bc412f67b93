"""Write and draw what each classifier reaches with how many labelled scenes, with and without pretraining.

PYTHONPATH=src python stages/compare_data_efficiency.py
"""

import argparse
import itertools
from pathlib import Path

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.evaluation.data_efficiency import curves, read_reached
from cilp.report.data_efficiency import draw_efficiency, efficiency_markdown
from cilp.report.titles import TITLES

TABLES = ("fusion", "cilp", "image")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    found = curves(row for name in TABLES for row in read_reached(Path(f"metrics/data_efficiency/{name}.csv")))
    of_random_size = params.lookup(settings, "random_size.seeds")
    rows = [read_reached(Path(f"metrics/data_efficiency/random_size-{seed}.csv")) for seed in of_random_size]
    found |= {f"{model}_random_size": ways for model, ways in curves(itertools.chain(*rows)).items()}
    fusion = params.lookup(settings, "data_efficiency.fusion")
    name = TITLES.get(fusion, fusion)
    seeds = len(params.lookup(settings, "seeds"))
    least_steps, source = (params.lookup(settings, key) for key in ("data_efficiency.least_steps", "data.source"))
    table = efficiency_markdown(found, name, (seeds, len(of_random_size)), least_steps, source)
    write_json(Path("metrics/data_efficiency.json"), found)
    write_text(Path("metrics/data_efficiency.md"), table)
    draw_efficiency(found, name, Path("plots/data_efficiency.png"))
    print(table)


if __name__ == "__main__":
    cli.run(main)
