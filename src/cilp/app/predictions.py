"""What every model says of each object, the mistakes, and how they stand out in the App."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cilp import app
from cilp.console.progress import track
from cilp.errors import UserError
from cilp.evaluation.table import Prediction
from cilp.raw.layout import CLASSES
from cilp.subset.database import connect
from cilp.subset.grouped import SLICES

MISTAKES = "mistakes"
COLOURS = {"cube": "#4c9be8", "sphere": "#f2a33a"}
Key = tuple[int, str]
"""Scene and class, which name an object."""


def field_name(model: str) -> str:
    """The field of a model's predictions: ``late_maxpool`` for ``fusion/late-maxpool``."""
    return re.sub(r"\W", "_", Path(model).name)


def add_predictions(dataset: Any, predictions: Sequence[Prediction], seed: int) -> None:
    """What every model, trained on ``seed``, says of each object, a field a model, on all slices; and the mistakes.

    ``wrong`` counts the models that are wrong, ``wrong_models`` lists their fields. A saved view holds the objects
    with any, those that most get wrong first. Objects without predictions (training) have none of these fields.

    Raises:
        UserError: there are none of this seed, or some are of objects that the dataset does not have.
    """
    fo = connect()
    cure = f"run `dvc repro predict` to write {app.PREDICTIONS} anew."
    objects = dataset.select_group_slices("rgb")
    splits = dict(zip(keys(objects), objects.values("tags"), strict=True))
    said: dict[str, dict[Key, Prediction]] = {}  # by field
    wrong: dict[Key, list[str]] = {}
    for prediction in predictions:
        if prediction.seed != seed:
            continue
        field, key = field_name(prediction.model), (prediction.scene, CLASSES[prediction.label])
        if prediction.split not in splits.get(key, []):
            raise UserError(
                f"There are predictions of objects that are not in the subset, or not in that split; {cure}"
            )
        said.setdefault(field, {})[key] = prediction
        mistaken = wrong.setdefault(key, [])
        if prediction.predicted != prediction.label:
            mistaken.append(field)
    if not said:
        raise UserError(f"There are no predictions of seed {seed}; {cure}")

    for field, by_key in said.items():
        model = next(iter(by_key.values())).model
        dataset.add_sample_field(
            field, fo.EmbeddedDocumentField, fo.Classification, description=f"What {model}, seed {seed}, says"
        )
    dataset.add_sample_field("wrong", fo.IntField, description="How many models are wrong")
    dataset.add_sample_field(
        "wrong_models", fo.ListField, subfield=fo.StringField, description="Which models are wrong"
    )
    for name in track(list(SLICES), "adding predictions", unit="slices"):
        view = dataset.select_group_slices(name)
        ids = dict(zip(keys(view), view.values("id"), strict=True))
        for field, by_key in said.items():
            labels = {ids[key]: _classification(fo, prediction) for key, prediction in by_key.items()}
            view.set_values(field, labels, key_field="id")
        view.set_values("wrong_models", {ids[key]: mistaken for key, mistaken in wrong.items()}, key_field="id")
        view.set_values("wrong", {ids[key]: len(mistaken) for key, mistaken in wrong.items()}, key_field="id")

    mistakes = dataset.match(fo.ViewField("wrong") > 0).sort_by("wrong", reverse=True)
    dataset.save_view(MISTAKES, mistakes, description="What at least one model gets wrong; what most get wrong first")
    show_fields(dataset, list(said))
    print(f"{sum(map(bool, wrong.values())):,} of {len(wrong):,} objects are mistaken by a model or more", flush=True)


def _classification(fo: ModuleType, prediction: Prediction) -> Any:
    sphere = prediction.probability
    return fo.Classification(label=CLASSES[prediction.predicted], confidence=max(sphere, 1 - sphere))


def show_fields(dataset: Any, predicted: Sequence[str]) -> None:
    """Show in the grid an object's class and how many models mistake it; the rest is a tick in the sidebar away.

    A class has one colour in all fields, so that mistakes catch the eye.
    """
    fo = connect()
    colours = [{"value": label, "color": colour} for label, colour in COLOURS.items()]
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        fields=[
            {"path": field, "colorByAttribute": "label", "valueColors": colours} for field in ("label", *predicted)
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=["label", "wrong"])
    ours = {"labels": ["label"], "mistakes": ["wrong", "wrong_models"], "predictions": list(predicted)}
    taken = [path for paths in ours.values() for path in paths]
    tags, *others = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    for group in others:
        group.paths = [path for path in group.paths if path not in taken]
        group.expanded = False
    dataset.app_config.sidebar_groups = [
        tags,
        *(fo.SidebarGroupDocument(name=name, paths=paths, expanded=True) for name, paths in ours.items()),
        *(group for group in others if group.name not in ours),
    ]


def keys(samples: Any) -> list[Key]:
    """Which object each sample shows, in order."""
    return list(zip(*samples.values(["scene", "label.label"]), strict=True))
