"""Puts the tables of ``metrics/`` into the pages that show them, between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

PYTHONPATH=src python -m cilp.report.docs
"""

import re
from pathlib import Path

from cilp.atomic import write_text
from cilp.console import cli

PAGES = {
    "README.md": ("fusion_comparison", "strided_ablation", "cilp_results"),
    "docs/results.md": ("cilp_ablation", "sensor_failures", "data_efficiency"),
}


def insert_tables(page: str, tables: dict[str, str]) -> str:
    """``page`` with each table, by name and without its title, in its place; ``ValueError`` if that is missing."""
    for name, table in tables.items():
        _, _, body = table.partition("\n\n")
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        page, found = place.subn(lambda match, body=body: f"{match[1]}\n{body}\n{match[2]}", page)
        if found != 1:
            raise ValueError(f"a page needs exactly one place for {name}; it has {found}")
    return page


def main() -> None:
    for name, shown in PAGES.items():
        page = Path(name)
        tables = {table: Path(f"metrics/{table}.md").read_text(encoding="utf-8") for table in shown}
        write_text(page, insert_tables(page.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    cli.run(main)
