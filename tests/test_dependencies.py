"""What is installed: from hashes alone, for a reason that is written down, under a licence."""

import re
import tomllib

import pytest
from clone import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCUMENT = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
PINS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


def name(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


def rows(title):
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [row for row in cells if not row[0].startswith("---") and row[0] not in ("package", "what")]


def declared():
    project = PROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return {name(requirement) for requirements in lists for requirement in requirements}


def test_every_direct_dependency_has_its_reason_and_the_other_way_round():
    documented = [name(row[0]) for row in rows("Direct dependencies")]
    assert set(documented) == declared()
    assert len(documented) == len(set(documented))
    assert all(len(row) == 4 and all(row) for row in rows("Direct dependencies"))


def test_what_is_written_by_hand_is_where_the_list_says():
    by_hand = rows("Written by hand although a library does it")
    assert len(by_hand) > 10
    for _, where, library, why in by_hand:
        assert library and why
        for path in re.findall(r"`([^`]+)`", where):
            assert (ROOT / path).exists(), path


def test_every_direct_dependency_is_pinned_and_every_pin_has_a_hash():
    pins = re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==\S+(?: ; [^\\\n]+?)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
        PINS,
        re.M,
    )
    lines = [line for line in PINS.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pins) == len(lines) > 200
    assert declared() <= {name(pin) for pin, _ in pins}


@pytest.mark.parametrize("path", ["requirements.txt", "Makefile", "pyproject.toml", ".github/workflows/report.yml"])
def test_no_file_says_where_packages_come_from(path):
    """That is up to the settings of the machine; a hash does not care."""
    assert not re.search(
        r"(?<!--no-emit-)index-url|find-links|--trusted-host|https?://\S*(pypi|simple)", (ROOT / path).read_text()
    )


def test_nothing_is_installed_without_hashes():
    for path in ("Makefile", ".github/workflows/report.yml"):
        text = (ROOT / path).read_text().replace("\\\n", " ")
        installs = re.findall(r"^.*\bpip install\b.*$", text, flags=re.MULTILINE)
        assert installs
        assert all("--require-hashes" in line for line in installs), installs


def test_the_licence_is_named_and_there():
    assert PROJECT["project"]["license"] == "MIT"
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 The CILP authors\n")
    assert "WITHOUT WARRANTY OF ANY KIND" in text
