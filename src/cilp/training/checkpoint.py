"""Checkpoints that rebuild their own model: weights, the model's name and arguments, and the params that made them."""

import importlib
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cilp.atomic import check_archive, replacing
from cilp.errors import UserError
from cilp.training.distributed import world

FORMAT = "cilp-checkpoint-1"
M = TypeVar("M", bound=nn.Module)


def save_checkpoint(
    path: Path, model: nn.Module, name: str, arguments: dict[str, Any], params: dict[str, Any], seed: int
) -> None:
    """Write the weights (on the CPU) with what is needed to build the model again; the leading process alone does.

    ``name`` is a module of ``cilp.models`` whose ``build(**arguments)`` makes the network.
    """
    if not world().leads:
        return
    content = {
        "format": FORMAT,
        "model": name,
        "arguments": arguments,
        "params": params,
        "seed": seed,
        "weights": {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()},
    }
    with replacing(path, "wb") as file:
        torch.save(content, file)


def _build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Looked up by name at load time, so that a new model leaves the stages that train the others untouched."""
    if not name.isidentifier():
        raise ValueError(f"it names a model {name!r}, which is no module of cilp.models")
    return importlib.import_module(f"cilp.models.{name}").build(**arguments)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild the model of a checkpoint, in evaluation mode, and return it with the checkpoint's other entries.

    Raises:
        UserError: the file is missing, damaged or no checkpoint of this project. Nothing in it is executed
            (``weights_only``).
    """
    try:
        check_archive(path)
        content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"it is not in the format {FORMAT}")
        if not isinstance(content.get("params"), dict) or not isinstance(content.get("seed"), int):
            raise ValueError("it does not say with which params and seed it was made")
        model = _build(content["model"], content["arguments"]).to(device, memory_format=torch.channels_last)
        model.load_state_dict(content.pop("weights"))
        if not all(bool(tensor.isfinite().all()) for tensor in chain(model.parameters(), model.buffers())):
            raise ValueError("it has weights that are not finite")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; train it with `dvc repro`, or fetch it with `dvc pull`.") from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is no usable checkpoint ({reason}); train it anew.") from None
    return model.eval(), content


def load_frozen(path: Path, kind: type[M], device: torch.device) -> M:
    """The model of a checkpoint, in evaluation mode, with nothing left to train.

    Raises:
        UserError: the checkpoint is missing, unusable or of another model than ``kind``.
    """
    model, _ = load_checkpoint(path, device)
    if not isinstance(model, kind):
        raise UserError(
            f"{path} holds a {type(model).__name__}, not a {kind.__name__}; train it anew with `dvc repro`."
        )
    return model.requires_grad_(False)
