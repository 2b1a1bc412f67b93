"""A run that is interrupted goes on where it was, and ends as if nothing had happened."""

import shutil
import sys

import pytest
import torch
from synthetic import make_packed

from cilp.classifiers.course import Course, OneCycleParams
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.models import fusion
from cilp.models.embedder import EmbedderParams
from cilp.training import unfinished
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.cost import CostMeter
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.unfinished import Unfinished, UnfinishedRuns

CPU = torch.device("cpu")
STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def device():
    prepare_device("cpu")


@pytest.fixture(autouse=True)
def saved_at_every_validation(monkeypatch):
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN_SAVES", 0.0)


class Killed(BaseException):
    """What no handler in between catches."""


def classifier(packed, state=None, on_validation=lambda figures: None):
    train, valid = (load_split(packed, split, CPU) for split in ("train", "val"))
    params = TrainingParams(epochs=4, batch_size=13, lr=1e-3, lr_min=1e-6)  # two steps an epoch
    run = Run(1, "test", on_validation, state)
    return train_classifier(lambda: fusion.build("add", "strided", 50.0), train, valid, params, run)


def contrastive(packed, state=None):
    train, valid = (load_pairs([(packed, packed.rows(split))], CPU) for split in ("train", "val"))
    params = CilpParams(
        steps=STEPS, batch_size=4, schedule="1cycle", lr=1e-3, temperature="learned", temperature_lr=1e-2,
        weight_decay=1e-2, twins=True, mirror=True, permute_colours=True, unlabelled=False, validate_every=3,
    )  # fmt: skip
    embedder = EmbedderParams("shading", (0.0, 25.0, 0.0), 5.0, True, "he")
    return pretrain(train, valid, params, embedder, Run(1, "test", unfinished=state))


def fusion_course(packed, state=None):
    """With all that draws by itself, modality dropout too."""
    train, valid = (load_split(packed, split, CPU) for split in ("train", "val"))
    course = Course(STEPS, batch_size=4, twins=True, mirror=True, permute_colours=True, validate_every=3)
    arguments = {"fusion": "add", "downsampling": "strided", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0}
    own = OwnParams("he", modality_dropout=0.5, auxiliary_losses=True)
    return train_fusion(
        arguments, train, valid, course, OneCycleParams(1e-3, 1e-2), own, Run(1, "test", unfinished=state)
    )  # fmt: skip


def killed_at(monkeypatch, step, run, *args):
    """Run until the backward pass of a step."""
    taken = iter(range(1, STEPS + 1))

    def backward(loss, *rest, **kwargs):
        if next(taken) == step:
            raise Killed
        return original(loss, *rest, **kwargs)

    original = torch.Tensor.backward
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch.Tensor, "backward", backward)
        run(*args)


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        (classifier, range(1, STEPS + 1)),
        (contrastive, (1, 4, 7, STEPS)),  # the first, after a validation, after a pass, the last
        (fusion_course, (1, 4, 7, STEPS)),
    ],
)
def test_killed_at_any_step_it_ends_with_the_same_bits(run, steps, tmp_path, monkeypatch):
    packed = make_packed(12, 3, 2)
    undisturbed = run(packed)
    for step in steps:
        state = Unfinished(tmp_path / f"{step}.pt", "mine")
        killed_at(monkeypatch, step, run, packed, state)
        killed_at(monkeypatch, 2, run, packed, state) if step == 4 else None  # twice
        done = run(packed, state)
        assert done.history == undisturbed.history
        for ours, theirs in zip(done.model.state_dict().values(), undisturbed.model.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)


def test_it_takes_no_step_twice_but_those_since_the_last_validation(tmp_path, monkeypatch):
    packed, state = make_packed(12, 3, 2), Unfinished(tmp_path / "state.pt", "mine")
    killed_at(monkeypatch, 8, classifier, packed, state)  # seven steps taken, six of them in whole epochs
    taken = []
    with monkeypatch.context() as patch:
        original = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", lambda loss: (taken.append(1), original(loss)))
        classifier(packed, state)
        assert len(taken) == STEPS - 6
        classifier(packed, state)  # a finished run is not repeated
        assert len(taken) == STEPS - 6


def test_what_was_seen_before_is_told_again(tmp_path, monkeypatch):
    """The mirror of a run that goes on shows the whole of it."""
    packed, state = make_packed(12, 3, 2), Unfinished(tmp_path / "state.pt", "mine")
    killed_at(monkeypatch, 8, classifier, packed, state)
    told = []
    assert classifier(packed, state, told.append).history == told


def test_another_run_does_not_go_on_from_it(tmp_path):
    data = tmp_path / "data.pt"
    data.write_bytes(b"1")
    runs = UnfinishedRuns(tmp_path / "runs", CPU, [data], 1.0)
    runs.of(51).save({"done": 3})
    assert runs.of(51).load(CPU) == {"done": 3}
    assert runs.of(52).load(CPU) is None
    (tmp_path / "runs/seed-52.pt").write_bytes((tmp_path / "runs/seed-51.pt").read_bytes())
    assert runs.of(52).load(CPU) is None
    assert UnfinishedRuns(tmp_path / "runs", CPU, [data], 2.0).of(51).load(CPU) is None
    assert UnfinishedRuns(tmp_path / "runs", CPU, [data], 1.0).of(51).load(CPU) == {"done": 3}
    data.write_bytes(b"22")
    assert UnfinishedRuns(tmp_path / "runs", CPU, [data], 1.0).of(51).load(CPU) is None
    runs.clear()
    assert runs.of(51).load(CPU) is None


def test_other_code_does_not_go_on_from_it(tmp_path, monkeypatch):
    """Be it imported already or not: networks are imported when they are built."""
    package, script, runs = tmp_path / "cilp", tmp_path / "train.py", tmp_path / "runs"
    shutil.copytree(unfinished.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    script.write_text("a = 1")
    monkeypatch.setattr(unfinished, "PACKAGE", package)
    monkeypatch.setattr(sys, "argv", [str(script)])
    UnfinishedRuns(runs, CPU, []).of(51).save({"done": 3})
    for path in (package / "models/fusion/late.py", package / "models/layers/gpu/winner_kernels.py", script):
        before = path.read_bytes() if path.exists() else None
        path.write_bytes((before or b"") + b"\n# other")
        assert UnfinishedRuns(runs, CPU, []).of(51).load(CPU) is None
        path.unlink() if before is None else path.write_bytes(before)
        assert UnfinishedRuns(runs, CPU, []).of(51).load(CPU) == {"done": 3}


def test_another_machine_does_not_go_on_from_it(tmp_path, monkeypatch):
    UnfinishedRuns(tmp_path, CPU, []).of(51).save({"done": 3})
    monkeypatch.setattr(unfinished, "describe", lambda device: {"device": "another CPU, 2 threads"})
    assert UnfinishedRuns(tmp_path, CPU, []).of(51).load(CPU) is None


def test_peak_memory_is_that_of_all_parts():
    first, then = CostMeter(CPU), CostMeter(CPU)
    first.count(10, 1.0)
    state = first.state_dict()
    assert state["peak"] > 1e6
    then.load_state_dict({**state, "peak": 1e15})
    assert then.finish()["peak_memory_mb"] == 1e9


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04cos\nsystem\n"])
def test_a_state_that_cannot_be_read_is_no_state(tmp_path, content, capsys):
    (tmp_path / "state.pt").write_bytes(content)
    assert Unfinished(tmp_path / "state.pt", "mine").load(CPU) is None
    assert "begins anew" in capsys.readouterr().out


def test_a_damaged_state_is_no_state(tmp_path, capsys):
    """To torch a changed weight is as good as any other, but the run would end with other bits."""
    path = tmp_path / "state.pt"
    state = Unfinished(path, "mine")
    state.save({"weight": torch.full((1000,), 1.5)})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((8,), 1.5).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert state.load(CPU) is None
    assert "begins anew" in capsys.readouterr().out


def test_a_gpu_that_is_done_at_once_saves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN_SAVES", 3600.0)
    classifier(make_packed(12, 3, 2), Unfinished(tmp_path / "state.pt", "mine"))
    assert not list(tmp_path.iterdir())
