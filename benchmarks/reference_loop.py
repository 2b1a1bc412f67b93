"""The reference study's way of training, written anew in plain code: what the benchmark measures against.

Faithful to how that study is described, slow habits included, and used by the benchmark alone:

- a DataLoader over single samples, whose XYZA is computed in ``__getitem__``;
- contiguous NCHW batches, convolution - ReLU - pooling, Adam as it comes;
- ``.item()`` at every step, and validation that builds autograd graphs and drops the last batch;
- frozen embedders that run again for every batch of every epoch;
- a similarity matrix made by repeating each embedding once for every other.
"""

import copy
from collections.abc import Iterator
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    mse_loss,
    normalize,
)
from torch.utils.data import DataLoader, Dataset

BATCH = 32
LR_MIN = 1e-6
MAX_RANGE = 50.0


class Samples(Dataset):
    """(image, XYZA, label) of single samples, made when they are asked for; XYZ in units of ``unit`` metres."""

    def __init__(
        self,
        rgb: Tensor,
        ranges: Tensor,
        azimuth: Tensor,
        zenith: Tensor,
        label: Tensor,
        device: str,
        unit: float = 1.0,
    ):
        self.rgb, self.ranges, self.label, self.device, self.unit = rgb, ranges, label, device, unit
        self.azimuth, self.zenith = azimuth[:, None], zenith[None, :]

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        image = self.rgb[index].permute(2, 0, 1).contiguous().float() / 255.0
        distance = self.ranges[index]
        x = distance * torch.sin(-self.azimuth) * torch.cos(-self.zenith)
        y = distance * torch.cos(-self.azimuth) * torch.cos(-self.zenith)
        z = distance * torch.sin(-self.zenith)
        mask = (distance < MAX_RANGE).float()
        x, y, z = x / self.unit, y / self.unit, z / self.unit
        label = self.label[index].float()
        return image.to(self.device), torch.stack([x, y, z, mask]).to(self.device), label.to(self.device)


def loaders(train: Samples, valid: Samples) -> tuple[DataLoader, DataLoader]:
    """Shuffled training batches and validation batches, of both of which the last partial one is dropped."""
    return DataLoader(train, BATCH, shuffle=True, drop_last=True), DataLoader(valid, BATCH, drop_last=True)


class InOrder:
    """A loader of training batches in an order that is given, pass after pass: rows (B,) int64 without end."""

    def __init__(self, train: Samples, rows: Iterator[Tensor]):
        self.train, self.rows = train, rows

    def __len__(self) -> int:
        return len(self.train) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for rows in islice(self.rows, len(self)):
            yield tuple(torch.stack(part) for part in zip(*(self.train[row] for row in rows.tolist()), strict=True))


def convolutions(channels: list[int], downsampling: str) -> nn.Sequential:
    """3x3 convolutions with ReLU that halve height and width, by pooling or by stride."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, stride=2 if downsampling == "strided" else 1), nn.ReLU()]
        if downsampling == "maxpool":
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Late(nn.Module):
    """Late fusion."""

    def __init__(self, downsampling: str):
        super().__init__()
        self.rgb, self.lidar = (
            nn.Sequential(convolutions([4, 25, 50, 100], downsampling), nn.Flatten(), nn.Linear(6400, 100))
            for _ in range(2)
        )
        self.head = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 1))

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        return self.head(torch.cat([self.rgb(rgb), self.lidar(lidar)], dim=1)).squeeze(1)


class Intermediate(nn.Module):
    """Intermediate fusion by ``concat``, ``add`` or ``hadamard``."""

    def __init__(self, fusion: str, downsampling: str):
        super().__init__()
        self.fusion = fusion
        self.rgb, self.lidar = (convolutions([4, 50, 100], downsampling) for _ in range(2))
        self.fused = convolutions([200 if fusion == "concat" else 100, 100], downsampling)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6400, 100), nn.ReLU(), nn.Linear(100, 1))

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        a, b = self.rgb(rgb), self.lidar(lidar)
        fused = {"concat": lambda: torch.cat([a, b], dim=1), "add": lambda: a + b, "hadamard": lambda: a * b}
        return self.head(self.fused(fused[self.fusion]())).squeeze(1)


FUSIONS = ("late", "concat", "add", "hadamard")
"""What the reference study compared."""


def fusion_network(fusion: str, downsampling: str) -> nn.Module:
    """The reference study's network of a variant."""
    return Late(downsampling) if fusion == "late" else Intermediate(fusion, downsampling)


def copy_weights(ours: nn.Module, network: nn.Module) -> None:
    """Give a network of ``fusion_network`` the weights of ours of the same variant.

    Both list their parameters modality by modality; ours keeps the linear layers of late fusion beside the encoders.
    """
    order = ("rgb.", "rgb_vector.", "lidar.", "lidar_vector.", "fused.", "head.")
    place = {
        name: next(k for k, part in enumerate(order) if name.startswith(part)) for name, _ in ours.named_parameters()
    }
    mine = sorted(ours.named_parameters(), key=lambda item: place[item[0]])
    for (_, source), target in zip(mine, network.parameters(), strict=True):
        target.data.copy_(source)


class Embedder(nn.Module):
    """The reference study's embedder: (B, 4, 64, 64) -> (B, 200) of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolutions([4, 50, 100, 200, 200], "maxpool"),
            nn.Flatten(), nn.Linear(3200, 100), nn.ReLU(), nn.Linear(100, 200),
        )  # fmt: skip

    def forward(self, view: Tensor) -> Tensor:
        return normalize(self.layers(view), dim=1)


def train_epochs(model: nn.Module, train: DataLoader, valid: DataLoader, epochs: int, lr: float = 1e-3) -> float:
    """Train a fusion network, keep the weights with the lowest validation loss; returns the last training loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(train), eta_min=LR_MIN)
    mean, lowest, kept = 0.0, float("inf"), {}
    for _ in range(epochs):
        model.train()
        total = 0.0
        for rgb, lidar, label in train:
            optimizer.zero_grad()
            loss = binary_cross_entropy_with_logits(model(rgb, lidar), label)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        mean = total / len(train)
        model.eval()
        valid_loss, right = 0.0, 0
        for rgb, lidar, label in valid:
            logits = model(rgb, lidar)
            valid_loss += binary_cross_entropy_with_logits(logits, label).item()
            right += ((logits > 0) == (label > 0.5)).sum().item()
        if valid_loss < lowest:
            lowest, kept = valid_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return mean


def train_frozen(
    image: Embedder, lidar: Embedder, projector: nn.Module, head: nn.Module, train: DataLoader, epochs: tuple[int, int]
) -> None:
    """Fit the projector by distance, then by labels, running the frozen embedders on every batch of every epoch."""
    for stage, count in enumerate(epochs):
        optimizer = torch.optim.Adam(projector.parameters(), lr=1e-4)
        for _ in range(count):
            for rgb, points, label in train:
                optimizer.zero_grad()
                projected = normalize(projector(image(rgb)), dim=1)
                if stage == 0:
                    loss = mse_loss(projected, lidar(points))
                else:
                    loss = binary_cross_entropy_with_logits(head(projected).squeeze(1), label)
                loss.backward()
                optimizer.step()
                loss.item()


def contrastive_loss(rgb: Tensor, lidar: Tensor) -> Tensor:
    """Symmetric cross-entropy over cosines, (B, B) of them out of B times repeated embeddings (B * B, D)."""
    count = len(rgb)
    rows = rgb.repeat_interleave(count, dim=0)
    columns = lidar.repeat(count, 1)
    logits = cosine_similarity(rows, columns).view(count, count)
    match = torch.arange(count, device=rgb.device)
    return (cross_entropy(logits, match) + cross_entropy(logits.T, match)) / 2
