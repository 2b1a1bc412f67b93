"""The study's two tables, fusion comparison and strided ablation, as JSON and Markdown.

The JSON holds reproducible figures alone. The Markdown shows beside them what the runs cost, which differs at each run.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from cilp.errors import UserError
from cilp.report.provenance import SOURCES
from cilp.report.titles import DOWNSAMPLING_TITLES, TITLES
from cilp.report.variants import Variant

FIGURES = {  # reproducible: title, decimals
    "valid_loss": ("validation loss", 4),
    "valid_accuracy": ("validation accuracy", 4),
    "test_accuracy": ("test accuracy", 4),
}
COSTS = {  # measured: title, decimals
    "train_seconds": ("train time (s)", 1),
    "samples_per_second": ("training samples/s", 0),
    "peak_memory_mb": ("peak memory (MB)", 0),
}
SIZES = {"parameters": ("parameters", 1, ""), "multiply_adds": ("multiply-adds", 1e6, " M")}
"""By design: title, unit, its symbol."""
Cell = Callable[[Variant], str]


def comparison_json(variants: Sequence[Variant]) -> dict[str, Any]:
    """``{fusion: metrics}``, mean and ``_std`` as the training stages wrote them."""
    return {variant.fusion: variant.metrics for variant in variants}


def ablation_json(strided: Sequence[Variant], maxpool: Sequence[Variant]) -> dict[str, Any]:
    """``{fusion: metrics of the strided variant, with <key>_difference to max-pooling}``.

    A difference is taken seed by seed, since a seed gives both the same weights and order; ``_std`` is its spread.
    """
    return {
        variant.fusion: {**variant.metrics, **_differences(variant, other)}
        for variant, other in zip(strided, maxpool, strict=True)
    }


def comparison_markdown(variants: Sequence[Variant], source: str) -> str:
    """Metric by fusion, mean ± spread over the seeds."""
    title = f"# Fusion comparison, {DOWNSAMPLING_TITLES[variants[0].downsampling]}"
    cells = {name: _value_cell("metrics", key, digits) for key, (name, digits) in FIGURES.items()}
    cells |= {name: _size_cell(key, unit, symbol) for key, (name, unit, symbol) in SIZES.items()}
    cells |= {name: _value_cell("cost", key, digits) for key, (name, digits) in COSTS.items()}
    return "\n\n".join([title, _table(variants, cells), provenance(variants, source)]) + "\n"


def ablation_markdown(strided: Sequence[Variant], maxpool: Sequence[Variant], source: str) -> str:
    """Metric by fusion for strided convolution, in brackets the difference to the max-pooling variant."""
    title = "# Strided convolution instead of max-pooling"
    partner = {variant.fusion: other for variant, other in zip(strided, maxpool, strict=True)}
    cells = {
        name: _with_difference(_value_cell("metrics", key, digits), _paired_cell(key, digits, partner))
        for key, (name, digits) in FIGURES.items()
    }
    cells |= {
        name: _with_difference(_size_cell(key, unit, symbol), _size_difference_cell(key, unit, symbol, partner))
        for key, (name, unit, symbol) in SIZES.items()
    }
    cells |= {
        name: _with_difference(_value_cell("cost", key, digits), _cost_difference_cell(key, digits, partner))
        for key, (name, digits) in COSTS.items()
    }
    note = "In brackets: difference to the max-pooling variant of the same seeds"
    if len(strided[0].per_seed) > 1:
        note += ", mean ± spread of the differences seed by seed; of cost, the difference of the means"
    note += "."
    return "\n\n".join([title, _table(strided, cells), note, provenance([*strided, *maxpool], source)]) + "\n"


def unavailable_markdown(title: str, reason: str) -> str:
    """What stands in a table's place when the declared variants cannot fill it."""
    return f"# {title}\n\n{reason}\n"


def provenance(variants: Sequence[Variant], source: str) -> str:
    """Which data, seeds, device and library versions a table comes from."""
    seeds = [str(seed) for seed in variants[0].per_seed]
    spread = (
        f"mean ± sample standard deviation over {len(seeds)} seeds" if len(seeds) > 1 else "one seed, hence no spread"
    )
    cost = variants[0].cost
    samples = cost["samples"]
    machines = sorted({f"{v.cost['device']}; torch {v.cost['torch']}, Python {v.cost['python']}" for v in variants})
    return "\n".join(
        [
            f"- Data: {SOURCES.get(source, source)}; {samples['train']:,} training, {samples['val']:,} validation and "
            f"{samples['test']:,} held-out test pairs. Losses in nats; accuracy over every sample.",
            f"- Seeds: {', '.join(seeds)} ({spread}). "
            "Figures are those of the checkpoint with the lowest validation loss.",
            f"- Device: {' / '.join(machines)}. Time, rate and memory were measured there, run by run, and vary; "
            "memory is what CUDA allocated, or the resident memory of the process on a CPU.",
        ]
    )


def _table(variants: Sequence[Variant], cells: dict[str, Cell]) -> str:
    rows = [["metric", *(TITLES.get(v.fusion, v.fusion) for v in variants)], ["---"] * (len(variants) + 1)]
    rows += [[name, *(cell(variant) for variant in variants)] for name, cell in cells.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _with_difference(value: Cell, difference: Cell) -> Cell:
    return lambda variant: f"{value(variant)} ({difference(variant)})"


def _value_cell(group: str, key: str, digits: int) -> Cell:
    def cell(variant: Variant) -> str:
        figures = getattr(variant, group)
        if key not in figures:
            return "not measured"
        return f"{figures[key]:,.{digits}f}" + _spread(figures.get(f"{key}_std"), digits)

    return cell


def _size_cell(key: str, unit: float, symbol: str) -> Cell:
    return lambda variant: f"{variant.metrics[key] / unit:,.0f}{symbol}"


def _size_difference_cell(key: str, unit: float, symbol: str, partner: dict[str, Variant]) -> Cell:
    def cell(variant: Variant) -> str:
        difference = variant.metrics[key] - partner[variant.fusion].metrics[key]
        return _signed(difference / unit, 0) + (symbol if difference else "")

    return cell


def _paired_cell(key: str, digits: int, partner: dict[str, Variant]) -> Cell:
    def cell(variant: Variant) -> str:
        difference = _differences(variant, partner[variant.fusion])
        mean, std = difference[f"{key}_difference"], difference.get(f"{key}_difference_std")
        return _signed(mean, digits) + ("" if mean == std == 0 else _spread(std, digits))

    return cell


def _cost_difference_cell(key: str, digits: int, partner: dict[str, Variant]) -> Cell:
    def cell(variant: Variant) -> str:
        ours, theirs = variant.cost.get(key), partner[variant.fusion].cost.get(key)
        return "not measured" if ours is None or theirs is None else _signed(ours - theirs, digits)

    return cell


def _differences(variant: Variant, other: Variant) -> dict[str, float]:
    """Mean and spread over the seeds of ``variant - other``, key by key."""
    if variant.per_seed.keys() != other.per_seed.keys():
        raise UserError(
            f"{variant.fusion}-{variant.downsampling} and {other.fusion}-{other.downsampling} were trained on "
            "different seeds; run `dvc repro` to train both on those of params.yaml."
        )
    result = {}
    for key in FIGURES:
        by_seed = [figures[key] - other.per_seed[seed][key] for seed, figures in variant.per_seed.items()]
        result[f"{key}_difference"] = statistics.fmean(by_seed)
        if len(by_seed) > 1:
            result[f"{key}_difference_std"] = statistics.stdev(by_seed)
    return result


def _spread(std: float | None, digits: int) -> str:
    return "" if std is None else f" ± {std:,.{digits}f}"


def _signed(difference: float, digits: int) -> str:
    text = f"{difference:+,.{digits}f}"
    return "=" if difference == 0 else text
