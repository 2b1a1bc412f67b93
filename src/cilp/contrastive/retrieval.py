"""How well embeddings of one modality find their partner in the other."""

import torch
from torch import Tensor

RECALL_AT = (1, 5, 10)


def match_ranks(similarity: Tensor) -> Tensor:
    """Rank of the true match (the diagonal) in each row of a (N, N) matrix of cosines: (N,) int64, 1 is the best.

    A tie counts against the match, so that equal embeddings for everything rank last and not first.
    """
    return (similarity >= similarity.diagonal().unsqueeze(1)).sum(dim=1)


def retrieval(similarity: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 and median rank, both directions, from cosines of image rows by LiDAR columns."""
    figures = {}
    for name, matrix in (("image_to_lidar", similarity), ("lidar_to_image", similarity.T)):
        ranks = match_ranks(matrix)
        for k in RECALL_AT:
            figures[f"{name}_recall_at_{k}"] = (ranks <= k).double().mean().item()
        figures[f"{name}_median_rank"] = ranks.double().quantile(0.5).item()
    return figures


def ceilings(rgb: Tensor) -> dict[str, float]:
    """The best recall at 1, 5 and 10 from image to LiDAR that any embedding of the images (N, ...) can reach.

    Equal images have one and the same embedding: of n that are equal byte for byte, such as black ones, k at most find
    their partner among the first k.
    """
    _, group, size = torch.unique(rgb.flatten(1), dim=0, return_inverse=True, return_counts=True)
    equal = size[group].double()  # (N,)
    return {f"image_to_lidar_recall_at_{k}_ceiling": (equal.clamp(max=k) / equal).mean().item() for k in RECALL_AT}


def twin_accuracy(similarity: Tensor, scene: Tensor) -> float | None:
    """Share of images closer to their own LiDAR view than to their twin's: the other shape at the same place.

    Cosines (N, N) of image rows by LiDAR columns, scenes (N,). Half is chance: place, colour and light of twins are
    the same, so that shape decides, and size where they differ in it. None if no scene has a twin.
    """
    twins = (scene.unsqueeze(0) == scene.unsqueeze(1)).fill_diagonal_(False)
    has_twin = twins.any(dim=1)
    if not has_twin.any():
        return None
    nearest_twin = similarity.masked_fill(~twins, -torch.inf).amax(dim=1)
    return (similarity.diagonal() > nearest_twin)[has_twin].double().mean().item()
