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
from cilp.evaluation.calibration import expected_calibration_error, reliability
from cilp.evaluation.table import read_predictions
from cilp.report.calibration import draw_reliability


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    said = defaultdict(lambda: defaultdict(list))
    for prediction in read_predictions(Path("data/predictions.csv")):
        if prediction.split == "test":
            said[prediction.model][prediction.seed].append((prediction.probability, prediction.label))
    metrics, together = {}, {}
    for model, seeds in said.items():
        errors = [expected_calibration_error(reliability(*zip(*pairs, strict=True))) for pairs in seeds.values()]
        key = model.rpartition("/")[2]
        metrics[key] = {"expected_calibration_error": statistics.fmean(errors)}
        if len(errors) > 1:
            metrics[key]["expected_calibration_error_std"] = statistics.stdev(errors)
        together[model] = reliability(*zip(*(pair for pairs in seeds.values() for pair in pairs), strict=True))
        print(f"{model}: expected calibration error {metrics[key]['expected_calibration_error']:.4f}")
    errors = {model: metrics[model.rpartition("/")[2]]["expected_calibration_error"] for model in together}
    write_json(Path("metrics/calibration.json"), metrics)
    draw_reliability(together, errors, Path("plots/calibration.png"))


if __name__ == "__main__":
    cli.run(main)
