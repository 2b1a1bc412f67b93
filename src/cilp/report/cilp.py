"""What the CILP half reached, as Markdown tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cilp.errors import UserError
from cilp.report.provenance import SOURCES

MODELS = ("lidar", "cilp", "retrieval", "projector", "rgb2lidar", "image_supervised", "image_distilled")
ROWS = (  # model, figure, key, decimals, what the reference study reported, its course's pass mark
    ("lidar", "LiDAR classifier", "test accuracy", "test_accuracy", 4, "0.999 (validation)"),
    ("cilp", "CILP", "unscaled loss, batches of 32, test", "test_unscaled_loss", 3, "2.59 (validation; to pass: 3.2)"),
    ("cilp", "CILP", "twin test, test", "test_twin_accuracy", 4, "-"),
    ("retrieval", "CILP", "image-to-LiDAR recall@1, validation", "image_to_lidar_recall_at_1", 3, "-"),
    ("retrieval", "CILP", "image-to-LiDAR recall@5, validation", "image_to_lidar_recall_at_5", 3, "-"),
    ("projector", "projector", "mean cosine, test", "test_cosine", 4, "0.435 (validation)"),
    ("rgb2lidar", "RGB-to-LiDAR", "test accuracy", "test_accuracy", 4, "0.5 (validation; to pass: 0.95)"),
    ("image_supervised", "image classifier, supervised", "test accuracy", "test_accuracy", 4, "-"),
    ("image_distilled", "image classifier, distilled", "test accuracy", "test_accuracy", 4, "-"),
)  # fmt: skip
ABLATION = {  # key: title, decimals
    "unscaled_loss": ("unscaled loss", 3),
    "twin_accuracy": ("twin test", 4),
    "recall_at_1": ("recall@1", 3),
    "recall_at_5": ("recall@5", 3),
    "rgb2lidar_accuracy": ("RGB-to-LiDAR accuracy", 4),
    "training_pairs": ("pairs to train on", 0),
}


def read_results(root: Path = Path()) -> dict[str, dict[str, float]]:
    """``metrics/<model>.json`` of the stages."""
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
    """Model by figure, mean ± spread over the seeds, beside what the reference study reported of its own."""
    lines = [
        "| model | figure | here | parameters | reference study, original renderings |",
        "| --- | --- | --- | --- | --- |",
    ]
    for model, title, figure, key, digits, reference in ROWS:
        metrics = results[model]
        value = f"{metrics[key]:.{digits}f}" if key in metrics else "no twins"
        if f"{key}_std" in metrics:
            value += f" ± {metrics[f'{key}_std']:.{digits}f}"
        if f"{key}_ceiling" in metrics:
            value += f" (at best {metrics[f'{key}_ceiling']:.{digits}f})"
        parameters = f"{results[model]['parameters']:,}" if "parameters" in metrics else ""
        lines.append(f"| {title} | {figure} | {value} | {parameters} | {reference} |")
    seeds = results["rgb2lidar"]["seeds"]
    spread = (
        f"Mean ± sample standard deviation over {seeds} seeds, each seed with its own LiDAR classifier, CILP and "
        "projector."
        if seeds > 1
        else "One seed, hence no spread."
    )
    notes = [
        f"- Data: {SOURCES.get(source, source)}. CILP saw {results['cilp']['training_pairs']:,} pairs without labels; "
        f"recall is over {results['retrieval']['pairs']:,} validation pairs; at best, since equal "
        "images, such as the black ones, cannot all find their own partner.",
        f"- {spread}",
        "- Image classifiers take as many steps as CILP on batches as large, mirrored and coloured alike: supervised "
        f"on the labels of {results['image_supervised']['training_images']:,} images, distilled on what the LiDAR "
        f"classifier says of {results['image_distilled']['training_images']:,} pairs.",
        f"- Device: {cost['device']}; torch {cost['torch']}, Python {cost['python']}. "
        f"Pretraining took {cost['train_seconds']:,.0f} s a seed there, {cost['samples_per_second']:,.0f} pairs/s.",
    ]
    return "\n".join(["# Contrastive image-LiDAR pretraining", "", *lines, "", *notes]) + "\n"


def ablation_markdown(
    ablation: Mapping[str, Mapping[str, float]], titles: Mapping[str, str], seed: int, whole: int, source: str
) -> str:
    """Recipe by figure; the study's own was pretrained on ``whole`` pairs."""
    lines = [
        f"| recipe | {' | '.join(title for title, _ in ABLATION.values())} |",
        "| --- |" + " --- |" * len(ABLATION),
    ]
    for name, figures in ablation.items():
        cells = [f"{figures[key]:,.{d}f}" if key in figures else "-" for key, (_, d) in ABLATION.items()]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    seen = sorted({int(figures["steps"] * figures["batch_size"]) for figures in ablation.values()})
    pairs = " to ".join(f"{count:,}" for count in (seen if len(seen) == 1 else (seen[0], seen[-1])))
    note = (
        f"Seed {seed} alone, on the validation set of {SOURCES.get(source, source)}. Each row pretrained on {pairs} "
        f"pairs (drawn again and again from those there are), the study on {whole:,}. Small differences may be noise."
    )
    return "\n".join(["# What each part of the recipe is worth", "", *lines, "", note]) + "\n"
