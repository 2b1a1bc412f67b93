"""The picture of ``more_seeds.py``: what each run gets wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot

from cilp.report.style import COLOURS, MARKERS, save


def draw(path: Path, series: Mapping[str, Mapping[str, np.ndarray]], ticks: Sequence[float]) -> None:
    """The share of the test set that each run gets wrong, a point for each seed, and their mean; a row a fusion.

    ``series`` are what is told apart by colour, in words; each has by the title of a fusion what share of each scene's
    samples is right, (seeds, scenes). ``ticks`` are shares that are wrong; if the first is 0, the axis begins there; if
    not, nothing wrong stands where the least is.
    """
    found = [1 - accuracy.mean(axis=1) for of in series.values() for accuracy in of.values()]
    least = min(wrong[wrong > 0].min(initial=ticks[0]) for wrong in found) if ticks[0] else 0.0
    most = max(wrong.max() for wrong in found)
    fusions = list(dict.fromkeys(fusion for accuracy in series.values() for fusion in accuracy))
    figure, axis = pyplot.subplots(figsize=(9, 0.9 + 0.62 * len(fusions)), layout="constrained")
    labelled = set()
    for row, fusion in enumerate(fusions):
        there = [number for number, accuracy in enumerate(series.values()) if fusion in accuracy]
        for place, number in enumerate(there):
            words, accuracy = list(series.items())[number]
            wrong = np.maximum(1 - accuracy[fusion].mean(axis=1), least)
            height = row + 0.36 * (place - (len(there) - 1) / 2)
            axis.plot(
                wrong, np.full(len(wrong), height), MARKERS[number], color=COLOURS[number], alpha=0.55, markersize=6,
                markeredgewidth=0, label=None if number in labelled else words,
            )  # fmt: skip
            labelled.add(number)
            axis.plot(wrong.mean(), height, "|", color=COLOURS[number], markersize=17, markeredgewidth=2.5)
    if ticks[0]:
        axis.set_xscale("log")
        axis.set_xlim(0.9 * least, 0.6)
        axis.set_xlabel("share of the test set that is wrong (logarithmic)")
    else:
        axis.set_xscale("symlog", linthresh=ticks[1], linscale=0.5)
        axis.set_xlim(-0.0001, max(0.4, 1.1 * most))
        axis.set_xlabel(f"share of the test set that is wrong (logarithmic above {100 * ticks[1]:g}%)")
    axis.set_xticks(ticks, [f"{100 * tick:g}%" if tick else "0" for tick in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(fusions)), fusions)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.plot([], [], "|", color="0.3", markersize=11, markeredgewidth=2.5, label="mean of the seeds")
    figure.legend(loc="outside upper center", ncols=len(series) + 1, frameon=False)
    save(figure, path, 120)
