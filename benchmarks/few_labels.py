"""What CILP is worth when labels are few and size tells nothing, over several seeds.

    PYTHONPATH=src python benchmarks/few_labels.py

Needs ``data/packed.pt`` and ``data/random_size.pt`` (``dvc repro pack pack_random_size``) and the pretrained embedders
of ``transfer_seeds.py``, which are trained if they are not there. Trains ``KINDS`` of classifiers on ever more labelled
scenes of random size, as the stages ``data_efficiency_*`` do on the default ones, and tests them on the scenes of
``more_seeds.py``; on the default scenes, fits the size rule to as few. Writes what each says of each test scene to
``docs/few-labels.json``, goes on from there when it is started again, and puts tables and picture of the seeds that are
complete into ``docs/few-labels.md``; with ``--tables`` it trains nothing.
"""

import argparse
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot
from more_seeds_networks import TEST_SCENES, logits_on, shares_right
from more_seeds_records import chosen
from run_records import begun, compared, complete, keep, read
from torch import Tensor, nn
from transfer_networks import AS_THERE, BOTH, MORE, Networks, Scenes
from transfer_seeds import DECIDES, SEEDS

from cilp import packed, params
from cilp.atomic import write_text
from cilp.classifiers import random_size
from cilp.classifiers.fewer_scenes import few, head_on, load_rows, long_enough, protocol_of
from cilp.classifiers.images import train_image
from cilp.classifiers.pretrained import train_bridge_to
from cilp.classifiers.size_rule import areas_of, share_right
from cilp.classifiers.transfer import train_lidar
from cilp.console import cli
from cilp.embeddings import Embedded, embed_split
from cilp.errors import UserError
from cilp.models.lidar import LidarClassifier
from cilp.models.size_rule import SizeRule
from cilp.report.docs import insert_tables
from cilp.report.significance import comparison_rows
from cilp.report.style import COLOURS, MARKERS, save
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import LidarSplit, Split, load_split, seen_by
from cilp.training.loop import Run

RESULTS, PAGE, FIGURE = Path("docs/few-labels.json"), Path("docs/few-labels.md"), Path("docs/few-labels.png")
PACKED = Path("data/packed.pt")
COUNTS = (25, 50, 100, 200, 400, 800, 1600)
"""Labelled scenes, a cube and a sphere each; the last are all that there are."""
CHOSEN = "supervised/chosen"
"""Its weights are chosen on all validation scenes, not on as large a share of them as of the scenes that train."""
LONGER = "lidar/course"
"""It takes CILP's course, as the image classifier does."""
SOME_COUNTS = (25, 100, 400)
"""Of those two."""
KINDS = {
    "supervised": "image classifier, supervised",
    CHOSEN: "image classifier, supervised, chosen on all validation scenes",
    f"head/{MORE}": "head on CILP's image embedding, twins of any size",
    f"head/{BOTH}": "head on CILP's image embedding, matched twins",
    f"rgb2lidar/{MORE}": "RGB-to-LiDAR classifier, twins of any size",
    f"rgb2lidar/{BOTH}": "RGB-to-LiDAR classifier, matched twins",
    "lidar": "LiDAR classifier, from scratch",
    LONGER: "LiDAR classifier, from scratch, on CILP's course",
    f"lidar_head/{MORE}": "head on CILP's LiDAR embedding, twins of any size",
    f"lidar_head/{BOTH}": "head on CILP's LiDAR embedding, matched twins",
}
"""What is trained on each number of scenes. The embedders are pretrained on as many pairs as on the default scenes,
without labels."""
PANELS = {"image": ["supervised", *list(KINDS)[2:6]], "LiDAR": ["lidar", *list(KINDS)[8:], LONGER]}
"""Of the picture."""
CLASSIFIERS = [
    f"{kind}/{count}" for count in COUNTS for kind in KINDS if kind not in (CHOSEN, LONGER) or count in SOME_COUNTS
]
COMPARED = [
    (f"{first}/{count}", f"{second}/{count}")
    for first, second in (
        ("supervised", f"head/{BOTH}"),
        ("supervised", f"rgb2lidar/{BOTH}"),
        ("supervised", f"head/{MORE}"),
        (f"head/{MORE}", f"head/{BOTH}"),
        (f"head/{BOTH}", f"rgb2lidar/{BOTH}"),
        ("lidar", f"lidar_head/{BOTH}"),
    )
    for count in COUNTS
]
"""What is asked; each difference is of the second to the first."""
COMPARED_LATER = [
    (f"{first}/{count}", f"{second}/{count}")
    for first, second in (("supervised", CHOSEN), (CHOSEN, f"head/{BOTH}"))
    for count in SOME_COUNTS
]
"""What was asked when all that was known: a table of its own, for which p-values are corrected by themselves."""
COMPARED_LONGER = [
    (f"{first}/{count}", f"{second}/{count}")
    for first, second in (("lidar", LONGER), (LONGER, f"lidar_head/{BOTH}"))
    for count in SOME_COUNTS
]
"""What was asked after that: again a table of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="tables and picture alone")
    if parser.parse_args().tables:
        document(read(RESULTS))
        return
    settings = params.load()
    device = prepare_device(params.lookup(settings, "device"))
    if random_size.sizes(settings).train != COUNTS[-1]:
        raise UserError(f"random_size.train must be {COUNTS[-1]}, as many as the most that COUNTS names.")
    head: dict[str, Any] = {
        **describe(device), **chosen(settings, DECIDES), "data_efficiency": settings["data_efficiency"],
        "test_scenes": TEST_SCENES, "further_scenes": settings["random_size"]["pretraining"]["unlabelled"],
        "size_rule": size_rule(packed.load(PACKED), settings["seeds"]),
    }  # fmt: skip
    found = begun(RESULTS, head, "right", CLASSIFIERS)
    left = {seed: [name for name in CLASSIFIERS if str(seed) not in found["right"][name]] for seed in SEEDS}
    scenes = Scenes.of(settings, device) if any(left.values()) else None
    for seed in SEEDS:
        trained = Trained(seed, settings, scenes) if left[seed] else None
        for name in left[seed]:
            keep(RESULTS, found, name, seed, shares_right(trained.logits(name), scenes.test))
    document(found)


def document(found: dict[str, Any]) -> None:
    """Put tables and picture into their places."""
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), tables(found)))
    draw(found)


class Trained:
    """The classifiers of one seed; the scenes that have labels are drawn by the seed, more hold the fewer ones."""

    def __init__(self, seed: int, settings: dict[str, Any], scenes: Scenes):
        self.seed, self.scenes = seed, scenes
        self.networks = Networks(seed, settings, scenes)
        self.asked, self.head = protocol_of(settings)
        self.splits = {"train": scenes.train, "val": scenes.valid, "test": scenes.test}
        self.labelled, self.lidar, self.seen = (cache(of) for of in (self._labelled, self._lidar, self._seen))

    def logits(self, name: str) -> Tensor:
        """What the classifier of this name says of the test set: (N,) float64."""
        kind, *way, scenes = name.split("/")
        count, sensor = int(scenes), "lidar" if kind.startswith("lidar") else "rgb"
        if kind in ("supervised", "lidar"):
            if kind == "supervised":
                model = self.supervised(count, chosen=bool(way))
            else:
                model = self.longer(count) if way else self.lidar(count)
            return logits_on(model, seen_by(self.scenes.test, [sensor]))
        embedded, (rows, _) = self.seen(way[0], sensor), self.labelled(count)
        splits = [embedded[split].select(chosen) for split, chosen in rows.items()]
        label, steps = f"{name}, seed {self.seed}", self.asked.least_steps
        if kind == "rgb2lidar":
            views, bridge = self.labelled(count)[1], self.networks.bridge
            model = train_bridge_to(self.lidar(count), splits, views, bridge, steps, self.seed, label)
        else:
            model = head_on(*splits, long_enough(self.head, len(splits[0]), steps), Run(self.seed, label)).model
        return logits_on(model, embedded["test"])

    def supervised(self, count: int, chosen: bool) -> nn.Module:
        """The image classifier that takes CILP's course, told the labels; ``chosen`` on all validation scenes."""
        if count == COUNTS[-1]:
            return self.networks.image("image_supervised", AS_THERE, course=False)
        train, valid = self.labelled(count)[1]
        valid = self.scenes.valid if chosen else valid
        run: Run = Run(self.seed, f"supervised{'/chosen' if chosen else ''}/{count}, seed {self.seed}")
        course, own = self.networks.courses[AS_THERE], self.networks.one_cycle
        return train_image(train, train.label, valid, valid.label, course, own, self.networks.embedder, run).model

    def _lidar(self, count: int) -> LidarClassifier:
        """The LiDAR classifier by the reference protocol; frozen."""
        if count == COUNTS[-1]:
            return self.networks.lidar(course=False)
        train, valid = self.labelled(count)[1]
        long = long_enough(self.networks.reference, len(train), self.asked.least_steps)
        run: Run = Run(self.seed, f"lidar/{count}, seed {self.seed}")
        return train_lidar(self.networks.embedder, long, train, valid, run).model.requires_grad_(False).eval()

    def longer(self, count: int) -> LidarClassifier:
        """The LiDAR classifier that takes CILP's course."""
        train, valid = map(LidarSplit.of, self.labelled(count)[1])
        return self.networks.lidar_on_course(train, valid, Run(self.seed, f"{LONGER}/{count}, seed {self.seed}"))

    def _labelled(self, count: int) -> tuple[dict[str, Tensor], list[Split]]:
        """Rows of the scenes that have labels, and the scenes, that train and that validate."""
        rows = few(self.scenes.labelled, count, self.seed)
        device = self.scenes.train.label.device
        return rows, [load_rows(self.scenes.labelled, split, rows[split], device) for split in rows]

    def _seen(self, way: str, sensor: str) -> dict[str, Embedded]:
        """All scenes as one of CILP's embedders sees them."""
        embedder = getattr(self.networks.pretrained(way), sensor)
        return {name: embed_split(embedder, split) for name, split in self.splits.items()}


def size_rule(data: packed.Packed, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """On the default scenes, by number of labelled scenes and seed: test accuracy of a threshold on the area seen."""
    splits = {split: load_split(data, split, torch.device("cpu")) for split in ("train", "test")}
    area = {split: areas_of(samples) for split, samples in splits.items()}
    reached: dict[str, dict[str, float]] = {}
    for count in COUNTS[:-1]:
        for seed in seeds:
            rows = few(data, count, seed)["train"]
            rule = SizeRule.fit(area["train"][rows], splits["train"].label[rows])
            reached.setdefault(str(count), {})[str(seed)] = share_right(rule, area["test"], splits["test"].label)
    return reached


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the name of its place, each with a heading that is left out there."""
    accuracy = complete(found)
    head = ["accuracy, %", *map(str, COUNTS)]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for kind, title in KINDS.items():
        runs = [accuracy.get(f"{kind}/{count}") for count in COUNTS]
        cells = ["" if of is None else percent(of.mean(axis=1)) for of in runs]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    rule = [percent(list(of.values())) for of in found["size_rule"].values()]
    lines.append(f"| *default scenes*: threshold on the area that the LiDAR sees | {' | '.join(rule)} | |")
    made = {"few_labels": "\n".join([*lines, ""])}
    for name, asked in (
        ("few_labels_comparisons", COMPARED),
        ("few_labels_later", COMPARED_LATER),
        ("few_labels_longer", COMPARED_LONGER),
    ):
        rows = comparison_rows(compared(found, asked), found["significance"]["confidence"], called)
        made[name] = "\n".join([*rows, ""])
    return {name: f"# title\n\n{table}" for name, table in made.items()}


def percent(shares: Sequence[float]) -> str:
    """Mean ± sample standard deviation, in percent."""
    spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * statistics.fmean(shares):.1f}{spread}"


def called(name: str) -> str:
    """The title of a classifier, with its number of scenes."""
    kind, _, count = name.rpartition("/")
    return f"{KINDS[kind]}, {count} scenes"


def draw(found: dict[str, Any]) -> None:
    """A panel for each sensor, a curve for each kind: mean over the seeds with bars of a standard deviation."""
    accuracy = complete(found)
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(12, 5.4), sharey=True, layout="constrained")
    for axis, (sensor, kinds) in zip(axes, PANELS.items(), strict=True):
        for look, kind in enumerate(kinds):
            there = {
                count: accuracy[f"{kind}/{count}"].mean(axis=1) for count in COUNTS if f"{kind}/{count}" in accuracy
            }
            mean = np.array([runs.mean() for runs in there.values()])
            spread = np.array([runs.std(ddof=1) if len(runs) > 1 else 0.0 for runs in there.values()])
            axis.errorbar(
                list(there), mean, yerr=[spread, np.minimum(spread, 1 - mean)], color=COLOURS[look],
                marker=MARKERS[look], markersize=5, linewidth=1.6, capsize=2, label=KINDS[kind],
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_xticks(COUNTS, list(map(str, COUNTS)))
        axis.minorticks_off()
        axis.axhline(0.5, color="0.6", linestyle=":", linewidth=1)
        axis.set(title=f"sees the {sensor}", xlabel="labelled scenes", ylim=(0.45, 1.01))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=9)
    axes[0].set_ylabel("test accuracy where size tells nothing")
    save(figure, FIGURE, 110)


if __name__ == "__main__":
    cli.run(main)
