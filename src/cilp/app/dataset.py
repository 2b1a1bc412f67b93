"""The dataset that the App shows, built anew from what the pipeline has left."""

from pathlib import Path
from typing import Any

from cilp import app, packed
from cilp.app.embeddings import add_embeddings
from cilp.app.media import draw_range_image, replace_media, set_scene
from cilp.app.predictions import add_predictions
from cilp.embeddings import load_embeddings
from cilp.errors import UserError
from cilp.evaluation.table import read_predictions
from cilp.raw.exported import read_export
from cilp.subset.database import connect
from cilp.subset.grouped import DATASET_NAME

TEST_SET = "test set"


def build(folder: Path, seed: int) -> Any:
    """The dataset with everything that there is to show; what is drawn for it goes into ``folder``.

    Raises:
        UserError: the subset is missing, or FiftyOne has no database to work with.
    """
    dataset = load_subset(app.SUBSET)
    replace_media(dataset, "lidar", draw_range_image, folder)
    replace_media(dataset, "pcd", set_scene, folder)
    try:
        add_predictions(dataset, read_predictions(app.PREDICTIONS), seed)
    except UserError as error:
        print(f"without predictions: {error}", flush=True)
    try:
        add_embeddings(dataset, packed.load(app.PACKED), load_embeddings(app.EMBEDDINGS / f"seed-{seed}.pt"))
    except UserError as error:
        print(f"without embeddings: {error}", flush=True)
    dataset.save_view(TEST_SET, dataset.match_tags("test"), description="The objects held out for the final figures")
    dataset.save()
    return dataset


def load_subset(subset: Path) -> Any:
    """The grouped dataset that was exported to ``subset``, on the throwaway database.

    Raises:
        UserError: it is missing or damaged, or FiftyOne has no database to work with.
    """
    if not (subset / "samples.json").is_file():
        raise UserError(f"{subset} is missing; make it with `dvc repro subset`, or fetch it with `dvc pull`.")
    read_export(subset)  # which says what is wrong with it
    print(f"loading {subset} into FiftyOne", flush=True)
    fo = connect()
    return fo.Dataset.from_dir(
        dataset_dir=str(subset.resolve()),
        dataset_type=fo.types.FiftyOneDataset,
        name=DATASET_NAME,
        overwrite=True,
        progress=False,
    )
