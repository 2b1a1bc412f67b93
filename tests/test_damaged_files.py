"""Packed data and checkpoints that are damaged, or hold what cannot be."""

import contextlib
import math
import os
import struct
import zipfile

import pytest
import torch
from synthetic import make_packed

from cilp import packed
from cilp.atomic import check_archive
from cilp.errors import UserError
from cilp.models import projector
from cilp.training.checkpoint import load_checkpoint, save_checkpoint


def test_any_damaged_byte_of_packed_data_is_found(tmp_path):
    data = make_packed(train=3, val=2, test=1)
    path = tmp_path / "data.pt"
    packed.save(data, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as members:
        stored = [info for info in members.infolist() if "/data/" in info.filename]
    for member in stored:
        length = struct.unpack_from("<HH", whole, member.header_offset + 26)
        start = member.header_offset + 30 + sum(length)
        damaged = bytearray(whole)
        damaged[start + member.file_size // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{member.filename} in it is damaged.*dvc repro pack"):
            packed.load(path)
    assert len(stored) == len(packed.SHAPES)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("range", math.nan, "ranges that are not between"),
        ("range", math.inf, "ranges that are not between"),
        ("range", -1.0, "ranges that are not between"),
        ("range", 0.0, "ranges that are not between"),
        ("range", 51.0, "ranges that are not between"),
        ("azimuth", math.nan, "angles"),
        ("zenith", 180.0, "angles"),
        ("label", 2, "label"),
        ("split", 3, "split"),
        ("sensor", 1, "sensor"),
        ("scene", -1, "scenes"),
        ("split", 0, "ordered by split"),
    ],
)
def test_packed_data_that_cannot_be_are_refused(tmp_path, name, value, message):
    data = make_packed(train=3, val=2, test=1)
    getattr(data, name).view(-1)[-1] = value
    torch.save({"format": packed.FORMAT, **{name: getattr(data, name) for name in packed.SHAPES}}, tmp_path / "data.pt")
    with pytest.raises(UserError, match=message):
        packed.load(tmp_path / "data.pt")


def test_a_tensor_shorter_than_it_claims_does_not_read_on_into_the_next(tmp_path):
    packed.save(make_packed(train=3, val=2, test=1), tmp_path / "data.pt")
    with zipfile.ZipFile(tmp_path / "data.pt") as old, zipfile.ZipFile(tmp_path / "short.pt", "w") as new:
        for member in old.infolist():
            content = old.read(member)
            new.writestr(member.filename, content[:100] if member.filename.endswith("data/0") else content)
    with pytest.raises(UserError, match="not of the sizes stored"):
        packed.load(tmp_path / "short.pt")


def test_packed_data_are_checked_anew_when_the_file_changes(tmp_path):
    path = tmp_path / "data.pt"
    packed.save(make_packed(train=3, val=2, test=1), path)
    packed.load(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    with pytest.raises(UserError, match="is damaged"):
        packed.load(path)


def test_no_pairs_are_packed_data_too(tmp_path):
    """What ``pack_unlabelled`` writes where every scene is in a split."""
    data = make_packed(train=1, val=1, test=1)
    none = packed.Packed(**{n: getattr(data, n)[: None if n in ("azimuth", "zenith") else 0] for n in packed.SHAPES})
    packed.save(packed.Packed(**{n: getattr(none, n).clone() for n in packed.SHAPES}), tmp_path / "data.pt")
    assert len(packed.load(tmp_path / "data.pt").label) == 0


def test_any_damaged_byte_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, projector.build(), "projector", {}, {}, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # in a weight
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged.*train it anew"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_checkpoint_with_weights_that_are_no_numbers_is_refused(tmp_path, value):
    model = projector.build()
    with torch.no_grad():
        next(model.parameters()).view(-1)[3] = value
    save_checkpoint(tmp_path / "model.pt", model, "projector", {}, {}, 1)
    with pytest.raises(UserError, match="not finite"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["params", "seed"])
def test_a_checkpoint_that_does_not_say_where_it_is_from_is_refused(tmp_path, name):
    save_checkpoint(tmp_path / "model.pt", projector.build(), "projector", {}, {}, 1)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    del content[name]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError, match="which params and seed"):
        load_checkpoint(tmp_path / "model.pt")


def test_an_archive_that_torch_did_not_write_is_refused(tmp_path):
    for method, name in ((zipfile.ZIP_DEFLATED, "b"), (zipfile.ZIP_STORED, "a")):
        with zipfile.ZipFile(tmp_path / "some.pt", "w", method) as file:
            file.writestr("a", bytes(100))
            with contextlib.nullcontext() if name == "b" else pytest.warns(UserWarning, match="Duplicate name"):
                file.writestr(name, bytes(100))
        with pytest.raises(ValueError, match="no archive that torch wrote"):
            check_archive(tmp_path / "some.pt")
