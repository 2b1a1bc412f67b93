"""CILP: its networks, its pretraining, and the bridge to the LiDAR classifier."""

import math
from dataclasses import replace

import pytest
import torch
from bits import weights
from synthetic import make_packed, unit
from torch.nn.functional import normalize

from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import CilpParams, embed, evaluate, pretrain
from cilp.contrastive.projection import ProjectorParams, projected_head, score_projector, train_projector
from cilp.embeddings import embed_split
from cilp.errors import UserError
from cilp.models import cilp, embedder, lidar, projector, rgb2lidar
from cilp.models.embedder import EmbedderParams, shading
from cilp.models.layers.blocks import count_parameters
from cilp.training.checkpoint import load_frozen, save_checkpoint
from cilp.training.classifier import TrainingParams, logits_of, train_classifier
from cilp.training.device import prepare_device
from cilp.training.inputs import LidarSplit, load_split
from cilp.training.loop import Run

CPU = torch.device("cpu")
EMBEDDER = EmbedderParams("shading", (0.0, 25.0, 0.0), 5.0, True, "he")
ARGUMENTS = EMBEDDER.arguments()
PARAMS = CilpParams(
    steps=4, batch_size=16, schedule="1cycle", lr=1e-3, temperature="learned", temperature_lr=1e-2, weight_decay=1e-2,
    twins=True, mirror=True, permute_colours=True, unlabelled=True, validate_every=2,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    prepare_device("cpu")


@pytest.fixture(scope="module")
def packed():
    return make_packed()


def pairs(packed, split="train"):
    return load_pairs([(packed, packed.rows(split))], CPU)


# the models


def test_parameter_counts_are_those_of_the_reference_study():
    assert count_parameters(embedder.build("rgb", **ARGUMENTS)) == 927_650
    assert count_parameters(lidar.build(**ARGUMENTS)) == 947_851
    assert count_parameters(cilp.build(**ARGUMENTS)) == 1_855_301
    assert count_parameters(projector.build()) == 40_300
    whole = rgb2lidar.build(**ARGUMENTS)
    assert sum(parameter.numel() for parameter in whole.parameters()) == 988_151
    assert count_parameters(whole) == 40_300  # what trains


def test_embeddings_are_of_unit_length_and_empty_views_are_zero(packed):
    rgb, points = pairs(packed).inputs(slice(0, 4))
    model = cilp.build(**ARGUMENTS)
    for output in model(rgb, points):
        assert output.shape == (4, 200)
        torch.testing.assert_close(output.norm(dim=1), torch.ones(4))
    seen = points[:, 3:] > 0
    assert not (model.lidar.prepare(points) * ~seen).any()
    assert not (model.rgb.prepare(rgb) * ~seen).any()


def test_shading_forgets_colour_and_exposure():
    light = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def picture(colour):
        linear = light * torch.tensor(colour).view(1, 3, 1, 1)
        encoded = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return torch.cat([encoded, torch.ones(2, 1, 8, 8)], dim=1)

    bright, dim = shading(picture([1.0, 0.5, 0.25])), shading(picture([0.1, 0.3, 0.02]))
    torch.testing.assert_close(bright, dim, rtol=0, atol=1e-4)
    torch.testing.assert_close(bright[:, 0], (light / light.amax(dim=(2, 3), keepdim=True))[:, 0], rtol=0, atol=1e-4)
    assert not shading(torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 4, 1, 1).expand(1, 4, 8, 8)).any()


# pretraining


def test_a_seed_decides_every_bit_and_labels_none(packed):
    train, valid = pairs(packed), pairs(packed, "val")
    first = pretrain(train, valid, PARAMS, EMBEDDER, Run(1, "test"))
    unlabelled = replace(packed, label=torch.full_like(packed.label, 255))
    again = pretrain(pairs(unlabelled), valid, PARAMS, EMBEDDER, Run(1, "test"))
    other = pretrain(train, valid, PARAMS, EMBEDDER, Run(2, "test"))
    assert torch.equal(weights(first.model), weights(again.model))
    assert first.history == again.history
    assert not torch.equal(weights(first.model), weights(other.model))


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(packed):
    """Validation pairs each image with another's range image, so that these are not the last ones."""
    train = pairs(packed)
    valid = replace(train, range=train.range.flip(0))
    params = replace(PARAMS, steps=8, validate_every=1, schedule="constant", lr=3e-3)
    done = pretrain(train, valid, params, EMBEDDER, Run(3, "test"))
    losses = [validation.valid_loss for validation in done.history]
    assert done.best.step == losses.index(min(losses)) + 1 < params.steps
    figures = evaluate(done.model, valid)
    assert figures["loss"] == min(losses)
    assert [validation.learning_rate for validation in done.history] == [3e-3] * 8


def test_it_learns_to_match(packed):
    train = pairs(packed)
    done = pretrain(train, train, replace(PARAMS, steps=30, validate_every=30), EMBEDDER, Run(1, "test"))
    figures = evaluate(done.model, train)
    assert figures["image_to_lidar_recall_at_5"] > 0.5  # chance: 5 of 48
    assert done.model.temperature() != pytest.approx(cilp.INITIAL_TEMPERATURE)


def test_the_temperature_can_be_one_and_is_bounded(packed, monkeypatch):
    train = pairs(packed)
    fixed = pretrain(train, train, replace(PARAMS, temperature="one"), EMBEDDER, Run(1, "test"))
    assert fixed.model.temperature() == 1.0
    build = cilp.Cilp.__init__

    def cold(self, *arguments, **options):
        build(self, *arguments, **options)
        with torch.no_grad():
            self.log_scale.fill_(10.0)

    monkeypatch.setattr(cilp.Cilp, "__init__", cold)
    bounded = pretrain(train, train, replace(PARAMS, steps=1, validate_every=1), EMBEDDER, Run(1, "test"))
    assert bounded.model.temperature() == pytest.approx(0.01)


def test_bad_settings_are_refused(packed):
    train = pairs(packed)
    with pytest.raises(UserError, match="48 pairs to train on"):
        pretrain(train, train, replace(PARAMS, batch_size=49), EMBEDDER, Run(1, "test"))
    with pytest.raises(UserError, match="lower"):
        pretrain(train, train, replace(PARAMS, lr=1e30, schedule="constant"), EMBEDDER, Run(1, "test"))
    for change in ({"schedule": "step"}, {"temperature": "two"}, {"lr": 0.0}, {"steps": 0}, {"batch_size": 1}):
        with pytest.raises(ValueError, match=next(iter(change))):
            replace(PARAMS, **change)
    for change in ({"rgb": "grey"}, {"initialisation": "zeros"}, {"xyz_scale": 0.0}, {"xyz_centre": (0, math.inf, 0)}):
        with pytest.raises(ValueError, match=next(iter(change))):
            replace(EMBEDDER, **change)


def test_what_is_wrong_with_a_recipe_is_named_where_the_recipe_can_be_changed(packed):
    train, there = pairs(packed), "cilp_ablation.recipes.large.cilp"
    with pytest.raises(UserError, match=rf"^{there}\.batch_size is 49, but"):
        pretrain(train, train, replace(PARAMS, batch_size=49), EMBEDDER, Run(1, "test"), there)
    with pytest.raises(UserError, match=rf"; lower {there}\.lr\.$"):
        pretrain(train, train, replace(PARAMS, lr=1e30, schedule="constant"), EMBEDDER, Run(1, "test"), there)


# the projector and the classifier behind it


def test_the_projector_learns_a_map_between_embeddings():
    source = unit(64, 200, 1).float()
    target = normalize(source @ unit(200, 200, 2).float(), dim=1)
    params = ProjectorParams(epochs=200, batch_size=16, lr=3e-3, lr_min=1e-6, weight_decay=0.0)
    done = train_projector((source, target), (source, target), params, Run(1, "test"))
    assert score_projector(done.model, source, target)[1] > 0.95
    again = train_projector((source, target), (source, target), params, Run(1, "test"))
    assert torch.equal(weights(done.model), weights(again.model))


def test_frozen_means_frozen_and_embeddings_are_computed_once(packed):
    """Not one bit of embedder and head moves, and the embedder sees each sample once, however long training lasts."""
    torch.manual_seed(1)
    source, classifier = cilp.build(**ARGUMENTS), lidar.build(**ARGUMENTS)
    given = projector.build()
    before = [weights(model).clone() for model in (source, classifier, given)]
    seen = []
    source.rgb.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    train, valid = (load_split(packed, split, CPU) for split in ("train", "val"))
    images = [embed_split(source.rgb, split) for split in (train, valid)]
    params = TrainingParams(epochs=3, batch_size=8, lr=1e-2, lr_min=1e-2)
    done = train_classifier(lambda: projected_head(given, classifier.head), *images, params, Run(1, "test"))
    assert sum(seen) == len(train) + len(valid)
    assert all(map(torch.equal, before, [weights(model) for model in (source, classifier, given)]))
    assert torch.equal(weights(done.model.head), weights(classifier.head))
    assert not torch.equal(weights(done.model.projector), weights(given))


def test_the_whole_classifier_says_what_its_parts_say(packed, tmp_path):
    torch.manual_seed(1)
    image_embedder, head = embedder.build("rgb", **ARGUMENTS).eval(), lidar.build(**ARGUMENTS).head
    projected = projected_head(projector.build(), head)
    split = load_split(packed, "test", CPU)
    expected = logits_of(projected, embed_split(image_embedder, split))
    whole = rgb2lidar.RgbToLidar(image_embedder, projected)
    save_checkpoint(tmp_path / "model.pt", whole, "rgb2lidar", ARGUMENTS, {}, 1)
    loaded = load_frozen(tmp_path / "model.pt", rgb2lidar.RgbToLidar, CPU)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(split.inputs(slice(None))[0]), expected, rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(UserError, match="holds a RgbToLidar, not a Cilp"):
        load_frozen(tmp_path / "model.pt", cilp.Cilp, CPU)


def test_the_lidar_classifier_sees_no_image(packed):
    views = LidarSplit.of(load_split(packed, "test", CPU))
    black = LidarSplit.of(load_split(replace(packed, rgb=torch.zeros_like(packed.rgb)), "test", CPU))
    model = lidar.build(**ARGUMENTS)
    assert torch.equal(logits_of(model, views), logits_of(model, black))


def test_embeddings_come_in_order(packed):
    model = cilp.build(**ARGUMENTS).eval()
    test = pairs(packed, "test")
    rgb, points = embed(model, test)
    with torch.inference_mode():
        alone = model(*test.inputs(slice(3, 4)))
    torch.testing.assert_close(rgb[3:4], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(points[3:4], alone[1], rtol=1e-4, atol=1e-5)
