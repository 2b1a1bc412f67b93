"""The threshold on the area that the LiDAR sees, on whole splits."""

import torch
from torch import Tensor

from cilp.models.size_rule import SizeRule, area_seen
from cilp.training.inputs import LidarSplit, Split, in_order


def areas_of(split: Split) -> Tensor:
    """(N,) float64 m², of every sample in order."""
    seen = LidarSplit.of(split)
    return torch.cat([area_seen(*seen.inputs(rows)) for rows in in_order(len(seen), seen.label.device)])


def share_right(rule: SizeRule, area: Tensor, label: Tensor) -> float:
    """Accuracy of the rule, given areas (N,) in m² and labels (N,), 1 for a sphere."""
    return ((rule.margin(area) > 0) == (label > 0.5)).double().mean().item()
