"""The networks of ``more_seeds.py``: what each says of the scenes that it is tested on.

Those of the study lie in ``models/``; those of further seeds are trained here, in the same way.
"""

import functools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from cilp import packed, params
from cilp.atomic import write_text
from cilp.classifiers import random_size
from cilp.classifiers.auxiliary_losses import OneLabelEach
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.classifiers.trainings import seeds_of
from cilp.cores import available_cores
from cilp.errors import UserError
from cilp.evaluation.audit import rendered
from cilp.evaluation.models import BASELINES, asked
from cilp.models import fusion as fusions
from cilp.models import normalised_fusion
from cilp.models.decision import DecisionFusion
from cilp.models.fusion import Fusion
from cilp.simulation.varied import of_random_size
from cilp.training.checkpoint import load_checkpoint
from cilp.training.classifier import logits_of, train_classifier
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run

RANDOM_SIZE = Path("data/random_size.pt")
TEST_SCENES = 1000
"""Held-out scenes of random size, as many as the study's test set has; rendered here, since the study has none."""
JOINT = "joint"
"""Decision-level fusion's two networks, trained together: the sum of their logits is what learns."""
AUXILIARY = "auxiliary"
"""The same, but each of the two has a loss of its own as well."""
TWO_LIDARS, SEEDS_APART = "two_lidars", 100
"""Two networks of the LiDAR alone, decided by as decision-level fusion decides: the sum of their logits. The second has
a seed of its own, so much higher."""
WITH_LOSSES = {f"{fusion}_{AUXILIARY}": fusion for fusion in ("late", "concat", "add", "hadamard")}
"""Fusions of the study whose encoders have a loss of their own as well."""


class DecisionLosses(DecisionFusion):
    """While it trains, it gives the logits of its networks beside their sum: (B, 3), the sum first."""

    def forward(self, rgb: Tensor, lidar: Tensor) -> Tensor:
        """RGBA in [0, 1] and XYZA in metres, (B, 4, 64, 64) each."""
        apart = [network(rgb, lidar) for network in self.networks]
        return torch.stack([sum(apart), *apart], dim=1) if self.training else sum(apart)


Runs = tuple[Sequence[int], Callable[[str, int], Tensor], Split]
"""Seeds of the study, what gives the logits (N,) of a variant and a seed on the test set, and the test set."""


def as_the_study(settings: dict[str, Any], device: torch.device) -> Runs:
    """The study's networks and scenes; of other seeds, networks are trained in the same way."""
    data = packed.load(Path("data/packed.pt"))
    splits = tuple(load_split(data, split, device) for split in packed.SPLITS)
    seeds = params.lookup(settings, "seeds")

    def logits(name: str, seed: int) -> Tensor:
        if seed in seeds:
            path = Path("models", name, f"seed-{seed}.pt")
            fusion, downsampling = parts(name)
            protocol = protocol_of(fusion, settings)
            return logits_on(load_trained(protocol, network(fusion, downsampling, protocol), path, device), splits[-1])
        return logits_on(train_as_the_study(name, seed, settings, splits), splits[-1])

    return seeds, logits, splits[-1]


def on_random_sizes(settings: dict[str, Any], device: torch.device) -> Runs:
    """Networks trained on scenes in which size tells nothing of the shape, and further such scenes to test them on."""
    seeds = seeds_of(settings, "random_size")
    test = random_size_test(settings, device)

    @functools.cache
    def logits(name: str, seed: int) -> Tensor:
        if sensors := asked(name):
            return sum(logits(sensor, seed) for sensor in sensors)
        fusion, downsampling = parts(name)
        if fusion == TWO_LIDARS:
            return sum(logits(f"fusion/lidar-{downsampling}", one) for one in (seed, seed + SEEDS_APART))
        if fusion in (JOINT, AUXILIARY):
            return logits_on(train_here(fusion, downsampling, seed, settings, device), test)
        made_by = protocol_on_random_sizes(fusion, settings), builder_and_arguments(fusion, downsampling, settings)[1]
        path = Path("models/random_size/fusion", in_the_study(fusion, downsampling), f"seed-{seed}.pt")
        if seed in seeds and path.is_file():
            return logits_on(load_trained(*made_by, path, device), test)
        with tempfile.TemporaryDirectory() as folder:
            train_in(Path(folder), fusion, downsampling, seed, settings)
            return logits_on(load_trained(*made_by, folder / path, device), test)

    return seeds, logits, test


def registered_on_random_sizes(settings: dict[str, Any], device: torch.device) -> Runs:
    """Networks trained and tested on the same scenes, whose images are resampled to look where the LiDAR's rays do."""
    fov = of_random_size(settings).camera_fov
    test = registered(random_size_test(settings, device), fov)
    data = packed.load(RANDOM_SIZE)
    train, valid = (registered(load_split(data, split, device), fov) for split in ("train", "val"))

    def logits(name: str, seed: int) -> Tensor:
        fusion, downsampling = parts(name)
        protocol = protocol_on_random_sizes(fusion, settings)
        arguments = normalised(fusion, downsampling, settings)
        label = f"{fusion}-{downsampling}, registered, seed {seed}"
        done = train_fusion(arguments, train, valid, protocol, Run(seed, label), normalised_fusion.build)
        return logits_on(done.model, test)

    return [], logits, test


def registered(split: Split, camera_fov: float) -> Split:
    """Each pixel that of the image in whose direction the LiDAR's ray of that row and column points.

    Nearest neighbours, so that no colour is made up; ``camera_fov`` in degrees, which must hold all of the LiDAR's.
    """
    x, y, z = split.directions[0].double().unbind(dim=-1)
    half, size = math.tan(math.radians(camera_fov) / 2), split.rgb.shape[1]
    row, column = (((1 + side / y / half) / 2 * size).floor().long() for side in (-z, x))
    return replace(split, rgb=split.rgb[:, row, column].contiguous())


def random_size_test(settings: dict[str, Any], device: torch.device) -> Split:
    """Held-out scenes of random size."""
    return rendered(of_random_size(settings), TEST_SCENES, available_cores(), device)


def logits_on(model: nn.Module, test: Split) -> Tensor:
    """Logits (N,) float64 of a network that sees both sensors, or is given both."""
    return logits_of(model, test).double().cpu()


def load_trained(protocol: FusionProtocol, arguments: dict[str, Any], path: Path, device: torch.device) -> nn.Module:
    """A network from its checkpoint; ``UserError`` if it was trained or built in another way than by these."""
    model, kept = load_checkpoint(path, device)
    if (kept["params"], kept["arguments"]) != (asdict(protocol), arguments):
        raise UserError(
            f"{path} was trained by other params than those of {params.PARAMS_FILE}; run `dvc repro` first."
        )
    return model


def train_in(folder: Path, fusion: str, downsampling: str, seed: int, settings: dict[str, Any]) -> None:
    """Have the study's stage train a network on random sizes, by ``settings`` and into an empty ``folder``."""
    for name in ("data", "src", "stages"):
        (folder / name).symlink_to(Path(name).resolve())
    write_text(folder / params.PARAMS_FILE, yaml.safe_dump(settings))
    variant = ["--fusion", WITH_LOSSES.get(fusion, fusion), "--downsampling", downsampling, "--seed", str(seed)]
    if fusion in WITH_LOSSES:
        variant.append("--auxiliary-losses")
    stage = [sys.executable, "stages/train_random_size.py", *variant]
    if code := subprocess.run(stage, cwd=folder, env={**os.environ, "WANDB_MODE": "disabled"}).returncode:
        sys.exit(code)  # it has said why


def untrained(fusion: str, downsampling: str, settings: dict[str, Any]) -> nn.Module:
    """A fusion of the study as ``train_random_size`` builds it, or decision-level fusion's two networks as one."""
    if fusion in (JOINT, AUXILIARY):
        kind = DecisionLosses if fusion == AUXILIARY else DecisionFusion
        return kind(untrained(sensor, downsampling, settings) for sensor in BASELINES)
    build, arguments = builder_and_arguments(fusion, downsampling, settings)
    return build(**arguments)


def builder_and_arguments(
    fusion: str, downsampling: str, settings: dict[str, Any]
) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """What builds a fusion on random sizes, and by what."""
    fusion = WITH_LOSSES.get(fusion, fusion)
    if random_size.sizes(settings).inputs == "normalised":
        return normalised_fusion.build, normalised(fusion, downsampling, settings)
    return fusions.build, network(fusion, downsampling, protocol_of(fusion, settings))


def normalised(fusion: str, downsampling: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What builds a fusion that sees its inputs as the embedders do."""
    sees = {key: params.lookup(settings, f"embedder.{key}") for key in ("xyz_centre", "xyz_scale")}
    return {"fusion": fusion, "downsampling": downsampling, **sees}


def protocol_of(fusion: str, settings: dict[str, Any]) -> FusionProtocol:
    """That of the study's fusion, or of the image's network for those that are made of it and the LiDAR's."""
    section = BASELINES[0] if fusion in (JOINT, AUXILIARY) else WITH_LOSSES.get(fusion, fusion)
    return params.section(settings, f"fusion.{section}", FusionProtocol)


def protocol_on_random_sizes(fusion: str, settings: dict[str, Any]) -> FusionProtocol:
    """The same as ``train_random_size`` changes it."""
    protocol = random_size.sizes(settings).slowed(protocol_of(fusion, settings))
    return replace(protocol, auxiliary_losses=True) if fusion in WITH_LOSSES else protocol


def in_the_study(fusion: str, downsampling: str) -> str:
    """What the study calls a variant trained on random sizes."""
    name = f"{WITH_LOSSES.get(fusion, fusion)}-{downsampling}"
    return f"{name}-{AUXILIARY}" if fusion in WITH_LOSSES else name


def train_here(fusion: str, downsampling: str, seed: int, settings: dict[str, Any], device: torch.device) -> nn.Module:
    """One that no stage of the study trains, with its best weights, trained on scenes of random size.

    With auxiliary losses, the loss is the mean of three: of what the network says, and of either sensor's part. The
    best weights are in any case those with the lowest loss of what it says.
    """
    data, name = packed.load(RANDOM_SIZE), f"{fusion}-{downsampling}, random size, seed {seed}"
    train, valid = (load_split(data, split, device) for split in ("train", "val"))
    if fusion == AUXILIARY:
        train = OneLabelEach.of(train)
    protocol = protocol_on_random_sizes(fusion, settings)
    return train_classifier(
        lambda: untrained(fusion, downsampling, settings), train, valid, protocol, Run(seed, name)
    ).model


def train_as_the_study(name: str, seed: int, settings: dict[str, Any], splits: Sequence[Split]) -> Fusion:
    """A variant, such as ``fusion/late-strided``, with its best weights; ``splits`` are train, val and others."""
    fusion, downsampling = parts(name)
    protocol = protocol_of(fusion, settings)
    arguments = network(fusion, downsampling, protocol)
    train, valid = splits[:2]
    return train_fusion(arguments, train, valid, protocol, Run(seed, f"{fusion}-{downsampling} seed {seed}")).model


def parts(name: str) -> tuple[str, str]:
    """Fusion and downsampling of a variant such as ``fusion/late-strided``."""
    fusion, _, downsampling = name.removeprefix("fusion/").partition("-")
    return fusion, downsampling


def shares_right(logits: Tensor, split: Split) -> np.ndarray:
    """(scenes,) float64, in order: which share of each scene's samples is classified correctly, given logits (N,)."""
    right = (logits > 0) == (split.label.cpu() > 0.5)
    _, scene = split.scene.cpu().unique(return_inverse=True)
    return (torch.bincount(scene, right.double()) / torch.bincount(scene)).numpy()
