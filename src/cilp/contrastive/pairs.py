"""Image-LiDAR pairs for pretraining: which there are, and in which order they come, varied how.

Nothing here looks at a label.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from cilp.packed import Packed, check_mirror
from cilp.sensors import ray_directions
from cilp.training.inputs import Pairs
from cilp.training.loop import Batch
from cilp.training.stream import pixels, shards
from cilp.training.variation import View


class Recipe(Protocol):
    """What decides which pairs are in a batch and how it is varied: CILP's params, and those of who shares them."""

    batch_size: int
    twins: bool
    mirror: bool
    permute_colours: bool


def load_pairs(sources: Sequence[tuple[Packed, slice]], device: torch.device) -> Pairs:
    """Copy the given rows of each packed file to ``device``, one after the other, or have them streamed."""
    rgb, ranges = pixels(sources, device)
    sensors = [0]
    for packed, _ in sources:
        sensors.append(sensors[-1] + len(packed.azimuth))
    angles = [angles for packed, _ in sources for angles in zip(packed.azimuth, packed.zenith, strict=True)]
    distinct = {(a.numpy().tobytes(), z.numpy().tobytes()): (a, z) for a, z in angles}
    number = {key: k for k, key in enumerate(distinct)}
    which = torch.tensor([number[a.numpy().tobytes(), z.numpy().tobytes()] for a, z in angles])
    directions = [torch.from_numpy(ray_directions(a.numpy(), z.numpy())).float() for a, z in distinct.values()]
    return Pairs(
        rgb=rgb,
        range=ranges,
        scene=torch.cat([packed.scene[rows].long() for packed, rows in sources]).to(device),
        directions=torch.stack(directions).to(device),
        sensor=torch.cat(
            [which[packed.sensor[rows].long() + first] for (packed, rows), first in zip(sources, sensors, strict=False)]
        ).to(device),
    )


def load_training_pairs(data: Packed, pool: Packed | None, mirror: bool, device: torch.device) -> Pairs:
    """Copy the training split of ``data``, and all of an unlabelled ``pool``, to ``device``.

    Raises:
        UserError: the pairs are to be mirrored, but a LiDAR's angles are not symmetric about its axis.
    """
    sources = [(data, data.rows("train"))]
    if pool is not None:
        sources.append((pool, slice(None)))
    if mirror:
        for source, _ in sources:
            check_mirror(source)
    return load_pairs(sources, device)


def varied(pairs: Pairs, recipe: Recipe, seed: int) -> Iterator[Batch]:
    """Batch after batch without end: rows (``batch_size``,) int64, on the host if streamed, and a ``View`` of each."""
    generator = torch.Generator().manual_seed(seed)
    device = torch.device("cpu") if pairs.shard else pairs.scene.device
    for rows in passes(pairs.scene.cpu(), recipe.batch_size, recipe.twins, generator, pairs.shard):
        yield rows.to(device, non_blocking=True), View.draw(recipe.mirror, recipe.permute_colours, generator)


def passes(
    scene: Tensor, size: int, twins: bool, generator: torch.Generator, shard: int | None = None
) -> Iterator[Tensor]:
    """Rows (size,) int64 of one pass after the other, each in a new order, without end; scenes (N,) on the host.

    What fills no batch at the end of a pass is left to the passes after it. With ``shard``, no batch goes beyond so
    many consecutive rows, and what fills no batch at the end of a shard is left as well.
    """
    while True:
        for first in shards(len(scene), shard, generator):
            part = scene[first : first + (shard or len(scene))]
            yield from [rows + first for rows in batches(part, size, twins, generator)]


def batches(scene: Tensor, size: int, twins: bool, generator: torch.Generator) -> Iterator[Tensor]:
    """One pass in random order: rows (size,) int64; the remainder that fills no batch is left to other passes.

    With ``twins`` both shapes of a scene come in the same batch, wherever there are both. Place, light and colour then
    do not tell them apart, only shape and size do: either is the other's hard negative. A scene of one pair comes
    alone. Where both no longer fit into a batch, the next scene that does takes their place; if none does, one of the
    two is left out.
    """
    order = torch.randperm(len(scene), generator=generator)
    if twins:
        _, group, pairs = torch.unique(scene, return_inverse=True, return_counts=True)
        turn = torch.randperm(len(pairs), generator=generator)
        order = torch.sort(turn[group], stable=True).indices
        if size % 2 or (pairs != 2).any():
            order = order[_whole(pairs[turn.argsort()].tolist(), size)]
    for rows in order.split(size):
        if len(rows) == size:
            yield rows


def _whole(counts: list[int], size: int) -> Tensor:
    """Which of the pairs of scenes, ``counts`` of them in each, to take in which order, so that batches of ``size`` cut
    no scene: int64 (M,), where M is at most their sum."""
    waiting = deque(zip(accumulate(counts, initial=0), counts, strict=False))  # first pair and number of pairs
    taken, room = [], size
    while waiting:
        at = next((k for k, (_, count) in enumerate(waiting) if count <= room), 0)
        first, count = waiting[at]
        del waiting[at]
        count = min(count, room)
        taken += range(first, first + count)
        room = room - count or size
    return torch.tensor(taken)
