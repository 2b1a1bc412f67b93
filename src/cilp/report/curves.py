"""Loss curves of all variants in one picture: colour tells the fusion, a row of panels the downsampling."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from cilp.report.style import COLOURS, save
from cilp.report.titles import DOWNSAMPLING_TITLES, TITLES
from cilp.report.variants import Variant

PANELS = {"train_loss": "training loss", "valid_loss": "validation loss"}


def draw_loss_curves(variants: Sequence[Variant], curves: Path, target: Path) -> None:
    """Draw each ``<curves>/<fusion>-<downsampling>.csv`` into a PNG: the median of the seeds, and each of them thinly.

    The median, since on a logarithmic axis one seed that lags would be nearly all of a mean.
    """
    colour = dict(zip(dict.fromkeys(variant.fusion for variant in variants), COLOURS, strict=False))
    downsamplings = list(dict.fromkeys(variant.downsampling for variant in variants))
    figure, axes = plt.subplots(
        len(downsamplings), len(PANELS), figsize=(11, 0.8 + 3.6 * len(downsamplings)), sharex=True, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, downsampling in zip(axes, downsamplings, strict=True):
        for axis, (key, panel) in zip(row, PANELS.items(), strict=True):
            for variant in variants:
                if variant.downsampling != downsampling:
                    continue
                by_epoch = _losses(curves / f"{variant.fusion}-{downsampling}.csv", key)
                line = {"color": colour.get(variant.fusion, "0.5"), "solid_joinstyle": "round"}
                axis.plot(list(by_epoch), list(by_epoch.values()), linewidth=0.6, alpha=0.4, **line)
                medians = [statistics.median(values) for values in by_epoch.values()]
                axis.plot(list(by_epoch), medians, linewidth=1.8, **line)
            axis.set(title=f"{panel}, {DOWNSAMPLING_TITLES.get(downsampling, downsampling)}", yscale="log")
            axis.grid(True, which="major", alpha=0.3)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("binary cross-entropy (nats)")
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    handles = [Line2D([], [], color=c, linewidth=2, label=TITLES.get(f, f)) for f, c in colour.items()]
    thin = Line2D([], [], color="0.3", linewidth=0.6, label="one seed (thick: median)")
    figure.legend(handles=[*handles, thin], loc="outside lower center", ncols=4, frameon=False)
    save(figure, target, 120)


def _losses(path: Path, key: str) -> dict[int, list[float]]:
    """Epoch -> the value of each seed."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_epoch[int(row["epoch"])].append(float(row[key]))
    return by_epoch
