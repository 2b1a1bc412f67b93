"""The table of predictions: what each trained classifier says of each sample."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from cilp.atomic import replacing
from cilp.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """One classifier's word on one sample."""

    model: str
    seed: int
    split: str
    scene: int
    label: int
    """The true class: cube 0, sphere 1."""
    probability: float
    """Of a sphere, in [0, 1]."""

    @property
    def predicted(self) -> int:
        """The class at a threshold of a half."""
        return int(self.probability > 0.5)


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write a CSV, a row a prediction."""
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Prediction)])
        writer.writerows(astuple(prediction) for prediction in predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read what ``write_predictions`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            found = [
                Prediction(
                    row["model"], int(row["seed"]), row["split"], int(row["scene"]), int(row["label"]),
                    float(row["probability"]),
                )
                for row in csv.DictReader(file)
            ]  # fmt: skip
        if not all(it.label in (0, 1) and 0 <= it.probability <= 1 for it in found):
            raise ValueError
        return found
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run `dvc repro predict` to write it.") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); run `dvc repro predict` to write it anew."
        ) from None


def confusion(predictions: Iterable[Prediction], split: str) -> Counter[tuple[str, int, int]]:
    """How many samples of a split, over all seeds, by model, true and predicted class."""
    return Counter((p.model, p.label, p.predicted) for p in predictions if p.split == split)
