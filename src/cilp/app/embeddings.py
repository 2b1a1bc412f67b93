"""CILP's embeddings of every object as scatter plots beside the grid."""

from typing import Any

import torch

from cilp import app
from cilp.app.predictions import keys
from cilp.embeddings import Embeddings
from cilp.errors import UserError
from cilp.packed import SPLITS, Packed
from cilp.raw.layout import CLASSES
from cilp.subset.database import connect

PLOTS = {"cilp_image": "rgb", "cilp_lidar": "lidar"}
"""Brain runs, and the modality whose embeddings each shows."""


def add_embeddings(dataset: Any, data: Packed, embeddings: Embeddings) -> None:
    """CILP's image and LiDAR embeddings of every object, on the slice "rgb", as two brain runs to plot.

    Raises:
        UserError: the packed data hold other objects than the dataset, or the embeddings are of others.
    """
    connect()
    import fiftyone.brain as fob

    view = dataset.select_group_slices("rgb")
    row = {
        (scene, CLASSES[label]): number
        for number, (scene, label) in enumerate(zip(data.scene.tolist(), data.label.tolist(), strict=True))
    }
    shown = keys(view)
    if row.keys() != set(shown):
        raise UserError(f"{app.PACKED} holds other objects than {app.SUBSET}; run `dvc repro pack` to write it anew.")
    order = [row[key] for key in shown]
    for name, modality in PLOTS.items():
        points = torch.cat([embeddings[modality][split].embedding for split in SPLITS])  # the order of packed data
        if len(points) != len(order):
            raise UserError(f"{app.EMBEDDINGS} holds other objects than {app.SUBSET}; run `dvc repro embed`.")
        fob.compute_visualization(
            view, embeddings=points[order].numpy(), method="pca", svd_solver="full", brain_key=name, progress=False
        )
    dataset.save_workspace("embeddings", workspace(), description="Objects beside CILP's embeddings of them")


def workspace() -> Any:
    """The grid of samples, and beside it the embeddings."""
    fo = connect()
    grid = fo.Panel(type="Samples", pinned=True)
    plot = fo.Panel(type="Embeddings")  # which lists the plots: it does not let one be chosen for it
    halves = [fo.Space(children=[panel], active_child=panel.component_id) for panel in (grid, plot)]
    return fo.Space(children=halves, orientation="horizontal", sizes=[0.6, 0.4])
