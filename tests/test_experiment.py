"""``make exp``: what ``--set-param`` would make of params.yaml is checked before DVC queues or starts anything."""

import argparse
import random
import re
import shlex
import sys

import pytest
import yaml
from clone import ROOT, run

from cilp import experiment
from cilp.errors import UserError

PARAMS = (ROOT / "params.yaml").read_bytes()


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with the study's params.yaml, in which the command would run."""
    (tmp_path / "params.yaml").write_bytes(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["cilp.steps=0"], "cilp.steps must be at least 1; got 0."),
        (["seeds=[51,51]"], "seeds must be a list of one or more different whole numbers"),
        (["seeds=[]"], "seeds must be a list of one or more different whole numbers"),
        (["cilp.steps=many"], "cilp.steps must be of type int; got 'many'."),
        (["cilp.steps=500", "fusion.late.lr=-1"], "fusion.late.lr must be positive"),
        (["data.subset=99999"], "data.subset must be a whole number from 2 to 9,999; got 99999."),
        (["+cilp.momentum=1"], "cilp.momentum is no known param"),
        (["~cilp.steps"], "cilp.steps is missing"),
        (["cilp.stepps=5"], "-S cilp.stepps=5: Could not override 'cilp.stepps'; write KEY=VALUE"),
        (["cilp.steps"], "-S cilp.steps: Error parsing override 'cilp.steps'; write KEY=VALUE"),
        (["seeds=[51,52"], "-S seeds=[51,52: "),
        (["seeds.x=5"], "-S seeds.x=5: "),
        (["cilp.steps=glob(*)"], "is not supported"),
        (["other.yaml:cilp.steps=5"], "-S other.yaml: the study has one file of params, params.yaml; name none."),
        (["seeds=[51,", "52]"], "-S seeds=[51, -S 52]: "),
        (["seeds=[51,", "52]"], "; write KEY=VALUE, without blanks in SET, with a key of params.yaml."),
        (["cilp.steps=range(1,100000)"], "-S asks for 99,999 combinations; at most 1,000 are legal."),
    ],
)
def test_a_wrong_value_is_one_sentence(study, overrides, sentence):
    with pytest.raises(UserError) as refused:
        experiment.check_overrides(overrides)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (study / "params.yaml").read_bytes() == PARAMS


def test_each_point_of_a_grid_is_checked(study):
    assert experiment.check_overrides(["fusion.late.lr=2e-3,1e-3", "cilp.steps=10,20,30"]) == 6
    with pytest.raises(UserError, match=r"fusion\.late\.lr must be positive; got 0"):
        experiment.check_overrides(["cilp.steps=10,20", "fusion.late.lr=2e-3,1e-3,0"])


def test_a_wrong_file_is_refused_without_overrides(study):
    assert experiment.check_overrides([]) == 1
    (study / "params.yaml").write_bytes(PARAMS + b"more: 1\n")
    with pytest.raises(UserError, match="more is no known param"):
        experiment.check_overrides([])


def test_whatever_is_set_is_accepted_or_refused_in_one_sentence(study):
    draw = random.Random(51)
    keys = [
        f"{section}.{key}"
        for section, items in yaml.safe_load(PARAMS).items()
        if isinstance(items, dict)
        for key in items
    ]
    ordinary = ("1", "10", "0.5", "[51]")
    hostile = ("[]", "{}", "-1", "1e308", "nan", "null", "''", "'x y'", "true", "{a:1}", "[", "a,b", "${seeds}", "é")
    accepted = refused = 0
    for _ in range(100):
        change, sign = draw.choice(("", "", "", "+", "~")), draw.choice(("=", "=", "=", "", ".x="))
        override = change + draw.choice(keys) + sign + draw.choice(draw.choice((ordinary, hostile)))
        try:
            experiment.check_overrides([override])
            accepted += 1
        except UserError as error:
            assert "\n" not in str(error), override
            refused += 1
    assert accepted
    assert refused


def test_all_options_go_on_to_dvc_once_they_are_checked(study, monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: started.append(command))
    options = ["--queue", "-S", "cilp.steps=10", "--set-param=seeds=[1,2]", "--name", "short", "train_lidar"]
    monkeypatch.setattr(sys, "argv", ["experiment", *options])
    experiment.main()
    assert started == [[sys.executable, "-m", "cilp.pipeline.quick_dvc", "exp", "run", *options]]
    monkeypatch.setattr(sys, "argv", ["experiment", *options, "-Scilp.batch_size=0"])
    with pytest.raises(UserError, match=r"cilp\.batch_size"):
        experiment.main()
    assert len(started) == 1


def test_where_git_knows_of_no_author_it_is_told_of_one(study, monkeypatch):
    """Else DVC refuses to put aside what `make repro` has left uncommitted; whoever has a name keeps it."""
    monkeypatch.setenv("HOME", str(study))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    environments = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: environments.append(environment))
    monkeypatch.setattr(sys, "argv", ["experiment"])
    monkeypatch.setenv("GIT_AUTHOR_NAME", "me")
    monkeypatch.delenv("GIT_AUTHOR_EMAIL", raising=False)
    experiment.main()
    (study / ".gitconfig").write_text("[user]\nname = me\nemail = me@home\n")
    experiment.main()
    without, known = ({key: it.get(f"GIT_AUTHOR_{key}") for key in ("NAME", "EMAIL")} for it in environments)
    assert without == {"NAME": "me", "EMAIL": "cilp@localhost"} and known == {"NAME": "me", "EMAIL": None}


@pytest.mark.parametrize("how", ["--temp", "--queue"])
def test_code_that_a_copy_would_lack_is_named_before(study, monkeypatch, how):
    """DVC copies what git tracks, or has in its index."""
    started = []
    monkeypatch.setattr("os.execve", lambda *command: started.append(command))
    run(study, "git", "init", "--quiet")
    (study / ".gitignore").write_text("ignored.py\n")
    for name in ("src/cilp/models/fusion/maximum.py", "src/ignored.py", "notes.py", "src/notes.txt"):
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).touch()
    monkeypatch.setattr(sys, "argv", ["experiment", how])
    with pytest.raises(UserError, match=r"which lacks src/cilp/models/fusion/maximum\.py; `git add` what it needs"):
        experiment.main()
    for options in ([], [how, "-C", "src/cilp"]):  # in place; or copied as well
        monkeypatch.setattr(sys, "argv", ["experiment", *options])
        experiment.main()
    assert len(started) == 2
    run(study, "git", "add", "src/cilp")
    monkeypatch.setattr(sys, "argv", ["experiment", how])
    experiment.main()
    assert len(started) == 3


def test_the_command_ends_with_code_2_and_one_line_and_leaves_no_experiment(study):
    (study / "dvc.yaml").write_text("stages: {touch: {cmd: touch done, outs: [done]}}\n")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        run(study, *command)
    source = {"PYTHONPATH": str(ROOT / "src")}
    said = run(study, sys.executable, "-m", "cilp.experiment", "-S", "seeds=[51,51]", code=2, **source)
    assert said.startswith("error: seeds must be")
    assert said.count("\n") == 1
    assert not (study / "done").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/data.md", "docs/plain-metres.md"])
def test_what_the_pages_vary_can_be_varied_so(study, page):
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE))
    commands = re.findall(r"^dvc exp run .*", blocks.replace("\\\n", " "), flags=re.MULTILINE)
    assert commands
    options = argparse.ArgumentParser()
    options.add_argument("-S", "--set-param", action="append", default=[])
    for command in commands:
        experiment.check_overrides(options.parse_known_args(shlex.split(command, comments=True))[0].set_param)
