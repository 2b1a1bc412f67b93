"""Pictures of the cosines between image and LiDAR embeddings: image rows by LiDAR columns."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cilp.report.style import save

FIRST_BATCH = 32
"""Pairs in the picture of the first validation batch."""
CLASS_TITLES = ("cubes", "spheres")


def draw_first_batch(similarity: np.ndarray, seed: int, target: Path) -> None:
    """Draw the cosines (N, N) of one batch in its order, cube and sphere of a scene side by side, into a PNG."""
    figure, axis = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
    _show(figure, axis, similarity)
    axis.set_title(f"first validation batch: cube and sphere of each scene; seed {seed}", fontsize=10)
    axis.set(xlabel="LiDAR embedding", ylabel="image embedding")
    _save(figure, target)


def draw_sorted(similarity: np.ndarray, label: np.ndarray, seed: int, target: Path) -> None:
    """Draw the cosines (N, N) of a whole split, cubes first, then spheres, scenes in the same order, into a PNG.

    Own pairs lie on the long diagonal; the twins, the other shape in the same scene, on the two short ones.
    """
    order = np.argsort(label, kind="stable")
    figure, axis = plt.subplots(figsize=(6.6, 5.6), layout="constrained")
    _show(figure, axis, similarity[np.ix_(order, order)])
    cubes = int((label == 0).sum())
    for draw in (axis.axhline, axis.axvline):
        draw(cubes - 0.5, color="white", linewidth=1)
    middles = [(cubes - 1) / 2, cubes + (len(label) - cubes - 1) / 2]
    axis.set_xticks(middles, [f"LiDAR of {name}" for name in CLASS_TITLES])
    axis.set_yticks(middles, [f"images of {name}" for name in CLASS_TITLES], rotation=90, va="center")
    axis.tick_params(length=0)
    axis.set_title(f"validation set, sorted by class, twins on the short diagonals; seed {seed}", fontsize=10)
    _save(figure, target)


def _show(figure: Figure, axis: plt.Axes, similarity: np.ndarray) -> None:
    image = axis.imshow(similarity, vmin=0, vmax=1, cmap="magma", interpolation="nearest")
    figure.colorbar(image, ax=axis, label="cosine", extend="min", shrink=0.9)


def _save(figure: Figure, target: Path) -> None:
    save(figure, target, 110)
