"""What three seeds leave open: the fusions on further seeds, and which differences are real then.

    PYTHONPATH=src python benchmarks/more_seeds.py [--variants rgb-maxpool rgb-strided ...]

Trains every fusion variant on further seeds, as ``train_fusion`` does, and puts them beside those of the study, whose
networks lie in ``models/fusion`` (``dvc repro --glob 'train_fusion@*'``). Writes ``docs/more-seeds.json`` after each
run, and goes on from there when it is started again; delete it to begin anew. Then it puts tables and figure of the
variants whose seeds are complete into ``docs/more-seeds.md``. An hour and a half on two cores.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cilp import packed, params
from cilp.atomic import replacing, write_json, write_text
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.console import cli
from cilp.errors import UserError
from cilp.evaluation.models import variants
from cilp.evaluation.predictions import load_classifier, predict
from cilp.evaluation.significance import Comparison, accuracies, compare, difference, pairs
from cilp.models.fusion import Fusion
from cilp.report.readme import insert_tables
from cilp.report.significance import comparison_rows
from cilp.report.style import COLOURS, MARKERS
from cilp.report.titles import DOWNSAMPLING_TITLES, TITLES, title
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split

SEEDS = range(54, 59)
"""Beside those of the study, eight in all."""
RESULTS, PAGE, FIGURE = (Path(f"docs/more-seeds.{suffix}") for suffix in ("json", "md", "png"))
DECIDES = ("data", "fusion", "significance")
"""The sections of ``params.yaml`` that decide what a run gives, and how it is judged."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", help="for example late-strided (default: all)")
    arguments = parser.parse_args()
    settings, device = params.load(), prepare_device("auto")
    names = variants(settings)
    asked = [f"fusion/{name}" for name in arguments.variants] if arguments.variants else names
    if unknown := set(asked) - set(names):
        raise UserError(f"{', '.join(sorted(unknown))}: no such variant; there are {', '.join(names)}.")
    data = packed.load(Path("data/packed.pt"))
    splits = tuple(load_split(data, split, device) for split in packed.SPLITS)
    study = params.lookup(settings, "seeds")
    found = begun({**describe(device), **{name: settings[name] for name in DECIDES}}, names)
    runs = [(name, seed) for name in asked for seed in (*study, *SEEDS) if str(seed) not in found["right"][name]]
    for name, seed in runs:
        path = Path(f"models/{name}/seed-{seed}.pt")
        model = load_classifier(path, device) if seed in study else train_as_the_study(name, seed, settings, splits)
        right = accuracies(predict(name, seed, model, {"test": splits[-1]}), "test")[name]
        found["right"][name][str(seed)] = digits(right[0])
        write_json(RESULTS, found)
        print(f"{name} seed {seed}: test accuracy {right.mean():.4f}", flush=True)
    document(found)


def begun(head: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What there is already, or nothing of all ``names``, after ``head``: what it was made of, and on what machine.

    Raises:
        UserError: what there is was made of something else.
    """
    if not RESULTS.is_file():
        return {**head, "right": {name: {} for name in names}}
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    if found != {**head, "right": found["right"]} or list(found["right"]) != list(names):
        raise UserError(f"{RESULTS} is of other params or of another machine; delete it to begin anew.")
    return found


def train_as_the_study(name: str, seed: int, settings: dict[str, Any], splits: Sequence[Split]) -> Fusion:
    """A variant, such as ``fusion/late-strided``, with its best weights; ``splits`` are train, val and others."""
    fusion, _, downsampling = name.removeprefix("fusion/").partition("-")
    protocol = params.section(settings, f"fusion.{fusion}", FusionProtocol)
    arguments = network(fusion, downsampling, protocol)
    train, valid = splits[:2]
    return train_fusion(arguments, train, valid, protocol, seed, f"{fusion}-{downsampling} seed {seed}").model


def digits(right: np.ndarray) -> str:
    """A digit for each scene, in order: how many of its two samples are classified correctly, given their share."""
    return "".join(str(int(2 * share)) for share in right)


def shares(right: Mapping[str, str]) -> np.ndarray:
    """(seeds, scenes) float64, in order of the seeds: what ``digits`` were made of."""
    return np.array([[int(digit) / 2 for digit in right[seed]] for seed in sorted(right, key=int)])


def complete(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Shares of the variants that have been trained on as many seeds as any of them."""
    most = max(map(len, found["right"].values()))
    return {name: shares(right) for name, right in found["right"].items() if len(right) == most}


def comparisons(found: dict[str, Any]) -> list[Comparison]:
    """The study's comparisons, of those variants."""
    accuracy = complete(found)
    fusions = dict.fromkeys(name.removeprefix("fusion/").partition("-")[0] for name in accuracy)
    compared = [pair for pair in pairs(list(fusions), list(DOWNSAMPLING_TITLES)) if accuracy.keys() >= set(pair)]
    return compare(accuracy, compared, found["significance"]["confidence"])


def together(found: dict[str, Any]) -> dict[str, float]:
    """What max-pooling and strides come to over all networks that see the LiDAR: one question instead of one for each.

    Shares of the test set that are wrong, and the mean difference of accuracies, from low to high, with its p-value;
    nothing as long as no such network has both.
    """
    accuracy = complete(found)
    fusions = [name.removesuffix("-maxpool") for name in accuracy if name.endswith("-maxpool")]
    fusions = [name for name in fusions if name != "fusion/rgb" and f"{name}-strided" in accuracy]
    if not fusions:
        return {}
    pooled, strided = (np.mean([accuracy[f"{name}-{way}"] for name in fusions], axis=0) for way in DOWNSAMPLING_TITLES)
    differs = difference(strided - pooled, found["significance"]["confidence"])
    return {
        "networks": len(fusions), "wrong_maxpool": float(1 - pooled.mean()), "wrong_strided": float(1 - strided.mean()),
        **asdict(differs),
    }  # fmt: skip


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the name of its place, each with a heading that is left out there."""
    confidence = found["significance"]["confidence"]
    made = {
        "seeds": by_seed(found),
        "together": averaged(together(found), confidence),
        "comparisons": "\n".join([*comparison_rows(comparisons(found), confidence), ""]),
    }
    return {name: f"# title\n\n{table}" for name, table in made.items()}


def averaged(it: dict[str, float], confidence: float) -> str:
    """The one row of what ``together`` found."""
    if not it:
        return "No network has been trained with both.\n"
    return (
        "| networks that see the LiDAR | wrong, max-pooling | wrong, strided convolution | difference | "
        f"{100 * confidence:g}% interval | p |\n{'| --- ' * 6}|\n| {it['networks']} | {it['wrong_maxpool']:.2%} | "
        f"{it['wrong_strided']:.2%} | {it['mean']:+.4f} | {it['low']:+.4f} to {it['high']:+.4f} | {it['p']:.3f} |\n"
    )


def by_seed(found: dict[str, Any]) -> str:
    """The test accuracy of each run, and how much of it is the seed's."""
    accuracy = complete(found)
    seeds = sorted(found["right"][next(iter(accuracy))], key=int)
    lines = [f"| variant | {' | '.join(seeds)} | mean |", "| --- " * (len(seeds) + 2) + "|"]
    for name, values in accuracy.items():
        means = values.mean(axis=1).tolist()
        cells = [title(name), *(f"{mean:.4f}" for mean in means)]
        lines.append(f"| {' | '.join(cells)} | {statistics.fmean(means):.4f} ± {statistics.stdev(means):.4f} |")
    return "\n".join(lines) + "\n"


def document(found: dict[str, Any]) -> None:
    """Put tables and figure into their places."""
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), tables(found)))
    draw(complete(found))


def draw(accuracy: Mapping[str, np.ndarray]) -> None:
    """The share of the test set that each run gets wrong, a point for each seed, and their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    fusions = list(dict.fromkeys(name.removeprefix("fusion/").partition("-")[0] for name in accuracy))
    figure, axis = pyplot.subplots(figsize=(9, 0.9 + 0.62 * len(fusions)), layout="constrained")
    for way, (downsampling, words) in enumerate(DOWNSAMPLING_TITLES.items()):
        for row, fusion in enumerate(fusions):
            values = accuracy.get(f"fusion/{fusion}-{downsampling}")
            if values is None:
                continue
            wrong, height = 1 - values.mean(axis=1), row + 0.36 * way - 0.18
            axis.plot(
                wrong, np.full(len(wrong), height), MARKERS[way], color=COLOURS[way], alpha=0.55, markersize=6,
                markeredgewidth=0, label=words if row == 0 else None,
            )  # fmt: skip
            axis.plot(wrong.mean(), height, "|", color=COLOURS[way], markersize=17, markeredgewidth=2.5)
    axis.set_xscale("symlog", linthresh=0.001, linscale=0.5)
    axis.set_xlim(-0.0001, 0.4)
    axis.set_xticks([0, 0.001, 0.01, 0.1], ["0", "0.1%", "1%", "10%"])
    axis.set_yticks(range(len(fusions)), [TITLES.get(fusion, fusion) for fusion in fusions])
    axis.invert_yaxis()
    axis.set_xlabel("share of the test set that is wrong (logarithmic above 0.1%)")
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.plot([], [], "|", color="0.3", markersize=11, markeredgewidth=2.5, label="mean of the seeds")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    with replacing(FIGURE, "wb") as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    cli.run(main)
