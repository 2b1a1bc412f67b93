"""Puts the tables of ``metrics/`` into ``README.md``, between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

PYTHONPATH=src python -m cilp.report.readme
"""

import re
from pathlib import Path

from cilp.atomic import write_text

TABLES = (
    "fusion_comparison", "strided_ablation", "cilp_results", "cilp_ablation", "significance", "audit",
    "sensor_failures", "data_efficiency",
)  # fmt: skip


def insert_tables(readme: str, tables: dict[str, str]) -> str:
    """``readme`` with each table, by name and without its title, in its place; ``ValueError`` if that is missing."""
    for name, table in tables.items():
        _, _, body = table.partition("\n\n")
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        readme, found = place.subn(lambda match, body=body: f"{match[1]}\n{body}\n{match[2]}", readme)
        if found != 1:
            raise ValueError(f"README.md needs exactly one place for {name}; it has {found}")
    return readme


def main() -> None:
    readme = Path("README.md")
    tables = {name: Path(f"metrics/{name}.md").read_text(encoding="utf-8") for name in TABLES}
    write_text(readme, insert_tables(readme.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    main()
