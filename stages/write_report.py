"""Write the study as one document, its sentences and numbers out of metrics/: reports/study.md.

PYTHONPATH=src python stages/write_report.py
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_text
from cilp.classifiers.trainings import audits, conflicts
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
    found = list(findings(Figures(Path("metrics")), compared, audits(settings), conflicts(settings)))
    tables = {name: Path(f"metrics/{name}.md").read_text(encoding="utf-8") for name in TABLES}
    write_text(Path("reports/study.md"), study_markdown(settings, found, tables))
    for finding in found:
        print(f"{finding.question} {finding.answer}")


if __name__ == "__main__":
    cli.run(main)
