"""CILP's embeddings of every object as scatter plots beside the grid."""

from typing import Any

import numpy as np

from cilp import app
from cilp.app.predictions import keys
from cilp.console.progress import ProgressBar
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import embed
from cilp.errors import UserError
from cilp.models.cilp import Cilp
from cilp.packed import Packed
from cilp.raw.layout import CLASSES
from cilp.subset.database import connect

PLOTS = ("cilp_image", "cilp_lidar")
"""Brain runs of the embeddings of either modality."""
EMBEDDED_AT_A_TIME = 500


def add_embeddings(dataset: Any, data: Packed, model: Cilp) -> None:
    """CILP's image and LiDAR embeddings of every object, on the slice "rgb", as two brain runs to plot.

    Raises:
        UserError: the packed data hold other objects than the dataset.
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
    for name, embeddings in zip(PLOTS, embed_all(data, model), strict=True):
        fob.compute_visualization(
            view, embeddings=embeddings[order], method="pca", svd_solver="full", brain_key=name, progress=False
        )
    dataset.save_workspace("embeddings", workspace(), description="Objects beside CILP's embeddings of them")


def embed_all(data: Packed, model: Cilp) -> tuple[np.ndarray, np.ndarray]:
    """Image and LiDAR embeddings (N, 200) float32 of every pair, in order."""
    device = next(model.parameters()).device
    parts = []
    with ProgressBar("embedding with CILP", len(data.scene), unit="pairs") as bar:
        for start in range(0, len(data.scene), EMBEDDED_AT_A_TIME):
            pairs = load_pairs([(data, slice(start, start + EMBEDDED_AT_A_TIME))], device)
            parts.append([part.cpu().numpy() for part in embed(model, pairs)])
            bar.advance(len(pairs))
    rgb, lidar = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rgb, lidar


def workspace() -> Any:
    """The grid of samples, and beside it the embeddings."""
    fo = connect()
    grid = fo.Panel(type="Samples", pinned=True)
    plot = fo.Panel(type="Embeddings")  # which lists the plots: it does not let one be chosen for it
    halves = [fo.Space(children=[panel], active_child=panel.component_id) for panel in (grid, plot)]
    return fo.Space(children=halves, orientation="horizontal", sizes=[0.6, 0.4])
