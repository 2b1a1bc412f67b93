"""Curves of accuracy against how badly a sensor fails."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from cilp.atomic import replacing
from cilp.report.provenance import SOURCES
from cilp.report.style import COLOURS, MARKERS
from cilp.report.titles import title

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PANELS = {
    "beams_dropped": "share of LiDAR rays dropped",
    "range_noise": "range noise (m)",
    "image_noise": "image noise (share of full scale)",
    "exposure": "exposure (factor; 1 is as trained)",
}


def draw_failures(rows: Sequence[dict], target: Path) -> None:
    """A panel for each failure, a curve for each model: mean over the seeds, with bars of a standard deviation.

    A classifier trained with modality dropout has the colour of the one without, dashed.
    ``rows`` hold ``model``, ``failure``, ``level``, ``accuracy`` and ``accuracy_std``.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    colours = {model: number for number, model in enumerate(m for m in models if not m.endswith("-dropout"))}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharey=True, layout="constrained")
    for axis, (name, label) in zip(axes.flat, PANELS.items(), strict=True):
        for model in models:
            number = colours.get(model.removesuffix("-dropout"), len(COLOURS) - 1)
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
                linestyle="--" if model.endswith("-dropout") else "-", marker=MARKERS[number % len(MARKERS)],
                markersize=5, linewidth=1.6, capsize=2, label=title(model),
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


MISSING = {"all sensors": ("beams_dropped", 0.0), "no image": ("exposure", 0.0), "no LiDAR": ("beams_dropped", 1.0)}
"""What is missing: the failure, and the level at which it is."""


def missing_markdown(rows: Sequence[dict], pairs: int, seeds: int, rate: float, source: str) -> str:
    """Accuracy with all sensors and without either, mean ± spread over the seeds; ``rate`` is of modality dropout."""
    found = {(row["model"], row["failure"], row["level"]): row for row in rows}
    lines = [f"| model | {' | '.join(MISSING)} |", "| --- |" + " --- |" * len(MISSING)]
    for model in dict.fromkeys(row["model"] for row in rows):
        cells = []
        for failure, level in MISSING.values():
            row = found.get((model, failure, level))
            cells.append(f"{row['accuracy']:.3f} ± {row['accuracy_std']:.3f}" if row else "not asked")
        lines.append(f"| {title(model)} | {' | '.join(cells)} |")
    note = (
        f"- Accuracy on the first {pairs:,} test pairs of {SOURCES.get(source, source)}, mean ± sample standard "
        f"deviation over {seeds} seeds. With modality dropout, {rate:.0%} of the training samples lacked one sensor."
    )
    return "\n".join(["# What is left when a sensor is missing", "", *lines, "", note]) + "\n"
