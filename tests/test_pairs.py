"""What pretraining sees: which pairs, in which batches, varied how."""

import itertools
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clone import ROOT
from synthetic import make_packed

from cilp.contrastive.pairs import batches, load_pairs, load_training_pairs, varied
from cilp.contrastive.pretraining import CilpParams
from cilp.errors import UserError
from cilp.training.variation import View

CPU = torch.device("cpu")
PARAMS = CilpParams(
    steps=4, batch_size=16, schedule="1cycle", lr=1e-3, temperature="learned", temperature_lr=1e-2, weight_decay=1e-2,
    twins=True, mirror=True, permute_colours=True, unlabelled=True, validate_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def packed():
    return make_packed()


def pairs(packed, split="train"):
    return load_pairs([(packed, packed.rows(split))], CPU)


@pytest.mark.parametrize("twins", [True, False])
def test_a_pass_holds_every_pair_once_and_twins_together(twins):
    scene = torch.arange(40).repeat(2)
    rows = list(batches(scene, 16, twins, torch.Generator().manual_seed(1)))
    assert [len(batch) for batch in rows] == [16] * 5
    assert sorted(torch.cat(rows).tolist()) == list(range(80))
    together = [len(scene[batch].unique()) == 8 for batch in rows]
    assert all(together) if twins else not any(together)
    again = list(batches(scene, 16, twins, torch.Generator().manual_seed(1)))
    other = list(batches(scene, 16, twins, torch.Generator().manual_seed(2)))
    assert all(map(torch.equal, rows, again))
    assert not all(map(torch.equal, rows, other))


def test_which_scenes_there_are_comes_to_the_host_once(monkeypatch):
    """A GPU would have to be waited for, else, in each pass: that is each batch where there are few pairs."""
    pairs, asked, cpu = load_training_pairs(make_packed(), None, True, CPU), [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: asked.append(self) or cpu(self))
    drawn = list(itertools.islice(varied(pairs, PARAMS, seed=1), 12))
    assert len(drawn) == 12 and len(asked) == 1


def test_scenes_without_twins_are_no_obstacle():
    rows = torch.cat(list(batches(torch.arange(20), 5, True, torch.Generator().manual_seed(1))))
    assert sorted(rows.tolist()) == list(range(20))


@pytest.mark.parametrize("size", [4, 5, 8])
@pytest.mark.parametrize("alone", [0, 1, 7, 30])
def test_twins_are_never_in_two_batches(size, alone):
    """Whatever the batch's size, and however many scenes lack one of the two."""
    scene = torch.cat([torch.arange(20).repeat(2), torch.arange(20, 20 + alone)])
    scene = scene[torch.randperm(len(scene), generator=torch.Generator().manual_seed(0))]
    for seed in range(20):
        drawn = list(batches(scene, size, True, torch.Generator().manual_seed(seed)))
        rows = torch.cat(drawn).tolist()
        assert {len(batch) for batch in drawn} == {size} and len(set(rows)) == len(rows)
        holders = [{k for k, batch in enumerate(drawn) if number in scene[batch]} for number in scene.unique()]
        assert max(map(len, holders)) == 1
        cut = [number for number in range(20) if sum(int(scene[row] == number) for row in rows) == 1]
        assert len(cut) <= (len(drawn) if size % 2 else 1)
        assert len(rows) + len(cut) > len(scene) - size


def test_a_mirrored_view_is_what_mirrored_sensors_would_see(packed):
    """The points are those of the mirrored object, and the picture keeps its place relative to them."""
    train = pairs(packed)
    rgb, points = train.inputs(slice(0, 6))
    for name, channel, axis in (("left_right", 0, 3), ("up_down", 2, 2)):
        mirrored_rgb, mirrored = train.inputs(slice(0, 6), View(**{name: True}))
        assert torch.equal(mirrored_rgb, rgb.flip(axis))
        for before, after in zip(points, mirrored, strict=True):
            ours, theirs = (p[:3, p[3] > 0].T.double().clone() for p in (before, after))
            ours[:, channel] *= -1
            distances = torch.cdist(ours, theirs)
            assert len(ours) == len(theirs) > 0
            assert distances.amin(dim=1).max() < 1e-4
            assert distances.amin(dim=0).max() < 1e-4


def test_colours_are_permuted_and_alpha_stays(packed):
    train = pairs(packed)
    rgb, points = train.inputs(slice(0, 3))
    permuted, same = train.inputs(slice(0, 3), View(colours=(2, 0, 1)))
    assert torch.equal(permuted, rgb[:, [2, 0, 1, 3]])
    assert torch.equal(same, points)


def test_mirroring_needs_symmetric_angles(packed):
    askew = replace(packed, azimuth=packed.azimuth + 0.01)
    load_training_pairs(packed, packed, True, CPU)
    load_training_pairs(packed, askew, False, CPU)
    with pytest.raises(UserError, match=r"set cilp\.mirror to false"):
        load_training_pairs(packed, askew, True, CPU)


def test_angles_that_cannot_be_mirrored_are_refused_before_anything_trains(packed, tmp_path, monkeypatch):
    """By the stage that packs them; without mirroring they pass."""
    stage = runpy.run_path(str(ROOT / "stages/pack.py"))
    askew, written = replace(packed, zenith=packed.zenith - 0.25), tmp_path / "data/packed.pt"
    for name, value in (("read_export", lambda path: []), ("pack", lambda pairs: askew)):
        monkeypatch.setitem(stage["main"].__globals__, name, value)
    monkeypatch.setattr(sys, "argv", ["pack.py"])
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("cilp: {mirror: true}")
    with pytest.raises(UserError, match=r"set cilp\.mirror to false"):
        stage["main"]()
    assert not written.exists()
    Path("params.yaml").write_text("cilp: {mirror: false}")
    stage["main"]()
    assert written.exists()


def test_pretraining_gets_the_training_split_and_the_whole_pool(packed):
    pool = make_packed(seed=5)
    train, both = (load_training_pairs(packed, more, True, CPU) for more in (None, pool))
    assert torch.equal(train.rgb, packed.rgb[packed.rows("train")])
    assert torch.equal(both.rgb, torch.cat([train.rgb, pool.rgb]))
    assert torch.equal(both.range[len(train) :], pool.range)


def test_pairs_of_several_files_keep_their_own_calibration():
    first, second = make_packed(seed=1), make_packed(seed=2, sensors=2)
    together = load_pairs([(first, first.rows("train")), (second, second.rows("val"))], CPU)
    assert len(together.directions) == 2  # the second file's first sensor is the first file's
    alone = pairs(second, "val")
    expected = alone.inputs(slice(0, len(alone)))
    got = together.inputs(slice(len(together) - len(alone), len(together)))
    assert all(map(torch.equal, got, expected))
