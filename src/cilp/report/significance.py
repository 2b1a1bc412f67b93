"""The table of what differs and what does not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cilp.evaluation.significance import Comparison, Estimate, SignificanceParams
from cilp.report.provenance import SOURCES
from cilp.report.titles import title


def significance_json(models: Mapping[str, Estimate], comparisons: Sequence[Comparison], confidence: float) -> dict:
    """Intervals by model, and one entry for each comparison."""
    entries: list[dict[str, Any]] = [
        {
            "first": comparison.first,
            "second": comparison.second,
            "difference": comparison.difference.mean,
            "low": comparison.difference.low,
            "high": comparison.difference.high,
            "p": comparison.difference.p,
            "p_corrected": comparison.p_corrected,
            "within_noise": comparison.within_noise(confidence),
        }
        for comparison in comparisons
    ]
    intervals = {name: {"test_accuracy": it.mean, "low": it.low, "high": it.high} for name, it in models.items()}
    return {"models": intervals, "comparisons": entries}


def significance_markdown(
    models: Mapping[str, Estimate], comparisons: Sequence[Comparison], params: SignificanceParams, source: str,
    seeds: int, scenes: int, samples: int,
) -> str:  # fmt: skip
    """Test accuracies with their intervals, then the differences, those beyond noise in bold.

    ``samples`` is how many pairs the ``scenes`` hold.
    """
    lines = [
        "# Which differences are real?",
        "",
        f"| model | test accuracy | {_percent(params.confidence)} interval |",
        "| --- | --- | --- |",
    ]
    for name, found in models.items():
        lines.append(f"| {title(name)} | {found.mean:.4f} | {found.low:.4f} to {found.high:.4f} |")
    lines += ["", *comparison_rows(comparisons, params.confidence)]
    paired = (
        "by seed and scene, both random (Student's t, with the degrees of freedom of the seeds)"
        if seeds > 1
        else "by scene (Student's t; nothing is known of other seeds)"
    )
    lines += [
        "",
        f"- Data: {SOURCES.get(source, source)}; {samples:,} held-out test pairs of {scenes:,} scenes, "
        f"{f'{seeds} seeds' if seeds > 1 else 'one seed'}.",
        f"- Intervals of accuracies: bootstrap over {'seeds and ' if seeds > 1 else ''}scenes, "
        f"{params.resamples:,} resamples.",
        f"- Differences are paired {paired}. Each interval is of its comparison alone; p-values are corrected for all "
        f"{len(comparisons)} (Benjamini and Hochberg), and one differs if its corrected p-value is at most "
        f"{1 - params.confidence:.2g}.",
    ]
    return "\n".join(lines) + "\n"


def comparison_rows(
    comparisons: Sequence[Comparison], confidence: float, called: Callable[[str], str] = title
) -> list[str]:
    """The lines of a table of differences, those beyond noise in bold; models are ``called`` by their titles."""
    lines = [
        f"| compared | difference | {_percent(confidence)} interval | p, corrected | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for it in comparisons:
        mark, word = ("", "within noise") if it.within_noise(confidence) else ("**", "differs")
        p = p_value(it.p_corrected)
        lines.append(
            f"| {called(it.second)} - {called(it.first)} | {mark}{it.difference.mean:+.4f}{mark} | "
            f"{it.difference.low:+.4f} to {it.difference.high:+.4f} | {p} | {mark}{word}{mark} |"
        )
    return lines


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g}%"


def p_value(p: float) -> str:
    """To three decimals; what would be rounded to 0.000 is ``< 0.001``."""
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"
