"""docs/performance.md shows what was measured."""

import json
from pathlib import Path

import pytest

from cilp.report.readme import insert_tables

ROOT = Path(__file__).parents[1]


@pytest.fixture
def document(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import document

    return document


def test_its_tables_are_those_of_the_results(document):
    page = (ROOT / document.PAGE).read_text(encoding="utf-8")
    tables = document.tables(ROOT / document.RESULTS, ROOT / "metrics")
    assert set(tables) == {"bench", "profile", "scale", "accuracy"}
    assert insert_tables(page, tables) == page


def test_memory_stays_within_the_bound_and_a_pair_costs_no_more_among_many(document):
    for path in (ROOT / document.RESULTS).glob("scale-*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        assert max(row["pairs"] for row in rows) == 100_000 and rows[-1]["streamed"]
        assert all(row["peak_bytes"] <= 4 * 2**30 for row in rows)
        costs = [row["seconds"] / row["pairs"] for row in rows]
        assert all(cost < 1.1 * min(costs[:number]) for number, cost in enumerate(costs) if number)
