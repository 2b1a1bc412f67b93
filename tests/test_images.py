"""The image classifiers that CILP is measured against."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from bits import weights
from synthetic import make_packed

from cilp import params
from cilp.classifiers.course import Course, OneCycleParams, course_of
from cilp.classifiers.images import answers, train_image
from cilp.contrastive import pretraining
from cilp.contrastive.pairs import load_pairs, load_training_pairs
from cilp.contrastive.pretraining import CilpParams
from cilp.errors import UserError
from cilp.models import image_classifier, lidar
from cilp.models.embedder import EmbedderParams
from cilp.models.layers.blocks import count_parameters
from cilp.packed import save
from cilp.training.checkpoint import save_checkpoint
from cilp.training.classifier import logits_of, score
from cilp.training.device import prepare_device
from cilp.training.inputs import ImagePairs, ImageSplit, LidarSplit, load_split
from cilp.training.loop import Run
from cilp.training.variation import View

CPU = torch.device("cpu")
EMBEDDER = EmbedderParams("shading", (0.0, 25.0, 0.0), 5.0, True, "he")
COURSE = Course(steps=4, batch_size=16, twins=True, mirror=True, permute_colours=True, validate_every=2)
PROTOCOL = OneCycleParams(lr=1e-3, weight_decay=1e-2)


@pytest.fixture(scope="module", autouse=True)
def deterministic():
    prepare_device("cpu")


@pytest.fixture(scope="module")
def packed():
    return make_packed()


def labels(packed):
    return packed.label[packed.rows("train")].float()


def train(packed, target=None, course=COURSE, protocol=PROTOCOL, seed=1, valid_target=None):
    pairs, valid = load_training_pairs(packed, None, course.mirror, CPU), load_split(packed, "val", CPU)
    target = labels(packed) if target is None else target
    valid_target = valid.label if valid_target is None else valid_target
    return train_image(pairs, target, valid, valid_target, course, protocol, EMBEDDER, Run(seed, "test"))


def teacher(seed=0):
    torch.manual_seed(seed)
    return lidar.build(**EMBEDDER.arguments()).requires_grad_(False).eval()


def test_it_is_as_large_as_the_lidar_classifier_and_sees_images_alone(packed):
    model = image_classifier.build(**EMBEDDER.arguments())
    assert count_parameters(model) == count_parameters(lidar.build(**EMBEDDER.arguments())) == 947_851
    split = load_split(packed, "val", CPU)
    empty = replace(split, range=torch.full_like(split.range, 50.0))
    seen, unseen = (logits_of(model, ImageSplit.of(one)) for one in (split, empty))
    assert seen.shape == (len(split),) and torch.equal(seen, unseen)


def test_a_seed_decides_every_bit(packed):
    first, again, other = train(packed), train(packed), train(packed, seed=2)
    assert torch.equal(weights(first.model), weights(again.model)) and first.history == again.history
    assert not torch.equal(weights(first.model), weights(other.model))


def test_distilled_it_learns_from_what_it_is_told_alone(packed):
    """Whatever the labels are, and whatever the range images, once the teacher has answered."""
    pairs, valid = load_training_pairs(packed, None, True, CPU), load_split(packed, "val", CPU)
    told = {"target": answers(teacher(), pairs), "valid_target": answers(teacher(), valid)}
    blind = replace(packed, label=1 - packed.label, range=torch.full_like(packed.range, 50.0))
    seeing, blinded = train(packed, **told), train(blind, **told)
    assert torch.equal(weights(seeing.model), weights(blinded.model))
    assert seeing.best.valid_loss == blinded.best.valid_loss
    assert seeing.best.valid_accuracy == pytest.approx(1 - blinded.best.valid_accuracy)
    assert not torch.equal(weights(seeing.model), weights(train(packed).model))


def test_it_learns_the_labels_and_also_the_opposite_of_them(packed):
    course = replace(COURSE, steps=60, validate_every=60)
    for target in (labels(packed), 1 - labels(packed)):
        done = train(packed, target, course)
        split = ImageSplit.of(load_split(packed, "train", CPU))
        assert score(logits_of(done.model, split), target)[1] > 0.95


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(packed):
    """What validation is told is the opposite of the labels, so that these are not the last ones."""
    valid = ImageSplit.of(load_split(packed, "val", CPU))
    told, course = 1 - valid.label, replace(COURSE, steps=16, validate_every=1)
    done = train(packed, course=course, protocol=replace(PROTOCOL, lr=3e-3), valid_target=told)
    losses = [validation.valid_loss for validation in done.history]
    assert done.best.step == losses.index(min(losses)) + 1 < course.steps
    assert score(logits_of(done.model, valid), told)[0] == done.best.valid_loss
    assert score(logits_of(done.model, valid), valid.label)[1] == done.best.valid_accuracy


def test_a_teacher_is_asked_once_and_answers_as_it_would_alone(packed):
    pairs, model, asked = load_training_pairs(packed, None, True, CPU), teacher(), []
    model.register_forward_hook(lambda module, inputs, output: asked.append(len(output)))
    told = answers(model, pairs)
    assert sum(asked) == len(pairs) == len(told) and not told.requires_grad
    alone = logits_of(model, LidarSplit.of(load_split(packed, "train", CPU))).sigmoid()
    torch.testing.assert_close(told, alone)
    assert told.min() > 0 and told.max() < 1 and told.std() > 0


def test_a_teacher_of_many_shows_how_far_it_is(packed, capsys):
    pairs = load_training_pairs(packed, None, True, CPU)
    told = answers(teacher(), pairs)
    assert capsys.readouterr().out == ""
    assert torch.equal(answers(teacher(), pairs, "asked"), told)
    assert re.fullmatch(r"asked: (\d+)/\1 batches \([\d,]+ batches/s\)\n", capsys.readouterr().out)


def test_it_sees_the_images_that_cilp_sees(packed, monkeypatch):
    """The same ones in the same batches, mirrored and coloured alike, so that steps are worth as much."""
    seen, varied = [], View.of_images
    monkeypatch.setattr(View, "of_images", lambda self, rgb: seen.append(varied(self, rgb)) or seen[-1])
    train(packed)
    images = [*seen]
    seen.clear()
    cilp = CilpParams(
        schedule="1cycle", lr=1e-3, temperature="learned", temperature_lr=1e-2, weight_decay=0.0, unlabelled=True,
        **vars(COURSE),
    )  # fmt: skip
    valid = load_pairs([(packed, packed.rows("val"))], CPU)
    pretraining.pretrain(load_training_pairs(packed, None, True, CPU), valid, cilp, EMBEDDER, Run(1, "test"))
    assert len(images) == COURSE.steps and all(map(torch.equal, images, seen))


def test_fewer_images_than_a_batch_are_a_batch(packed):
    done = train(packed, course=replace(COURSE, batch_size=4096))
    assert done.best.step and torch.isfinite(weights(done.model)).all()


def test_labelled_pairs_are_images_as_others_are(packed):
    split = load_split(packed, "train", CPU)
    mine, others = (ImagePairs.of(pairs) for pairs in (split, load_training_pairs(packed, None, True, CPU)))
    rows = torch.tensor([0, 7, 30])
    (image,), (other,) = (pairs.inputs(rows, View(True)) for pairs in (mine, others))
    assert torch.equal(image, other) and torch.equal(mine.scene, others.scene) and mine.shard is None


def test_its_course_is_that_of_pretraining():
    settings = params.load()
    course = course_of(settings)
    assert vars(course).items() <= settings["cilp"].items()


@pytest.mark.parametrize("change", [{"lr": 0.0}, {"lr": float("inf")}, {"weight_decay": -1.0}])
def test_params_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PROTOCOL, **change)


@pytest.fixture
def stage(packed, tmp_path, monkeypatch):
    """Trains both classifiers on random sizes, for two steps, told by the teacher of this seed."""
    main = runpy.run_path("stages/train_random_size_image.py")["main"]
    settings = params.load()
    settings |= {"device": "cpu", "seeds": [51]}
    settings["cilp"] |= {"batch_size": 8, "validate_every": 1}
    settings["random_size"]["cilp_steps"] = 2
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    save(packed, Path("data/random_size.pt"))
    save(make_packed(seed=1), Path("data/random_size_unlabelled.pt"))
    monkeypatch.setattr(sys, "argv", ["train_random_size_image.py", "--seed", "51"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("cilp.training.unfinished.SECONDS_BETWEEN_SAVES", 0.0)

    def train(told_by=None):
        if told_by is not None:
            path, arguments = Path("models/random_size/lidar/seed-51.pt"), EMBEDDER.arguments()
            save_checkpoint(path, teacher(told_by), "lidar", arguments, {}, 51)
        main()

    return train


def test_the_stage_leaves_no_run_of_either_classifier_unfinished(stage):
    """Or the same stage, forced to run again, would take what it had made for an interrupted run."""
    stage(told_by=0)
    assert sorted(path.parent.name for path in Path("models").rglob("image_*/*.pt")) == [
        "image_distilled", "image_supervised"
    ]  # fmt: skip
    assert [path for path in Path("unfinished").rglob("*") if path.is_file()] == []


def test_on_random_sizes_the_distilled_classifier_alone_learns_from_pairs_without_labels(stage):
    def trained():
        stage(told_by=0)
        paths = (Path(f"models/random_size/{name}/seed-51.pt") for name in ("image_supervised", "image_distilled"))
        return [path.read_bytes() for path in paths]

    before = trained()
    save(make_packed(seed=2), Path("data/random_size_unlabelled.pt"))
    after = trained()
    assert before[0] == after[0] and before[1] != after[1]


def test_an_interrupted_run_does_not_go_on_with_another_teacher(stage, monkeypatch, capsys):
    monkeypatch.setattr("cilp.training.unfinished.UnfinishedRuns.clear", lambda self: None)
    stage(told_by=0)
    assert "goes on after" not in capsys.readouterr().out
    stage()
    assert "goes on after" in capsys.readouterr().out
    stage(told_by=1)
    assert "goes on after" not in capsys.readouterr().out


def test_a_batch_that_memory_is_too_small_for_is_said_where_its_size_is_set(packed, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(image_classifier.ImageClassifier, "forward", too_large)
    with pytest.raises(UserError, match=r"for a batch of 16; lower cilp\.batch_size"):
        train(packed)
