"""What a branch does to the results: one Markdown report against its base, from committed files alone.

    PYTHONPATH=src python -m cilp.report.pull_request --base main

Writes ``report/report.md`` and beside it the plots of both sides; with ``--images URL`` the plots are linked instead,
as ``URL/<commit>/plots/...``. The base is the commit at which the branch left it.
"""

import argparse
import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from cilp import params
from cilp.atomic import write_text
from cilp.console import cli
from cilp.errors import UserError
from cilp.pipeline.record import parse
from cilp.report.cilp import ROWS
from cilp.report.claimed import check, pages
from cilp.report.claims import Figures
from cilp.report.revisions import Revision, current_branch, fork_point, read_revision
from cilp.report.tables import COSTS, FIGURES
from cilp.report.titles import DOWNSAMPLING_TITLES, TITLES
from cilp.report.variants import Variant, read_variants
from cilp.report.verdict import BETTER, CONFIDENCE, NOISE, UNCHANGED, WORSE, Verdict, judge

PLOTS = {
    "plots/fusion_loss_curves.png": "Loss curves",
    "plots/similarity_matrix.png": "Similarity matrix",
    "plots/similarity_sorted.png": "Similarity, whole validation set",
}
NO_AIM = ("test_unscaled_loss",)
"""Figures that are reported for comparison: neither direction is better."""
ON_TEST = {"test_accuracy": True, "test_twin_accuracy": True, "test_cosine": True, "test_loss": False}
"""What is said of the held-out test set, and whether more is better: the first of these that both sides have."""
DATA = {
    "data/packed.pt": "training, validation and test data",
    "data/unlabelled.pt": "the pairs without labels",
    "data/random_size.pt": "the scenes of random size",
    "data/random_size_unlabelled.pt": "the scenes of random size without labels",
}
SUMMARIES = {"fusion_comparison.json", "strided_ablation.json"}
"""What both tables show, as the pipeline writes it."""
GONE = "no longer there"
Image = Callable[[Revision, str], str]
Seeds = Mapping[int, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", help="what to compare with: a branch, tag, commit (default: main)")
    parser.add_argument("--head", default="HEAD", help="what to report on, or an experiment (default: HEAD)")
    parser.add_argument("--output", type=Path, default=Path("report"), help="folder to write (default: report)")
    parser.add_argument("--images", help="where committed files are served, up to the commit")
    arguments = parser.parse_args()
    output: Path = arguments.output
    with tempfile.TemporaryDirectory() as folder:
        head = read_revision(arguments.head, Path(folder) / "head")
        base = read_revision(fork_point(arguments.base, arguments.head), Path(folder) / "base")
        base = replace(base, name=arguments.base)
        if arguments.head == "HEAD":
            head = replace(head, name=current_branch())

        def image(side: Revision, path: str) -> str:
            if arguments.images:
                return f"{arguments.images}/{side.sha}/{path}"
            copy = output / side.root.name / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(side.root / path, copy)
            return copy.relative_to(output).as_posix()

        text = report(base, head, image)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "report.md", text)
    print(text)


def report(base: Revision, head: Revision, image: Image) -> str:
    """The whole report. ``image`` gives the address of a plot of either side."""
    before, after = (params.load(side.root / "params.yaml") for side in (base, head))
    sections = [
        f"# Results of {head}, compared with {base}",
        *_verdicts(base, head, before, after),
        *_claims(base, head),
        "## What was changed",
        _changed_params(before, after),
        _data_note(base, head),
        _other_metrics(base, head),
        *_fusion_tables(base, head, before, after),
        *_cilp_table(base, head),
        *(_pictures(base, head, path, title, image) for path, title in PLOTS.items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


# verdicts


def _verdicts(base: Revision, head: Revision, before: Mapping, after: Mapping) -> Iterator[str]:
    """A line per model: what became of its validation loss and of its figure on the test set."""
    rows, words = [], []
    for name, ours, theirs in _models(base, head, before, after):
        cells = [name]
        if ours is None or theirs is None:
            word = "new" if theirs is None else GONE
            cells += [word, "", "", ""]
            words.append(word)
        else:
            on_test = [key for key in ON_TEST if key in ours and key in theirs]
            for key, higher in {"valid_loss": False, **{key: ON_TEST[key] for key in on_test[:1]}}.items():
                verdict = judge(theirs[key], ours[key], higher)
                cells += [_change(verdict), _emphasised(verdict.word)]
                words.append(verdict.word)
            cells += [] if on_test else ["other figures", ""]
        rows.append(cells)
    head_row = ["model", "validation loss", "", "test set", ""]
    counted = [f"{words.count(word)} {word}" for word in dict.fromkeys((BETTER, WORSE, NOISE, UNCHANGED, *words))]
    yield f"**{', '.join(c for c in counted if not c.startswith('0 ')) or 'No results on either side'}.**"
    yield _table(head_row, rows)
    yield (
        f"Change of the mean over seeds with its {CONFIDENCE:.0%} interval: seed by seed where both sides have the "
        "same seeds, else Welch's. *Within noise*: the interval holds zero, other seeds might have shown the opposite. "
        "About one line in twenty leaves the noise by chance. On the test set: accuracy, for CILP the twin test, for "
        "the projector the cosine. Choose by validation: a test set that decides is no test."
    )


def _models(
    base: Revision, head: Revision, before: Mapping, after: Mapping
) -> Iterator[tuple[str, Mapping[str, Seeds] | None, Mapping[str, Seeds] | None]]:
    """Name, and figure -> seed -> value after and before; None where a side has no results of it."""
    theirs, ours = (_variants(side, settings) for side, settings in ((base, before), (head, after)))
    for key in dict.fromkeys([*ours, *theirs]):
        name = f"{TITLES.get(key[0], key[0])}, {DOWNSAMPLING_TITLES.get(key[1], key[1])}"
        yield name, _by_figure(ours.get(key)), _by_figure(theirs.get(key))
    for model, title in dict.fromkeys((row[0], row[1]) for row in ROWS if row[0] != "retrieval"):
        sides = [_seeds_of(side.root / f"metrics/{model}.csv") for side in (head, base)]
        if any(sides):
            yield title, *sides


def _variants(side: Revision, settings: Mapping[str, Any]) -> dict[tuple[str, str], Variant]:
    """The variants that a side declares and has results of."""
    declared = settings.get("variants", {})
    found = {}
    for downsampling in declared.get("downsampling", ()):
        for fusion in declared.get("fusion", ()):
            try:
                found[fusion, downsampling] = read_variants([fusion], downsampling, side.root)[0]
            except UserError:
                continue
    return found


def _by_figure(variant: Variant | None) -> dict[str, dict[int, float]] | None:
    if variant is None:
        return None
    keys = next(iter(variant.per_seed.values()))
    return {key: {seed: figures[key] for seed, figures in variant.per_seed.items()} for key in keys}


def _seeds_of(path: Path) -> dict[str, dict[int, float]] | None:
    """Figure -> seed -> value, from a CSV with a row for each seed."""
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: {int(row["seed"]): float(row[key]) for row in rows} for key in rows[0] if key != "seed"}


# what the pages say


def _claims(base: Revision, head: Revision) -> Iterator[str]:
    """Whether what the pages claim follows from the figures beside them, and what to rewrite if not.

    What did not follow from the figures of ``base`` either stands apart: it is no doing of the branch.
    """
    here, there = (Figures(side.root / "metrics") for side in (head, base))
    count, rows, before = 0, [], []
    for page in pages(head.root):
        text = page.read_text(encoding="utf-8")
        checked, known = check([text], here), check([text], there).failing
        count += checked.count
        for claim, said in checked.failing.items():
            row = [f"{page.relative_to(head.root)}", f"`{claim}`", said.replace(f"{head.root}/", "")]
            (before if claim in known else rows).append(row)
    if not count:
        return
    yield "## What the pages claim"
    head_row = ["page", "claim", "here"]
    if rows:
        yield (
            f"**{len(rows)} of {count} claims followed from the figures of {base} and do not from these**; the "
            "sentences above them need rewriting."
        )
        yield _table(head_row, rows)
    else:
        besides = f", but for {len(before)} that did not follow from those of {base} either" if before else ""
        yield f"All {count} claims follow from these figures{besides}."
    if before:
        yield f"<details><summary>{len(before)} that did not follow before either</summary>"
        yield _table(head_row, before)
        yield "</details>"


# what was changed


def _changed_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    old, new = dict(_flat(before)), dict(_flat(after))
    rows = [
        [f"`{key}`", *(f"`{_yaml(side[key])}`" if key in side else "-" for side in (old, new))]
        for key in dict.fromkeys([*new, *old])
        if (key in old) != (key in new) or old.get(key) != new.get(key)
    ]
    return _table(["param", "before", "after"], rows) if rows else "No param."


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``a.b`` -> value of every leaf."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip().replace("|", "\\|")
    )


def _data_note(base: Revision, head: Revision) -> str:
    old, new = map(_outputs, (base, head))
    known = {path: what for path, what in DATA.items() if path in old and path in new}
    if not known:
        return "Whether the data are the same is not known: `dvc.lock` does not name them on both sides."
    others = [what for path, what in known.items() if old[path] != new[path]]
    if not others:
        return f"The data are the same ({', '.join(known.values())})."
    return f"**The data are not the same** ({', '.join(others)}): differences are of data as well as of models."


def _other_metrics(base: Revision, head: Revision) -> str:
    """Names of the figures that changed and stand in no table here."""
    shown = {f"{name}.{kind}" for name in {row[0] for row in ROWS} for kind in ("json", "csv")} | SUMMARIES
    contents = [_metrics(side) for side in (base, head)]
    changed = sorted(
        name
        for name in contents[0].keys() | contents[1].keys()
        if name not in shown and contents[0].get(name) != contents[1].get(name)
    )
    if not changed:
        return ""
    names = ", ".join(f"`metrics/{name}`" for name in changed)
    return f"Changed as well, and in no table here: {names}. `dvc metrics diff` and `dvc plots diff` show how."


def _metrics(side: Revision) -> dict[str, bytes]:
    """Content of every figure, but those of the variants that the tables show."""
    root = side.root / "metrics"
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.suffix in (".json", ".csv")}
    return {
        name: path.read_bytes() for name, path in found.items() if not name.startswith("fusion/") or "-dropout" in name
    }


def _outputs(side: Revision) -> dict[str, str]:
    """Path -> MD5 of what the stages wrote, from ``dvc.lock``."""
    path = side.root / "dvc.lock"
    stages = parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return {out["path"]: out.get("md5", "") for stage in stages.values() for out in stage.get("outs", ())}


# tables


def _fusion_tables(base: Revision, head: Revision, before: Mapping, after: Mapping) -> Iterator[str]:
    """Both tables with the change of every cell in brackets."""
    theirs, ours = (_variants(side, settings) for side, settings in ((base, before), (head, after)))
    for title, downsampling in (("Fusion comparison", "maxpool"), ("Strided convolution", "strided")):
        variants = [variant for key, variant in ours.items() if key[1] == downsampling]
        if not variants:
            continue
        other = [theirs.get((variant.fusion, downsampling)) for variant in variants]
        rows = []
        for group, figures in (("metrics", FIGURES), ("metrics", {"parameters": ("parameters", 0)}), ("cost", COSTS)):
            for key, (name, digits) in figures.items():
                pairs = zip(variants, other, strict=True)
                rows.append([name, *(_cell(getattr(v, group), getattr(o, group, None), key, digits) for v, o in pairs)])
        yield f"## {title}"
        yield _table(["metric", *(TITLES.get(v.fusion, v.fusion) for v in variants)], rows)
    if ours:
        yield (
            "Mean ± sample standard deviation over the seeds, in brackets the change of the mean. "
            "Time, rate and memory vary by themselves."
        )


def _cilp_table(base: Revision, head: Revision) -> Iterator[str]:
    rows = []
    for model, title, figure, key, digits, _ in ROWS:
        sides = [_read_json(side.root / f"metrics/{model}.json") for side in (head, base)]
        seeds = [_seeds_of(side.root / f"metrics/{model}.csv") for side in (base, head)]
        if not any(sides):
            continue
        there = [bool(side) and key in side for side in seeds]
        if key in NO_AIM or not any(there):
            verdict = "-"
        elif all(there):
            verdict = _emphasised(judge(seeds[0][key], seeds[1][key], True).word)
        else:
            verdict = _emphasised("new" if there[1] else GONE)
        rows.append([title, figure, _cell(sides[0] or {}, sides[1], key, digits), verdict])
    if rows:
        yield "## Contrastive pretraining"
        yield _table(["model", "figure", "after (change)", "verdict"], rows)


def _read_json(path: Path) -> dict[str, float] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _cell(after: Mapping[str, Any], before: Mapping[str, Any] | None, key: str, digits: int) -> str:
    if key not in after:
        return "not measured"
    text = f"{after[key]:,.{digits}f}"
    if f"{key}_std" in after:
        text += f" ± {after[f'{key}_std']:,.{digits}f}"
    if before is None or key not in before:
        return f"{text} (new)"
    change = after[key] - before[key]
    return f"{text} ({f'{change:+,.{digits}f}' if change else '='})"


def _change(verdict: Verdict) -> str:
    if verdict.word == UNCHANGED:
        return "="
    text = f"{verdict.change:+.4f}"
    return text + (f" [{verdict.interval[0]:+.4f}, {verdict.interval[1]:+.4f}]" if verdict.interval else "")


def _emphasised(word: str) -> str:
    return f"**{word}**" if word in (BETTER, WORSE) else word


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


# plots


def _pictures(base: Revision, head: Revision, path: str, title: str, image: Image) -> str:
    old, new = ((side.root / path).read_bytes() if (side.root / path).is_file() else None for side in (base, head))
    if new is None:
        return ""
    if old == new:
        return f"## {title}\n\nUnchanged.\n\n![{title}]({image(head, path)})"
    before = f"![{title} before]({image(base, path)})" if old is not None else "none"
    return f"## {title}\n\n" + _table(["before", "after"], [[before, f"![{title} after]({image(head, path)})"]])


if __name__ == "__main__":
    cli.run(main)
