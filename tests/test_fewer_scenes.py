from dataclasses import replace

import pytest
import torch
from PIL import Image
from synthetic import make_packed

from cilp.classifiers.fewer_scenes import (
    DataEfficiencyParams,
    few,
    head_on,
    load_rows,
    long_enough,
    side_by_side,
)
from cilp.embeddings import embed_split
from cilp.errors import UserError
from cilp.evaluation.data_efficiency import Reached, curves, read_reached, write_reached
from cilp.models import image_classifier
from cilp.models.embedder import build
from cilp.report.data_efficiency import WAYS, draw_efficiency, efficiency_markdown
from cilp.training.classifier import TrainingParams, logits_of, score
from cilp.training.inputs import ImageSplit, load_split
from cilp.training.loop import Run, steps_of_a_pass

CPU = torch.device("cpu")
EMBEDDER = {"rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True,
            "initialisation": "he"}  # fmt: skip
PROTOCOL = TrainingParams(epochs=2, batch_size=8, lr=1e-3, lr_min=1e-6)


def drawn(data, count, seed):
    """Training and validation pairs of so many scenes."""
    return [load_rows(data, split, rows, CPU) for split, rows in few(data, count, seed).items()]


def test_more_scenes_hold_the_fewer_ones_and_a_cube_and_a_sphere_of_each():
    data = make_packed()
    there = len(torch.unique(data.scene[data.rows("train")]))
    smaller, larger = (drawn(data, count, 7)[0] for count in (3, there - 1))
    assert set(smaller.scene.tolist()) < set(larger.scene.tolist())
    assert len(smaller) == 6 and smaller.label.sum() == 3
    other = drawn(data, 3, 8)[0]
    assert set(other.scene.tolist()) != set(smaller.scene.tolist())


def test_all_scenes_are_the_whole_split_and_more_are_refused():
    data = make_packed()
    there = len(torch.unique(data.scene[data.rows("train")]))
    train, valid = drawn(data, there, 0)
    assert torch.equal(train.range, data.range[data.rows("train")])
    assert torch.equal(valid.rgb, data.rgb[data.rows("val")])
    with pytest.raises(UserError, match=f"asks for {there + 1} scenes, but {there} train"):
        few(data, there + 1, 0)


@pytest.mark.parametrize(("samples", "least"), [(6, 50), (6, 3), (100, 10), (33, 7)])
def test_a_short_training_is_made_as_long_as_asked(samples, least):
    long = long_enough(PROTOCOL, samples, least)
    steps = long.epochs * steps_of_a_pass(samples, long.batch_size)
    assert steps >= least and long.batch_size <= samples
    assert long.epochs == PROTOCOL.epochs or (long.epochs - 1) * steps_of_a_pass(samples, long.batch_size) < least


def seen_by(embedders, split):
    return side_by_side(*(embed_split(embedder, split) for embedder in embedders))


def frozen_embedders():
    torch.manual_seed(0)
    return [build(modality, **EMBEDDER).requires_grad_(False).eval() for modality in ("rgb", "lidar")]


def test_a_head_on_both_embeddings_learns_and_leaves_the_embedders_as_they_are():
    embedders = frozen_embedders()
    before = [parameter.clone() for embedder in embedders for parameter in embedder.parameters()]
    train, valid = (seen_by(embedders, split) for split in drawn(make_packed(), 8, 0))
    long = replace(PROTOCOL, epochs=150, lr=1e-2)
    done = head_on(train, valid, long, Run(0, "test"))
    assert score(logits_of(done.model, train), train.label)[1] == 1.0
    after = [parameter for embedder in embedders for parameter in embedder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_rows_of_what_was_embedded_once_are_what_they_would_be_alone():
    data, embedders = make_packed(), frozen_embedders()
    rows = few(data, 3, 7)["train"]
    whole = seen_by(embedders, load_split(data, "train", CPU)).select(rows)
    alone = seen_by(embedders, load_rows(data, "train", rows, CPU))
    torch.testing.assert_close(whole.embedding, alone.embedding)
    assert torch.equal(whole.label, alone.label)


def test_the_image_classifier_sees_images_alone():
    train, _ = drawn(make_packed(), 3, 0)
    inputs = ImageSplit.of(train).inputs(torch.arange(4))
    assert len(inputs) == 1 and inputs[0].shape == (4, 4, 64, 64)
    assert image_classifier.build(**EMBEDDER)(*inputs).shape == (4,)


@pytest.mark.parametrize("change", [{"scenes": [1]}, {"scenes": [5, 5]}, {"least_steps": 0}])
def test_params_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        DataEfficiencyParams(**{"scenes": [2, 4], "fusion": "concat", "least_steps": 5, **change})


def reached():
    return [
        Reached(model, way, scenes, seed, 0.5 + 0.1 * (way != "scratch") + scenes / 100 + seed / 100)
        for model, ways in WAYS.items() for way in ways for scenes in (4, 2) for seed in (1, 2)
    ]  # fmt: skip


def test_what_was_reached_is_read_as_it_was_written(tmp_path):
    write_reached(tmp_path / "a.csv", reached())
    assert read_reached(tmp_path / "a.csv") == reached()
    write_reached(tmp_path / "none.csv", [])
    assert read_reached(tmp_path / "none.csv") == []
    for name, stage in (("cilp", "data_efficiency_cilp"), ("random_size-51", "data_efficiency_random_size@51")):
        with pytest.raises(UserError, match=f"dvc repro {stage}` "):
            read_reached(tmp_path / f"{name}.csv")


def test_table_and_picture_of_all_and_of_nothing(tmp_path):
    found = curves(reached())
    assert list(found["lidar"]["scratch"]) == [2, 4]
    assert found["lidar"]["pretrained"][4]["test_accuracy"] == pytest.approx(0.655)
    table = efficiency_markdown(found, "late", (2, 2), 250, "simulate")
    assert "| labelled scenes | 2 | 4 |" in table
    assert "| LiDAR classifier: from scratch | 0.535 ± 0.007 | 0.555 ± 0.007 |" in table
    assert "| RGB-to-LiDAR classifier: head on CILP's image embedding | 0.635 ± 0.007 | 0.655 ± 0.007 |" in table
    assert "at least 250 steps" in table
    other = curves([*reached(), Reached("lidar", "pretrained", 4, 3, 0.9)])
    for name, drawn in (("1", found), ("2", found), ("3", other)):
        draw_efficiency(drawn, "late", tmp_path / f"{name}.png")
    first, again, changed = ((tmp_path / f"{name}.png").read_bytes() for name in "123")
    assert first == again != changed
    assert "Not run" in efficiency_markdown({}, "late", (2, 0), 250, "simulate")
    assert "Random sizes: mean ± sample standard deviation over 2 seeds" in table
    fixed = {model: ways for model, ways in found.items() if not model.endswith("random_size")}
    assert "Random sizes" not in efficiency_markdown(fixed, "late", (2, 0), 250, "simulate")
    draw_efficiency(fixed, "late", tmp_path / "fixed.png")
    assert Image.open(tmp_path / "fixed.png").height < Image.open(tmp_path / "1.png").height
    draw_efficiency({}, "late", tmp_path / "none.png")
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")
