"""Accuracy against the number of labelled scenes, as a table and as curves."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from cilp.report.provenance import SOURCES
from cilp.report.style import COLOURS, MARKERS, save

Curves = Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]
"""By model, way and number of scenes: ``test_accuracy`` and ``test_accuracy_std``."""
TITLES = {
    "lidar": "LiDAR classifier",
    "rgb2lidar": "RGB-to-LiDAR classifier",
    "lidar_random_size": "LiDAR classifier, random sizes",
    "rgb2lidar_random_size": "RGB-to-LiDAR classifier, random sizes",
}
RANDOM_SIZE = [model for model in TITLES if model.endswith("_random_size")]
WAYS = {
    "fusion": {"scratch": "from scratch", "pretrained": "head on both CILP embeddings"},
    "lidar": {"scratch": "from scratch", "pretrained": "head on CILP's LiDAR embedding"},
    "rgb2lidar": {
        "scratch": "image classifier from scratch",
        "supervised": "the same with CILP's steps and augmentation",
        "pretrained": "CILP's image embedding, projected",
        "head": "head on CILP's image embedding",
    },
    "lidar_random_size": {"scratch": "from scratch", "pretrained": "head on CILP's LiDAR embedding"},
    "rgb2lidar_random_size": {
        "supervised": "image classifier on CILP's course",
        "pretrained": "CILP's image embedding, projected",
        "head": "head on CILP's image embedding",
    },
}
LOOKS = ("scratch", "pretrained", "head", "supervised")
"""Each way has one colour and marker in all panels, in this order of both."""


def efficiency_markdown(
    curves: Curves, fusion: str, seeds: tuple[int, int], least_steps: int, source: str
) -> str:  # fmt: skip
    """Model and way by number of scenes, mean ± spread over the seeds; no training took fewer than ``least_steps``.

    ``seeds`` says how many there are, and how many on random sizes.
    """
    title = "# What pretraining is worth in labels"
    if not curves:
        return f"{title}\n\nNot run: `data_efficiency.scenes` is empty.\n"
    counts = sorted({count for ways in curves.values() for found in ways.values() for count in found})
    lines = ["| labelled scenes | " + " | ".join(map(str, counts)) + " |", "| --- |" + " --- |" * len(counts)]
    for model, ways in curves.items():
        for way in WAYS[model]:
            cells = []
            for count in counts:
                found = ways[way][count]
                spread = f" ± {found['test_accuracy_std']:.3f}" if "test_accuracy_std" in found else ""
                cells.append(f"{found['test_accuracy']:.3f}{spread}")
            name = TITLES.get(model, f"{fusion}, max-pooling")
            lines.append(f"| {name}: {WAYS[model][way]} | {' | '.join(cells)} |")
    spread, of_random_size = (
        f"mean ± sample standard deviation over {count} seeds" if count > 1 else "one seed" for count in seeds
    )
    note = (
        f"- Test accuracy, {spread}, each seed with scenes of its own draw; {SOURCES.get(source, source)}. The "
        "checkpoint is chosen on as large a share of the validation scenes. CILP saw no labels, but all training pairs "
        "and the unlabelled ones.\n"
        f"- Each training has the epochs and the learning rate of its own protocol, and at least {least_steps:,} steps "
        "(`data_efficiency.least_steps`). Heads and projectors, which cost little, have more epochs than networks from "
        "scratch. The image classifier is therefore trained once more, with as many steps as CILP had, on images that "
        "are mirrored and coloured as CILP's were; the LiDAR classifier and the fusion are not."
    )
    if any(model in curves for model in RANDOM_SIZE):
        note += (
            f"\n- Random sizes: {of_random_size}, on simulated scenes in which size tells nothing of the shape, tested "
            "on scenes rendered for it (`audit.scenes`). Image classifiers take `random_size.cilp_steps` there."
        )
    return "\n".join([title, "", *lines, "", note]) + "\n"


def draw_efficiency(curves: Curves, fusion: str, target: Path) -> None:
    """A panel for each model, those of random sizes in a row of their own."""
    rows = [[model for model in curves if (model in RANDOM_SIZE) is random] for random in (False, True)]
    rows = [models for models in rows if models] or [[]]
    figure, axes = plt.subplots(
        len(rows), max(len(rows[0]), 1), figsize=(12, 4.8 * len(rows)), sharey=True, layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for of_row, models in zip(axes, rows, strict=True):
        for axis, model in zip(of_row, models, strict=False):
            axis.set_axis_on()
            _panel(axis, curves[model], WAYS[model], TITLES.get(model, f"{fusion}, max-pooling"))
        of_row[0].set_ylabel("test accuracy")
    if not curves:
        axes[0, 0].text(0.5, 0.5, "not run: data_efficiency.scenes is empty", ha="center")
    save(figure, target, 110)


def _panel(axis: Axes, ways: Mapping, names: Mapping[str, str], title: str) -> None:
    """A curve for each way: mean over the seeds with bars of a standard deviation."""
    for way, name in names.items():
        look = LOOKS.index(way)
        counts = list(ways[way])
        accuracy = [ways[way][count]["test_accuracy"] for count in counts]
        spread = [ways[way][count].get("test_accuracy_std", 0.0) for count in counts]
        above = [min(s, 1 - a) for a, s in zip(accuracy, spread, strict=True)]  # a share ends at 1
        axis.errorbar(
            counts, accuracy, yerr=[spread, above], color=COLOURS[look], marker=MARKERS[look], markersize=5,
            linewidth=1.6, capsize=2, label=name,
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.minorticks_off()
    axis.axhline(0.5, color="0.6", linestyle=":", linewidth=1)
    axis.set(title=title, xlabel="labelled scenes", ylim=(0.45, 1.02))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=9)
