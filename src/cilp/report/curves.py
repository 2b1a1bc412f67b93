"""Loss curves of all variants in one picture: colour tells the fusion, dash the downsampling."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from cilp.atomic import replacing
from cilp.report.tables import DOWNSAMPLING_TITLES, TITLES
from cilp.report.variants import Variant

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

# Okabe and Ito's palette, told apart by the colour-blind as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = {"maxpool": "-", "strided": (0, (4, 2))}
PANELS = {"train_loss": "training loss", "valid_loss": "validation loss"}


def draw_loss_curves(variants: Sequence[Variant], curves: Path, target: Path) -> None:
    """Draw the mean over the seeds of each ``<curves>/<fusion>-<downsampling>.csv`` into a PNG.

    The spread is left to the tables: bands of eight variants on top of each other tell nothing apart.
    """
    colour = dict(zip(dict.fromkeys(variant.fusion for variant in variants), COLOURS, strict=False))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 4.4), sharey=True, layout="constrained")
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for variant in variants:
            by_epoch = _losses(curves / f"{variant.fusion}-{variant.downsampling}.csv", key)
            epochs = list(by_epoch)
            means = [statistics.fmean(values) for values in by_epoch.values()]
            axis.plot(
                epochs, means, linewidth=1.8, color=colour[variant.fusion], linestyle=DASHES[variant.downsampling]
            )
        axis.set(title=title, xlabel="epoch", yscale="log")
        axis.grid(True, which="major", alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("binary cross-entropy (nats)")
    downsamplings = dict.fromkeys(variant.downsampling for variant in variants)
    handles = [Line2D([], [], color=c, linewidth=2, label=TITLES.get(f, f)) for f, c in colour.items()]
    handles += [Line2D([], [], color="0.3", linestyle=DASHES[d], label=DOWNSAMPLING_TITLES[d]) for d in downsamplings]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)


def _losses(path: Path, key: str) -> dict[int, list[float]]:
    """Epoch -> the value of each seed."""
    by_epoch: dict[int, list[float]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_epoch[int(row["epoch"])].append(float(row[key]))
    return by_epoch
