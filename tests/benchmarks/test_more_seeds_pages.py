"""docs/more-seeds.md, random-sizes.md and cilp-course.md show what was trained on further seeds, and say no more.

Claims beside a sentence are held against the record of their kind (``KINDS``); where that has another training beside
it, ``fusion/add-maxpool/slower`` or the like (``Beside.ending``) is the variant that stands beside
``fusion/add-maxpool`` of the other.
"""

import json
import sys
from pathlib import Path

import pytest
from clone import ROOT

from cilp.report.claims import Figures, claims_of, holds
from cilp.report.docs import insert_tables
from cilp.report.significance import significance_json

KINDS = {
    "random_size": "random sizes", "half_rate": "half rate", "registered": "registered", "longer": "longer",
    "course": "course", "course_auxiliary": "course auxiliary", "fresh": "fresh scenes", "replication": "replication",
    "course_more": "course more", "course_registered": "course registered", "two_lidars": "two lidars",
    "course_rescaled": "course rescaled", "half_rate_fine": "half rate fine", "course_fine": "course fine",
}  # fmt: skip
"""What their claims are called."""


@pytest.mark.parametrize("name", ["study", *KINDS])
def test_its_tables_are_those_of_the_runs(more_seeds, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    record = more_seeds.RECORDS[name]
    page, found = (ROOT / record.page).read_text(encoding="utf-8"), json.loads((ROOT / record.results).read_text())
    assert insert_tables(page, more_seeds.tables(record, found)) == page
    seeds = {*record.further, *((51, 52, 53) if name == "study" else ())}
    assert {len(shares) for shares in more_seeds.complete(found).values()} == {len(seeds)}


@pytest.mark.parametrize("name", ["study", "random_size", "half_rate", "course"])
def test_its_picture_shows_every_run(more_seeds, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    record, axes = more_seeds.RECORDS[name], []
    series = more_seeds.series(record, json.loads(record.results.read_text()))
    figure = sys.modules["more_seeds_figure"]
    monkeypatch.setattr(figure, "save", lambda drawn, *_: axes.extend(drawn.axes))
    figure.draw(record.figure, series, record.ticks)
    low, high = axes[0].get_xlim()
    points = [wrong for line in axes[0].get_lines() for wrong in line.get_xdata()]
    assert len(points) == sum(len(shares) + 1 for fusions in series.values() for shares in fusions.values())
    assert [wrong for wrong in points if not low <= wrong <= high] == []


def each_run(right):
    """By model and seed: accuracy, whether it is the best of that seed, whether it tells no cube from its sphere."""
    right = {model: runs for model, runs in right.items() if runs}
    seed = {
        model: {number: sum(map(int, shares)) / (2 * len(shares)) for number, shares in runs.items()}
        for model, runs in right.items()
    }
    best = {number: max(runs[number] for runs in seed.values()) for number in next(iter(seed.values()))}
    return {
        "seed": seed,
        "best": {model: {number: it == best[number] for number, it in runs.items()} for model, runs in seed.items()},
        "constant": {model: {number: set(it) == {"1"} for number, it in runs.items()} for model, runs in right.items()},
    }


@pytest.mark.parametrize(("name", "kind"), [("study", "more seeds"), *KINDS.items()])
def test_what_is_said_of_further_seeds_follows_from_them(more_seeds, name, kind, monkeypatch):
    monkeypatch.chdir(ROOT)
    record = more_seeds.RECORDS[name]
    found = json.loads((ROOT / record.results).read_text(encoding="utf-8"))
    figures = Figures(ROOT / "metrics")
    confidence = found["significance"]["confidence"]
    compared = more_seeds.comparisons(found)
    if record.against:
        compared += more_seeds.against(record.against, found)
    figures.files["significance"] = significance_json({}, compared, confidence)
    figures.files["together"] = more_seeds.together(record, found)
    figures.files["mean"] = {model: shares.mean() for model, shares in more_seeds.complete(found).items()}
    figures.files |= each_run({name: found["right"][name] for name in more_seeds.complete(found)})
    for path in {Path("README.md"), Path("docs/results.md"), *(other.page for other in more_seeds.RECORDS.values())}:
        claims = claims_of((ROOT / path).read_text(encoding="utf-8"), kind)
        assert claims or path != record.page, f"{path} claims nothing that could be checked"
        assert [claim for claim in claims if not holds(claim, figures)] == []


def test_every_record_is_listed_with_its_seeds(more_seeds):
    page = (ROOT / "docs/more-seeds.md").read_text(encoding="utf-8")
    for name, record in more_seeds.RECORDS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        seeds = [*record.further, *((51, 52, 53) if name == "study" else ())]
        assert f"| {min(seeds)} to {max(seeds)} |" in row
        assert f"]({record.results.name})" in row and (f"({record.page.name}#" in row or "[here](#" in row)
