"""Heat maps of accuracy by classifier and counterfactual condition."""

import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from cilp.evaluation.models import SIZE_RULE
from cilp.report.style import save
from cilp.report.titles import title

SHAPES = ("cube", "sphere")
Audits = Mapping[str, Mapping[str, Any]]
"""By what the classifiers were trained on, in words: ``models`` (``accuracy``, ``cube_accuracy`` and
``sphere_accuracy`` by model and condition, means over the seeds and their ``_std``), ``scenes`` (mean returns by
condition), and how many ``seeds``."""


def draw_audit(audits: Audits, titles: Mapping[str, str], target: Path, shares: Collection[str] = ()) -> None:
    """A map for each training, side by side: a row for each model, a column for each condition.

    Chance is white, always right blue, always wrong red, told apart by the colour-blind as well. The columns ``shares``
    hold no accuracy but what share of the images a model goes by, and have colours of their own, orange for the LiDAR
    and purple for the image. Models that were not trained in each way stand behind the others; where they were not,
    the map is grey. The size rule, which is no network, stands last.
    """
    every = dict.fromkeys(model for audit in audits.values() for model in audit["models"])
    models = sorted(
        every, key=lambda it: (it == SIZE_RULE, any(it not in audit["models"] for audit in audits.values()))
    )
    apart = np.array([key in shares for key in titles])
    column = 0.92 if len(audits) < 3 else 0.68
    width, height = column * len(titles) * len(audits), 2.4 + 0.36 * len(models)
    figure, axes = plt.subplots(
        1, len(audits), figsize=(3.6 + width, height), sharey=True, layout="constrained", squeeze=False
    )
    for axis, (name, audit) in zip(axes[0], audits.items(), strict=True):
        values = np.full((len(models), len(titles)), np.nan)
        for row, model in enumerate(models):
            if model in audit["models"]:
                values[row] = [audit["models"][model][key]["accuracy"] for key in titles]
        axis.set_facecolor("0.9")
        shown_apart = np.broadcast_to(apart, values.shape)
        right, follows = (
            axis.imshow(np.ma.masked_where(hidden | np.isnan(values), values), cmap=cmap, vmin=0, vmax=1, aspect="auto")
            for cmap, hidden in (("RdBu", shown_apart), ("PuOr", ~shown_apart))
        )
        for share in np.flatnonzero(apart):
            for edge in (share - 0.5, share + 0.5):
                axis.axvline(edge, color="white", linewidth=5)
        for (row, x), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            colour = "white" if abs(value - 0.5) > 0.35 else "black"
            axis.text(x, row, f"{value:.2f}", ha="center", va="center", fontsize=11, color=colour)
        headings = [textwrap.fill(text, int(12 * column), break_long_words=False) for text in titles.values()]
        axis.set_xticks(range(len(titles)), headings, fontsize=9)
        axis.set_yticks(range(len(models)), [title(model) for model in models], fontsize=11)
        axis.tick_params(length=0)
        seeds = f"{audit['seeds']} seed{'' if audit['seeds'] == 1 else 's'}"
        heading = textwrap.fill(f"trained on {name}", int(10 * column * len(titles)))
        axis.set_title(f"{heading}\n({seeds})", fontsize=12)
    bar = {"ax": axes, "aspect": 40, "fraction": 0.02, "pad": 0.01}
    if apart.any():
        figure.colorbar(follows, label="sensors disagree: 0 follows the LiDAR, 1 the image", **bar)
    figure.colorbar(right, label="accuracy (chance: 0.5)", **bar)
    save(figure, target, 120)


def audit_markdown(audits: Audits, titles: Mapping[str, str], scenes: int) -> str:
    """Accuracy on cubes and on spheres, by model and condition, a table for each training."""
    lines = ["# What the classifiers look at", ""]
    for name, audit in audits.items():
        lines += [
            f"| trained on {name} | {' | '.join(titles.values())} |",
            f"| --- |{' --- |' * len(titles)}",
        ]
        for model, found in audit["models"].items():
            cells = [" / ".join(_share(found[key], f"{shape}_accuracy") for shape in SHAPES) for key in titles]
            lines.append(f"| {title(model)} | {' | '.join(cells)} |")
        cells = [f"{it['cube_returns']:.0f} / {it['sphere_returns']:.0f}" for it in map(audit["scenes"].get, titles)]
        lines += [f"| *LiDAR returns* | {' | '.join(cells)} |", ""]
    seeds = " and ".join(f"{audit['seeds']} of those trained on {name}" for name, audit in audits.items())
    lines.append(
        f"- Accuracy on cubes / on spheres, mean ± sample standard deviation over the seeds: {seeds}; "
        f"{scenes:,} scenes rendered for each condition."
    )
    return "\n".join(lines) + "\n"


def _share(figures: Mapping[str, float], key: str) -> str:
    return f"{figures[key]:.2f}" + (f" ± {figures[f'{key}_std']:.2f}" if f"{key}_std" in figures else "")
