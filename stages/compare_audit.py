"""Write and draw how every classifier does under every condition of the audit, by what it was trained on.

    PYTHONPATH=src python stages/compare_audit.py

Reads ``metrics/audit/``; writes ``metrics/audit.md`` and ``plots/audit.png``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cilp import params
from cilp.atomic import write_text
from cilp.classifiers.trainings import audits, conflicts
from cilp.console import cli
from cilp.evaluation.audit import conditions, scenes_of, together
from cilp.report.audit import audit_markdown, draw_audit


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    asked = conditions(settings)
    titles = {name: condition.title for name, condition in asked.items()}
    found = {training: together([_read(name) for name in names]) for training, names in audits(settings).items()}
    table = audit_markdown(found, titles, scenes_of(settings))
    write_text(Path("metrics/audit.md"), table)
    draw_audit(found, titles, Path("plots/audit.png"), conflicts(settings))
    print(table)


def _read(name: str) -> dict[str, Any]:
    return json.loads(Path(f"metrics/audit/{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
