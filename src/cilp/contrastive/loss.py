"""The contrastive loss: which LiDAR view belongs to an image, and which image to a LiDAR view?"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

REPORTED_BATCH = 32
"""Batch over which the unscaled loss is reported: the batch of the reference study. Chance is ln 32 = 3.47 nats."""


def contrastive_loss(rgb: Tensor, lidar: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy in nats over the matrix of scaled cosines (Radford et al. 2021, figure 3).

    ``rgb`` and ``lidar`` are embeddings of unit length, (B, D) each, pair by pair; ``log_scale`` is the logarithm of
    1 / temperature. One matrix product serves both directions: memory grows with B squared, not with B squared times D.
    """
    logits = rgb @ lidar.T * log_scale.exp()
    match = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, match) + cross_entropy(logits.T, match)) / 2


def unscaled_loss(rgb: Tensor, lidar: Tensor) -> float:
    """The loss on raw cosines (temperature 1) in nats, the mean over batches of 32.

    The pairs are shuffled first, always in the same way: a batch in the stored order would hold both shapes of 16
    scenes, the reference's batches are random. What does not fill a last batch is left out, since a smaller one has
    another chance level; fewer than 32 pairs are one batch.
    """
    order = torch.randperm(len(rgb), generator=torch.Generator().manual_seed(0)).to(rgb.device)
    if len(order) > REPORTED_BATCH:
        order = order[: len(order) // REPORTED_BATCH * REPORTED_BATCH]
    zero = rgb.new_zeros(())
    losses = [contrastive_loss(rgb[rows], lidar[rows], zero) for rows in order.split(REPORTED_BATCH)]
    return torch.stack(losses).double().mean().item()
