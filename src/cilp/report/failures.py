"""Curves of accuracy against how badly a sensor fails."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from cilp.atomic import replacing
from cilp.report.curves import COLOURS
from cilp.report.titles import title

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PANELS = {
    "beams_dropped": "share of LiDAR rays dropped",
    "range_noise": "range noise (m)",
    "image_noise": "image noise (share of full scale)",
    "exposure": "exposure (factor; 1 is as trained)",
}
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_failures(rows: Sequence[dict], target: Path) -> None:
    """A panel for each failure, a curve for each model: mean over the seeds, with bars of a standard deviation.

    ``rows`` hold ``model``, ``failure``, ``level``, ``accuracy`` and ``accuracy_std``.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharey=True, layout="constrained")
    for axis, (name, label) in zip(axes.flat, PANELS.items(), strict=True):
        for number, model in enumerate(models):
            points = sorted(
                (row["level"], row["accuracy"], row["accuracy_std"])
                for row in rows
                if row["model"] == model and row["failure"] == name
            )
            levels, accuracy, spread = zip(*points, strict=True)
            bars = [  # shares end at 0 and 1
                [min(s, a) for a, s in zip(accuracy, spread, strict=True)],
                [max(min(s, 1 - a), 0.0) for a, s in zip(accuracy, spread, strict=True)],
            ]
            axis.errorbar(
                range(len(levels)), accuracy, yerr=bars, color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)], markersize=5, linewidth=1.6, capsize=2, label=title(model),
            )  # fmt: skip
        axis.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axis.axhline(0.5, color="0.6", linestyle=":", linewidth=1)
        axis.set(xlabel=label, ylim=(0.35, 1.02))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
