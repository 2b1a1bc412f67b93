"""What the pages and the report claim follows from the committed figures, and what does not is listed."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from clone import ROOT, committed

from cilp.classifiers.trainings import audits, conflicts
from cilp.errors import UserError
from cilp.evaluation.models import fusions
from cilp.report import claimed
from cilp.report.claims import CLAIM, Figures, claims_of, holds
from cilp.report.findings import findings

PAGES = sorted((ROOT / "docs").glob("*.md"))


class Committed(Figures):
    """The figures of the last commit."""

    def __init__(self):
        super().__init__(Path())

    def __getitem__(self, name):
        if name not in self.files:
            self.files[name] = json.loads(committed(f"metrics/{name}.json"))
        return self.files[name]


CLAIMING = ["README.md", "docs/results.md", "reports/study.md"]


@pytest.mark.parametrize("name", ["README.md", "reports/study.md", *(f"docs/{page.name}" for page in PAGES)])
def test_every_claim_of_a_committed_document_follows_from_the_committed_figures(name):
    claims = claims_of(committed(name))
    assert claims or name not in CLAIMING, f"{name} claims nothing that could be checked"
    figures = Committed()
    assert [claim for claim in claims if not holds(claim, figures)] == []


def test_the_committed_report_says_what_the_committed_figures_say():
    settings = yaml.safe_load(committed("params.yaml"))
    report = committed("reports/study.md")
    compared = {**settings["variants"], "fusion": fusions(settings["variants"])}
    found = list(findings(Committed(), compared, audits(settings), conflicts(settings)))
    assert [finding.question for finding in found if finding.markdown() not in report] == []


KINDS = {
    "holds", "more seeds", "random sizes", "half rate", "half rate fine", "registered", "longer", "two lidars",
    "course", "course cues", "course auxiliary", "course more", "course more cues",
    "course registered", "course rescaled", "course fine", "course fine cues", "conflict cues", "fresh scenes",
    "replication", "replication cues", "joint parts", "transfer", "few labels",
}  # fmt: skip


@pytest.mark.parametrize("page", ["README.md", *(path.name for path in PAGES)])
def test_every_claim_is_of_a_kind_that_some_test_checks(page):
    text = (ROOT / ("" if page == "README.md" else "docs") / page).read_text(encoding="utf-8")
    assert {kind for kind, _ in CLAIM.findall(text)} <= KINDS


@pytest.mark.parametrize(
    ("name", "last"), [("README.md", "## How it works"), ("docs/results.md", "## What the reference")]
)
def test_no_sentence_about_results_speaks_of_winners_without_a_claim(name, last):
    """Where it says that something beats another, or what is noise, a claim stands beside it that some test checks."""
    page = committed(name)
    results = page.split("\n## ", 1)[1].split(f"\n{last}", 1)[0]
    prose = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", results, flags=re.DOTALL)
    for item in re.split(r"\n(?=- )|\n\n", prose):
        if re.search(r"\bbeats?\b|\bbeyond noise\b|\bwithin noise\b", item):
            assert CLAIM.search(item), item


def test_claims_that_fail_are_listed_with_what_is_there_instead(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("It reaches 97%. <!-- holds: rgb2lidar:test_accuracy > 0.9 -->\n", encoding="utf-8")
    Path("docs").mkdir()
    Path("docs/a.md").write_text(
        "<!-- holds: rgb2lidar:test_accuracy > 0.98 --> <!-- holds: fusion/{a,b} > fusion/c -->\n"
        "<!-- holds: lidar:x > 0 --> <!-- holds: late is nice -->",
        encoding="utf-8",
    )
    Path("metrics").mkdir()
    Path("metrics/rgb2lidar.json").write_text('{"test_accuracy": 0.97}', encoding="utf-8")
    compared = [
        {"first": first, "second": second, "difference": 0.02, "low": low, "high": 0.03, "within_noise": low < 0}
        for first, second, low in (("fusion/c", "fusion/a", 0.01), ("fusion/c", "fusion/b", -0.01))
    ]
    Path("metrics/significance.json").write_text(json.dumps({"comparisons": compared}), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["claimed.py"])
    with pytest.raises(SystemExit) as stopped:
        claimed.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "README.md: 1 of 1 claims hold",
        "docs/a.md: 1 of 5 claims hold",
        "  rgb2lidar:test_accuracy > 0.98",
        "    here: 0.9700",
        "  fusion/b > fusion/c",
        "    here: +0.0200 (-0.0100 to +0.0300), within noise",
        "  lidar:x > 0",
        "    here: metrics/lidar.json is missing; run `dvc repro` to write it.",
        "  late is nice",
        "    here: 'late is nice' is no claim",
    ]
    monkeypatch.setattr(sys, "argv", ["claimed.py", "README.md"])
    with pytest.raises(SystemExit) as stopped:
        claimed.main()
    assert stopped.value.code == 0
    monkeypatch.setattr(sys, "argv", ["claimed.py", "--metrics", "metrix"])
    with pytest.raises(UserError, match="metrix is no folder; name one with figures"):
        claimed.main()
