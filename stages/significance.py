"""Tell differences between classifiers from noise: intervals over seeds and test scenes, p-values corrected.

    PYTHONPATH=src python stages/significance.py

Reads ``data/predictions.csv``; writes ``metrics/significance.json`` and ``.md``.
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.evaluation.models import ON_IMAGES, fusions
from cilp.evaluation.significance import SignificanceParams, accuracies, compare, estimate, pairs
from cilp.evaluation.table import read_predictions
from cilp.report.significance import significance_json, significance_markdown


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "significance", SignificanceParams)
    variants = params.lookup(settings, "variants")
    predictions = read_predictions(Path("data/predictions.csv"))
    accuracy = accuracies(predictions, "test")
    models = {name: estimate(values, protocol) for name, values in accuracy.items()}
    compared = pairs(fusions(variants), variants["downsampling"], ON_IMAGES)
    comparisons = compare(accuracy, compared, protocol.confidence)
    seeds, scenes = next(iter(accuracy.values())).shape
    samples = len({(it.scene, it.label) for it in predictions if it.split == "test"})
    source = params.lookup(settings, "data.source")
    table = significance_markdown(models, comparisons, protocol, source, seeds, scenes, samples)
    write_json(Path("metrics/significance.json"), significance_json(models, comparisons, protocol.confidence))
    write_text(Path("metrics/significance.md"), table)
    print(table)


if __name__ == "__main__":
    cli.run(main)
