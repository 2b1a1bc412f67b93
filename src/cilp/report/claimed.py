"""Which claims of the pages follow from the figures here, and what those that do not find instead.

    PYTHONPATH=src python -m cilp.report.claimed [--metrics FOLDER] [PAGE ...]

For what the sentences were not written for: another machine, other data, a variation. Exit code 1 if a claim fails.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cilp.console import cli
from cilp.errors import UserError
from cilp.report.claims import Figures, claims_of, figure, holds


@dataclass(frozen=True)
class Checked:
    """How many different claims were held against the figures, and of those that fail what is there instead."""

    count: int
    failing: dict[str, str]


def pages(root: Path = Path()) -> list[Path]:
    """Those of the project, or of a copy of it, that may claim something."""
    return [*root.glob("README.md"), *sorted(root.glob("docs/*.md"))]


def check(texts: Iterable[str], figures: Figures) -> Checked:
    """Holds every claim against the figures; one that they cannot answer fails."""
    claims = list(dict.fromkeys(claim for text in texts for claim in claims_of(text)))
    failing = {}
    for claim in claims:
        try:
            if not holds(claim, figures):
                failing[claim] = found(claim, figures)
        except (UserError, ValueError) as error:  # the latter: it is no claim
            failing[claim] = str(error)
    return Checked(len(claims), failing)


def found(claim: str, figures: Figures) -> str:
    """The figure that a claim is about, or the difference with its interval and whether it is noise."""
    left, _, right = claim.split()
    if ":" in left:
        return f"{figure(left, figures):.4f}"
    here = figures.comparison(left, right)
    noise = "within" if here["noise"] else "beyond"
    return f"{here['difference']:+.4f} ({here['low']:+.4f} to {here['high']:+.4f}), {noise} noise"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="the figures' folder (default: metrics)")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="(default: README.md and docs/)")
    arguments = parser.parse_args()
    if not arguments.metrics.is_dir():
        raise UserError(f"{arguments.metrics} is no folder; name one with figures, such as metrics.")
    if missing := [page for page in arguments.pages if not page.is_file()]:
        raise UserError(f"{missing[0]} is no page; name files such as README.md, and a folder of figures by --metrics.")
    figures, failed = Figures(arguments.metrics), False
    for page in arguments.pages or pages():
        checked = check([page.read_text(encoding="utf-8")], figures)
        if checked.count:
            print(f"{page}: {checked.count - len(checked.failing)} of {checked.count} claims hold")
        for here in dict.fromkeys(checked.failing.values()):
            print(*(f"  {claim}" for claim, said in checked.failing.items() if said == here), sep="\n")
            print(f"    here: {here}")
        failed |= bool(checked.failing)
    sys.exit(failed)


if __name__ == "__main__":
    cli.run(main)
