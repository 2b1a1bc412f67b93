"""Whatever ``params.yaml`` holds, the check accepts it and so does every stage, or one sentence says what is wrong.

Seeded, about 2,000 cases. ``CILP_FUZZ=100000 python -m pytest tests/test_fuzz_params.py`` tries more, and others.
"""

import os
import random
import re
import runpy
import signal
import subprocess
import sys
from copy import deepcopy
from datetime import date
from pathlib import Path

import pytest
import yaml
from clone import ENVIRONMENT, ROOT

from cilp import params
from cilp.classifiers import fewer_scenes, random_size, trainings
from cilp.classifiers.fusion import FusionProtocol
from cilp.contrastive.pretraining import CilpParams
from cilp.contrastive.projection import ProjectorParams
from cilp.errors import UserError
from cilp.evaluation.audit import conditions
from cilp.evaluation.failures import FailureParams
from cilp.evaluation.significance import SignificanceParams
from cilp.models.blocks import DOWNSAMPLINGS
from cilp.models.embedder import EmbedderParams
from cilp.models.fusion import FUSIONS, TwoEncoders, kind
from cilp.plain_yaml import read
from cilp.raw.folder import FolderParams
from cilp.raw.hub import HubParams
from cilp.raw.kaggle import KaggleParams
from cilp.raw.simulate import MOST_SCENES
from cilp.schema import check
from cilp.simulation.scenes import SimulateParams
from cilp.simulation.varied import of_random_size
from cilp.subset.splits import CHOICES
from cilp.tracking import MODES
from cilp.training.classifier import TrainingParams
from cilp.training.device import DEVICES
from cilp.training.seeds import check_seeds

pytestmark = pytest.mark.timeout(int(os.environ.get("CILP_FUZZ", "2000")) // 20 + 60)

CASES = int(os.environ.get("CILP_FUZZ", "2000"))
SEED = 51 if CASES == 2000 else CASES
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
STEPS = re.search(r"^cilp:.*\n  (steps: \d+)", TEXT, re.MULTILINE)[1]
DEFAULTS = params.load(ROOT / "params.yaml")

LAUGHS = []
for _ in range(12):
    LAUGHS = [LAUGHS] * 9
RECURSIVE = {}
RECURSIVE["self"] = RECURSIVE
DEEP = 0
for _ in range(3000):
    DEEP = [DEEP]
VALUES = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        51,
        1600,
        1601,
        10_000,
        2**31,
        2**32,
        2**53,
        2**63,
        -(2**64),
        10**400,
        10**5000,
    ),
    *(0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e-9, 1e9, 1e39, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "1",
        "1e-3",
        "0x10",
        "true",
        "null",
        "late",
        "auto",
        "simulate",
        "folder",
        "hub",
        "a/b",
        "../..",
        "é",
        "\0",
    ),
    *("two\nlines", "\ud800", "\u202e", "x" * 5000, "${seeds}", "{", "a|b", "~"),
    *([], {}, [[]], [{}], [None], [51], [51, 51], [0, 0], [1.0, 2.0], [2.0, 1.0], ["late"], ["late", "late"], ["x"]),
    *([float("nan")] * 2, [1e308, 1e308], [10**400], [True, False], list(range(2000)), [0.0, 1.0, 2.0], ["late", 3]),
    *({"a": {"b": {"c": 1}}}, {1: 2}, {None: 1}, {"": 0}, {"x" * 200: 0}, {"lr": "1e-3"}, {"title": 3}, {(1, 2): 3}),
    *(LAUGHS, RECURSIVE, DEEP, date(2026, 1, 1), b"bytes", {1, 2}, (1, 2), 1j, object()),
]
"""What a leaf or a section may be set to; whatever else YAML can hold is refused by its type."""


def places(value, path=()):
    """The path of every mapping, list and leaf."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = list(places(DEFAULTS))


def at(settings, path):
    for key in path:
        settings = settings[key]
    return settings


def dotted(path):
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def take(settings):
    """Type ``settings`` as the stages do, each by its own dataclass and its own checks, and not by the schema."""
    source = params.choice(settings, "data.source", ("simulate", "folder", "kaggle", "hub"))
    for key in ("subset", "test", "scenes"):
        params.whole(settings, f"data.{key}", 1, MOST_SCENES)
    data = settings["data"]
    assert 0 < round(data["subset"] * data["valid_fraction"]) < data["subset"]
    assert data["splits"] in CHOICES and data["split_seed"] >= 0 and data["unlabelled"] >= 0
    assert source != "simulate" or data["scenes"] >= data["subset"] + data["test"]
    for key, schema in (
        ("data.simulate", SimulateParams),
        ("data.folder", FolderParams),
        ("data.kaggle", KaggleParams),
        ("data.hub", HubParams),
        ("embedder", EmbedderParams),
        ("lidar", TrainingParams),
        ("cilp", CilpParams),
        ("projector", ProjectorParams),
        ("rgb2lidar", TrainingParams),
        ("significance", SignificanceParams),
        ("sensor_failures", FailureParams),
        ("data_efficiency.head", TrainingParams),
        *((f"fusion.{name}", FusionProtocol) for name in FUSIONS),
    ):
        params.section(settings, key, schema)
    if source == "folder":
        params.section(settings, "data.folder", FolderParams).source()
    check_seeds(params.lookup(settings, "seeds"))
    params.choice(settings, "device", DEVICES)
    params.choice(settings, "tracking.mode", MODES)
    params.names(settings, "variants.fusion", tuple(FUSIONS))
    params.names(settings, "variants.downsampling", DOWNSAMPLINGS)
    params.whole(settings, "cilp_ablation.pairs", 1, 10**9)
    params.whole(settings, "audit.scenes", 1, 100_000)
    conditions(settings)
    sizes = random_size.sizes(settings)
    for name in FUSIONS:
        sizes.slowed(params.section(settings, f"fusion.{name}", FusionProtocol))
    for section in ("random_size", "fusion_course"):
        trainings.seeds_of(settings, section)
    for name in settings["fusion_course"]["auxiliary_losses"]:
        assert issubclass(kind(name), TwoEncoders)
    of_random_size(settings)
    fewer_scenes.protocol_of(settings)
    assert settings["data_efficiency"]["fusion"] in FUSIONS and set(settings["modality_dropout"]["fusion"]) <= set(
        FUSIONS
    )
    for name, recipe in settings["cilp_ablation"]["recipes"].items():
        assert isinstance(recipe.get("title", name), str)
        for section, schema in (("cilp", CilpParams), ("embedder", EmbedderParams)):
            params.section({section: settings[section] | recipe.get(section, {})}, section, schema)


def said(settings):
    """What the check says against ``settings``, one sentence; None if it accepts them, and then the stages do."""
    try:
        check(settings)
    except UserError as error:
        text = str(error)
        assert text.isprintable() and text.endswith(".") and 10 < len(text) < 12_000, text
        assert re.search(r"\b(must|legal|missing|no known|keep|lower|at most|needs|is empty)\b", text), text
        return text
    take(settings)
    return None


RELATED = {
    "data": r"data\.(scenes|valid_fraction|folder\.path|simulate\.distance)|batch_size|data_efficiency|random_size",
    "random_size": r"batch_size|simulate\.distance",
    "data_efficiency": "lr_min",
    "fusion": "lr_min",
    "lidar": "lr_min",
    "rgb2lidar": "lr_min",
    "projector": "lr_min",
    "cilp": "batch_size",
    "cilp_ablation": "batch_size",
    "audit": r"simulate\.distance",
}
"""Where a value that is legal by itself contradicts another, the sentence names the other or both."""


def test_every_leaf_and_section_takes_any_value_or_refuses_it_by_name():
    draw = random.Random(SEED)
    each = max(4, CASES // len(PLACES))
    refused = accepted = 0
    for path in PLACES:
        for value in draw.sample(VALUES, min(each, len(VALUES))):
            settings = deepcopy(DEFAULTS)
            at(settings, path[:-1])[path[-1]] = value
            text = said(settings)
            if text is None:
                accepted += 1
                continue
            refused += 1
            key = dotted(path)
            whole = dotted([part for part in path if not isinstance(part, int)])
            related = RELATED.get(path[0])
            assert whole in text or (related and re.search(related, text)), (key, value, text)
            if whole in text and isinstance(value, (int, float)) and abs(value) < 2**63:
                shown = {f"{value!r}", f"{value}", f"{float(value)}", f"{value:,}"}
                assert any(one in text for one in shown) or (related and re.search(related, text)), (key, value, text)
    assert refused > 3 * accepted > 0


def test_keys_that_are_removed_are_missed_and_added_ones_unknown():
    for path in PLACES:
        if isinstance(path[-1], int):
            continue
        settings = deepcopy(DEFAULTS)
        del at(settings, path[:-1])[path[-1]]
        text = said(settings)
        nested = (("cilp_ablation", "recipes"), ("audit", "conditions"), ("random_size", "simulate"))
        optional = path[:2] in nested and len(path) > 2
        assert (text is None) if optional else text.startswith(f"{dotted(path)} is missing"), text
        if isinstance(at(DEFAULTS, path), dict):
            settings = deepcopy(DEFAULTS)
            at(settings, path)["lrr"] = 1
            text = said(settings)
            assert text.startswith(f"{dotted(path)}.lrr ") and ("no known param" in text or "mapping" in text), text


def test_order_decides_nothing_but_where_it_means_something():
    draw = random.Random(SEED)
    for _ in range(CASES // 100):
        settings = {}
        for key in draw.sample(list(DEFAULTS), len(DEFAULTS)):
            value = deepcopy(DEFAULTS[key])
            settings[key] = value if not isinstance(value, dict) else dict(draw.sample(list(value.items()), len(value)))
        for key in ("fusion", "downsampling"):
            draw.shuffle(settings["variants"][key])
        draw.shuffle(settings["seeds"])
        assert said(settings) is None
    settings["data"]["simulate"]["distance"].reverse()
    assert said(settings).startswith("data.simulate.distance must be [low, high]")


def test_several_wrong_values_at_once():
    draw = random.Random(SEED)
    for _ in range(CASES // 4):
        settings = deepcopy(DEFAULTS)
        for path in draw.sample(PLACES, draw.randint(2, 6)):
            try:
                at(settings, path[:-1])[path[-1]] = draw.choice(VALUES)
            except (TypeError, KeyError, IndexError, AttributeError):
                continue  # what was there has been replaced already
        said(settings)


# texts


def read_and_check(path, content):
    """What is said of a file of ``content``; None if it is accepted, and then ``params.load`` reads the same."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        settings = read(path)
    except UserError as error:
        text = str(error)
        assert text.isprintable() and text.endswith(".") and len(text) < 1000, text
        return text
    text = said(settings)
    if text is None:
        assert params.load(path) == settings
    return text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold a mapping of sections"),
        ("# nothing\n", "must hold a mapping of sections"),
        ("- 1\n", "must hold a mapping of sections"),
        ("a: [1", "is no valid YAML: "),
        ("a:\n\tb: 1\n", "is no valid YAML: found character '\\t' that cannot start any token, line 2"),
        ("a: 1\0", "is no valid YAML: special characters are not allowed"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "is no UTF-8 text from byte 0 on; save it as UTF-8."),
        (TEXT.encode() + b"# \xe9\n", "is no UTF-8 text from byte"),
        (TEXT + "seeds: [1]\n", "seeds stands twice, in lines"),
        (TEXT.replace(STEPS, f"{STEPS}\n  'steps': 20"), "cilp.steps stands twice, in lines"),
        ("a: 1\n---\nb: 2\n", "is no valid YAML: "),
        ("%YAML 3.0\n---\na: 1\n", "is no valid YAML: found incompatible YAML document"),
        (TEXT + "x: *nowhere\n", "is no valid YAML: found undefined alias"),
        ("a: &a [*a]\n", "is nested too deep; at most 8 levels are legal."),
        ("a: &a {b: *a}\n", "is nested too deep; at most 8 levels are legal."),
        (TEXT + "x: " + "[" * 50_000, "is nested too deep"),
        (TEXT + "x: " + "[" * 300 + "]" * 300, "is nested too deep"),
        (TEXT + "x: " + "{a: " * 300 + "1" + "}" * 300, "is nested too deep"),
        (TEXT + "#" * 100_000, "bytes; at most 100,000 are legal."),
        (TEXT.replace(STEPS, f"steps: {'9' * 5000}"), "cilp.steps is 9999"),
        (TEXT.replace(STEPS, "steps: !!int ''"), "cilp.steps is '', which cannot be read as int"),
        (TEXT.replace(STEPS, "steps: !!int {a: x}"), "is not what its tag says"),
        (TEXT.replace(STEPS, "steps: 2026-99-99"), "cilp.steps is 2026-99-99, which cannot be read as"),
        (TEXT.replace(STEPS, "steps: 2026-11-11"), "cilp.steps is of type date; legal are"),
        (TEXT.replace(STEPS, "steps: 0b_"), "cilp.steps is 0b_, which cannot be read as int"),
        (TEXT.replace(STEPS, "steps: !!bool perhaps"), "cilp.steps is perhaps, which cannot be read as bool"),
        (TEXT.replace(STEPS, "steps: !!binary é"), "cilp.steps is é, which cannot be read as binary"),
        (TEXT.replace(STEPS, "steps: !!set {a, b}"), "cilp.steps is of type set"),
        (TEXT.replace(STEPS, "steps: 2_000"), None),
        (TEXT.replace("seeds: [51]", "seeds: [051]", 1), "random_size.seeds[0] is 051, which DVC reads as another"),
        (TEXT.replace(STEPS, "steps: 1:30"), "cilp.steps is 1:30, which DVC reads as another number than Python does"),
        (TEXT.replace(STEPS, "steps: 0b11"), "cilp.steps is 0b11, which DVC reads as another number than Python does"),
        (TEXT.replace(STEPS, "steps: !mine 3"), "cilp.steps is 3, which cannot be read as !mine"),
        (TEXT.replace(STEPS, "steps: !!python/object/apply:os.getcwd []"), "is not what its tag says"),
        (TEXT.replace("lr: 2.0e-3", "lr: 2e-3"), None),
        (TEXT.replace("lr: 2.0e-3", "lr: 1e999"), "cilp.lr must be positive; got inf."),
        (TEXT.replace("lr: 2.0e-3", "lr: .nan"), "cilp.lr must be positive; got nan."),
        (TEXT.replace("twins: true", "twins: 1"), "cilp.twins must be of type bool; got 1."),
        (TEXT.replace(STEPS, f"1: 2\n  {STEPS}"), "cilp has the key 1; legal are names"),
        (TEXT.replace(STEPS, f"on: 2\n  {STEPS}"), "cilp has the key True; legal are names"),
        (TEXT.replace(STEPS, f"? [a]\n  : 2\n  {STEPS}"), "cilp has a key that is no text"),
        (TEXT.replace("\n", "\r\n"), None),
        ("\ufeff" + TEXT, None),
        (TEXT.replace("  late: {", "  late: &shared {").replace(TEXT[TEXT.index("  concat: {"):TEXT.index("  add: {")],
                                                                "  concat: *shared\n"), None),
    ],
)  # fmt: skip
def test_a_file_that_is_no_params_file_is_refused_in_one_sentence(tmp_path, content, message):
    text = read_and_check(tmp_path / "params.yaml", content)
    assert (text is None) if message is None else (text is not None and message in text), text


def test_few_lines_cannot_become_a_billion_values(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in zip("abcde", "bcdef", strict=True)]
    text = read_and_check(tmp_path / "params.yaml", "\n".join(lines))
    assert "has over 10,000 values, aliases written out; use fewer." in text


def test_mutated_texts(tmp_path):
    draw = random.Random(SEED)
    tokens = [
        *"[]{}:,&*!|>%@`#-?'\"\t\n\r\0 ",
        "é",
        "<<: ",
        "*a",
        "&a ",
        "!!int ",
        "---\n",
        "...",
        ".inf",
        "1e999",
        "- ",
        ": ",
    ]
    lines = TEXT.splitlines(keepends=True)
    accepted = 0
    for _ in range(CASES // 15):
        kind = draw.randrange(4)
        if kind == 0:
            content = bytearray(TEXT.encode())
            for _ in range(draw.randint(1, 3)):
                content[draw.randrange(len(content))] = draw.randrange(256)
        elif kind == 1:
            place = draw.randrange(len(TEXT))
            content = TEXT[:place] + draw.choice(tokens) + TEXT[place + draw.randrange(3) :]
        elif kind == 2:
            shuffled = list(lines)
            i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
            shuffled[i] = shuffled[j] if draw.random() < 0.5 else ""
            content = "".join(shuffled)
        else:
            content = TEXT[: draw.randrange(len(TEXT))]
        accepted += read_and_check(tmp_path / "params.yaml", bytes(content) if kind == 0 else content) is None
    assert accepted


# by way of `dvc exp run -S`, and the stage


def test_what_set_param_writes_is_accepted_or_refused(tmp_path):
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides

    draw = random.Random(SEED)
    texts = [
        "[]",
        "{}",
        "0",
        "-1",
        "1e-3",
        "1e308",
        "nan",
        "inf",
        "null",
        "''",
        "'x y'",
        "[51,51]",
        "true",
        "{a:1}",
        "1e999",
    ]
    paths = [path for path in PLACES if not any(isinstance(part, int) for part in path)]
    path = tmp_path / "params.yaml"
    refused = 0
    for _ in range(CASES // 100):
        path.write_text(TEXT, encoding="utf-8")
        try:
            apply_overrides(path, [f"{dotted(draw.choice(paths))}={draw.choice(texts)}"])
        except InvalidArgumentError:
            continue  # DVC's own word
        refused += read_and_check(path, path.read_bytes()) is not None
    assert refused


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"seeds: [51, 51]\n", TEXT.replace("epochs: 20", "epochs: 0", 1).encode(), b"a: &a [*a]\n", None],
)
def test_the_stage_ends_with_code_2_and_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, content):
    if content is not None:
        (tmp_path / "params.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check_params"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "stages/check_params.py"), run_name="__main__")
    assert ended.value.code == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1 and errors.startswith("error: ") and "Traceback" not in errors
    assert sorted(tmp_path.rglob("*")) == before


def test_the_stage_as_a_command(tmp_path):
    settings = deepcopy(DEFAULTS)
    settings["lidar"]["epochs"] = 0
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, str(ROOT / "stages/check_params.py")]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: lidar.epochs must be at least 1; got 0.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_default_text_is_accepted(tmp_path):
    assert read_and_check(tmp_path / "params.yaml", TEXT) is None
    with pytest.raises(UserError, match=r"is missing; run from the repository's root\.$"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read(Path(tmp_path))
