"""Write the fusion comparison: one table over the declared fusions, and the loss curves of every declared variant.

    PYTHONPATH=src python stages/compare_fusion.py

The table shows the first downsampling that ``variants`` declares, max-pooling by default.
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.report.curves import draw_loss_curves
from cilp.report.tables import comparison_json, comparison_markdown
from cilp.report.titles import DOWNSAMPLING_TITLES
from cilp.report.variants import read_variants


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    fusions = params.names(settings, "variants.fusion", tuple(params.lookup(settings, "fusion")))
    downsamplings = params.names(settings, "variants.downsampling", tuple(DOWNSAMPLING_TITLES))
    by_downsampling = {downsampling: read_variants(fusions, downsampling) for downsampling in downsamplings}
    compared = by_downsampling[downsamplings[0]]
    table = comparison_markdown(compared, params.lookup(settings, "data.source"))
    write_json(Path("metrics/fusion_comparison.json"), comparison_json(compared))
    write_text(Path("metrics/fusion_comparison.md"), table)
    everything = [variant for variants in by_downsampling.values() for variant in variants]
    draw_loss_curves(everything, Path("plots/fusion"), Path("plots/fusion_loss_curves.png"))
    print(table)


if __name__ == "__main__":
    cli.run(main)
