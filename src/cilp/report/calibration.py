"""Reliability diagrams: how often classifiers are right, against how sure they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from cilp.evaluation.calibration import Bin
from cilp.report.style import save
from cilp.report.titles import title

FEWEST = 10
"""Predictions below which the accuracy of a bin says too little: such bins are hollow."""


def draw_reliability(bins: Mapping[str, Sequence[Bin]], errors: Mapping[str, float], target: Path) -> None:
    """A panel for each model: the bins of all seeds together, and the mean of the seeds' calibration errors."""
    columns = min(4, len(bins))
    rows = -(-len(bins) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns, 2.9 * rows),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat[len(bins) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(len(bins) - columns, 0) : len(bins)]:  # the last of each column
        axis.tick_params(labelbottom=True)
    for axis, (name, parts) in zip(axes.flat, bins.items(), strict=False):
        axis.plot([0.5, 1], [0.5, 1], color="0.6", linestyle=":", linewidth=1)
        for part in parts:
            many = part.count >= FEWEST
            axis.plot(
                part.confidence, part.accuracy, "o", markersize=6, color="#0072B2", fillstyle="full" if many else "none"
            )
        axis.set_title(title(name), fontsize=9)
        axis.text(0.97, 0.05, f"ECE {errors[name]:.4f}", transform=axis.transAxes, ha="right", fontsize=9)
        axis.set(xlim=(0.48, 1.02), ylim=(-0.05, 1.05))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("confidence in the predicted class", fontsize=10)
    figure.supylabel("share that is right", fontsize=10)
    figure.suptitle(
        f"Reliability on the test set, all seeds together; hollow: fewer than {FEWEST} predictions; "
        "ECE: mean over the seeds",
        fontsize=10,
    )
    save(figure, target, 110)
