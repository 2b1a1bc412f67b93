"""What two networks that are trained as one learn of each sensor, beside the same networks trained apart.

    PYTHONPATH=src python benchmarks/joint_parts.py

``joint`` of ``more_seeds.py``, with max-pooling and at the full learning rate on scenes in which size tells nothing
of the shape (``dvc repro pack_random_size``), is the image's and the LiDAR's network, whose logits add up. So each of
its two parts can be asked by itself, after each epoch of the training. Writes what all of them say into ``docs/``,
where it goes on when it is started again (delete that file to begin anew), and table and figure into
``docs/random-sizes.md``; with ``--tables`` it trains nothing. Three minutes and a half a seed on two cores.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot
from more_seeds_networks import JOINT, RANDOM_SIZE, protocol_on_random_sizes, random_size_test, untrained
from more_seeds_records import RECORDS
from run_records import begun, read
from torch import Tensor, nn

from cilp import packed, params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.evaluation.models import BASELINES
from cilp.report.docs import insert_tables
from cilp.report.style import COLOURS, save
from cilp.report.titles import TITLES
from cilp.training.classifier import logits_of, train_classifier
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run

RESULTS, FIGURE = Path("docs/joint-parts.json"), Path("docs/joint-parts.png")
DOWNSAMPLING = "maxpool"
SEEDS = range(51, 59)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="table and figure alone")
    kind = RECORDS["random_size"]
    if parser.parse_args().tables:
        document(kind.page, read(RESULTS)["runs"])
        return
    settings = kind.trained_by(params.load())
    device = prepare_device(params.lookup(settings, "device"))
    head = {**describe(device), **kind.decided_by(settings)}
    found = begun(RESULTS, head, "runs", [str(seed) for seed in SEEDS])
    runs = found["runs"]
    missing = [(seed, name) for seed in SEEDS for name in (JOINT, *BASELINES) if name not in runs[str(seed)]]
    splits = scenes(settings, device) if missing else ()
    for seed, name in missing:
        runs[str(seed)][name] = followed(name, seed, settings, splits)
        write_json(RESULTS, found)
    document(kind.page, runs)


def document(page: Path, runs: dict[str, Any]) -> None:
    """Put table and figure into their places."""
    write_text(page, insert_tables(page.read_text(encoding="utf-8"), {"joint_parts": table(runs)}))
    draw(runs)


def scenes(settings: dict[str, Any], device: torch.device) -> Sequence[Split]:
    """Scenes of random size that train, validate and test."""
    data = packed.load(RANDOM_SIZE)
    return *(load_split(data, split, device) for split in ("train", "val")), random_size_test(settings, device)


def followed(name: str, seed: int, settings: dict[str, Any], splits: Sequence[Split]) -> dict[str, dict[str, Any]]:
    """Train ``joint`` or the network of one sensor, and ask it, or each of its parts, after each epoch.

    Args:
        splits: those that train, validate and test.

    Returns:
        By part, ``rgb`` and ``lidar``, accuracies: ``valid``, one for each epoch, and ``test``, of the best weights.
        The parts of ``joint`` have no threshold of their own and are asked at their median, any whole at 0; ``whole``
        is that of ``joint``.
    """
    train, valid, test = splits
    said: dict[str, list[Tensor]] = {}
    history: dict[str, list[float]] = {}

    def build() -> nn.Module:
        model = untrained(name, DOWNSAMPLING, settings)
        watched = (
            {name: model} if name != JOINT else {"whole": model, **dict(zip(BASELINES, model.networks, strict=True))}
        )
        for part, network in watched.items():
            said[part], history[part] = [], []
            network.register_forward_hook(listener(said[part]))
        return model

    def heard(label: Tensor) -> dict[str, float]:
        accuracy = {
            part: right(torch.cat(logits), label, at_median=name == JOINT and part != "whole")
            for part, logits in said.items()
        }
        for logits in said.values():
            logits.clear()
        return accuracy

    def after_an_epoch(_: Any) -> None:
        for part, accuracy in heard(valid.label).items():
            history[part].append(accuracy)

    section = f"fusion.{BASELINES[0] if name == JOINT else name}"
    protocol = protocol_on_random_sizes(name, settings)
    label = f"{name}-{DOWNSAMPLING}, random size, seed {seed}"
    done = train_classifier(build, train, valid, protocol, Run(seed, label, after_an_epoch), section)
    logits_of(done.model, test)
    return {part: {"valid": history[part], "test": accuracy} for part, accuracy in heard(test.label).items()}


def listener(said: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    """A forward hook that keeps what a network says while it is not being trained."""

    def keep(network: nn.Module, _: Any, logits: Tensor) -> None:
        if not network.training:
            said.append(logits)

    return keep


def right(logits: Tensor, label: Tensor, at_median: bool) -> float:
    """The share of samples on the right side of logit 0 or, where classes are as frequent, of the median logit."""
    threshold = logits.median() if at_median else 0.0
    return ((logits > threshold) == (label > 0.5)).double().mean().item()


def table(runs: dict[str, Any]) -> str:
    """Test accuracies by seed, under a title that is left out where they are put."""
    columns = [(JOINT, "whole"), *((JOINT, part) for part in BASELINES), *((part, part) for part in BASELINES)]
    titles = ["`joint`", "its image part", "its LiDAR part", *(TITLES[part] for part in BASELINES)]
    lines = ["# title", "", f"| seed | {' | '.join(titles)} |", f"| --- {'| --- ' * len(titles)}|"]
    rows = {seed: [run[name][part]["test"] for name, part in columns] for seed, run in runs.items()}
    rows["mean"] = [sum(values) / len(values) for values in zip(*rows.values(), strict=True)]
    lines += [f"| {seed} | {' | '.join(f'{value:.4f}' for value in values)} |" for seed, values in rows.items()]
    return "\n".join([*lines, ""])


def draw(runs: dict[str, Any]) -> None:
    """Validation accuracy over the epochs, each seed and their mean: trained apart, and the parts of ``joint``."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9.5, 3.9), sharey=True, layout="constrained")
    panels = {
        "trained apart": [(part, part) for part in BASELINES],
        "trained as one (joint): each part by itself": [(JOINT, part) for part in BASELINES],
    }
    for axis, (words, watched) in zip(axes, panels.items(), strict=True):
        for colour, (name, part) in zip(COLOURS, watched, strict=False):
            curves([run[name][part]["valid"] for run in runs.values()], axis, colour, TITLES[part].split()[0])
        axis.set_title(words, fontsize=11)
        axis.set_xlabel("epoch")
        axis.set_xticks([1, 5, 10, 15, 20])
        axis.grid(axis="y", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("validation accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    save(figure, FIGURE, 120)


def curves(seeds: Sequence[Iterable[float]], axis: Any, colour: str, words: str) -> None:
    """A thin line for each seed, and a thick one for their mean."""
    rows = [list(seed) for seed in seeds]
    for row in rows:
        axis.plot(range(1, len(row) + 1), row, color=colour, alpha=0.35, linewidth=0.9)
    mean = [sum(values) / len(values) for values in zip(*rows, strict=True)]
    axis.plot(range(1, len(mean) + 1), mean, color=colour, linewidth=2.4, label=f"{words} (thin: each seed)")


if __name__ == "__main__":
    cli.run(main)
