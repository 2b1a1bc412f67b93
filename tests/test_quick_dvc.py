"""DVC as `make repro` runs it: it writes the same bytes, and what it parses less is what it would have parsed."""

import datetime
import importlib.metadata
import json
import re
import sys

import pytest
from clone import ROOT, committed, run
from quickened import plain_again

from cilp.pipeline.quick_dvc import Remembering, quicken, records

ANOTHER = {
    "cmd": "python stages/another.py --text 'a: b' # no comment, of more than eighty columns, where YAML breaks it",
    "deps": [{"path": "src/cilp/another module.py", "hash": "md5", "md5": "0" * 32, "size": 1}],
    "params": {"params.yaml": {"a": "1", "b": "yes", "c": None, "d": [], "e": 1e-6, "f": True, "g": {"h": [1, 2.5]}}},
    "outs": [{"path": "data/another", "hash": "md5", "md5": "0" * 32 + ".dir", "size": 0, "nfiles": 0}],
}


@pytest.fixture(scope="module", autouse=True)
def _dvc():
    """A second to import, which is not for every worker to spend when it collects tests."""
    global dpath, dvcfile, output, reproduce, rwlock, strictyaml, Stage, _yaml
    import dpath
    from dvc import dvcfile, output, rwlock
    from dvc.repo import reproduce
    from dvc.stage import Stage
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml


@pytest.fixture
def quick(monkeypatch):
    """Calls ``quicken``, which is taken back at the end; counts texts that are parsed."""
    parsed = []

    plain = _yaml.parse_yaml

    def parse(text, path, typ="safe"):
        parsed.append(text)
        return plain(text, path, typ)

    def quickly():
        quicken()
        return parsed

    for module in (_yaml, strictyaml):
        monkeypatch.setattr(module, "parse_yaml", parse)
    plain_again(monkeypatch)
    return quickly


@pytest.fixture(scope="module")
def lock():
    """The first stages of the committed lock file: several of a matrix, params of any kind, folders."""
    head, stages = records(committed("dvc.lock"))
    return head + "".join([*stages.values()][:9])


def new(stages):
    stages["another"] = ANOTHER
    stages["one more"] = ANOTHER


def changed(stages):
    for name in [*stages][1:3]:
        stages[name] = {**stages[name], "outs": ANOTHER["outs"]}


def in_another_order(stages):
    name = [*stages][2]
    stages[name] = dict(reversed([*stages[name].items()]))


def gone(stages):
    del stages[[*stages][1]]


def the_same(stages):
    stages.update({name: dict(stage) for name, stage in stages.items()})


def written_both_ways(quick, path, text, change):
    """What becomes of a lock file, or of none, by DVC alone and quickened."""
    for prepare in (lambda: None, quick):
        prepare()
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with dvcfile.modify_yaml(path) as data:
            change(data)
        yield path.read_text()


@pytest.mark.parametrize("change", [new, changed, in_another_order, gone, the_same])
def test_a_lock_file_is_written_with_the_same_bytes(quick, tmp_path, lock, change):
    plain, quickened = written_both_ways(quick, tmp_path / "dvc.lock", lock, lambda data: change(data["stages"]))
    assert plain == quickened
    assert (plain == lock) == (change is the_same)
    assert [path.name for path in tmp_path.iterdir()] == ["dvc.lock"]


@pytest.mark.parametrize(
    "text", [None, "", "schema: '2.0'\n", "schema: '2.0'\nstages: {}\n", "schema: '2.0'\nstages:\n"]
)
def test_and_so_is_the_first_of_all(quick, tmp_path, text):
    def first(data):
        data.update({"schema": "2.0"})
        data["stages"] = {**(data.get("stages") or {}), "another": ANOTHER}

    plain, quickened = written_both_ways(quick, tmp_path / "dvc.lock", text, first)
    assert plain == quickened


@pytest.mark.parametrize("place", ["before", "behind"])
def test_other_text_in_it_is_kept_as_dvc_keeps_it(quick, tmp_path, lock, place):
    text = f"datasets: []\n{lock}" if place == "before" else f"{lock}datasets: []\n"
    plain, quickened = written_both_ways(quick, tmp_path / "dvc.lock", text, lambda data: changed(data["stages"]))
    assert plain == quickened


def test_one_stage_after_the_other_parses_the_file_once(quick, tmp_path, lock):
    parsed = quick()
    path = tmp_path / "dvc.lock"
    path.write_text(lock)
    for number in range(5):
        with dvcfile.modify_yaml(path) as data:
            data["stages"][f"stage {number}"] = ANOTHER
    assert sum(lock in text for text in parsed) == 1
    assert list(_yaml.load_yaml(path)["stages"])[-5:] == [f"stage {number}" for number in range(5)]
    assert _yaml.load_yaml(path) == strictyaml.load(path)[0] == _yaml.loads_yaml(path.read_text())


def test_what_fails_in_between_leaves_the_file(quick, tmp_path, lock):
    quick()
    path = tmp_path / "dvc.lock"
    path.write_text(lock)
    with pytest.raises(KeyError), dvcfile.modify_yaml(path) as data:
        new(data["stages"])
        raise KeyError
    assert path.read_text() == lock


def test_what_a_person_wrote_keeps_its_comments(quick, tmp_path):
    quick()
    path = tmp_path / "params.yaml"
    before = (ROOT / "params.yaml").read_text()
    path.write_text(before)
    with dvcfile.modify_yaml(path) as data:
        data["cilp"]["steps"] = 7
    assert "steps: 7 " in path.read_text() and path.read_text().count("#") == before.count("#")


def test_a_text_is_parsed_once_and_each_caller_may_change_what_it_got():
    parsed = []

    def parse(text, path, typ="safe"):
        parsed.append(text)
        return {"a": [text]}

    remembering = Remembering(parse)
    remembering("1", "params.yaml")["a"].append("changed")
    assert remembering("1", "params.yaml") == {"a": ["1"]} and parsed == ["1"]
    assert remembering("2", "params.yaml") == {"a": ["2"]} and parsed == ["1", "2"]
    remembering("2", "params.yaml", typ="rt")
    assert parsed == ["1", "2", "2"]


def refuse(text, path, typ="safe"):
    raise AssertionError(text)


def test_the_next_command_knows_the_texts(tmp_path):
    meanings = {"1": {"b": [1, 2.5, None, True, 1e-06, "é"], "a": {}}, "2": [], "\udc80": float("inf")}
    first = Remembering(lambda text, path: meanings[text])
    for text in meanings:
        first(text, "params.yaml")
    first.save(tmp_path / "kept.json")
    second = Remembering(refuse)
    second.load(tmp_path / "kept.json")
    assert [repr(second(text, "params.yaml")) for text in meanings] == [repr(value) for value in meanings.values()]
    (tmp_path / "kept.json").unlink()
    second.save(tmp_path / "kept.json")
    assert not list(tmp_path.iterdir()), "nothing was learnt"


@pytest.mark.parametrize("meaning", [{1: "a key that JSON makes a text"}, {"a": datetime.date(2026, 1, 1)}, (1, 2)])
def test_what_is_another_thing_as_json_is_parsed_by_the_next_command_too(tmp_path, meaning):
    first = Remembering(lambda text, path: meaning)
    first("1", "params.yaml")
    first.save(tmp_path / "kept.json")
    second = Remembering(lambda text, path: "parsed")
    second.load(tmp_path / "kept.json")
    assert second("1", "params.yaml") == "parsed"


@pytest.mark.parametrize("text", ["", "[]", "{", "\udc80"])
def test_a_file_of_texts_that_is_none_is_as_good_as_none(tmp_path, text):
    (tmp_path / "kept.json").write_bytes(text.encode(errors="surrogateescape"))
    remembering = Remembering(lambda text, path: "parsed")
    for name in ("kept.json", "none/kept.json"):
        remembering.load(tmp_path / name)
        assert remembering("1", "params.yaml") == "parsed"
        remembering.save(tmp_path / name)
    assert json.loads((tmp_path / "kept.json").read_text()) and not (tmp_path / "none").exists()


def test_what_cannot_be_parsed_is_refused_each_time(quick, tmp_path):
    quick()
    path = tmp_path / "dvc.lock"
    path.write_text("stages: [")
    for _ in range(2):
        with pytest.raises(_yaml.YAMLFileCorruptedError), dvcfile.modify_yaml(path):
            pass
    assert path.read_text() == "stages: ["


def test_the_committed_lock_file_is_all_records():
    """Else none of this would be any quicker."""
    text = committed("dvc.lock")
    head, stages = records(text)
    assert head == "schema: '2.0'\nstages:\n" and head + "".join(stages.values()) == text
    assert len(stages) == len(re.findall(r"^  \S", text, flags=re.MULTILINE)) > 50


def test_as_a_command_it_is_dvc(tmp_path):
    command = (sys.executable, "-m", "cilp.pipeline.quick_dvc")
    environment = {"PYTHONPATH": str(ROOT / "src")}
    assert run(tmp_path, *command, "--version", **environment).strip() == importlib.metadata.version("dvc")
    assert "not inside of a DVC repository" in run(tmp_path, *command, "repro", code=253, **environment)
