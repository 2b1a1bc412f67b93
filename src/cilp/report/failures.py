"""Curves of accuracy against how badly a sensor fails."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from cilp.report.provenance import SOURCES
from cilp.report.style import COLOURS, MARKERS, save
from cilp.report.titles import title

DROPOUT = "-dropout"
"""Behind the name of a fusion: trained with modality dropout."""
ASIDE = 0.004
"""Distance between neighbouring models, of the width of a panel."""
PANELS = {
    "beams_dropped": "share of LiDAR rays dropped",
    "range_noise": "range noise (m)",
    "image_noise": "image noise (share of full scale)",
    "exposure": "exposure (factor; 1 is as trained)",
}


def draw_failures(rows: Sequence[dict], target: Path) -> None:
    """A panel for each failure, a curve for each model: mean over the seeds, with bars of a standard deviation.

    A classifier trained with modality dropout has the colour of the one without, dashed and hollow. Models stand
    slightly side by side at each level, so that no bar hides another. Levels are to scale, but those of a factor.
    ``rows`` hold ``model``, ``failure``, ``level``, ``accuracy`` and, of several seeds, ``accuracy_std``.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    bases = list(dict.fromkeys(model.removesuffix(DROPOUT) for model in models))
    lowest = min(row["accuracy"] - row.get("accuracy_std", 0.0) for row in rows)
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharey=True, layout="constrained")
    for axis, (name, label) in zip(axes.flat, PANELS.items(), strict=True):
        for place, model in enumerate(models):
            number, dropout = bases.index(model.removesuffix(DROPOUT)), model.endswith(DROPOUT)
            aside = ASIDE * (place - (len(models) - 1) / 2)
            points = sorted(
                (row["level"], row["accuracy"], row.get("accuracy_std", 0.0))
                for row in rows
                if row["model"] == model and row["failure"] == name
            )
            levels, accuracy, spread = zip(*points, strict=True)
            places = range(len(levels)) if name == "exposure" else levels
            width = (max(places) - min(places)) or 1
            bars = [  # shares end at 0 and 1
                [min(s, a) for a, s in zip(accuracy, spread, strict=True)],
                [max(min(s, 1 - a), 0.0) for a, s in zip(accuracy, spread, strict=True)],
            ]
            axis.errorbar(
                [at + aside * width for at in places], accuracy, yerr=bars,
                color=COLOURS[number % len(COLOURS)], linestyle="--" if dropout else "-",
                marker=MARKERS[number % len(MARKERS)], markerfacecolor="white" if dropout else None,
                markersize=5, linewidth=1.4, elinewidth=1, capsize=2, label=title(model),
            )  # fmt: skip
        axis.set_xticks(places, [f"{level:g}" for level in levels])
        axis.axhline(0.5, color="0.6", linestyle=":", linewidth=1)
        axis.set(xlabel=label, ylim=(min(0.35, lowest - 0.02), 1.02))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    several = any("accuracy_std" in row for row in rows)
    of = "mean over the seeds; bars: one standard deviation" if several else "one seed"
    figure.suptitle(f"Accuracy, {of}", fontsize=11)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, target, 110)


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
            cells.append(_share(row) if row else "not asked")
        lines.append(f"| {title(model)} | {' | '.join(cells)} |")
    spread = f"mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    note = f"- Accuracy on the first {pairs:,} test pairs of {SOURCES.get(source, source)}, {spread}."
    if any(row["model"].endswith(DROPOUT) for row in rows):
        note += f" With modality dropout, {rate:.0%} of the training samples lacked one sensor."
    return "\n".join(["# What is left when a sensor is missing", "", *lines, "", note]) + "\n"


def _share(row: dict) -> str:
    return f"{row['accuracy']:.3f}" + (f" ± {row['accuracy_std']:.3f}" if "accuracy_std" in row else "")
