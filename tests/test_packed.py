from dataclasses import replace
from functools import partial

import pytest
import torch
import yaml
from clone import ROOT
from synthetic import make_packed

from cilp import packed, params
from cilp.errors import UserError
from cilp.packing import UNLABELLED, pack_unlabelled, undrawn
from cilp.raw.layout import Pair
from cilp.raw.simulate import simulate
from cilp.simulation.processes import rendering
from cilp.simulation.scenes import SimulateParams


def test_the_round_trip_is_exact_and_the_bytes_repeat(tmp_path):
    data = make_packed(seed=3)
    packed.save(data, tmp_path / "a.pt")
    packed.save(data, tmp_path / "other name.pt")
    loaded = packed.load(tmp_path / "a.pt")
    for name in packed.SHAPES:
        before, after = getattr(data, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()


def test_rows_cover_each_split_and_nothing_else():
    data = make_packed(train=3, val=2, test=1)
    assert [data.rows(split) for split in packed.SPLITS] == [slice(0, 6), slice(6, 10), slice(10, 12)]


def test_unordered_splits_are_refused(tmp_path):
    data = make_packed(train=3, val=2, test=1)
    with pytest.raises(ValueError, match="ordered by split"):
        packed.save(replace(data, split=data.split.flip(0)), tmp_path / "data.pt")


def test_a_tensor_of_another_shape_or_type_is_refused():
    data = make_packed(train=3, val=2, test=1)
    with pytest.raises(ValueError, match="range must be"):
        replace(data, range=data.range.double())
    with pytest.raises(ValueError, match="label must be"):
        replace(data, label=data.label[:-1])
    with pytest.raises(ValueError, match="rgb must be"):
        replace(data, rgb=data.rgb[..., :3])


def test_further_scenes_are_those_of_a_larger_study(tmp_path):
    """Rendered straight into the packed file, they are what ``data/raw`` would hold of more scenes, byte for byte."""
    simulation = params.section(params.load(ROOT / "params.yaml"), "data.simulate", SimulateParams)
    small, large = tmp_path / "small", tmp_path / "large"
    few, many = (simulate(root, scenes, simulation) for root, scenes in ((small, 3), (large, 5)))
    rendered = pack_unlabelled(small, few, range(3, 5), partial(rendering, simulation))
    decoded = pack_unlabelled(large, many)
    for name in packed.SHAPES:
        assert torch.equal(getattr(rendered, name), getattr(decoded, name)), name
    assert rendered.scene.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert set(rendered.label.tolist()) == {UNLABELLED}


def test_splits_that_were_drawn_anew_hold_nothing_back_from_the_unlabelled():
    pairs = [Pair(0, "cube", "train"), Pair(1, "cube", "val"), Pair(2, "cube", "test"), Pair(3, "cube", "")]
    assert undrawn(pairs, {0}, "given") == [pairs[3]]
    assert undrawn(pairs, {0}, "drawn") == pairs[1:]


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", ["missing", "truncated", "foreign", "malicious"])
def test_anything_else_is_refused_with_the_cure(tmp_path, content, capsys):
    path = tmp_path / "data.pt"
    packed.save(make_packed(train=3, val=2, test=1), path)
    if content == "missing":
        path.unlink()
    elif content == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif content == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        torch.save({"format": packed.FORMAT, "rgb": Malicious()}, path)
    with pytest.raises(UserError, match="run `dvc repro pack` to write it anew"):
        packed.load(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["packed", "unlabelled", "random_size", "random_size_unlabelled"])
def test_a_file_that_cannot_be_read_names_the_stage_that_writes_it(tmp_path, name):
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    with pytest.raises(UserError, match="is missing; run `dvc repro ") as refused:
        packed.load(tmp_path / f"{name}.pt")
    stage = str(refused.value).split("dvc repro ")[1].split("`")[0]
    assert f"data/{name}.pt" in stages[stage]["outs"]
