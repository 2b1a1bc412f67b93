"""Ask every trained classifier, on every seed, about every validation and test sample, and count what it confuses.

    PYTHONPATH=src python stages/predict.py

Writes ``data/predictions.csv``, a row for each model, seed and sample, and ``plots/confusion.csv`` of the test set.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.console import cli
from cilp.console.progress import track
from cilp.evaluation.models import classifiers
from cilp.evaluation.predictions import load_classifier, predict
from cilp.evaluation.table import confusion, write_predictions
from cilp.raw.layout import CLASSES
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.seeds import check_seeds, write_rows

MODELS = Path("models")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    models = classifiers(settings)
    data = packed.load(Path("data/packed.pt"))
    splits = {split: load_split(data, split, device) for split in ("val", "test")}
    runs = [(model, seed) for model in models for seed in seeds]
    predictions = [
        prediction
        for model, seed in track(runs, "predict", unit="models")
        for prediction in predict(model, seed, load_classifier(MODELS, model, seed, device), splits)
    ]
    write_predictions(Path("data/predictions.csv"), predictions)
    counts = confusion(predictions, "test")
    rows = [
        {"model": Path(model).name, "actual": CLASSES[actual], "predicted": CLASSES[predicted],
         "samples": counts[model, actual, predicted]}
        for model in models for actual in (0, 1) for predicted in (0, 1)
    ]  # fmt: skip
    write_rows(Path("plots/confusion.csv"), rows)
    wrong = {model: sum(counts[model, actual, 1 - actual] for actual in (0, 1)) for model in models}
    for model, count in wrong.items():
        print(f"{model}: {count} of {len(seeds) * len(splits['test']):,} test predictions are wrong")


if __name__ == "__main__":
    cli.run(main)
