"""Counterfactual scenes: does a classifier look at shape, or at what only went along with it in training?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from cilp import params
from cilp.errors import UserError
from cilp.evaluation.models import SIZE_RULE
from cilp.sensors import lidar_angles, ray_directions, returns
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams
from cilp.simulation.varied import varied
from cilp.training.inputs import Split
from cilp.training.seeds import summarise

FIRST_SCENE = 1_000_000
"""Number of the first scene that is rendered: none that training may have seen."""
LIDAR = ("own", "twin")
"""Whose range image goes with an image: the object's, or that of the other shape at its place."""


MOST_SCENES = 5_000
"""Of a condition: all conditions are in memory at once, 64 KB a scene."""


class Condition(NamedTuple):
    """What a condition is called, and its scenes."""

    title: str
    simulate: SimulateParams
    lidar: str = "own"


CONDITION = Condition._fields


def scenes_of(settings: dict[str, Any]) -> int:
    """How many scenes are rendered for each condition."""
    return params.whole(settings, "audit.scenes", 1, MOST_SCENES)


def conditions(settings: dict[str, Any]) -> dict[str, Condition]:
    """The conditions in ``audit.conditions``, by name: the simulator's params are the study's, but for their changes.

    Raises:
        UserError: a condition is no mapping, or changes what there is not or to what is not legal.
    """
    found = {}
    declared = params.lookup(settings, "audit.conditions")
    if not isinstance(declared, dict) or not declared:
        raise UserError(f"audit.conditions must hold one or more conditions; got {declared!r}.")
    for name, condition in declared.items():
        key = f"audit.conditions.{name}"
        if not isinstance(condition, dict) or not set(condition) <= set(CONDITION):
            raise UserError(f"{key} must be a mapping of {', '.join(CONDITION)}; got {condition!r}.")
        title, change = condition.get("title", name), condition.get("simulate", {})
        if not isinstance(title, str) or not title.isprintable() or not title.strip() or "|" in title:
            raise UserError(f"{key}.title must be a text of one line, without |; got {title!r}.")
        lidar = condition.get("lidar", "own")
        if lidar not in LIDAR:
            raise UserError(f"{key}.lidar is {lidar!r}; legal values: {', '.join(LIDAR)}.")
        found[str(name)] = Condition(title, varied(settings, f"{key}.simulate", change), lidar)
    return found


def rendered(
    simulation: SimulateParams, scenes: int, processes: int, device: torch.device, lidar: str = "own"
) -> Split:
    """Cubes and spheres of ``scenes`` counterfactual scenes, cube first, seen by the LiDAR of the study.

    With ``lidar`` ``twin`` the sensors disagree: each image, whose class is the label, has the other's range image.
    """
    numbers = range(FIRST_SCENE, FIRST_SCENE + scenes)
    with rendering(simulation, numbers, processes) as rendered:
        views = [(rgb, ranges) for _, rgb, ranges in rendered]
    ranges = torch.from_numpy(np.stack([ranges for _, ranges in views]))
    if lidar == "twin":
        ranges = ranges.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    angles = lidar_angles()
    split = Split(
        rgb=torch.from_numpy(np.stack([rgb for rgb, _ in views])),
        range=ranges,
        label=torch.tensor([0.0, 1.0]).repeat(scenes),
        scene=torch.arange(FIRST_SCENE, FIRST_SCENE + scenes, dtype=torch.int32).repeat_interleave(2),
        directions=torch.from_numpy(ray_directions(angles, angles)).float().unsqueeze(0),
        sensor=torch.zeros(2 * scenes, dtype=torch.int64),
    )
    return Split(**{name: tensor.to(device) for name, tensor in vars(split).items()})


@dataclass(frozen=True)
class Audited:
    """One classifier under one condition: accuracies in [0, 1]."""

    accuracy: float
    cube_accuracy: float
    sphere_accuracy: float


def audit(probability: torch.Tensor, split: Split) -> Audited:
    """Accuracies from the probabilities (N,) of a sphere."""
    label = split.label.cpu() > 0.5
    right = (probability > 0.5) == label
    return Audited(*(right[rows].double().mean().item() for rows in (slice(None), ~label, label)))


def mean_returns(split: Split) -> dict[str, float]:
    """LiDAR returns on average, beside the image of a cube and of a sphere."""
    counts = returns(split.range.cpu().numpy()).sum(axis=(1, 2))
    label = split.label.cpu().numpy() > 0.5
    return {"cube_returns": float(counts[~label].mean()), "sphere_returns": float(counts[label].mean())}


def together(audits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several audits, each of one seed, say together; all have the same models, conditions and scenes."""
    if len(audits) == 1:
        return audits[0]
    models = {
        model: conditions
        if model == SIZE_RULE
        # which is the same for all of them
        else {name: summarise({n: it["models"][model][name] for n, it in enumerate(audits)}) for name in conditions}
        for model, conditions in audits[0]["models"].items()
    }
    return {**audits[0], "models": models, "seeds": len(audits)}
