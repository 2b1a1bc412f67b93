"""What the runs of one model came to, one for each seed, and the files that a stage writes of them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cilp.training.loop import Trained
from cilp.training.seeds import write_cost, write_metrics, write_rows


class Results:
    """Collected seed by seed, written once all are there."""

    def __init__(self, name: str):
        """``name`` is that of the files, such as ``lidar`` or ``fusion/late-maxpool``."""
        self.name = name
        self.figures: dict[int, Mapping[str, float]] = {}
        self.costs: dict[int, dict[str, float]] = {}
        self.curves: list[dict[str, Any]] = []

    def add(self, seed: int, done: Trained, figures: Mapping[str, float]) -> None:
        """A finished run and its ``figures``: the same ones of every seed."""
        self.figures[seed] = figures
        self.costs[seed] = done.cost
        self.curves += [{"seed": seed, **asdict(validation)} for validation in done.history]

    def write(self, machine: Mapping[str, Any], samples: Mapping[str, int], **constants: float) -> None:
        """Write mean and spread to ``metrics/<name>.json``, each seed to ``metrics/<name>.csv``, each validation to
        ``plots/<name>.csv`` and what it cost to ``costs/<name>.json``.

        Args:
            machine: that the costs were measured on (``cilp.training.device.describe``).
            samples: how many there were in each split.
            constants: figures that all seeds have in common.
        """
        write_metrics(Path(f"metrics/{self.name}.json"), self.figures, **constants)
        rows = [{"seed": seed, **figures} for seed, figures in self.figures.items()]
        write_rows(Path(f"metrics/{self.name}.csv"), rows)
        write_rows(Path(f"plots/{self.name}.csv"), self.curves)
        provenance = {**machine, "seeds": list(self.figures), "samples": samples}
        write_cost(Path(f"costs/{self.name}.json"), self.costs, **provenance)
