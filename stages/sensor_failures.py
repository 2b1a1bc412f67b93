"""Let each sensor fail, by degrees, and see what fusions and single-sensor classifiers still tell.

Of the fusions, those in the first downsampling that ``variants`` declares, max-pooling by default.

    PYTHONPATH=src python stages/sensor_failures.py

Writes ``metrics/sensor_failures.json`` and ``.md``, ``plots/sensor_failures.csv`` and ``.png``.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.console.progress import track
from cilp.evaluation.failures import FailureParams, failed, failing, levels
from cilp.evaluation.models import sensor_dependent
from cilp.evaluation.predictions import load_classifier, modalities, probabilities
from cilp.report.failures import draw_failures, missing_markdown
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.seeds import check_seeds, mean_and_spread, write_rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    protocol = params.section(settings, "sensor_failures", FailureParams)
    seeds = check_seeds(params.lookup(settings, "seeds"))
    models = sensor_dependent(settings)
    device = prepare_device(params.lookup(settings, "device"))
    test = load_split(packed.load(Path("data/packed.pt")), "test", device)
    classifiers = {model: [load_classifier(Path("models"), model, seed, device) for seed in seeds] for model in models}
    sound = test.first(protocol.pairs)
    truth = sound.label.cpu() > 0.5
    without_failure: dict[str, list[float]] = {}
    rows = []
    for name, level, split in track(failing(test, protocol), "sensor failures", levels(protocol), "levels"):
        sensors = failed(split, sound)
        for model, trained in classifiers.items():
            affected = bool(sensors & set(modalities(trained[0])))
            right = None if affected else without_failure.get(model)  # the same pictures give the same answers
            if right is None:
                right = [((probabilities(one, split) > 0.5) == truth).double().mean().item() for one in trained]
            if not affected:
                without_failure[model] = right
            rows.append({"model": model, "failure": name, "level": level, **mean_and_spread(right, "accuracy")})
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        by_failure = table.setdefault(row["model"].rpartition("/")[2], {}).setdefault(row["failure"], {})
        by_failure[f"{row['level']:g}"] = row["accuracy"]
    write_json(Path("metrics/sensor_failures.json"), table)
    write_rows(Path("plots/sensor_failures.csv"), [dict(sorted(row.items())) for row in rows])
    rate, source = (params.lookup(settings, key) for key in ("modality_dropout.rate", "data.source"))
    text = missing_markdown(rows, len(sound), len(seeds), rate, source)
    write_text(Path("metrics/sensor_failures.md"), text)
    print(text)
    draw_failures(rows, Path("plots/sensor_failures.png"))


if __name__ == "__main__":
    cli.run(main)
