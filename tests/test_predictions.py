import re

import pytest
import torch
from synthetic import make_packed

from cilp.errors import UserError
from cilp.evaluation.models import SINGLE, classifiers, on_random_sizes, sensor_dependent, variants
from cilp.evaluation.predictions import load_classifier, predict, probabilities
from cilp.evaluation.table import Prediction, confusion, read_predictions, write_predictions
from cilp.models import fusion, lidar, projector, rgb2lidar
from cilp.training.checkpoint import save_checkpoint
from cilp.training.inputs import load_split

CPU = torch.device("cpu")
EMBEDDER = {
    "rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True, "initialisation": "he"
}  # fmt: skip
FUSION = {"fusion": "add", "downsampling": "strided", "xyz_scale": 50.0}


@pytest.fixture(scope="module")
def split():
    return load_split(make_packed(), "test", CPU)


@pytest.mark.parametrize(
    ("module", "arguments", "views"),
    [(fusion, FUSION, [0, 1]), (lidar, EMBEDDER, [1]), (rgb2lidar, EMBEDDER, [0])],
)
def test_each_classifier_sees_what_it_was_made_for(tmp_path, split, module, arguments, views):
    torch.manual_seed(1)
    model = module.build(**arguments).eval()
    name = module.__name__.split(".")[-1]
    save_checkpoint(tmp_path / "some/seed-1.pt", model, name, arguments, {}, 1)
    with torch.inference_mode():
        inputs = split.inputs(slice(None))
        expected = model(*[inputs[view] for view in views]).sigmoid()
    ours = probabilities(load_classifier(tmp_path, "some", 1, CPU), split)
    torch.testing.assert_close(ours.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("late,51,test,7,1", "TypeError"),
        ("late,51,test,7,1,0.", None),
        ("late,51,test,seven,1,0.5", "ValueError"),
        ("late,51,test,7,2,0.5", "ValueError"),
        ("late,51,test,7,1,nan", "ValueError"),
        ("late,51,test,7,1,\udcff", "UnicodeDecodeError"),
    ],
)
def test_a_damaged_table_is_refused_with_what_writes_it_anew(tmp_path, row, error):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [Prediction("late", 51, "test", 7, 1, 0.25)])
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(row)
    if error is None:
        assert len(read_predictions(path)) == 2
        return
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} is damaged \({error}\); run `dvc repro predict`"):
        read_predictions(path)


def test_a_table_without_its_first_line_is_refused(tmp_path):
    (tmp_path / "predictions.csv").write_text("late,51,test,7,1,0.5\n" * 2)
    with pytest.raises(UserError, match=r"is damaged \(KeyError\)"):
        read_predictions(tmp_path / "predictions.csv")


def test_what_is_no_classifier_is_refused(tmp_path):
    save_checkpoint(tmp_path / "some/seed-1.pt", projector.build(), "projector", {}, {}, 1)
    with pytest.raises(UserError, match="holds a Projector, which is no classifier"):
        load_classifier(tmp_path, "some", 1, CPU)


def test_decision_level_fusion_adds_up_the_log_odds_of_the_two_that_see_one_sensor(tmp_path, split):
    for seed, sensor in enumerate(("rgb", "lidar")):
        torch.manual_seed(seed)
        arguments = {**FUSION, "fusion": sensor}
        path = tmp_path / f"fusion/{sensor}-strided/seed-51.pt"
        save_checkpoint(path, fusion.build(**arguments), "fusion", arguments, {}, 51)
    image, view, both = (
        probabilities(load_classifier(tmp_path, f"fusion/{name}-strided", 51, CPU), split).logit()
        for name in ("rgb", "lidar", "decision")
    )
    torch.testing.assert_close(both, image + view, rtol=1e-5, atol=1e-5)
    assert (both - image).abs().max() > 1e-4 < (both - view).abs().max()
    with pytest.raises(UserError, match=r"fusion/rgb-maxpool/seed-51\.pt is missing"):
        load_classifier(tmp_path, "fusion/decision-maxpool", 51, CPU)


def test_decision_level_fusion_is_evaluated_where_both_that_it_asks_are_trained():
    settings = {"variants": {"fusion": ["lidar", "late", "rgb"], "downsampling": ["strided", "maxpool"]},
                "modality_dropout": {"fusion": ["late"]}, "random_size": {"auxiliary_losses": ["late"]}}  # fmt: skip
    assert "fusion/decision-strided" in classifiers(settings) and "fusion/decision-maxpool" in classifiers(settings)
    assert sensor_dependent(settings) == [
        "fusion/late-strided", "fusion/decision-strided", "fusion/late-maxpool-dropout", "lidar", "rgb2lidar"
    ]  # fmt: skip
    assert not any("decision" in name for name in variants(settings))  # there is nothing to train
    assert on_random_sizes(settings) == [
        *classifiers(settings)[: -len(SINGLE)], "fusion/late-maxpool-auxiliary", *SINGLE
    ]  # fmt: skip
    settings["variants"]["fusion"] = ["lidar", "late"]
    assert classifiers(settings) == [*variants(settings), *SINGLE]


def test_the_table_is_read_as_it_was_written(tmp_path, split):
    model = fusion.build(**FUSION).eval()
    rows = list(predict("late", 51, model, {"test": split}))
    write_predictions(tmp_path / "predictions.csv", rows)
    assert read_predictions(tmp_path / "predictions.csv") == rows
    assert [row.scene for row in rows] == split.scene.tolist()
    assert [row.label for row in rows] == split.label.int().tolist()
    with pytest.raises(UserError, match="dvc repro predict"):
        read_predictions(tmp_path / "absent.csv")


def test_what_is_confused_is_counted_on_one_split_over_all_seeds():
    said = [("test", 0, 0.2), ("test", 0, 0.7), ("test", 1, 0.9), ("test", 1, 0.5), ("val", 0, 0.9)]
    rows = [Prediction("late", seed, split, 3, label, p) for seed in (1, 2) for split, label, p in said]
    assert confusion(rows, "test") == {
        ("late", 0, 0): 2, ("late", 0, 1): 2, ("late", 1, 1): 2, ("late", 1, 0): 2
    }  # fmt: skip
