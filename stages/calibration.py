"""Hold the confidence of every classifier against how often it is right, on the test set.

    PYTHONPATH=src python stages/calibration.py

Reads ``data/predictions.csv``; writes ``metrics/calibration.json`` and ``plots/calibration.png``.
"""

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

from cilp.atomic import write_json
from cilp.console import cli
from cilp.evaluation.calibration import expected_calibration_error, overconfidence, reliability
from cilp.evaluation.table import read_predictions
from cilp.report.calibration import draw_reliability


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    said = defaultdict(lambda: defaultdict(list))
    for prediction in read_predictions(Path("data/predictions.csv")):
        if prediction.split == "test":
            said[prediction.model][prediction.seed].append((prediction.probability, prediction.label))
    metrics, together, errors = {}, {}, {}
    for model, seeds in said.items():
        each = [reliability(*zip(*pairs, strict=True)) for pairs in seeds.values()]
        found = [expected_calibration_error(bins) for bins in each]
        errors[model] = statistics.fmean(found)
        together[model] = reliability(*zip(*(pair for pairs in seeds.values() for pair in pairs), strict=True))
        figures = {
            "expected_calibration_error": errors[model],
            "overconfidence": statistics.fmean(map(overconfidence, each)),
        }
        if len(found) > 1:
            figures["expected_calibration_error_std"] = statistics.stdev(found)
        metrics[model.rpartition("/")[2]] = figures
        print(f"{model}: expected calibration error {errors[model]:.4f}")
    write_json(Path("metrics/calibration.json"), metrics)
    draw_reliability(together, errors, Path("plots/calibration.png"))


if __name__ == "__main__":
    cli.run(main)
