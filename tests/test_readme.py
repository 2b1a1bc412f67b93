import re
from pathlib import Path

import pytest
from clone import committed

from cilp.report.readme import TABLES, insert_tables

ROOT = Path(__file__).parents[1]


def test_the_committed_readme_shows_the_committed_tables():
    """``make readme`` mends it. What lies uncommitted in the working tree, such as another run, does not count."""
    readme = committed("README.md")
    assert insert_tables(readme, {name: committed(f"metrics/{name}.md") for name in TABLES}) == readme


def test_a_table_goes_to_its_place_and_nowhere_else():
    readme = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n"
    expected = "before\n<!-- a -->\n\n| new |\n\n<!-- /a -->\nafter\n"
    assert insert_tables(readme, {"a": "# Title\n\n| new |\n"}) == expected
    assert insert_tables(expected, {"a": "# Title\n\n| new |\n"}) == expected
    with pytest.raises(ValueError, match="exactly one place for b"):
        insert_tables(readme, {"b": "# Title\n\n| new |\n"})


def test_nothing_is_left_to_be_filled_in():
    prose = re.sub(r"`[^`]*`", "", (ROOT / "README.md").read_text())
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", prose)


def test_every_command_and_file_that_the_readme_names_exists():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", readme)) <= targets
    made = ("data/", "models/", "wandb/", "dvc_plots/")
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme):
        assert name.startswith(made) or (ROOT / name).exists(), name
