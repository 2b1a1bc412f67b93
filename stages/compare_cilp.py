"""Write what the CILP half reached and what each part of its recipe is worth, and draw how pretraining went.

PYTHONPATH=src python stages/compare_cilp.py
"""

import argparse
import json
from pathlib import Path

from cilp import params
from cilp.atomic import write_text
from cilp.console import cli
from cilp.report.cilp import ablation_markdown, read_ablation, read_results, results_markdown
from cilp.report.pretraining import draw_pretraining


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    source = params.lookup(settings, "data.source")
    cost = json.loads(Path("costs/cilp.json").read_text(encoding="utf-8"))
    results = results_markdown(read_results(), cost, source)
    ablation = params.lookup(settings, "cilp_ablation")
    titles = {name: recipe.get("title", name) for name, recipe in ablation["recipes"].items()}
    seed = params.lookup(settings, "seeds")[0]
    whole = params.lookup(settings, "cilp.steps") * params.lookup(settings, "cilp.batch_size")
    table = ablation_markdown(read_ablation(list(titles)), titles, seed, whole, source)
    write_text(Path("metrics/cilp_results.md"), results)
    write_text(Path("metrics/cilp_ablation.md"), table)
    draw_pretraining(Path("plots/cilp.csv"), Path("plots/cilp_curves.png"))
    print(results)
    print(table)


if __name__ == "__main__":
    cli.run(main)
