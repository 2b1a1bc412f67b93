"""Accuracy against the number of labelled scenes, as a table and as curves."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import pyplot as plt

from cilp.report.provenance import SOURCES
from cilp.report.style import COLOURS, MARKERS, save

Curves = Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]
"""By model, way and number of scenes: ``test_accuracy`` and ``test_accuracy_std``."""
TITLES = {"lidar": "LiDAR classifier", "rgb2lidar": "RGB-to-LiDAR classifier"}
WAYS = {
    "fusion": {"scratch": "from scratch", "pretrained": "head on both CILP embeddings"},
    "lidar": {"scratch": "from scratch", "pretrained": "head on CILP's LiDAR embedding"},
    "rgb2lidar": {
        "scratch": "image classifier from scratch",
        "supervised": "the same with CILP's steps and augmentation",
        "pretrained": "CILP's image embedding, projected",
        "head": "head on CILP's image embedding",
    },
}
LOOKS = ("scratch", "pretrained", "head", "supervised")
"""Each way has one colour and marker in all panels, in this order of both."""


def efficiency_markdown(curves: Curves, fusion: str, seeds: int, least_steps: int, source: str) -> str:
    """Model and way by number of scenes, mean ± spread over the seeds; no training took fewer than ``least_steps``."""
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
    spread = f"mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    note = (
        f"- Test accuracy, {spread}, each seed with scenes of its own draw; {SOURCES.get(source, source)}. The "
        "checkpoint is chosen on as large a share of the validation scenes. CILP saw no labels, but all training pairs "
        "and the unlabelled ones.\n"
        f"- Each training has the epochs and the learning rate of its own protocol, and at least {least_steps:,} steps "
        "(`data_efficiency.least_steps`). Heads and projectors, which cost little, have more epochs than networks from "
        "scratch. The image classifier is therefore trained once more, with as many steps as CILP had, on images that "
        "are mirrored and coloured as CILP's were; the LiDAR classifier and the fusion are not."
    )
    return "\n".join([title, "", *lines, "", note]) + "\n"


def draw_efficiency(curves: Curves, fusion: str, target: Path) -> None:
    """A panel for each model, a curve for each way: mean over the seeds with bars of a standard deviation."""
    columns = max(len(curves), 1)
    figure, axes = plt.subplots(
        1, columns, figsize=(12, 4.2), sharey=True, layout="constrained", squeeze=False
    )  # fmt: skip
    for axis, (model, ways) in zip(axes[0], curves.items(), strict=False):
        for way in WAYS[model]:
            look = LOOKS.index(way)
            counts = list(ways[way])
            accuracy = [ways[way][count]["test_accuracy"] for count in counts]
            spread = [ways[way][count].get("test_accuracy_std", 0.0) for count in counts]
            above = [min(s, 1 - a) for a, s in zip(accuracy, spread, strict=True)]  # a share ends at 1
            axis.errorbar(
                counts, accuracy, yerr=[spread, above], color=COLOURS[look], marker=MARKERS[look], markersize=5,
                linewidth=1.6, capsize=2, label=WAYS[model][way],
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_xticks(counts, [str(count) for count in counts])
        axis.minorticks_off()
        axis.axhline(0.5, color="0.6", linestyle=":", linewidth=1)
        axis.set(title=TITLES.get(model, f"{fusion}, max-pooling"), xlabel="labelled scenes", ylim=(0.45, 1.02))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.1), frameon=False, fontsize=9)
    if not curves:
        axes[0, 0].text(0.5, 0.5, "not run: data_efficiency.scenes is empty", ha="center")
        axes[0, 0].set_axis_off()
    axes[0, 0].set_ylabel("test accuracy")
    save(figure, target, 110)
