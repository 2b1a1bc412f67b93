"""Heat map of accuracy by classifier and counterfactual condition."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

from cilp.atomic import replacing
from cilp.report.provenance import SOURCES
from cilp.report.titles import title

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Accuracies = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By model and condition: ``accuracy``, ``cube_accuracy`` and ``sphere_accuracy``, means over the seeds."""


def draw_audit(accuracies: Accuracies, titles: Mapping[str, str], target: Path) -> None:
    """A row for each model, a column for each condition; chance is a half."""
    values = np.array([[found[name]["accuracy"] for name in titles] for found in accuracies.values()])
    figure, axis = plt.subplots(figsize=(2.8 + 1.4 * len(titles), 1.8 + 0.38 * len(accuracies)), layout="constrained")
    picture = axis.imshow(values, cmap="viridis", vmin=0.5, vmax=1.0, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        axis.text(
            column, row, f"{value:.3f}", ha="center", va="center", fontsize=9, color="white" if value < 0.8 else "black"
        )
    axis.set_xticks(range(len(titles)), [textwrap.fill(text, 16) for text in titles.values()], fontsize=9)
    axis.set_yticks(range(len(accuracies)), [title(model) for model in accuracies], fontsize=9)
    axis.tick_params(length=0)
    figure.colorbar(picture, ax=axis, label="accuracy (chance: 0.5)", extend="min")
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    plt.close(figure)


def audit_markdown(
    accuracies: Accuracies, titles: Mapping[str, str], returns: Mapping[str, Mapping[str, float]], scenes: int,
    seeds: int, source: str,
) -> str:  # fmt: skip
    """Accuracy on cubes and on spheres, by model and condition."""
    lines = ["# What the classifiers look at", ""]
    lines += [f"| model | {' | '.join(titles.values())} |", f"| --- |{' --- |' * len(titles)}"]
    for model, found in accuracies.items():
        cells = [f"{found[name]['cube_accuracy']:.3f} / {found[name]['sphere_accuracy']:.3f}" for name in titles]
        lines.append(f"| {title(model)} | {' | '.join(cells)} |")
    cells = [f"{returns[name]['cube_returns']:.0f} / {returns[name]['sphere_returns']:.0f}" for name in titles]
    lines.append(f"| *LiDAR returns* | {' | '.join(cells)} |")
    lines += [
        "",
        f"- Accuracy on cubes / on spheres, means over {seeds} seeds, {scenes:,} scenes rendered for each condition; "
        f"trained on {SOURCES.get(source, source)}.",
    ]
    return "\n".join(lines) + "\n"
