"""What the study's seeds leave open: the fusions on further seeds, and which differences are real then.

    PYTHONPATH=src python benchmarks/more_seeds.py [--record random_size] [--variants rgb-maxpool rgb-strided ...]

``--record`` names one of ``RECORDS`` (``more_seeds_records.py``): what is trained, on which scenes and seeds, and what
it is held against; docs/more-seeds.md lists them.

Trains fusion variants on further seeds, as ``train_fusion`` or, on scenes in which size tells nothing of the
shape, as ``train_random_size`` does, and puts them beside those of the study, whose networks lie in ``models/fusion``
(``dvc repro --glob 'train_fusion@*'``) and ``models/random_size``. Writes what each run says of each scene of the test
set into ``docs/``, and goes on from there when it is started again; delete that file to begin anew. Then it puts tables
and figure of the variants whose seeds are complete into ``docs/more-seeds.md``, ``docs/random-sizes.md`` or
``docs/cilp-course.md``; with ``--tables`` it does so for every record that there is, and trains nothing. A quarter of
an hour a seed on two threads of one core; on random sizes, where three ways of deciding by both sensors come on top, 22
minutes on two cores.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from more_seeds_course import IN_PART, WHOLE
from more_seeds_figure import draw
from more_seeds_networks import parts, shares_right
from more_seeds_records import RECORDS, Beside, Record, called, fusion_called
from run_records import begun, check_same_scenes, compared, complete, digits, keep, machines, read, shares
from torch import Tensor

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.errors import UserError
from cilp.evaluation.models import DECISION, variants
from cilp.evaluation.significance import Comparison, compare, difference, pairs
from cilp.report.docs import insert_tables
from cilp.report.significance import comparison_rows, p_value
from cilp.report.titles import DOWNSAMPLING_TITLES
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import Split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--record", choices=RECORDS, default="study", help="what to train, and on what (default: study)"
    )
    parser.add_argument("--variants", nargs="+", help="for example late-strided (default: all)")
    parser.add_argument(
        "--another-machine", action="store_true", help="go on with its record, if a run comes out alike"
    )
    parser.add_argument("--tables", action="store_true", help="of all records, tables and figures alone")
    arguments = parser.parse_args()
    if arguments.tables:
        for record in RECORDS.values():
            if record.results.is_file():
                document(record, read(record.results))
        return
    record = RECORDS[arguments.record]
    settings = record.trained_by(params.load())
    device = prepare_device(params.lookup(settings, "device"))
    names = [name for name in variants(settings) if record.fusions is None or parts(name)[0] in record.fusions]
    names += [
        f"fusion/{fusion}-{way}"
        for fusion in record.beside
        for way in dict.fromkeys(way for _, way in map(parts, names))
    ]
    asked = [f"fusion/{name}" for name in arguments.variants] if arguments.variants else names
    if unknown := set(asked) - set(names):
        raise UserError(f"{', '.join(sorted(unknown))}: no such variant; there are {', '.join(names)}.")
    check_page(record)
    head = {**describe(device), **record.decided_by(settings)}
    found = begun(record.results, head, "right", names, arguments.another_machine)
    seeds, logits, test = record.runs(settings, device, **record.further_scenes)
    if head["device"] not in machines(found):
        repeat(found, logits, test)
        found["also"] = [*machines(found)[1:], head["device"]]
        write_json(record.results, found)  # or the run would be trained again next time if nothing is missing
    for seed, name in itertools.product((*seeds, *record.further), asked):
        if str(seed) in found["right"][name]:
            continue
        keep(record.results, found, name, seed, shares_right(logits(name, seed), test))
    document(record, found)


def check_page(record: Record) -> None:
    """``UserError`` if the page has no place for what will be written, which hours of training would end with."""
    page = record.page.read_text(encoding="utf-8")
    for name in ("seeds", "comparisons", *(["against"] if record.against else ["together"] if record.together else [])):
        if f"<!-- {record.prefix}{name} -->" not in page:
            raise UserError(f"{record.page} has no place for a table: add <!-- {record.prefix}{name} --> and its end.")


def recorded(name: str) -> dict[str, Any]:
    """What is written down of the runs of one of ``RECORDS``; ``UserError`` if there is nothing."""
    results = RECORDS[name].results
    if not results.is_file():
        raise UserError(f"{results} is missing; run benchmarks/more_seeds.py --record {name} first.")
    return read(results)


def repeat(found: dict[str, Any], logits: Callable[[str, int], Tensor], test: Split) -> None:
    """Train the last of the runs in a record once more; ``UserError`` if it does not come out alike."""
    runs = [(name, seed) for name, right in found["right"].items() for seed in right if parts(name)[0] != DECISION]
    if not runs:
        return
    name, seed = runs[-1]
    if digits(shares_right(logits(name, int(seed)), test)) != found["right"][name][seed]:
        raise UserError(f"{name} seed {seed} does not come out here as on {found['device']}; nothing was added.")
    print(f"{name} seed {seed} comes out as on {found['device']}", flush=True)


def comparisons(found: dict[str, Any]) -> list[Comparison]:
    """The study's comparisons, of complete variants; what has taken a course in part is compared with the whole
    alone."""
    fusions = dict.fromkeys(fusion for fusion, _ in map(parts, complete(found)))
    return compared(found, list(filter(answers_something, pairs(list(fusions), list(DOWNSAMPLING_TITLES)))))


def answers_something(pair: tuple[str, str]) -> bool:
    """Whether a comparison is of two wholes, or of what has taken the course in part with its whole."""
    fusions = {parts(name)[0] for name in pair}
    return not fusions & IN_PART.keys() or WHOLE in fusions


def together(record: Record, found: dict[str, Any]) -> dict[str, float]:
    """What max-pooling and strides come to over all of some networks: one question instead of one for each.

    Shares of the test set that are wrong, and the mean difference of accuracies, from low to high, with its p-value;
    nothing as long as no such network has both, or if that is not asked.
    """
    if not record.together:
        return {}
    accuracy = complete(found)
    both = [
        fusion for fusion in dict.fromkeys(fusion for fusion, _ in map(parts, accuracy))
        if fusion not in record.together[1] and all(f"fusion/{fusion}-{way}" in accuracy for way in DOWNSAMPLING_TITLES)
    ]  # fmt: skip
    if not both:
        return {}
    pooled, strided = (
        np.mean([accuracy[f"fusion/{fusion}-{way}"] for fusion in both], axis=0) for way in DOWNSAMPLING_TITLES
    )
    differs = difference(strided - pooled, found["significance"]["confidence"])
    return {
        "networks": len(both), "wrong_maxpool": float(1 - pooled.mean()), "wrong_strided": float(1 - strided.mean()),
        **asdict(differs),
    }  # fmt: skip


def tables(record: Record, found: dict[str, Any]) -> dict[str, str]:
    """Markdown by the name of its place, each with a heading that is left out there."""
    confidence = found["significance"]["confidence"]
    made = {
        "seeds": table_by_seed(found, called),
        "comparisons": "\n".join([*comparison_rows(comparisons(found), confidence, called), ""]),
    }
    if record.against:
        made["against"] = one_by_one(record.against, found)
    elif record.together:
        made["together"] = averaged(record.together[0], together(record, found), confidence)
    return {f"{record.prefix}{name}": f"# title\n\n{table}" for name, table in made.items()}


def averaged(networks: str, it: dict[str, float], confidence: float) -> str:
    """The one row of what ``together`` found over some networks."""
    if not it:
        return "Not asked: no network has been trained with both on as many seeds.\n"
    return (
        f"| {networks} | wrong, max-pooling | wrong, strided convolution | difference | "
        f"{100 * confidence:g}% interval | p |\n{'| --- ' * 6}|\n| {it['networks']} | {it['wrong_maxpool']:.2%} | "
        f"{it['wrong_strided']:.2%} | {it['mean']:+.4f} | {it['low']:+.4f} to {it['high']:+.4f} | "
        f"{p_value(it['p'])} |\n"
    )


def table_by_seed(found: dict[str, Any], called: Callable[[str], str]) -> str:
    """The test accuracy of each run, and how much of it is the seed's; networks are ``called`` by their titles."""
    accuracy = complete(found)
    seeds = sorted(found["right"][next(iter(accuracy))], key=int)
    lines = [f"| variant | {' | '.join(seeds)} | mean |", "| --- " * (len(seeds) + 2) + "|"]
    for name, values in accuracy.items():
        means = values.mean(axis=1).tolist()
        spread = f" ± {statistics.stdev(means):.4f}" if len(means) > 1 else ""
        cells = [called(name), *(f"{mean:.4f}" for mean in means), f"{statistics.fmean(means):.4f}{spread}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def held_against(beside: Beside) -> dict[str, Any]:
    """What the networks of the other training say."""
    return recorded(beside.record)


def against(beside: Beside, found: dict[str, Any]) -> list[Comparison]:
    """Each variant against itself as the other training made it on the same seeds, where it has all of these.

    The first of the two is called as the variant, the second too, with the ending behind it.
    """
    before, after = on_the_same_seeds(beside, found), complete(found)
    accuracy = {**before, **{name + beside.ending: after[name] for name in before}}
    return compare(accuracy, [(name, name + beside.ending) for name in before], found["significance"]["confidence"])


def on_the_same_seeds(beside: Beside, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Shares of the variants as the other training made them, on the seeds that they have in ``found``."""
    there = held_against(beside)
    check_same_scenes(there, found)
    other = there["right"]
    seeds = {name: found["right"][name].keys() for name in complete(found)}
    return {
        name: shares({seed: other[name][seed] for seed in of})
        for name, of in seeds.items()
        if of <= other.get(name, {}).keys()
    }


def one_by_one(beside: Beside, found: dict[str, Any]) -> str:
    """What this training makes of each variant: mean accuracies, and the cells of a table of comparisons."""
    differences, before = against(beside, found), on_the_same_seeds(beside, found)
    head, ruler, *rows = comparison_rows(differences, found["significance"]["confidence"])
    lines = [f"| variant | {beside.before} | {beside.after} |{after_the_first(head)}", f"| --- | --- {ruler}"]
    for it, row in zip(differences, rows, strict=True):
        mean = before[it.first].mean()
        cells = [called(it.first), f"{mean:.4f}", f"{mean + it.difference.mean:.4f}"]
        lines.append(f"| {' | '.join(cells)} |{after_the_first(row)}")
    return "\n".join(lines) + "\n"


def after_the_first(row: str) -> str:
    """All cells of a line of a table but the first."""
    return row.split("|", 2)[2]


def document(record: Record, found: dict[str, Any]) -> None:
    """Put tables and figure into their places."""
    write_text(record.page, insert_tables(record.page.read_text(encoding="utf-8"), tables(record, found)))
    if record.ticks:
        titled = {
            words: {fusion_called(name): accuracy for name, accuracy in of.items()}
            for words, of in series(record, found).items()
        }
        draw(record.figure, titled, record.ticks)


def series(record: Record, found: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """What the picture tells apart: max-pooling and strides, or two trainings of the same networks with max-pooling."""
    beside = record.against
    if not beside:
        return {words: of_fusions(found, way) for way, words in DOWNSAMPLING_TITLES.items()}
    before, after = (of_fusions(record, "maxpool") for record in (held_against(beside), found))
    return {beside.before: {name: of for name, of in before.items() if name in after}, beside.after: after}


def of_fusions(found: dict[str, Any], downsampling: str) -> dict[str, np.ndarray]:
    """Shares by fusion, of the variants with this downsampling."""
    named = ((*parts(name), accuracy) for name, accuracy in complete(found).items())
    return {fusion: accuracy for fusion, way, accuracy in named if way == downsampling}


if __name__ == "__main__":
    cli.run(main)
