"""``make verify``: committed results come out again, and what does not is shown and left as it was."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clone import ENVIRONMENT, commit, run, set_params
from tiny import SEEDS, VARIANTS

from cilp.errors import UserError
from cilp.pipeline import record
from cilp.pipeline.warm import PREFIX
from cilp.verify import __main__ as command_line
from cilp.verify.clone import choose, committed_outputs, environment, forget_outputs, recorded_machine
from cilp.verify.compare import Difference, compare, figures, table

pytestmark = pytest.mark.timeout(420)

STAGE = "train_fusion@hadamard-maxpool"
LOCK = {
    "acquire": {"outs": [{"path": "data/raw"}]},
    "predict": {"deps": [{"path": "models/fusion"}], "outs": [{"path": "data/predictions.csv"}]},
    "train_fusion@late": {"deps": [{"path": "data/raw"}], "outs": [{"path": "models/fusion/late"}]},
    "train_fusion@add": {"deps": [{"path": "data/raw"}], "outs": [{"path": "models/fusion/add"}]},
}


def verify(project, *arguments, code=0, **environment):
    return run(project, sys.executable, "-m", "cilp.verify", *arguments, code=code, **environment)


def test_stages_run_in_the_order_of_the_pipeline_whatever_the_order_of_their_names():
    assert choose(["predict", "acquire", "train_fusion@late"], LOCK) == ["acquire", "train_fusion@late", "predict"]
    assert choose(["train_fusion"], LOCK) == ["train_fusion@add", "train_fusion@late"]
    with pytest.raises(UserError, match=r"^aquire is no stage with committed results; name one .*, such as acquire\.$"):
        choose(["aquire"], LOCK)


def as_json(**values):
    return {"metrics/a.json": json.dumps(values).encode()}


@pytest.mark.parametrize(
    ("old", "new", "exact", "tolerant"),
    [
        ({"test_accuracy": 0.9}, {"test_accuracy": 0.9}, 0, 0),
        ({"test_accuracy": 0.9}, {"test_accuracy": 0.9000000001}, 1, 0),
        ({"test_accuracy": 0.9}, {"test_accuracy": 0.87}, 1, 1),
        ({"test_accuracy": 0.9, "test_accuracy_std": 0.011}, {"test_accuracy": 0.87, "test_accuracy_std": 0.0}, 2, 0),
        ({"valid_loss": 2.0}, {"valid_loss": 2.4}, 1, 0),
        ({"valid_loss": 2.0}, {"valid_loss": 2.6}, 1, 1),
        ({"late": {"valid_loss": 2.0}}, {"late": {"valid_loss": 2.6}}, 1, 1),
        ({"valid_loss": 2.0}, {"valid_loss": float("nan")}, 1, 1),
        ({"parameters": 10}, {"parameters": 11}, 1, 1),
        ({"seeds": 3}, {"seeds": 3.0}, 1, 1),
        ({"a": 1.0}, {}, 1, 1),
        ({}, {"a": 1.0}, 1, 1),
        ({"a": 1.0}, {"a": None}, 1, 1),
    ],
)
def test_bytes_or_the_tolerance_decide(old, new, exact, tolerant):
    assert len(list(compare(as_json(**old), as_json(**new), exact=True))) == exact
    assert len(list(compare(as_json(**old), as_json(**new), exact=False))) == tolerant


def test_other_bytes_of_equal_figures_and_other_files_count_on_the_same_machine_alone():
    for path, old, new in (
        ("metrics/a.json", b'{"a":1}', b'{"a": 1}'),
        ("models/a", b"0123", b"4567"),
        ("p.png", b"\x89", b""),
    ):
        assert len(list(compare({path: old}, {path: new}, exact=True))) == 1, path
        assert not list(compare({path: old}, {path: new}, exact=False)), path
    name = "metrics/a.json"
    assert list(compare({name: b"{}"}, {}, exact=False)) == [Difference(name, "(file)", "there", "missing")]
    assert [one.key for one in compare({name: b"{"}, {name: b"{}"}, exact=False)] == ["(content)"]
    rows, name = b"seed,loss,samples\n51,0.5,10\n52,0.6,9\n", "plots/a.csv"
    for other in (rows.replace(b"0.6", b"0.7"), rows.replace(b"10", b"11")):
        assert not list(compare({name: rows}, {name: other}, exact=False)), other
    for other in (rows + b"53,0.1,1\n", rows.replace(b"52", b"53"), rows.replace(b"loss", b"cost")):
        assert list(compare({name: rows}, {name: other}, exact=False)), other


def test_shares_that_do_not_say_so_in_their_names_are_compared_as_such():
    old, new = ({"early-maxpool": {"beams_dropped": {"0.5": share}}} for share in (0.9, 0.87))
    name = "metrics/sensor_failures.json"
    (now,) = as_json(**new).values()
    (committed,) = as_json(**old).values()
    assert len(list(compare({name: committed}, {name: now}, exact=False))) == 1
    assert not list(compare({"metrics/other.json": committed}, {"metrics/other.json": now}, exact=False))


def test_lists_are_compared_figure_by_figure():
    old, new = ({"comparisons": [{"low": 0.1}, {"low": low}]} for low in (0.2, 0.2001))
    assert not list(compare(as_json(**old), as_json(**new), exact=False))
    found = list(compare(as_json(**old), as_json(**new), exact=True))
    assert [(one.key, one.committed, one.now) for one in found] == [("comparisons.1.low", 0.2, 0.2001)]


def test_of_a_table_in_the_cache_the_hash_alone_is_compared():
    old, new = ({"data/predictions.csv": digit * 32} for digit in (b"0", b"1"))
    assert [one.key for one in compare(old, new, exact=True)] == ["(content)"]
    assert not list(compare(old, new, exact=False))


def test_the_table_names_file_key_both_values_and_the_difference():
    lines = table(
        [Difference("metrics/a.json", "late.loss", 0.5, 0.75), Difference("models/a", "(content)", "ab", "cd")]
    )
    assert lines.splitlines()[0].split() == ["file", "key", "committed", "now", "difference"]
    assert lines.splitlines()[1].split() == ["metrics/a.json", "late.loss", "0.5", "0.75", "+0.25"]
    assert table([Difference("a", "b", 1, 2)] * 100).endswith("and 40 more")
    assert figures("a.csv", b"seed,loss\n51,0.5\n") == {"row 1, seed": 51, "row 1, loss": 0.5}


def test_committed_results_come_out_again(project):
    """Those of the project came of forks of one process, these of processes of their own."""
    output = verify(project, STAGE, "pretrain_cilp")
    assert f"{STAGE}: 4 outputs compared byte for byte: no differences." in output
    assert "pretrain_cilp: 4 outputs compared byte for byte: no differences." in output
    assert "8 outputs compared; all agree." in output
    assert not run(project, "git", "status", "--porcelain")
    assert not list((project / ".dvc/tmp").glob("verify-*"))


def test_what_does_not_come_out_again_is_found_and_left(changing, warm):
    """A figure that was tampered with; and what was trained with other params than those committed beside it: figures,
    curves and weights are others. What may have been recorded on another machine need not have the same bytes."""
    path = changing / "metrics/calibration.json"
    figures = json.loads(path.read_text())
    key = "expected_calibration_error"
    is_so = figures["lidar"][key]
    figures["lidar"][key] = claimed = is_so + 1.0
    path.write_text(json.dumps(figures, indent=2) + "\n")
    cost = min((changing / "costs").rglob("*.json"))  # with which it is open what a stage that has none ran on
    cost.write_text(json.dumps({**json.loads(cost.read_text()), "device": "another"}))
    set_params(changing, {"seeds": [SEEDS[0], 99]})
    commit(changing, "tampered with, as if on another machine, and with another seed")
    output = verify(changing, STAGE, "calibration", "significance", code=1, **warm)
    assert "calibration: 1 output compared within the tolerance, since recorded on a machine that costs/ does" in output
    row = next(line for line in output.splitlines() if line.startswith("metrics/calibration.json"))
    assert row.split() == ["metrics/calibration.json", f"lidar.{key}", str(claimed), str(is_so), "-1"]
    assert re.search(r"significance: 1 output compared .* does not name: no differences, nor in any byte", output)
    assert f"{STAGE}: 4 outputs compared byte for byte: " in output
    assert re.search(r"metrics/fusion/hadamard-maxpool\.csv +row 2, seed +52 +99 +\+47", output)
    assert re.search(r"^models/fusion/hadamard-maxpool +\(content\)", output, flags=re.MULTILINE)
    assert not re.search(r"hadamard-maxpool\.csv +row 1, valid", output)  # the first seed is the same
    assert "What is committed was left as it is." in output
    assert json.loads(path.read_text()) == figures
    assert not run(changing, "git", "status", "--porcelain")


def test_a_stage_reads_what_is_committed_and_not_what_one_before_it_has_just_written(changing, warm):
    """The code of ``pack`` has become one that halves distances, which a contact sheet would show."""
    script = changing / "stages/pack.py"
    save = "    save(packed, TARGET)\n"
    assert save in script.read_text()
    script.write_text(script.read_text().replace(save, f"    packed.range.div_(2)\n{save}"))
    commit(changing, "other code, the results of the one before")
    output = verify(changing, "draw_scenes", "pack", code=1, **warm)
    assert "pack: 1 output compared byte for byte: 1 difference." in output
    assert re.search(r"^data/packed\.pt +\(content\)", output, flags=re.MULTILINE)
    assert "draw_scenes: 1 output compared byte for byte: no differences." in output


def test_a_cache_that_lacks_what_is_to_be_read_is_said_with_the_cure(changing):
    (packed,) = record.parse((changing / "dvc.lock").read_text())["pack"]["outs"]
    cached = changing / ".dvc/cache/files/md5" / packed["md5"][:2] / packed["md5"][2:]
    away = cached.rename(changing / ".git/packed.pt")
    try:
        output = verify(changing, "draw_scenes", code=2)
    finally:
        away.rename(cached)
    assert output == (
        "error: DVC's cache lacks some of data/packed.pt, which is to be read; run `dvc pull` or `dvc repro` first.\n"
    )


def test_where_nothing_can_be_compared_nothing_is_said_to_agree(changing, warm):
    """Other bytes of data, as if recorded on another machine."""
    lock, cost = changing / "dvc.lock", min((changing / "costs").rglob("*.json"))
    (packed,) = record.parse(lock.read_text())["pack_random_size"]["outs"]
    lock.write_text(lock.read_text().replace(packed["md5"], "f" * 32))
    cost.write_text(json.dumps({**json.loads(cost.read_text()), "device": "another"}))
    commit(changing, "other data, as if on another machine")
    output = verify(changing, "pack_random_size", code=2, **warm)
    assert "nothing that can be compared" in output and "agree" not in output


def test_the_machine_of_a_stage_is_that_of_its_own_costs_or_the_one_that_all_name(tmp_path):
    def measured(name, device):
        path = tmp_path / f"costs/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"device": device, "python": "3.11.7"}))

    lock = {name: {"outs": [{"path": f"costs/{name}.json"}]} for name in ("a", "b/c")} | {"d": {"outs": []}}
    assert recorded_machine(tmp_path, lock, "d") == {}
    measured("a", "one")
    measured("b/c", "one")
    assert recorded_machine(tmp_path, lock, "d")["device"] == "one"
    measured("b/c", "another")
    assert [recorded_machine(tmp_path, lock, name).get("device") for name in lock] == ["one", "another", None]


def test_what_a_stage_does_not_write_anew_is_missing_and_not_equal(tmp_path):
    """DVC leaves outputs that persist where they are, as figures and plots do, and misses those that are not there."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/a.json").write_text("{}")
    (tmp_path / "models/a").mkdir(parents=True)
    lock = {"a": {"outs": [{"path": path, "md5": "0"} for path in ("metrics/a.json", "models/a", "plots/gone.png")]}}
    before = committed_outputs(tmp_path, lock, "a")
    forget_outputs(tmp_path, lock, "a")
    assert not (tmp_path / "metrics/a.json").exists() and not (tmp_path / "models/a").exists()
    found = list(compare(before, committed_outputs(tmp_path, lock, "a"), exact=True))
    assert found == [Difference("metrics/a.json", "(file)", "there", "missing")]


@pytest.mark.parametrize(
    ("by_make", "number", "code"),
    [(False, signal.SIGTERM, 143), (True, signal.SIGTERM, 143), (True, signal.SIGINT, 130)],
)
def test_who_ends_it_ends_the_stage_and_leaves_nothing(project, by_make, number, code):
    """A termination, or Ctrl-C, which the terminal tells all that it has in the foreground."""
    here = str(Path(sys.executable).parent)  # and neither DVC nor stages that tests have started at once
    path = os.pathsep.join([here, *(name for name in ENVIRONMENT["PATH"].split(os.pathsep) if PREFIX not in name)])
    command = [sys.executable, "-m", "cilp.verify", STAGE]
    if by_make:
        command = [sys.executable, "-m", "cilp.pipeline.warm", "python", *command[1:]]
    verifying = subprocess.Popen(
        command,
        cwd=project,
        env={**ENVIRONMENT, "PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        while "2 seeds on" not in (line := verifying.stdout.readline()):
            assert line, "it ended"
        if number == signal.SIGINT:
            os.killpg(verifying.pid, number)
        else:
            verifying.send_signal(number)
        output, _ = verifying.communicate(timeout=60)  # returns once the stage has let go of its output as well
    finally:
        verifying.kill()
    assert verifying.returncode == code, output
    assert "compared" not in output and "Traceback" not in output
    assert not list((project / ".dvc/tmp").glob("verify-*"))
    assert not run(project, "git", "status", "--porcelain")


@pytest.mark.parametrize("model", [*(f"fusion/{name}" for name in VARIANTS), "lidar", "cilp", "projector", "rgb2lidar"])
def test_another_seed_gives_other_weights(project, model):
    one, other = (torch.load(project / f"models/{model}/seed-{s}.pt", weights_only=True)["weights"] for s in SEEDS)
    trained = [key for key in one if one[key].is_floating_point() and not torch.equal(one[key], other[key])]
    assert any(key.endswith("weight") for key in trained)


def test_dvc_and_stages_are_of_this_python_or_start_at_once(monkeypatch):
    here, warm = str(Path(sys.executable).parent), f"/tmp/{PREFIX}1/bin"
    for path, expected in ((f"{warm}:/bin", f"{warm}:{here}:/bin"), (f"/other:{here}", f"{here}:/other:{here}")):
        monkeypatch.setenv("PATH", path)
        assert environment()["PATH"] == expected


def test_an_unknown_stage_is_refused_in_one_sentence(project):
    output = verify(project, "train_fusion@hadamard-maxpol", code=2)
    assert output == (
        "error: train_fusion@hadamard-maxpol is no stage with committed results; name one that `dvc stage list` shows, "
        f"such as {STAGE}.\n"
    )
    assert "within 0.02 or 25 percent" in " ".join(command_line.__doc__.split())
