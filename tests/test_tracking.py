import errno
import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import torch
from synthetic import make_packed

from cilp import tracking
from cilp.errors import UserError
from cilp.models import fusion
from cilp.training.classifier import TrainingParams, logits_of, train_classifier
from cilp.training.inputs import load_split
from cilp.training.loop import Run

SETTINGS = {"tracking": {"mode": "auto", "project": "cilp", "entity": None}}


@pytest.fixture
def splits():
    packed = make_packed(train=4, val=2, test=2)
    return [load_split(packed, split, torch.device("cpu")) for split in ("train", "val", "test")]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "_gone", [])
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def mirror(splits):
    train, valid, test = splits
    params = TrainingParams(epochs=2, batch_size=4, lr=1e-3, lr_min=1e-6)
    with tracking.start_run(SETTINGS, "fusion", "late-strided-1", {"fusion": "late", "epochs": 2}) as run:
        done = train_classifier(
            lambda: fusion.build("late", "strided", 50.0), train, valid, params, Run(1, "test", run.log_epoch)
        )
        run.finish_classifier(done, {"test_accuracy": 0.5}, test, logits_of(done.model, test))
    return done


def inspect(folder, *options):
    """Read an offline run back with W&B's own tool."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_a_run_without_key_is_recorded_offline_with_pictures(splits, tmp_path):
    done = mirror(splits)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    recorded = json.loads(inspect(folder, "--summary"))
    assert recorded["config"] == {"fusion": "late", "epochs": 2, "parameters": 1_415_051}
    summary = recorded["summary"]
    assert summary["valid_loss"] == {"min": min(epoch.valid_loss for epoch in done.history)}
    assert summary["valid_accuracy"] == {"max": max(epoch.valid_accuracy for epoch in done.history)}
    assert summary["checkpoint/test_accuracy"] == 0.5
    assert summary["train_seconds"] == done.cost["train_seconds"]
    tables = list(folder.rglob("predictions*.table.json"))
    assert len(tables) == 1
    table = json.loads(tables[0].read_text())
    assert table["columns"] == ["scene", "rgb", "lidar", "label", "prediction", "probability"]
    assert len(table["data"]) == 4
    assert [row[3] for row in table["data"]] == ["cube", "sphere"] * 2
    assert all(0.5 <= row[5] <= 1 for row in table["data"])
    assert len(done.history) == 2


def test_tracking_changes_nothing_in_the_result(splits, monkeypatch):
    offline = mirror(splits)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    disabled = mirror(splits)
    assert offline.history == disabled.history


def test_training_goes_on_without_wandb(splits, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    assert len(mirror(splits).history) == 2
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize("last", ["log", "finish"])
def test_training_goes_on_when_wandb_dies(splits, monkeypatch, capsys, last):
    """Its other process may be killed for memory in the middle of a run."""
    import wandb

    genuine, runs = wandb.init, []

    def init(**options):
        runs.append(genuine(**options))
        monkeypatch.setattr(runs[-1], last, gone)
        return runs[-1]

    def gone(*_, **__):
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(wandb, "init", init)
    assert len(mirror(splits).history) == 2
    assert capsys.readouterr().out.count("Weights & Biases is gone (ConnectionResetError)") == 1
    with monkeypatch.context() as later:  # the next seed: W&B would find its dead run and fail once more
        later.setattr(wandb, "init", None)
        assert len(mirror(splits).history) == 2
    assert "Weights & Biases" not in capsys.readouterr().out
    monkeypatch.undo()
    runs[-1].finish()


def test_training_goes_on_when_wandb_cannot_even_start(splits, monkeypatch, capsys):
    import wandb

    class MailboxClosedError(Exception):
        """Not one of W&B's own public errors."""

    def init(**_):
        raise MailboxClosedError

    monkeypatch.setattr(wandb, "init", init)
    assert len(mirror(splits).history) == 2
    assert "Weights & Biases is gone (MailboxClosedError); this run and the next ones" in capsys.readouterr().out


def test_runs_of_an_experiment_in_a_copy_stay_with_the_project(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert tracking._folder() == tmp_path / "wandb"
    monkeypatch.chdir(tmp_path)
    assert tracking._folder() == tmp_path / "wandb"


def test_runs_lie_where_wandb_dir_says(splits, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    mirror(splits)
    assert len(list((tmp_path / "elsewhere/wandb").glob("offline-run-*"))) == 1
    assert not (tmp_path / "wandb").exists()
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("WANDB_DIR", "runs")
    assert tracking._folder() == tmp_path / "runs/wandb"


def test_training_goes_on_where_wandb_has_no_folder(splits, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file"))
    assert len(mirror(splits).history) == 2
    assert "Weights & Biases is gone (NotADirectoryError)" in capsys.readouterr().out


def test_a_picture_that_cannot_be_drawn_costs_no_training(splits, monkeypatch, capsys):
    """W&B puts it into TMPDIR, which may be full."""

    def draw(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tracking, "_prediction_table", draw)
    assert len(mirror(splits).history) == 2
    assert capsys.readouterr().out.count("Weights & Biases is gone (OSError); this run and the next ones") == 1


def test_what_is_not_installed_costs_the_table_alone(splits, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert len(mirror(splits).history) == 2
    assert "matplotlib is not installed" in capsys.readouterr().out
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_an_unreachable_server_is_a_sentence_when_asked_for_and_a_remark_otherwise(
    splits, monkeypatch, tmp_path, capsys
):
    import wandb

    genuine = wandb.init
    monkeypatch.setattr(tracking, "_unreachable", [])
    tried = []

    def init(**options):
        if options["mode"] == "online":
            tried.append(options["settings"].init_timeout)
            raise wandb.errors.CommError("no route for key SECRET")
        return genuine(**options)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match=r"wandb login.*WANDB_MODE=offline") as refusal:
        mirror(splits)
    assert "SECRET" not in str(refusal.value)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "SECRET")
    for _ in range(3):
        assert len(mirror(splits).history) == 2
    printed = capsys.readouterr()
    assert printed.out.count("recorded offline") == 1
    assert "SECRET" not in printed.out + printed.err
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3
    assert tried == [90.0, tracking.SECONDS_TO_REACH]  # asked for: as long as W&B waits; else shorter, and once


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of nobody who has logged in to W&B, which begins anew and starts no process."""
    from wandb.sdk import wandb_setup

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC")
    monkeypatch.setattr(wandb_setup, "_singleton", None)
    monkeypatch.setattr(wandb_setup._WandbSetup, "ensure_service", lambda _: None)
    return tmp_path


def log_in(path, host):
    path.write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    path.chmod(0o644)  # which W&B does not mind


def test_without_a_key_or_a_login_there_is_none(home, capsys):
    assert not tracking._has_key()
    log_in(home / ".netrc", "github.com")
    assert not tracking._has_key()
    (home / ".netrc").write_text("machine api.wandb.ai\n  login user\n")
    assert not tracking._has_key()
    assert not capsys.readouterr().out
    (home / ".netrc").write_text("machine")
    assert not tracking._has_key()
    assert f"no key for Weights & Biases: {home / '.netrc'} cannot be read (NetrcParseError)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_means_online(home, monkeypatch, name):
    monkeypatch.setenv(name, "0123")
    assert tracking._has_key()


@pytest.mark.parametrize("host", ["api.wandb.ai", "its own"])
def test_a_login_means_online(home, host):
    import wandb

    log_in(home / ".netrc", urlsplit(wandb.Settings().base_url).netloc if host == "its own" else host)
    assert tracking._has_key()


def test_a_login_lies_where_netrc_says(home, monkeypatch):
    monkeypatch.setenv("NETRC", "~/elsewhere")
    assert not tracking._has_key()
    log_in(home / "elsewhere", "api.wandb.ai")
    assert tracking._has_key()


@pytest.mark.parametrize("host", ["wandb.example.org", "wandb.example.org:8080"])
@pytest.mark.parametrize("place", ["settings", "environment"])
def test_a_login_to_a_server_of_ones_own_means_online(home, monkeypatch, host, place):
    """`wandb login --host` writes its address into W&B's settings."""
    if place == "settings":
        (home / ".config/wandb").mkdir(parents=True)
        (home / ".config/wandb/settings").write_text(f"[default]\nbase_url = https://{host}\n")
    else:
        monkeypatch.setenv("WANDB_BASE_URL", f"https://{host}/")
    log_in(home / ".netrc", "api.wandb.ai")
    assert not tracking._has_key()
    log_in(home / ".netrc", host)
    assert tracking._has_key()


def test_an_unknown_mode_is_refused(monkeypatch):
    with pytest.raises(UserError, match="auto, online, offline, disabled"):
        tracking.start_run({"tracking": {**SETTINGS["tracking"], "mode": "quiet"}}, "g", "n", {})
    monkeypatch.setenv("WANDB_MODE", "quiet")
    with pytest.raises(UserError, match="WANDB_MODE"):
        tracking.start_run(SETTINGS, "g", "n", {})


def test_the_lidar_picture_is_oriented_as_the_camera_sees_it(splits):
    """A return up and to the right of the axis appears in the upper right of the picture."""
    packed = make_packed(train=1, val=1, test=1)
    packed.range[:] = 50.0
    packed.range[0, 10, 10] = 20.0  # azimuth and zenith of -11 degrees: x and z are positive
    picture = tracking._coloured_by_height(load_split(packed, "train", torch.device("cpu")), 0)
    rows, columns = picture.any(axis=-1).nonzero()
    assert picture.shape == (64, 64, 3)
    assert rows.tolist() == [10]
    assert columns.tolist() == [53]
