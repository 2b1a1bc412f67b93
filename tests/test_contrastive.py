import itertools
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bits import weights
from clone import ROOT
from synthetic import make_packed
from torch.nn.functional import log_softmax, normalize

from cilp.contrastive.loss import contrastive_loss, unscaled_loss
from cilp.contrastive.pairs import batches, load_pairs, load_training_pairs, varied
from cilp.contrastive.pretraining import CilpParams, embed, evaluate, pretrain
from cilp.contrastive.projection import ProjectorParams, projected_head, score_projector, train_projector
from cilp.contrastive.retrieval import ceilings, match_ranks, retrieval, twin_accuracy
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
from cilp.training.variation import View

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


# the loss


def unit(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, columns, generator=generator, dtype=torch.float64), dim=1)


def naive_loss(rgb, lidar, log_scale):
    """Sample by sample: which of all LiDAR embeddings belongs to this image, and the other way round."""
    total = 0.0
    for i in range(len(rgb)):
        to_lidar = torch.stack([(rgb[i] * other).sum() * torch.exp(log_scale) for other in lidar])
        to_rgb = torch.stack([(lidar[i] * other).sum() * torch.exp(log_scale) for other in rgb])
        total = total - log_softmax(to_lidar, dim=0)[i] - log_softmax(to_rgb, dim=0)[i]
    return total / (2 * len(rgb))


def test_the_loss_and_its_gradients_are_those_of_a_naive_one():
    results = []
    for loss in (contrastive_loss, naive_loss):
        inputs = [unit(9, 5, 1), unit(9, 5, 2), torch.tensor(2.3, dtype=torch.float64)]
        inputs = [tensor.requires_grad_() for tensor in inputs]
        value = loss(*inputs)
        results.append([value.detach(), *torch.autograd.grad(value, inputs)])
    for fast, naive in zip(*results, strict=True):
        torch.testing.assert_close(fast, naive, rtol=1e-12, atol=1e-12)


def test_equal_embeddings_for_everything_are_at_chance():
    same = torch.ones(8, 4) / 2
    assert contrastive_loss(same, same, torch.tensor(3.0)).item() == pytest.approx(math.log(8), rel=1e-6)


def test_the_unscaled_loss_is_over_batches_of_32_at_temperature_one():
    rgb, lidar_ = unit(100, 5, 3), unit(100, 5, 4)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    expected = [naive_loss(rgb[rows], lidar_[rows], torch.tensor(0.0)).item() for rows in order[:96].split(32)]
    assert unscaled_loss(rgb, lidar_) == pytest.approx(sum(expected) / 3, rel=1e-9)
    few = unscaled_loss(rgb[:10], lidar_[:10])
    assert few == pytest.approx(naive_loss(rgb[:10], lidar_[:10], torch.tensor(0.0)).item(), rel=1e-9)


# retrieval


def test_ranks_count_what_is_at_least_as_similar():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.4, 0.4], [0.3, 0.2, 0.1]])
    assert match_ranks(similarity).tolist() == [1, 3, 3]  # the tie in the second row counts against the match
    assert match_ranks(torch.ones(4, 4)).tolist() == [4] * 4


def test_recall_and_median_rank_in_both_directions():
    similarity = torch.eye(12)
    figures = retrieval(similarity)
    assert {value for key, value in figures.items() if "recall" in key} == {1.0}
    similarity[:, 0] = 2.0  # every image is closest to the first LiDAR view
    figures = retrieval(similarity)
    assert figures["image_to_lidar_recall_at_1"] == pytest.approx(1 / 12)
    assert figures["image_to_lidar_recall_at_5"] == 1.0
    assert figures["image_to_lidar_median_rank"] == 2.0
    assert figures["lidar_to_image_recall_at_1"] == pytest.approx(11 / 12)


def test_the_twin_test_compares_with_the_other_shape_of_the_scene_alone():
    scene = torch.tensor([7, 7, 3, 3, 9])
    similarity = torch.full((5, 5), 0.9).fill_diagonal_(0.5)  # strangers do not count
    for row, twin, value in ((0, 1, 0.4), (1, 0, 0.6), (2, 3, 0.4), (3, 2, 0.5)):  # nor does a tie
        similarity[row, twin] = value
    assert twin_accuracy(similarity, scene) == 0.5
    assert twin_accuracy(similarity, torch.arange(5)) is None


# what pretraining sees


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


def test_equal_images_bound_recall():
    """Three black images and a bright one: one of the three at most is first, all of them are among the first five."""
    rgb = torch.zeros(4, 8, 8, 4, dtype=torch.uint8)
    rgb[3] = 255
    best = ceilings(rgb)
    assert best["image_to_lidar_recall_at_1_ceiling"] == pytest.approx((3 * (1 / 3) + 1) / 4)
    assert best["image_to_lidar_recall_at_5_ceiling"] == 1.0
    perfect = torch.zeros(4, 4)
    perfect[:3] = torch.tensor([0.9, 0.8, 0.7, 0.0])  # black images rank the views alike
    perfect[3, 3] = 1.0
    assert retrieval(perfect)["image_to_lidar_recall_at_1"] == pytest.approx(0.5)


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
