"""Judges of packed files, checkpoints and embeddings, torch's zip archives."""

import copy
import io
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from synthetic import make_packed

from cilp import packed
from cilp.embeddings import Embedded, load_embeddings, save_embeddings
from cilp.models import projector
from cilp.training.checkpoint import FORMAT, load_checkpoint
from fuzz.judging import Place, check_range
from fuzz.mutations import SPECIAL, Rng, mutate


def torch_bytes(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def mutate_members(data: bytes, rng: Rng) -> bytes:
    """The archive written anew, checksums and all, with members changed, swapped, cut, doubled, renamed or left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at, other = (int(rng.integers(len(members))) for _ in range(2))
    if rng.random() < 0.5:  # the pickle
        at = 0
    name, body = members[at]
    method = zipfile.ZIP_STORED
    match rng.integers(7):
        case 0 | 1 | 2:
            members[at] = (name, mutate(body, rng))
        case 3:
            members[at], members[other] = (name, members[other][1]), (members[other][0], body)
        case 4:
            members[at] = (name, body[: int(rng.integers(len(body) + 1))])
        case 5:
            members.insert(other, (name if rng.random() < 0.5 else f"{name}0", body))
        case 6:
            method = zipfile.ZIP_DEFLATED if rng.random() < 0.5 else method
            del members[at]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return file.getvalue()


_PACKED = make_packed(2, 1, 1)
_PACKED_FIELDS = {name: getattr(_PACKED, name) for name in packed.SHAPES}
_PACKED_BYTES = torch_bytes({"format": packed.FORMAT, **_PACKED_FIELDS})


def mutate_fields(rng: Rng) -> bytes:
    """Packed data saved as they should be, with a value, dtype, shape or layout that they should not have."""
    fields: dict[str, Any] = {name: tensor.clone() for name, tensor in _PACKED_FIELDS.items()}
    name = str(rng.choice([*fields]))
    tensor = fields[name]
    match rng.integers(7):
        case 0 | 1 | 2:
            value = float(rng.choice([*SPECIAL, 1, 2, 3, 77, 255])) if tensor.is_floating_point() else None
            tensor.view(-1)[int(rng.integers(tensor.numel()))] = (
                value if value is not None else int(rng.choice([0, 1, 2, 3, 77, 127, 255 if name != "scene" else -1]))
            )
        case 3:
            fields[name] = tensor.to([torch.float64, torch.int64, torch.bool, torch.float16][int(rng.integers(4))])
        case 4:
            fields[name] = [tensor[:-1], tensor[None], tensor.flip(0), tensor[:0]][int(rng.integers(4))]
        case 5:
            fields[name] = [
                None,
                "text",
                5,
                [1, 2],
                tensor.to_sparse(),
                tensor.to("meta"),
                tensor[:1].expand_as(tensor),
            ][int(rng.integers(7))]
        case 6:
            fields["format" if rng.random() < 0.5 else str(rng.choice(["path", "other"]))] = "cilp-packed-2"
            fields = {key: fields[key] for key in rng.permutation([*fields])[: int(rng.integers(6, 11))]}
    return torch_bytes({"format": packed.FORMAT, **fields})


def judge_packed(rng: Rng, place: Place) -> bool:
    way = rng.random()
    strict = way < 0.5
    if strict:
        data = mutate(_PACKED_BYTES, rng, (0, 1200) if rng.random() < 0.5 else (len(_PACKED_BYTES) - 2000, 10**9))
    else:
        data = mutate_members(_PACKED_BYTES, rng) if way < 0.75 else mutate_fields(rng)
    path = place.inputs / "packed.pt"
    path.write_bytes(data)
    found = packed.load(path)
    same = all(torch.equal(getattr(found, name), tensor) for name, tensor in _PACKED_FIELDS.items())
    assert same or not strict, "a damaged file gave other data"
    count, sensors = len(found.label), len(found.azimuth)
    for name, (dtype, shape) in packed.SHAPES.items():
        sizes = tuple({"N": count, "K": sensors}.get(size, size) for size in shape)
        tensor = getattr(found, name)
        assert (tensor.dtype, tuple(tensor.shape), tensor.layout) == (dtype, sizes, torch.strided)
    for tensor in found.range:
        check_range(tensor.numpy())
    for angles in (*found.azimuth, *found.zenith):
        assert bool((angles.abs() <= math.pi + 1e-3).all())
    assert set(found.label.tolist()) <= {0, 1, packed.UNLABELLED} and set(found.split.tolist()) <= {0, 1, 2}
    assert found.split.tolist() == sorted(found.split.tolist())
    assert all(sensor < sensors for sensor in found.sensor.tolist()) and all(scene >= 0 for scene in found.scene)
    return same


_EMBEDDER = {
    "modality": "lidar", "rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True,
    "initialisation": "torch",
}  # fmt: skip
_PROJECTOR = projector.build()
_CHECKPOINT = {
    "format": FORMAT,
    "model": "projector",
    "arguments": {},
    "params": {"epochs": 2},
    "seed": 1,
    "weights": dict(_PROJECTOR.state_dict()),
}
_CHECKPOINT_BYTES = torch_bytes(_CHECKPOINT)


def mutate_checkpoint(rng: Rng) -> bytes:
    content: dict[str, Any] = copy.deepcopy(_CHECKPOINT)
    weights = content["weights"]
    name = str(rng.choice([*weights]))
    match rng.integers(6):
        case 0:
            names = ["os", "os.path", "nowhere", "blocks", "windows", "fusion", "__init__", "", 5, None, ["projector"]]
            content["model"] = names[int(rng.integers(len(names)))]
        case 1:
            values = [None, 5, [1], {"x": 1}, {1: 2}, "text", {"modality": 2**40}, _EMBEDDER]
            content[str(rng.choice([*content]))] = values[int(rng.integers(len(values)))]
        case 2:
            weights[name].view(-1)[int(rng.integers(weights[name].numel()))] = float(rng.choice([*SPECIAL]))
        case 3:
            weights[name] = [weights[name][:1], None, weights[name].double(), torch.zeros(2**20), "x"][
                int(rng.integers(5))
            ]
        case 4:
            del content[str(rng.choice([*content]))]
        case 5:
            del weights[name]
    return torch_bytes(content)


def judge_checkpoint(rng: Rng, place: Place) -> bool:
    way = rng.random()
    strict = way < 0.5
    if strict:
        size = len(_CHECKPOINT_BYTES)
        data = mutate(_CHECKPOINT_BYTES, rng, (0, 1200) if rng.random() < 0.5 else (size - 1500, size))
    else:
        data = mutate_members(_CHECKPOINT_BYTES, rng) if way < 0.75 else mutate_checkpoint(rng)
    path = place.inputs / "model.pt"
    path.write_bytes(data)
    model, content = load_checkpoint(path)
    state, ours = model.state_dict(), _PROJECTOR.state_dict()
    same = state.keys() == ours.keys() and all(torch.equal(state[name], ours[name]) for name in ours)
    assert same or not strict, "a damaged file gave other weights"
    assert all(bool(tensor.isfinite().all()) and tensor.dtype == torch.float32 for tensor in state.values())
    assert isinstance(content["params"], dict) and isinstance(content["seed"], int)
    return same and content == {name: value for name, value in _CHECKPOINT.items() if name != "weights"}


_EMBEDDINGS = {
    modality: {split: Embedded(torch.rand(2, 200), torch.tensor([0.0, 1.0])) for split in packed.SPLITS}
    for modality in ("rgb", "lidar")
}


def _embeddings_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_embeddings(Path(folder) / "seed-1.pt", _EMBEDDINGS)
        return (Path(folder) / "seed-1.pt").read_bytes()


_EMBEDDINGS_BYTES = _embeddings_bytes()


def mutate_embeddings(rng: Rng) -> bytes:
    content: dict[str, Any] = torch.load(io.BytesIO(_EMBEDDINGS_BYTES), weights_only=True)
    by_modality = content["embeddings"]
    splits = by_modality[str(rng.choice([*by_modality]))]
    split = str(rng.choice([*splits]))
    name = str(rng.choice(["embedding", "label"]))
    tensor = splits[split][name]
    match rng.integers(5):
        case 0:
            tensor.view(-1)[int(rng.integers(tensor.numel()))] = float(rng.choice([*SPECIAL]))
        case 1:
            values = [tensor[:1], tensor.double(), tensor.long(), tensor.T, tensor.to("meta"), None, "x", [1.0]]
            splits[split][name] = values[int(rng.integers(len(values)))]
        case 2:
            (splits[split] if rng.random() < 0.5 else splits).popitem()
        case 3:
            target = [content, by_modality, splits, splits[split]][int(rng.integers(4))]
            target[str(rng.choice(["format", "embeddings", "other", "rgb", "val", "label"]))] = ["x", None, {}][
                int(rng.integers(3))
            ]
        case 4:
            del by_modality[str(rng.choice([*by_modality]))]
    return torch_bytes(content)


def judge_embeddings(rng: Rng, place: Place) -> bool:
    way = rng.random()
    strict = way < 0.5
    if strict:
        size = len(_EMBEDDINGS_BYTES)
        data = mutate(_EMBEDDINGS_BYTES, rng, (0, 1200) if rng.random() < 0.5 else (size - 1500, size))
    else:
        data = mutate_members(_EMBEDDINGS_BYTES, rng) if way < 0.75 else mutate_embeddings(rng)
    path = place.inputs / "seed-1.pt"
    path.write_bytes(data)
    found = load_embeddings(path)
    for splits in found.values():
        for seen in splits.values():
            assert seen.embedding.shape == (len(seen), 200) and seen.embedding.dtype == torch.float32
            assert bool(seen.embedding.isfinite().all()) and set(seen.label.tolist()) <= {0.0, 1.0}
    same = found.keys() == _EMBEDDINGS.keys() and all(
        torch.equal(found[modality][split].embedding, seen.embedding)
        and torch.equal(found[modality][split].label, seen.label)
        for modality, splits in _EMBEDDINGS.items()
        for split, seen in splits.items()
    )
    assert same or not strict, "a damaged file gave other embeddings"
    return same
