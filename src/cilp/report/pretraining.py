"""The course of contrastive pretraining in one picture."""

import csv
import statistics
from collections import defaultdict
from pathlib import Path

from matplotlib import pyplot as plt

from cilp.report.style import save

PANELS = {
    "train_loss": "training loss (nats)",
    "valid_twin_accuracy": "twin test, validation",
    "valid_recall_at_1": "image-to-LiDAR recall@1, validation",
}


def draw_pretraining(curves: Path, target: Path) -> None:
    """Draw training loss, twin test and recall against steps into a PNG: each seed thin, their mean bold."""
    by_seed: dict[str, list[dict[str, str]]] = defaultdict(list)
    with open(curves, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_seed[row["seed"]].append(row)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.6), layout="constrained")
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        lines = []
        for rows in by_seed.values():
            points = [(int(row["step"]), float(row[key])) for row in rows if row[key]]
            if points:
                axis.plot(*zip(*points, strict=True), color="#0072B2", alpha=0.35, linewidth=1, label="each seed")
                lines.append(points)
        if lines:
            steps = [step for step, _ in lines[0]]
            means = [statistics.fmean(points[i][1] for points in lines) for i in range(len(steps))]
            axis.plot(steps, means, color="#0072B2", linewidth=2.2, label="mean")
        axis.set(title=title, xlabel="step")
        axis.grid(True, alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].axhline(0.5, color="0.4", linestyle=":", linewidth=1.2, label="chance")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    save(figure, target, 130)
