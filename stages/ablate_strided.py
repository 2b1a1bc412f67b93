"""Write the strided ablation: every declared fusion with strided convolution, and its difference to max-pooling.

PYTHONPATH=src python stages/ablate_strided.py
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.report.tables import ablation_json, ablation_markdown, unavailable_markdown
from cilp.report.titles import DOWNSAMPLING_TITLES
from cilp.report.variants import read_variants


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    fusions = params.names(settings, "variants.fusion", tuple(params.lookup(settings, "fusion")))
    downsamplings = params.names(settings, "variants.downsampling", tuple(DOWNSAMPLING_TITLES))
    if {"maxpool", "strided"} <= set(downsamplings):
        strided, maxpool = read_variants(fusions, "strided"), read_variants(fusions, "maxpool")
        figures = ablation_json(strided, maxpool)
        table = ablation_markdown(strided, maxpool, params.lookup(settings, "data.source"))
    else:
        figures = {}
        table = unavailable_markdown(
            "Strided convolution instead of max-pooling",
            f"Not run: `variants.downsampling` declares {downsamplings[0]} alone; it takes maxpool and strided.",
        )
    write_json(Path("metrics/strided_ablation.json"), figures)
    write_text(Path("metrics/strided_ablation.md"), table)
    print(table)


if __name__ == "__main__":
    cli.run(main)
