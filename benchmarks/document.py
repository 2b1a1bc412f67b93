"""Puts what was measured, ``benchmarks/results/``, as tables into ``docs/performance.md``.

PYTHONPATH=src python benchmarks/document.py
"""

import argparse
import csv
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cilp import params
from cilp.atomic import write_text
from cilp.console import cli
from cilp.pipeline.record import parse
from cilp.report.docs import insert_tables
from cilp.report.verdict import judge

PAGE = Path("docs/performance.md")
RESULTS = Path("benchmarks/results")
RUNS = {
    "run of concatenation with max-pooling": ("costs/fusion/concat-maxpool.json", "<= 1 s"),
    "run of CILP": ("costs/cilp.json", "<= 3 s"),
}
"""Whose seconds stand beside those of the whole study, with what they aim at on an H200."""


def tables(results: Path = RESULTS, metrics: Path = Path("metrics"), record: Path = Path("dvc.lock")) -> dict[str, str]:
    """Markdown by the name of its place, each with a heading that is left out there."""
    made, accuracies = {"bench": [], "profile": [], "scale": [], "study": []}, []
    present, settings = list(parse(record.read_text(encoding="utf-8"))), params.load(record.with_name("params.yaml"))
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = path.stem.partition("-")[0]
        if kind == "reference":
            if made_by(content, settings):  # else ours are no longer what they were held against
                accuracies.append(content)
        else:
            kind = kind if kind in made else "bench"
            plain = {"bench": bench, "profile": profile, "scale": scale}
            table = study(content, metrics, present) if kind == "study" else plain[kind](content)
            made[kind].append(f"{content['device']}, torch {content['torch']}:\n\n{table}")
    for place, kind in (("accuracy", "test_accuracy"), ("same_start", "same_start_test_accuracy")):
        made[place] = [accuracy(accuracies, metrics, kind)]
    return {name: "# title\n\n" + "\n".join(parts) for name, parts in made.items()}


def made_by(content: dict, settings: dict[str, Any]) -> bool:
    """Whether accuracies of the reference loop are of the data and the protocols that ``params.yaml`` has."""
    fusions = settings["fusion"]
    alike = (fusions.get(name, {}).items() >= of.items() for name, of in content["fusion"].items())
    return content["data"] == settings["data"] and all(alike)


def bench(content: dict) -> str:
    """What ``bench.py`` measured, and what falls short of its aim."""
    lines = [
        f"| {row['what'].strip()} | {row['measured']} | {row['to reach']}{'' if reached(row) else ' (**missed**)'} |"
        for row in content["rows"]
    ]
    return "| what | measured | to reach |\n| --- | --- | --- |\n" + "\n".join(lines) + "\n"


def reached(row: dict) -> bool:
    """Whether a row keeps its aim, not rounded; so does one that has none in numbers, and one that was not measured."""
    aim = re.match(r"([<>]=) ([\d.]+)(x| s| min)", row["to reach"])
    unit = {"x": "ratio", " s": "seconds", " min": "seconds"}
    if not aim or unit[aim[3]] not in row:
        return True
    value, bound = row[unit[aim[3]]] / (60 if aim[3] == " min" else 1), float(aim[2])
    return value >= bound if aim[1] == ">=" else value <= bound


def profile(content: dict) -> str:
    """The largest operations of each stage, and what is left; on a GPU, how long a step takes too."""
    lines, on_gpu = [], False
    for stage, found in content["stages"].items():
        shares = [f"{name.removeprefix('aten::')} {share:.0%}" for name, share in found["shares"].items()]
        rest = 1 - sum(found["shares"].values())
        cells = [stage, ", ".join(shares), f"{rest:.0%}"]
        on_gpu = "kernel_seconds" in found
        if on_gpu:
            cells += [f"{found['step_seconds'] * 1e3:.2f} ms", f"{found['kernel_seconds'] * 1e3:.2f} ms"]
        lines.append("| " + " | ".join(cells) + " |")
    head = "| stage | operations with the largest share of a step | all else, Python included |\n| --- | --- | --- |\n"
    if on_gpu:
        head = "| stage | kernels with the largest share of their time | all else | step | kernels of a step |\n"
        head += "| --- " * 5 + "|\n"
    return head + "\n".join(lines) + "\n"


def scale(content: dict) -> str:
    """Time, against that of 2,000 pairs in turns with it, and memory by the number of pairs."""
    lines = [
        f"| {row['pairs']:,} | {row['seconds'] / row['base_seconds']:.2f} | "
        f"{row['seconds'] / row['pairs'] / (row['base_seconds'] / row['base_pairs']):.2f} | "
        f"{row['peak_bytes'] / 2**30:.2f} GiB | {'yes' if row['streamed'] else 'no'} |"
        for row in content["rows"]
    ]
    head = "| training pairs | epoch, relative | a pair, relative | peak memory | streamed |\n"
    return head + "| --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"


def accuracy(contents: Sequence[dict], metrics: Path, kind: str) -> str:
    """Test accuracies of the reference loop, which ``kind`` names, and of ours on the same seeds, of all machines, and
    whether they differ beyond noise."""
    lines = []
    for name in dict.fromkeys(name for content in contents for name in content.get(kind, {})):
        theirs, ours = {}, figures_by_seed(metrics / f"fusion/{name}.csv", "test_accuracy")
        for content in contents:
            theirs |= content.get(kind, {}).get(name, {})
            ours |= content.get("our_test_accuracy", {}).get(name, {})
        if both := [seed for seed in theirs if seed in ours]:  # the study's seeds may be others than they were
            sides = ({seed: side[seed] for seed in both} for side in (theirs, ours))
            lines.append(f"| {name} | {_difference(*sides, count=True)} |")
    head = "| variant | reference loop | ours | seeds | difference (95 %) | verdict |\n"
    return head + "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"


def study(content: dict, metrics: Path, present: Sequence[str] = ()) -> str:
    """How long the whole study took, and whether what came of it is what is committed.

    Of the stages that are ``present``, those that came to be since then are named.
    """
    on_gpu = "threads" not in content["device"]
    missing, without = content["missing"], content["missing_of_the_reference_study"]
    count = len(content["stages"]) - 1  # one of them is what came before the first
    stages = f"{count} of {count + len(missing)} stages; then it was stopped" if missing else f"all {count} stages"
    stages += f", in {content['parts']} parts" if content.get("parts", 1) > 1 else ""
    later = dict.fromkeys(name.partition("@")[0] for name in present if name not in {*content["stages"], *missing})
    stages += f" (since then there is {', '.join(later)}, too)" if later else ""
    of_the_time = ", of the stages of the time" if later else ""
    common = f" (without {', '.join(without)})" if without else ""
    rows = [
        (
            f"`dvc repro` from nothing, {stages}",
            f"{content['seconds'] / 60:.1f} min",
            ("<= 15 min" if on_gpu else "<= 180 min on 2 cores") + of_the_time,
            content["seconds"],
        ),
        (
            f"  of it what the reference study did, data and tables included{common}",
            f"{content['seconds_of_the_reference_study'] / 60:.1f} min",
            "<= 3 min" if on_gpu else "",
            content["seconds_of_the_reference_study"],
        ),
    ]
    for name, (path, aim) in RUNS.items():
        if path not in content["train_seconds"]:  # it was stopped before
            continue
        first, *further = content["train_seconds"][path].values()
        if further:
            shown = ", ".join(f"{run:.2f} s" for run in further)
            rows.append((f"one {name}, after the first", shown, aim if on_gpu else "", max(further)))
        rows.append(("  the first", f"{first:.2f} s", "", first))
    lines = ["| what | measured | to reach |", "| --- | --- | --- |"]
    for what, value, aim, seconds in rows:
        kept = reached({"to reach": aim, "seconds": seconds})
        lines.append(f"| {what.strip()} | {value} | {aim}{'' if kept else ' (**missed**)'} |")
    figures = {
        name: figures_by_seed(metrics.parent / name, found["figure"]) for name, found in content["results"].items()
    }
    if figures and all(figures[name] == found["there"] for name, found in content["results"].items()):
        return "\n".join([*lines, "", "The figures of that run are the committed ones."]) + "\n"
    lines += ["", "| figure on the test set | committed | there | difference (95 %) | verdict |", "| --- " * 5 + "|"]
    for name, found in content["results"].items():
        figure = found["figure"].removeprefix("test_").replace("_", " ")
        lines.append(f"| {Path(name).stem}, {figure} | {_difference(figures[name], found['there'])} |")
    return "\n".join([*lines, *claimed(content.get("claims"))]) + "\n"


def claimed(claims: dict | None) -> list[str]:
    """Of the claims that the pages make of the committed figures, which do not hold of those of a run."""
    if claims is None:
        return []
    count, failing = claims["count"], claims["failing"]
    hold = f"{count - len(failing)} hold there"
    said = f"Of the {count} different claims that the pages make of the committed figures, {hold}."
    if not failing:
        return ["", said]
    rows = [f"| `{claim}` | {there} |" for claim, there in failing.items()]
    return ["", f"{said} The others:", "", "| claim | there |", "| --- | --- |", *rows]


def figures_by_seed(path: Path, column: str) -> dict[str, float]:
    """A figure of every seed."""
    with open(path, newline="", encoding="utf-8") as file:
        return {row["seed"]: float(row[column]) for row in csv.DictReader(file)}


def _difference(before: dict[str, float], after: dict[str, float], count: bool = False) -> str:
    """Cells: both means, of how many seeds on request, their difference and whether it is noise."""
    pair = ({int(seed): value for seed, value in side.items()} for side in (before, after))
    verdict = judge(*pair, higher_is_better=True)
    change = f"{verdict.change:+.4f}"
    if verdict.interval:
        change += f" ({verdict.interval[0]:+.4f} to {verdict.interval[1]:+.4f})"
    return " | ".join([_mean(before), _mean(after), *([str(len(after))] if count else []), change, verdict.word])


def _mean(figures: dict[str, float]) -> str:
    values = list(figures.values())
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_text(PAGE, insert_tables(PAGE.read_text(encoding="utf-8"), tables()))


if __name__ == "__main__":
    cli.run(main)
