"""Fusions that take CILP's course."""

import itertools
import math
import runpy
import sys
from dataclasses import asdict, replace

import pytest
import torch
from bits import weights
from synthetic import make_packed
from torch import nn

from cilp import params
from cilp.classifiers import fusion_course
from cilp.classifiers.course import Course, OneCycleParams
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.contrastive.pairs import passes
from cilp.errors import UserError
from cilp.models.normalised_fusion import NormalisedFusion
from cilp.sensors import MAX_RANGE
from cilp.training.classifier import logits_of, score
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.variation import View

CPU = torch.device("cpu")
COURSE = Course(steps=4, batch_size=16, twins=True, mirror=True, permute_colours=True, validate_every=2)
PROTOCOL = OneCycleParams(lr=1e-3, weight_decay=1e-2)
OWN = OwnParams(initialisation="he", modality_dropout=0.0, auxiliary_losses=False)
NORMALISED = {"xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0}


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    prepare_device("cpu")


@pytest.fixture(scope="module")
def splits():
    data = make_packed()
    return [load_split(data, split, CPU) for split in ("train", "val")]


def train(splits, fusion="add", course=COURSE, own=OWN, seed=1):
    arguments = {"fusion": fusion, "downsampling": "strided", **NORMALISED}
    return train_fusion(arguments, *splits, course, PROTOCOL, own, Run(seed, "test"))


def seen_by_networks(monkeypatch):
    """What every step shows the network, as it is filled: image and XYZA."""
    seen, forward = [], NormalisedFusion.forward

    def spy(self, *views):
        if self.training:
            seen.append([view.clone() for view in views])
        return forward(self, *views)

    monkeypatch.setattr(NormalisedFusion, "forward", spy)
    return seen


def test_a_seed_decides_every_bit_and_what_it_has_of_its_own_all_of_them(splits):
    first, again, other = train(splits), train(splits), train(splits, seed=2)
    assert torch.equal(weights(first.model), weights(again.model)) and first.history == again.history
    assert not torch.equal(weights(first.model), weights(other.model))
    for change in ({"initialisation": "torch"}, {"modality_dropout": 0.5}, {"auxiliary_losses": True}):
        changed = train(splits, own=replace(OWN, **change))
        assert not torch.equal(weights(first.model), weights(changed.model))
        assert len(weights(changed.model)) == len(weights(first.model))  # heads of auxiliary losses are left aside


def test_it_learns_from_one_loss_and_from_one_for_each_sensor(splits):
    for own in (OWN, replace(OWN, auxiliary_losses=True)):
        done = train(splits, "late", replace(COURSE, steps=60, validate_every=60), own)
        assert score(logits_of(done.model, splits[0]), splits[0].label)[1] > 0.95


def test_each_batch_is_varied_and_holds_both_shapes_of_its_scenes(splits, monkeypatch):
    """What a network sees are the pairs of a batch, both sensors mirrored alike."""
    seen, drawn, of_images, of_ranges = seen_by_networks(monkeypatch), [], View.of_images, View.of_range_images
    ranges_drawn = []
    monkeypatch.setattr(View, "of_images", lambda self, rgb: drawn.append((self, rgb)) or of_images(self, rgb))
    monkeypatch.setattr(
        View, "of_range_images", lambda self, ranges: ranges_drawn.append((self, ranges)) or of_ranges(self, ranges)
    )
    train(splits, course=replace(COURSE, steps=40, validate_every=40))
    assert len(seen) == len(drawn) == len(ranges_drawn) == 40 and len({view for view, _ in drawn}) > 10
    (split, _), scene_of = splits, {}
    for row, pixels in enumerate(split.rgb):
        scene_of[pixels.numpy().tobytes()] = int(split.scene[row])
    for (image, xyza), (view, rgb), (other, ranges) in zip(seen, drawn, ranges_drawn, strict=True):
        scenes = [scene_of[pixels.numpy().tobytes()] for pixels in rgb]
        assert view == other and all(scenes.count(scene) == 2 for scene in scenes)
        torch.testing.assert_close(image, of_images(view, rgb).permute(0, 3, 1, 2) / 255)
        assert torch.equal(xyza[:, 3] == 1, of_ranges(view, ranges) < MAX_RANGE)


def test_without_variation_the_pairs_are_seen_as_they_are(splits, monkeypatch):
    seen = seen_by_networks(monkeypatch)
    train(splits, course=replace(COURSE, mirror=False, permute_colours=False))
    images = {view.numpy().tobytes() for view in splits[0].inputs(slice(None))[0].contiguous()}
    assert all(view.numpy().tobytes() in images for batch, _ in seen for view in batch.contiguous())


def test_modality_dropout_takes_a_sensor_of_its_share_of_varied_samples(splits, monkeypatch):
    seen = seen_by_networks(monkeypatch)
    train(splits, course=replace(COURSE, steps=60, validate_every=60), own=replace(OWN, modality_dropout=0.5))
    image, xyza = (torch.cat(views) for views in zip(*seen, strict=True))
    dark, blind = image[:, :3].flatten(1).sum(1) == 0, xyza[:, 3].flatten(1).sum(1) == 0
    assert not (dark & blind).any()
    for share in (dark.double().mean().item(), blind.double().mean().item()):
        assert share == pytest.approx(0.25, abs=0.06)


def test_what_a_sample_lacks_is_drawn_anew_for_each_batch_though_its_twin_is_always_beside_it(splits, monkeypatch):
    trained_on = []
    monkeypatch.setattr(fusion_course, "take_course", lambda build, pairs, *rest: trained_on.append(pairs))
    train(splits, own=replace(OWN, modality_dropout=0.5))
    (dropping,) = trained_on
    order = passes(dropping.scene, 16, True, torch.Generator().manual_seed(0))
    lacks = [[] for _ in range(len(dropping))]
    for rows in itertools.islice(order, 200):
        image, xyza = dropping.inputs(rows)
        none = 2 * (xyza[:, 3].flatten(1).sum(1) == 0) + (image[:, :3].flatten(1).sum(1) == 0)
        for row, what in zip(rows.tolist(), none.tolist(), strict=True):
            lacks[row].append(what)
    shares = torch.tensor([[found.count(what) / len(found) for what in (0, 1, 2)] for found in lacks])
    assert (shares > 0).all() and (shares < 0.85).all()
    assert shares.mean(dim=0).tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.05)


def test_modality_dropout_needs_two_scenes_in_a_batch(splits):
    own, course = replace(OWN, modality_dropout=0.5), replace(COURSE, batch_size=2)
    with pytest.raises(UserError, match=r"cilp\.batch_size must be 4 or more; got 2"):
        train(splits, course=course, own=own)
    train(splits, course=course)


def test_every_layer_begins_as_he_et_al_have_it(splits, monkeypatch):
    begun = []

    def untaken(build, *arguments):
        torch.manual_seed(0)
        begun.append(build())
        raise KeyboardInterrupt

    monkeypatch.setattr(fusion_course, "take_course", untaken)
    for initialisation in ("he", "torch"):
        with pytest.raises(KeyboardInterrupt):
            train(splits, "concat", own=replace(OWN, initialisation=initialisation))
    he, default = ([it for it in network.modules() if isinstance(it, nn.Conv2d | nn.Linear)] for network in begun)
    assert len(he) == len(default) == 7
    for layer, other in zip(he, default, strict=True):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / layer.weight[0].numel()), rel=0.15)
        assert not layer.bias.any() and other.bias.any()


def test_what_it_has_of_its_own_is_what_the_params_say():
    settings = params.load()
    settings["fusion"]["late"]["modality_dropout"] = 0.25
    own = OwnParams.of(settings, "late")
    assert asdict(own) == {"initialisation": "he", "modality_dropout": 0.25, "auxiliary_losses": False}


def test_losses_for_each_sensor_take_an_encoder_for_each(splits):
    with pytest.raises(TypeError, match="no encoder for each sensor"):
        train(splits, "early", own=replace(OWN, auxiliary_losses=True))


def test_the_stage_refuses_losses_for_each_sensor_of_a_fusion_without_an_encoder_for_each(monkeypatch, capsys):
    arguments = ["--fusion", "early", "--downsampling", "maxpool", "--seed", "51", "--auxiliary-losses"]
    monkeypatch.setattr(sys, "argv", ["train_fusion_course.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path("stages/train_fusion_course.py")["main"]()
    assert stopped.value.code == 2
    assert "--auxiliary-losses: early has no encoder for each sensor" in capsys.readouterr().err
