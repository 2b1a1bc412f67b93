import collections
import itertools
import re
from pathlib import Path

import pytest
import yaml
from clone import committed

from cilp.report.docs import PAGES, insert_tables

ROOT = Path(__file__).parents[1]
READ = [
    Path("README.md"),
    *(path.relative_to(ROOT) for path in sorted(ROOT.glob("docs/*.md"))),
    Path("reports/study.md"),
]


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_shows_the_committed_tables(name):
    """``make docs`` mends it. What lies uncommitted in the working tree, such as another run, does not count."""
    page = committed(name)
    assert insert_tables(page, {table: committed(f"metrics/{table}.md") for table in PAGES[name]}) == page


def test_a_table_goes_to_its_place_and_nowhere_else():
    page = "before\n<!-- a -->\nold\n<!-- /a -->\nafter\n"
    expected = "before\n<!-- a -->\n\n| new |\n\n<!-- /a -->\nafter\n"
    assert insert_tables(page, {"a": "# Title\n\n| new |\n"}) == expected
    assert insert_tables(expected, {"a": "# Title\n\n| new |\n"}) == expected
    with pytest.raises(ValueError, match="exactly one place for b"):
        insert_tables(page, {"b": "# Title\n\n| new |\n"})


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_left_to_be_filled_in(name):
    prose = re.sub(r"`[^`]*`", "", (ROOT / name).read_text())
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", prose)


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", READ, ids=[str(page) for page in READ])
def test_every_command_and_file_that_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) | set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE)) <= targets
    for name in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = name.partition("#")
        file = ROOT / page.parent / path if path else ROOT / page
        assert file.exists(), name
        assert not heading or heading in anchors(file.read_text()), name


def test_the_readme_counts_the_predictions_as_the_results_do():
    words = {"three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
    said = re.search(
        r"Of (\w+) predictions that .*, (\w+) hold, (\w+) hold in part and (\w+) fail", (ROOT / "README.md").read_text()
    )
    table = (ROOT / "docs/results.md").read_text().partition("### What was predicted")[2].partition("All other")[0]
    rows = re.findall(r"\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    assert len(rows) >= 5
    assert [sum(map(int, column)) for column in zip(*rows, strict=True)] == [
        words.get(word) or int(word) for word in said.groups()
    ]


def test_every_page_is_found_from_the_readme():
    named = {
        Path(name.partition("#")[0])
        for name in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / "README.md").read_text())
    }
    assert set(READ) - {Path("README.md")} <= named


def graph_of(page, heading):
    """The lines of the graph under a heading of a page, without the first."""
    after = (ROOT / page).read_text().split(f"\n{heading}\n")[1]
    return after.split("```mermaid\n")[1].split("```")[0].splitlines()[1:]


def edges_drawn(lines):
    """(one, another that the arrow points at), stages or boxes."""
    for line in lines:
        groups = [re.findall(r"[a-z_]\w*", re.sub(r'\[".*?"\]', "", group)) for group in line.split("-->")]
        for ones, others in itertools.pairwise(groups):
            yield from itertools.product(ones, others)


def boxes(lines):
    """What stands in the boxes of a graph: the stages, by the name of the box."""
    labels = dict(re.findall(r'^ *(\w+)\["(.*)"\]$', "\n".join(lines), flags=re.MULTILINE))
    return {
        name: re.findall(r"[a-z_]\w*", re.sub(r"<b>.*?</b>|<br>|\(\d+\)", " ", label)) for name, label in labels.items()
    }


def edges_declared():
    """The same out of dvc.yaml, a matrix as one stage."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    paths = {}
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        outs = [path for kind in ("outs", "metrics", "plots") for path in stage.get(kind, [])]
        outs = [next(iter(path)) if isinstance(path, dict) else path for path in outs]
        paths[name] = [[path.split("${")[0].rstrip("/") for path in group] for group in (stage.get("deps", []), outs)]
    for (name, (_, outs)), (other, (deps, _)) in itertools.permutations(paths.items(), 2):
        if any(f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/") for dep in deps for out in outs):
            yield name, other


def closed(edges):
    """Every stage with all that follow from it."""
    after = collections.defaultdict(set)
    for one, other in edges:
        after[one].add(other)
    while True:
        more = {(one, last) for one in after for other in after[one] for last in after.get(other, ())}
        if all(last in after[one] for one, last in more):
            return {(one, last) for one in after for last in after[one]}
        for one, last in more:
            after[one].add(last)


def test_the_graph_shows_what_depends_on_what():
    declared, drawn = (
        closed(edges_declared()),
        closed(edges_drawn(graph_of("docs/pipeline.md", "## What depends on what"))),
    )
    assert drawn == declared


def test_the_graph_of_the_readme_shows_the_same_in_fewer_boxes():
    lines = graph_of("README.md", "## How it works")
    box = {stage: name for name, stages in boxes(lines).items() for stage in stages}
    assert box.keys() == {stage for edge in edges_declared() for stage in edge}
    assert len(box) == sum(map(len, boxes(lines).values())), "a stage stands in two boxes"
    declared = {(box[one], box[other]) for one, other in edges_declared() if box[one] != box[other]}
    assert closed(edges_drawn(lines)) == closed(declared)
