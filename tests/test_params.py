from dataclasses import dataclass

import pytest

from cilp import params
from cilp.errors import UserError
from cilp.training.classifier import TrainingParams


@dataclass(frozen=True)
class Section:
    count: int
    rate: float
    span: tuple[float, float]
    path: str | None

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(f"count must be at least 1; got {self.count}.")


GOOD = {"count": 3, "rate": 1, "span": [0, 2.5], "path": None}


def test_values_arrive_typed():
    assert params.section({"a": {"b": GOOD}}, "a.b", Section) == Section(3, 1.0, (0.0, 2.5), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, r"a\.count must be at least 1; got 0"),
        ({"count": "3"}, r"a\.count must be of type int; got '3'"),
        ({"count": True}, r"a\.count must be of type int"),
        ({"count": 2.0}, r"a\.count must be of type int"),
        ({"rate": "1e-3"}, r"a\.rate must be of type float"),
        ({"span": [1.0]}, r"a\.span must be a list of 2 values"),
        ({"span": [1.0, "x"]}, r"a\.span\[1\] must be of type float"),
        ({"path": 3}, r"a\.path must be of type str"),
        ({"cuont": 3}, r"a\.cuont is no known param; did you mean count\?"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        params.section({"a": {**GOOD, **change}}, "a", Section)


def test_missing_keys_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.path is missing"):
        params.section({"a": {key: GOOD[key] for key in ("count", "rate", "span")}}, "a", Section)
    with pytest.raises(UserError, match=r"a\.b is missing"):
        params.section({"a": {}}, "a.b", Section)
    with pytest.raises(UserError, match="run from the repository's root"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 2020-13-45", "is no valid YAML: month must be in"),
        (b"a: \xff", "is no UTF-8 text"),
        (b"a: [", "is no valid YAML"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("number", ["1e-05", "1e5", "-2E+3", "1.5e-3", ".5", "1.0e-6", "3.0"])
def test_numbers_are_numbers_however_they_are_written(tmp_path, number):
    """``dvc exp run --set-param lr=0.00001`` writes 1e-05."""
    (tmp_path / "params.yaml").write_text(f"a: {number}\nb: v1e5\nc: 7\n")
    loaded = params.load(tmp_path / "params.yaml")
    assert loaded == {"a": float(number), "b": "v1e5", "c": 7}
    assert isinstance(loaded["a"], float)


@pytest.mark.parametrize("text", ["a: [1", "- 1", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_plain_mapping_is_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml"):
        params.load(tmp_path / "params.yaml")


def test_choices_whole_numbers_and_names():
    settings = {"source": "kaggle", "scenes": 0, "fusion": ["late", "late"], "down": [{"a": 1}]}
    with pytest.raises(UserError, match="legal values: simulate, folder"):
        params.choice(settings, "source", ("simulate", "folder"))
    with pytest.raises(UserError, match="from 1 to 9,999; got 0"):
        params.whole(settings, "scenes", 1, 9999)
    for key in ("fusion", "down", "source"):
        with pytest.raises(UserError, match="different names out of late, add"):
            params.names(settings, key, ("late", "add"))
    assert params.names({"fusion": ["add"]}, "fusion", ("late", "add")) == ["add"]


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"lr_min": 1.0}, {"lr_min": -1.0}]
)
def test_training_params_have_ranges(change):
    protocol = {"epochs": 20, "batch_size": 32, "lr": 1e-3, "lr_min": 1e-6, **change}
    with pytest.raises(UserError, match=rf"fusion\.late\.{next(iter(change))} must"):
        params.section({"fusion": {"late": protocol}}, "fusion.late", TrainingParams)
