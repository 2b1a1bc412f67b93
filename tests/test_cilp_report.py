import csv
import json

import numpy as np
import pytest

from cilp.errors import UserError
from cilp.report import similarity
from cilp.report.cilp import MODELS, ablation_markdown, read_ablation, read_results, results_markdown
from cilp.report.pretraining import draw_pretraining

COST = {"device": "a CPU", "torch": "2", "python": "3", "train_seconds": 600.4, "samples_per_second": 200.2}


@pytest.fixture
def results():
    return {
        "lidar": {"test_accuracy": 0.99912, "test_accuracy_std": 0.0004, "parameters": 947851, "seeds": 3},
        "cilp": {"test_unscaled_loss": 2.9, "test_twin_accuracy": 0.98, "parameters": 1855301, "training_pairs": 3600},
        "retrieval": {
            "image_to_lidar_recall_at_1": 0.7,
            "image_to_lidar_recall_at_5": 0.9,
            "pairs": 400,
            "image_to_lidar_recall_at_5_ceiling": 0.95,
        },
        "projector": {"test_cosine": 0.9, "test_cosine_std": 0.01, "parameters": 40300},
        "rgb2lidar": {"test_accuracy": 0.98, "parameters": 988151, "seeds": 3},
        "image_supervised": {"test_accuracy": 0.961, "parameters": 947851, "training_images": 1600},
        "image_distilled": {"test_accuracy": 0.97, "parameters": 947851, "training_images": 3600},
    }


def test_the_table_shows_mean_spread_and_where_it_comes_from(results):
    table = results_markdown(results, COST, "simulate")
    assert "| LiDAR classifier | test accuracy | 0.9991 ± 0.0004 | 947,851 | 0.999 (validation) |" in table
    assert "| RGB-to-LiDAR | test accuracy | 0.9800 | 988,151 |" in table
    assert "| image classifier, supervised | test accuracy | 0.9610 | 947,851 | - |" in table
    assert "labels of 1,600 images" in table and "says of 3,600 pairs" in table
    assert "recall@5, validation | 0.900 (at best 0.950) |" in table
    for fact in ("simulated data", "3,600 pairs without labels", "400 validation pairs", "3 seeds", "600 s a seed"):
        assert fact in table


def test_data_without_twins_has_no_twin_test(results):
    del results["cilp"]["test_twin_accuracy"]
    assert "| twin test, test | no twins |" in results_markdown(results, COST, "folder")


def test_exactly_the_declared_recipes_are_read(tmp_path):
    folder = tmp_path / "metrics/cilp_ablation"
    folder.mkdir(parents=True)
    for name, accuracy in (("ours", 0.9), ("left-over", 0.1)):
        figures = {"unscaled_loss": 3.0, "recall_at_1": 0.4, "recall_at_5": 0.8, "rgb2lidar_accuracy": accuracy}
        figures |= {"training_pairs": 3600, "steps": 266, "batch_size": 96 if name == "ours" else 32}
        (folder / f"{name}.json").write_text(json.dumps(figures))
    table = ablation_markdown(read_ablation(["ours"], tmp_path), {"ours": "our recipe"}, 51, 256000, "simulate")
    assert "| our recipe | 3.000 | - | 0.400 | 0.800 | 0.9000 | 3,600 |" in table
    assert "left-over" not in table
    assert (
        "Seed 51 alone" in table and "Each row pretrained on 25,536 pairs (" in table
    )  # what it was asked less a part
    both = {name: name for name in ("ours", "left-over")}
    assert "on 8,512 to 25,536 pairs" in ablation_markdown(
        read_ablation([*both], tmp_path), both, 51, 256000, "simulate"
    )
    with pytest.raises(UserError, match="dvc repro ablate_cilp@reference"):
        read_ablation(["reference"], tmp_path)


def test_a_missing_model_names_the_stage_that_makes_it(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/lidar.json").write_text("{}")
    with pytest.raises(UserError, match="dvc repro pretrain_cilp"):
        read_results(tmp_path)
    for name in MODELS:
        (tmp_path / f"metrics/{name}.json").write_text("{}")
    assert set(read_results(tmp_path)) == set(MODELS)


@pytest.mark.parametrize("twins", ["0.5", ""])
def test_pretraining_is_drawn_with_and_without_twins(tmp_path, twins):
    pictures = []
    for recall in (0.1, 0.1, 0.4):
        with open(tmp_path / "cilp.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["seed", "step", "train_loss", "valid_twin_accuracy", "valid_recall_at_1"])
            writer.writerows([seed, step, 3.0, twins, recall] for seed in (1, 2) for step in (50, 100))
        draw_pretraining(tmp_path / "cilp.csv", tmp_path / "curves.png")
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_the_sorted_matrix_shows_cubes_before_spheres_and_keeps_scenes_in_order(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(similarity, "_show", lambda figure, axis, matrix: shown.update(matrix=matrix))
    cosines = np.arange(16.0).reshape(4, 4) / 16
    similarity.draw_sorted(cosines, np.array([0, 1, 0, 1]), 51, tmp_path / "sorted.png")
    assert np.array_equal(shown["matrix"], cosines[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])])
    similarity.draw_first_batch(cosines, 51, tmp_path / "first.png")
    assert np.array_equal(shown["matrix"], cosines)
    assert {path.name for path in tmp_path.iterdir()} == {"sorted.png", "first.png"}
