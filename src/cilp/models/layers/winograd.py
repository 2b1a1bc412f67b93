"""3x3 convolution with a quarter of the multiplications: Winograd's minimal filtering, F(4x4, 3x3).

S. Winograd, *Arithmetic Complexity of Computations*, 1980; for convolutions A. Lavin and S. Gray, *Fast Algorithms for
Convolutional Neural Networks*, CVPR 2016, whose matrices these are. Gradients, which autograd derives, are as cheap. In
exact arithmetic it is the plain convolution; in float32, results of size 1 differ by a few 1e-6. So a result that the
plain one has at exactly zero lies beside it, if not all of its tile is zero: where black background meets biases that
are still zero, that decides about ReLU's gradient, of which both values are right there.
"""

import functools

import torch
from torch import Tensor

INPUT, OUTPUT = 6, 4
"""Pixels along the edge of a tile, and of what a convolution without padding makes of it."""
_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
          [0, 4, 0, -5, 0, 1]]  # fmt: skip
_WEIGHT = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
           [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@functools.cache
@torch.inference_mode(False)  # who evaluates first may train later: autograd keeps no tensor made in inference mode
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Both axes in one matrix: of a tile's pixels (36, 36), of a kernel's (36, 9), and to a result's (16, 36)."""
    square = [torch.tensor(matrix, dtype=torch.float64) for matrix in (_INPUT, _WEIGHT, _OUTPUT)]
    tile, kernel, result = (torch.kron(matrix, matrix).to(dtype) for matrix in square)
    return tile, kernel, result


def convolve(tiles: Tensor, weight: Tensor) -> Tensor:
    """Tiles (T, 36, C), the pixels of each row by row, and weights (K, C, 3, 3) -> (T, 16, K), without a bias."""
    outputs, inputs = weight.shape[:2]
    of_tile, of_kernel, of_result = _transforms(tiles.dtype)
    kernels = (of_kernel @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(INPUT**2, inputs, outputs)
    transformed = torch.bmm(of_tile.expand(len(tiles), -1, -1), tiles)
    products = torch.bmm(transformed.transpose(0, 1), kernels)  # (36, T, K)
    return torch.bmm(of_result.expand(len(tiles), -1, -1), products.transpose(0, 1))
