"""Write the study as one document, its sentences and numbers out of metrics/: reports/study.md.

PYTHONPATH=src python stages/write_report.py
"""

import argparse
from pathlib import Path
from typing import Any

from cilp import params
from cilp.atomic import write_text
from cilp.classifiers import random_size
from cilp.console import cli
from cilp.evaluation.models import fusions
from cilp.report.claims import Figures
from cilp.report.findings import findings
from cilp.report.study import TABLES, study_markdown


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    declared = params.lookup(settings, "variants")
    compared = {**declared, "fusion": fusions(declared)}
    found = list(findings(Figures(Path("metrics")), compared, audited(settings)))
    tables = {name: Path(f"metrics/{name}.md").read_text(encoding="utf-8") for name in TABLES}
    write_text(Path("reports/study.md"), study_markdown(settings, found, tables))
    for finding in found:
        print(f"{finding.question} {finding.answer}")


def audited(settings: dict[str, Any]) -> dict[str, list[str]]:
    """By what classifiers were trained on, in words, the audits in ``metrics/audit/``; the study's first."""
    found = {"one size a class": ["fixed_size"]}
    seeds = random_size.seeds(settings)
    return found | ({random_size.title(settings): [f"random_size-{seed}" for seed in seeds]} if seeds else {})


if __name__ == "__main__":
    cli.run(main)
