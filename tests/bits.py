"""What tests compare bit by bit: the weights of a network, the files of a folder."""

from pathlib import Path

import torch
from torch import Tensor, nn


def weights(model: nn.Module) -> Tensor:
    """All parameters of a network, one behind the other: (P,), on the CPU."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu()


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file below ``root``, by its path from there."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
