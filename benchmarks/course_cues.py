"""What fusions that took CILP's course go by: the audit of those of ``more_seeds.py``.

    PYTHONPATH=src python benchmarks/course_cues.py [--record replication|course_more|course_fine]

Asks those with max-pooling, on all of their seeds, under each of ``audit.conditions``; what is not there is trained.
They are those of ``--record course`` and ``--record course_auxiliary``, those that were trained anew, further seeds, or
those with XYZ in smaller units.
Writes accuracies by model, seed and condition to ``docs/<record>-cues.json``, and a table into ``docs/cilp-course.md``.
With ``--tables``, the tables of all that there is alone.
"""

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from more_seeds import RECORDS, recorded
from more_seeds_course import IN_PART, network, of_another_seed, scenes
from more_seeds_networks import AUXILIARY, parts
from run_records import begun, complete, read

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.console.progress import track
from cilp.cores import available_cores
from cilp.evaluation.audit import audit, conditions, rendered, scenes_of
from cilp.evaluation.predictions import probabilities
from cilp.report.docs import insert_tables
from cilp.report.titles import title
from cilp.training.device import describe, prepare_device


@dataclass(frozen=True)
class Cues:
    """Which networks are asked, and about what scenes."""

    name: str
    """Of the table of what they say, ``<name>_cues``."""
    records: Mapping[str, str]
    """By what stands behind the name of a variant: among which of ``RECORDS`` its runs are; the first decides of which
    scenes."""

    @property
    def results(self) -> Path:
        """Accuracies by model, seed and condition."""
        return Path(f"docs/{self.name.replace('_', '-')}-cues.json")

    @property
    def further(self) -> int:
        """Added to the simulator's seed, of the scenes that train and of those that are asked about."""
        return RECORDS[self.records[""]].further_scenes.get("trained", 0)

    @property
    def page(self) -> Path:
        """Where the table stands."""
        return RECORDS[self.records[""]].page


COURSE = Cues("course", {"": "course", f"-{AUXILIARY}": "course_auxiliary"})
REPLICATION = Cues("replication", {"": "replication"})
MORE_OF_COURSE = Cues("course_more", {"": "course_more"})
FINE = Cues("course_fine", {"": "course_fine"})
ALL = {cues.name: cues for cues in (COURSE, REPLICATION, MORE_OF_COURSE, FINE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", choices=ALL, default=COURSE.name, help="whose networks (default: course)")
    parser.add_argument("--tables", action="store_true", help="of all records, tables alone")
    arguments = parser.parse_args()
    if arguments.tables:
        for cues in ALL.values():
            if cues.results.is_file():
                document(cues, read(cues.results))
        return
    cues, settings = ALL[arguments.record], params.load()
    device = prepare_device(params.lookup(settings, "device"))
    made_by = check_made_by(cues, settings, device)
    runs = [(name, int(seed), ending) for ending in cues.records for name, seed in trained(cues, ending)]
    asked, trained_on = conditions(of_another_seed(settings, cues.further)), scenes(settings, device, cues.further)
    splits = {
        name: rendered(it.simulate, scenes_of(settings), available_cores(), device, it.lidar)
        for name, it in track(asked.items(), "render", total=len(asked), unit="conditions")
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, seed, ending in track(runs, "audit", unit="models"):
        trained_by = RECORDS[cues.records[ending]].trained_by(settings)
        model = network(name, seed, trained_by, *trained_on, auxiliary=bool(ending)).eval()
        found.setdefault(f"{name}{ending}", {})[str(seed)] = {
            condition: audit(probabilities(model, split), split).accuracy for condition, split in splits.items()
        }
    titles = {name: it.title for name, it in asked.items()}
    simulated = {name: {"simulate": asdict(it.simulate), "lidar": it.lidar} for name, it in asked.items()}
    head = {**describe(device), **made_by, "scenes": scenes_of(settings), "conditions": titles, "simulated": simulated}
    result = {**head, "accuracy": found}
    write_json(cues.results, result)
    document(cues, result)


def check_made_by(cues: Cues, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The params that made the first of the records.

    Raises:
        UserError: a record was made by others, or on another machine: what is trained here is not what it tells of.
    """
    for name in cues.records.values():
        record = RECORDS[name]
        head = {**describe(device), **record.decided_by(record.trained_by(settings))}
        begun(record.results, head, "right", list(recorded(name)["right"]), another_machine=False)
    first = RECORDS[cues.records[""]]
    return first.decided_by(first.trained_by(settings))


def document(cues: Cues, found: dict[str, Any]) -> None:
    """Put the table into its place."""
    made = {f"{cues.name}_cues": table(found["conditions"], found["accuracy"])}
    write_text(cues.page, insert_tables(cues.page.read_text(encoding="utf-8"), made))


def trained(cues: Cues, ending: str) -> list[tuple[str, str]]:
    """The variants with max-pooling that took the whole course, and each of their seeds; all have as many."""
    found = recorded(cues.records[ending])
    names = [name for name in complete(found) if parts(name)[1] == "maxpool" and parts(name)[0] not in IN_PART]
    return [(name, seed) for name in names for seed in sorted(found["right"][name], key=int)]


def table(titles: dict[str, str], found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Mean accuracy and spread over the seeds, under a title that is left out where it is put."""
    lines = ["# title", "", f"| variant | {' | '.join(titles.values())} |", f"| --- {'| --- ' * len(titles)}|"]
    for name, by_seed in found.items():
        columns = [[run[condition] for run in by_seed.values()] for condition in titles]
        spreads = [f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "" for values in columns]
        cells = [f"{statistics.fmean(values):.2f}{spread}" for values, spread in zip(columns, spreads, strict=True)]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    cli.run(main)
