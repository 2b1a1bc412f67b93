"""Whatever text stands in ``params.yaml``, the check accepts it or says in one sentence what is wrong.

How often it tries is up to ``CILP_FUZZ``, as in ``test_fuzz_params.py``.
"""

import os
import random
import re
import runpy
import signal
import sys
from pathlib import Path

import pytest
from clone import ROOT
from legal import CASES, SEED, TEXT, said

from cilp import params
from cilp.errors import UserError
from cilp.plain_yaml import read

pytestmark = pytest.mark.timeout(int(os.environ.get("CILP_FUZZ", "2000")) // 20 + 60)

STEPS = re.search(r"^cilp:.*\n  (steps: \d+)", TEXT, re.MULTILINE)[1]


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


def test_default_text_is_accepted(tmp_path):
    assert read_and_check(tmp_path / "params.yaml", TEXT) is None
    with pytest.raises(UserError, match=r"is missing; run from the repository's root\.$"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read(Path(tmp_path))
