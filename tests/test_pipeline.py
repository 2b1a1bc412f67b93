"""The whole pipeline through DVC in a temporary clone, made tiny by params."""

import csv
import json
import re
import sys

import pytest
import torch
import yaml
from bits import weights
from clone import run
from tiny import FUSIONS, SEEDS, VARIANTS

from cilp import packed, params
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fewer_scenes import few, load_rows
from cilp.classifiers.images import train_image
from cilp.classifiers.transfer import train_lidar
from cilp.evaluation.data_efficiency import read_reached
from cilp.evaluation.models import SINGLE
from cilp.evaluation.table import read_predictions
from cilp.models.embedder import EmbedderParams
from cilp.packing import UNLABELLED
from cilp.training.checkpoint import load_checkpoint
from cilp.training.classifier import TrainingParams
from cilp.training.device import prepare_device
from cilp.training.loop import Run

pytestmark = pytest.mark.timeout(420)


def test_both_tables_stand_at_the_end(project):
    for name, downsampling in (("fusion_comparison", "max-pooling"), ("strided_ablation", "Strided")):
        table = (project / f"metrics/{name}.md").read_text()
        assert re.search(r"^\| metric \| late \| Hadamard \|$", table, flags=re.MULTILINE)
        for fact in (downsampling, "16 training, 4 validation and 12 held-out", "51, 52", "simulated", "±"):
            assert fact in table
        assert list(json.loads((project / f"metrics/{name}.json").read_text())) == list(FUSIONS)
    assert (project / "plots/fusion_loss_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_reports_the_contract_and_its_cost_apart(project, variant):
    metrics = json.loads((project / f"metrics/fusion/{variant}.json").read_text())
    figures = {"valid_loss", "valid_accuracy", "test_loss", "test_accuracy"}
    assert set(metrics) == figures | {f"{name}_std" for name in figures} | {"parameters", "multiply_adds", "seeds"}
    assert all(0 <= metrics[name] <= 1 for name in figures if "accuracy" in name)
    cost = json.loads((project / f"costs/fusion/{variant}.json").read_text())
    assert set(cost["per_seed"]) == {str(seed) for seed in SEEDS}
    assert {"device", "torch", "python", "samples", "train_seconds", "samples_per_second"} <= set(cost)
    assert all((project / f"models/fusion/{variant}/seed-{seed}.pt").is_file() for seed in SEEDS)


@pytest.mark.parametrize(
    ("model", "figures"),
    [
        ("lidar", {"valid_loss", "valid_accuracy", "test_loss", "test_accuracy"}),
        ("cilp", {"valid_unscaled_loss", "test_unscaled_loss", "test_twin_accuracy", "temperature"}),
        ("retrieval", {f"{way}_recall_at_{k}" for way in ("image_to_lidar", "lidar_to_image") for k in (1, 5, 10)}),
        ("projector", {"valid_cosine", "test_cosine", "test_loss"}),
        ("rgb2lidar", {"valid_loss", "valid_accuracy", "test_loss", "test_accuracy"}),
        ("image_supervised", {"valid_loss", "valid_accuracy", "test_loss", "test_accuracy"}),
        ("image_distilled", {"valid_loss", "valid_accuracy", "test_loss", "test_accuracy"}),
    ],
)
def test_each_model_of_the_cilp_half_reports_mean_and_spread(project, model, figures):
    metrics = json.loads((project / f"metrics/{model}.json").read_text())
    assert figures | {f"{name}_std" for name in figures} <= set(metrics)
    rows = (project / f"metrics/{model}.csv").read_text().splitlines()
    assert len(rows) == 1 + len(SEEDS)
    if model != "retrieval":
        assert all((project / f"models/{model}/seed-{seed}.pt").is_file() for seed in SEEDS)


def test_pretraining_sees_the_training_split_and_the_unlabelled_pool_alone(project):
    drawn, pool = (
        torch.load(project / f"data/{name}.pt", weights_only=True, mmap=True) for name in ("packed", "unlabelled")
    )
    assert not set(drawn["scene"].tolist()) & set(pool["scene"].tolist())
    assert set(pool["label"].tolist()) == {UNLABELLED}
    assert json.loads((project / "metrics/cilp.json").read_text())["training_pairs"] == 2 * (8 + 2 + 3)
    seen = {
        told: json.loads((project / f"metrics/image_{told}.json").read_text())["training_images"]
        for told in ("supervised", "distilled")
    }
    assert seen == {"supervised": 2 * 8, "distilled": 2 * (8 + 2 + 3)}


def test_only_the_projector_trains_between_the_frozen_models(project):
    """Not one byte of CILP's image embedder and of the LiDAR classifier's head has moved."""
    for seed in SEEDS:
        path = project / "models"
        weights = {
            name: torch.load(path / name / f"seed-{seed}.pt", weights_only=True)["weights"]
            for name in ("cilp", "lidar", "projector", "rgb2lidar")
        }
        whole = weights["rgb2lidar"]
        for part, source, name in (("embedder.", "rgb.", "cilp"), ("projected.head.", "head.", "lidar")):
            ours = {key.removeprefix(part): value for key, value in whole.items() if key.startswith(part)}
            theirs = {k.removeprefix(source): v for k, v in weights[name].items() if k.startswith(source)}
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        moved = [not torch.equal(whole[f"projected.projector.{k}"], v) for k, v in weights["projector"].items()]
        assert any(moved)


def test_weights_and_biases_mirrors_each_variant_and_seed_offline(project):
    classifiers = (len(VARIANTS) + 4) * len(SEEDS)  # each fusion variant, LiDAR, RGB-to-LiDAR, two on images
    further = 2 * len(SEEDS)  # CILP, projector
    further += len(SEEDS)  # with modality dropout
    further += len(VARIANTS) + 4  # on random sizes, one seed: each variant, LiDAR, CILP, two on images
    further += 1  # and a fusion with auxiliary losses
    further += len(VARIANTS) + 1  # the same fusions on CILP's course
    assert len(list((project / "wandb").glob("offline-run-*"))) == classifiers + further
    assert len(list((project / "wandb").rglob("predictions*.table.json"))) >= classifiers
    assert len(list((project / "wandb").rglob("similarity_matrix*.png"))) >= len(SEEDS)


def test_on_random_sizes_fusions_begin_at_their_own_rate_and_some_have_a_loss_for_each_sensor(project):
    settings = yaml.safe_load((project / "params.yaml").read_text())
    lr = settings["random_size"]["lr_factor"] * settings["fusion"]["late"]["lr"]
    for name, losses in (("late-maxpool", False), ("late-maxpool-auxiliary", True)):
        _, kept = load_checkpoint(project / f"models/random_size/fusion/{name}/seed-51.pt")
        assert (kept["params"]["lr"], kept["params"]["auxiliary_losses"]) == (lr, losses)
    found = json.loads((project / "metrics/audit/random_size-51.json").read_text())["models"]
    assert found["fusion/late-maxpool-auxiliary"].keys() == settings["audit"]["conditions"].keys()


def test_on_the_course_fusions_take_the_steps_of_cilp_there_and_some_have_a_loss_for_each_sensor(project):
    settings = yaml.safe_load((project / "params.yaml").read_text())
    for name, losses in (("hadamard-strided", False), ("late-maxpool", False), ("late-maxpool-auxiliary", True)):
        _, kept = load_checkpoint(project / f"models/fusion_course/fusion/{name}/seed-51.pt")
        taken = (settings["random_size"]["cilp_steps"], settings["cilp"]["batch_size"], losses)
        assert tuple(kept["params"][key] for key in ("steps", "batch_size", "auxiliary_losses")) == taken
    found = json.loads((project / "metrics/audit/fusion_course-51.json").read_text())["models"]
    assert list(found) == [f"fusion/{name}" for name in (*VARIANTS, "late-maxpool-auxiliary")]
    assert "trained on random sizes along CILP's course" in (project / "metrics/audit.md").read_text()


def test_all_plots_stand_on_one_page_that_needs_no_network(project):
    run(project, sys.executable, "-m", "cilp.report.page")
    page = (project / "dvc_plots/index.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    titles = ("Training loss", "Validation loss", "Validation accuracy", "Twin test", "Confusion on the test set")
    for title in titles:
        assert f'"text": "{title}"' in page
    assert all(f'"{variant}.csv"' in page for variant in VARIANTS)


def test_what_trains_on_all_scenes_is_taken_where_it_was_trained_and_would_be_the_same_bits(project):
    """Of the classifiers that train as long in the comparison of fewer scenes: from scratch, or along CILP's course."""
    settings = params.load(project / "params.yaml")
    device, data = prepare_device("cpu"), packed.load(project / "data/packed.pt")
    embedder = params.section(settings, "embedder", EmbedderParams)
    on_labels = params.section(settings, "lidar", TrainingParams)
    along = course_of(settings), params.section(settings, "image_classifier", OneCycleParams)
    count = len(data.scene[data.rows("train")].unique())
    reached = {
        (row.model, row.way, row.seed): row.test_accuracy
        for name in ("cilp", "image")
        for row in read_reached(project / f"metrics/data_efficiency/{name}.csv")
        if row.scenes == count
    }
    for seed in SEEDS:
        train, valid = (load_rows(data, split, rows, device) for split, rows in few(data, count, seed).items())
        told = train.label, valid, valid.label
        for name, way, done in (
            ("lidar", ("lidar", "scratch"), train_lidar(embedder, on_labels, train, valid, Run(seed, "test"))),
            ("image_supervised", ("rgb2lidar", "supervised"),
             train_image(train, *told, *along, embedder, Run(seed, "test"))),
        ):  # fmt: skip
            model, _ = load_checkpoint(project / f"models/{name}/seed-{seed}.pt")
            assert torch.equal(weights(done.model), weights(model)), name
            with open(project / f"metrics/{name}.csv", newline="") as file:
                (row,) = (row for row in csv.DictReader(file) if row["seed"] == str(seed))
            assert reached[*way, seed] == float(row["test_accuracy"]), name


def test_every_classifier_is_asked_about_every_sample(project):
    predictions = read_predictions(project / "data/predictions.csv")
    models = {f"fusion/{variant}" for variant in VARIANTS} | set(SINGLE)
    assert {row.model for row in predictions} == models
    for model in models:
        metrics = json.loads((project / f"metrics/{model}.json").read_text())
        for split, count in (("val", 4), ("test", 12)):
            rows = [row for row in predictions if (row.model, row.split) == (model, split)]
            assert len(rows) == count * len(SEEDS)
            right = sum(row.predicted == row.label for row in rows) / len(rows)
            assert right == pytest.approx(metrics["valid_accuracy" if split == "val" else "test_accuracy"])
    confusion = (project / "plots/confusion.csv").read_text().splitlines()
    assert confusion[0] == "model,actual,predicted,samples"
    assert len(confusion) == 1 + 4 * len(models)
