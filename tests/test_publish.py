"""What is published, and with which words; the pushing itself is in ``test_hub_source.py``."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from clone import ENVIRONMENT, ROOT, committed

from cilp import publish
from cilp.errors import UserError
from cilp.pipeline import record


def test_all_that_the_committed_study_trains_is_published():
    trains = {
        name for name, stage in record.parse(committed("dvc.lock")).items()
        if any(out["path"].startswith("models/") for out in stage["outs"]) and not name.startswith("fit_size_rule")
    }  # fmt: skip
    assert trains == set(publish.training_stages(yaml.safe_load(committed("params.yaml"))))


def test_what_is_published_is_private_where_asked():
    for asked, options in (([], []), (["PRIVATE=yes"], ["--private"]), (["PRIVATE=no"], [])):
        command = ["make", "--dry-run", "publish", "READY=", "DATASET=user/shapes", "MODELS=user/models", *asked]
        dry = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
        words = dry.replace("\\\n", " ").split()
        assert words[words.index("cilp.publish") + 1 :] == ["user/shapes", "--models", "user/models", *options]


def test_a_card_names_the_params_that_made_the_data():
    settings = {"data": {"subset": 3, "simulate": {"seed": 51}}}
    publish.check_made_with(settings, {}, publish.DATA_STAGES)
    made_with = {"data.subset": 3, "data.simulate": {"seed": 51}}
    lock = {"acquire": {"params": {"params.yaml": made_with}}}
    publish.check_made_with(settings, lock, publish.DATA_STAGES)
    with pytest.raises(
        UserError, match=r"was made with data\.subset = 3, but params\.yaml says 4; run `dvc repro subset`"
    ):
        publish.check_made_with({"data": {**settings["data"], "subset": 4}}, lock, publish.DATA_STAGES)


def test_models_are_those_that_the_params_ask_for_trained_on_the_data_that_there_are(tmp_path, monkeypatch, capsys):
    """DVC leaves what variants wrote that are no longer asked for."""
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["variants"] = {"fusion": ["late"], "downsampling": ["maxpool"]}
    lock = {"pack": {"outs": [{"path": "data/packed.pt", "md5": "new"}]}}
    for name, data in (("late-maxpool", "new"), ("add-maxpool", "old")):
        Path(f"models/fusion/{name}").mkdir(parents=True)
        Path(f"models/fusion/{name}/seed-51.pt").touch()
        lock[f"train_fusion@{name}"] = {
            "deps": [{"path": "data/packed.pt", "md5": data}, {"path": "stages/train_fusion.py", "md5": "any"}],
            "params": {"params.yaml": {"fusion.late": dict(settings["fusion"]["late"])}},
            "outs": [{"path": f"models/fusion/{name}"}, {"path": f"metrics/fusion/{name}.json"},
                     {"path": f"metrics/fusion/{name}.csv"}],
        }  # fmt: skip
    models, metrics = publish.trained(settings, lock)
    assert models == [Path("models/fusion/late-maxpool/seed-51.pt")]
    assert metrics == [Path("metrics/fusion/late-maxpool.json")]
    assert "since dvc.lock does not know them: models of train_modality_dropout@concat, " in capsys.readouterr().out
    Path("models/fusion/late-maxpool/seed-51.pt").unlink()
    with pytest.raises(UserError, match=r"^models/fusion/late-maxpool is missing; fetch it with `dvc pull`"):
        publish.trained(settings, lock)
    Path("models/fusion/late-maxpool/seed-51.pt").touch()
    settings["variants"]["fusion"] = ["late", "add"]
    with pytest.raises(UserError, match=r"another data/packed\.pt than there is now; run `dvc repro train_fu"):
        publish.trained(settings, lock)
    settings["variants"]["fusion"] = ["late"]
    lock["subset"] = {"outs": [{"path": "data/subset", "md5": "new"}]}
    lock["pack"]["deps"] = [{"path": "data/subset", "md5": "old"}]
    with pytest.raises(UserError, match=r"pack wrote for the models was made of another data/subset .*run `dvc repro`"):
        publish.trained(settings, lock)
    lock["pack"]["deps"][0]["md5"] = "new"
    settings["fusion"]["late"]["lr"] *= 2
    with pytest.raises(UserError, match=r"The models of train_fusion@late-maxpool were made with fusion\.late = "):
        publish.trained(settings, lock)


def test_files_of_another_branch_are_not_published(tmp_path, monkeypatch):
    """What DVC has in mind is not what lies there: that of a branch that was left without `dvc checkout`."""
    monkeypatch.chdir(tmp_path)
    paths = [Path("data/subset"), Path("models/lidar/seed-51.pt")]
    for changed, refused in (
        ({}, None), ({"unchanged": ["data/uncommitted"]}, None),
        ({"uncommitted": {"modified": ["data/raw/", "models/li/"], "deleted": ["models/lidar/"]}}, None),
        ({"uncommitted": {"modified": ["data/subset/"]}}, "data/subset is not what dvc.lock speaks of"),
        ({"uncommitted": {"modified": ["models/lidar/"]}}, "models/lidar/seed-51.pt is not what dvc.lock"),
    ):  # fmt: skip
        said = subprocess.CompletedProcess([], 0, json.dumps(changed))
        monkeypatch.setattr(publish.subprocess, "run", lambda *_, said=said, **__: said)
        with pytest.raises(UserError, match=refused) if refused else contextlib.nullcontext():
            publish.check_as_recorded(paths)
    said = subprocess.CompletedProcess([], 0, "uncommitted changes: a remark and no JSON")
    monkeypatch.setattr(publish.subprocess, "run", lambda *_, **__: said)
    publish.check_as_recorded(paths)


def test_where_dvc_is_not_in_use_nothing_is_known_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish.check_as_recorded([Path("data/subset")])


@pytest.mark.parametrize(
    ("samples", "category"),
    [
        (4, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (9999, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (99_999, "10K<n<100K"),
    ],
)
def test_a_card_has_the_hubs_category_of_so_many_samples(samples, category):
    assert publish.size_category(samples) == category
