"""What the CILP half reached, as Markdown tables and a picture of its pretraining."""

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from cilp.atomic import replacing
from cilp.errors import UserError
from cilp.report.provenance import SOURCES

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MODELS = ("lidar", "cilp", "retrieval", "projector", "rgb2lidar")
ROWS = (  # model, figure, key, decimals, what the reference study reported, its course's pass mark
    ("lidar", "LiDAR classifier", "test accuracy", "test_accuracy", 4, "0.999 (validation)"),
    ("cilp", "CILP", "unscaled loss, batches of 32, test", "test_unscaled_loss", 3, "2.59 (validation; mark: 3.2)"),
    ("cilp", "CILP", "twin test, test", "test_twin_accuracy", 4, "-"),
    ("retrieval", "CILP", "image-to-LiDAR recall@1, validation", "image_to_lidar_recall_at_1", 3, "-"),
    ("retrieval", "CILP", "image-to-LiDAR recall@5, validation", "image_to_lidar_recall_at_5", 3, "-"),
    ("projector", "projector", "mean cosine, test", "test_cosine", 4, "0.435 (validation)"),
    ("rgb2lidar", "RGB-to-LiDAR", "test accuracy", "test_accuracy", 4, "0.5 (validation; mark: 0.95)"),
)  # fmt: skip
ABLATION = {  # key: title, decimals
    "unscaled_loss": ("unscaled loss", 3),
    "twin_accuracy": ("twin test", 4),
    "recall_at_1": ("recall@1", 3),
    "recall_at_5": ("recall@5", 3),
    "rgb2lidar_accuracy": ("RGB-to-LiDAR accuracy", 4),
    "training_pairs": ("pairs to train on", 0),
}
PANELS = {
    "train_loss": "training loss (nats)",
    "valid_twin_accuracy": "twin test, validation",
    "valid_recall_at_1": "image-to-LiDAR recall@1, validation",
}


def read_results(root: Path = Path()) -> dict[str, dict[str, float]]:
    """``metrics/<model>.json`` of the five stages."""
    return {name: _read(root / f"metrics/{name}.json", f"dvc repro {_stage(name)}") for name in MODELS}


def read_ablation(recipes: Sequence[str], root: Path = Path()) -> dict[str, dict[str, float]]:
    """``metrics/cilp_ablation/<recipe>.json`` of exactly the given recipes."""
    return {
        name: _read(root / f"metrics/cilp_ablation/{name}.json", f"dvc repro ablate_cilp@{name}") for name in recipes
    }


def _stage(model: str) -> str:
    return {"retrieval": "plot_similarity", "cilp": "pretrain_cilp"}.get(model, f"train_{model}")


def _read(path: Path, cure: str) -> dict[str, float]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run `{cure}` to write it.") from None


def results_markdown(results: Mapping[str, Mapping[str, float]], cost: Mapping[str, Any], source: str) -> str:
    """Model by figure, mean ± spread over the seeds, beside what the reference study reported on real data."""
    lines = [
        "| model | figure | here | parameters | reference study, real data |",
        "| --- | --- | --- | --- | --- |",
    ]
    for model, title, figure, key, digits, reference in ROWS:
        metrics = results[model]
        value = f"{metrics[key]:.{digits}f}" if key in metrics else "no twins"
        if f"{key}_std" in metrics:
            value += f" ± {metrics[f'{key}_std']:.{digits}f}"
        parameters = f"{results[model]['parameters']:,}" if "parameters" in metrics else ""
        lines.append(f"| {title} | {figure} | {value} | {parameters} | {reference} |")
    seeds = results["rgb2lidar"]["seeds"]
    spread = f"mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    notes = [
        f"- Data: {SOURCES.get(source, source)}. CILP saw {results['cilp']['training_pairs']:,} pairs without labels; "
        f"recall is over {results['retrieval']['pairs']:,} validation pairs.",
        f"- {spread[0].upper()}{spread[1:]}, each seed with its own LiDAR classifier, CILP and projector.",
        f"- Device: {cost['device']}; torch {cost['torch']}, Python {cost['python']}. "
        f"Pretraining took {cost['train_seconds']:,.0f} s a seed there, {cost['samples_per_second']:,.0f} pairs/s.",
    ]
    return "\n".join(["# Contrastive image-LiDAR pretraining", "", *lines, "", *notes]) + "\n"


def ablation_markdown(
    ablation: Mapping[str, Mapping[str, float]], titles: Mapping[str, str], seed: int, pairs: int, source: str
) -> str:
    """Recipe by figure."""
    lines = [
        f"| recipe | {' | '.join(title for title, _ in ABLATION.values())} |",
        "| --- |" + " --- |" * len(ABLATION),
    ]
    for name, figures in ablation.items():
        cells = [f"{figures[key]:,.{d}f}" if key in figures else "-" for key, (_, d) in ABLATION.items()]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    note = (
        f"Seed {seed} alone, on the validation set of {SOURCES.get(source, source)}. Each row pretrained on {pairs:,} "
        "pairs (drawn again and again from those there are), fewer than in the study. Small differences may be noise."
    )
    return "\n".join(["# What each part of the recipe is worth", "", *lines, "", note]) + "\n"


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
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)
