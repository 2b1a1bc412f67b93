"""What the study found, in sentences whose words and numbers follow from the figures, each with the claims it makes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from cilp.evaluation.models import BASELINES
from cilp.report.claims import Figures
from cilp.report.titles import title

MARK = 0.95
"""Accuracy that the course asks of the RGB-to-LiDAR classifier."""


@dataclass(frozen=True)
class Finding:
    """A question, the answer, and what the answer claims (``cilp.report.claims``)."""

    question: str
    answer: str
    claims: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """A list item, its claims beside it in comments."""
        return f"- **{self.question}** {self.answer}" + "".join(f" <!-- holds: {claim} -->" for claim in self.claims)


def findings(
    figures: Figures, variants: Mapping[str, Sequence[str]], trained_on: Mapping[str, str]
) -> Iterator[Finding]:
    """All findings.

    ``variants`` holds the declared ``fusion`` and ``downsampling``, ``trained_on`` by audit what its models had seen.
    """
    for way in variants["downsampling"]:
        yield from _against_single_sensors(figures, variants["fusion"], way)
        yield from _among_fusions(figures, variants["fusion"], way)
    if {"maxpool", "strided"} <= set(variants["downsampling"]):
        yield _strides(figures, variants["fusion"])
    yield _rgb2lidar(figures)
    yield from _audit(figures, trained_on)
    yield _calibration(figures)
    yield from _labels(figures)


def _accuracy(figures: Figures, model: str) -> float:
    return figures["significance"]["models"][model]["test_accuracy"]


def _against_single_sensors(figures: Figures, fusions: Sequence[str], way: str) -> Iterator[Finding]:
    single = [f"fusion/{name}-{way}" for name in fusions if name in BASELINES]
    both = [f"fusion/{name}-{way}" for name in fusions if name not in BASELINES]
    if not single or not both:
        return
    sensor = max(single, key=lambda model: _accuracy(figures, model))
    fusion = max(both, key=lambda model: _accuracy(figures, model))
    found = figures.comparison(fusion, sensor)
    answer = "No" if found["noise"] else "Yes" if found["difference"] > 0 else "No, it is worse"
    yield Finding(
        f"Does fusion beat the better single sensor ({_way(way)})?",
        f"{answer}: {_name(sensor)} reaches "
        f"{_accuracy(figures, sensor):.4f} on the test set, the best fusion, {_name(fusion)}, "
        f"{_accuracy(figures, fusion):.4f}. {_difference(found)}",
        [_claim(figures, fusion, sensor)],
    )


def _among_fusions(figures: Figures, fusions: Sequence[str], way: str) -> Iterator[Finding]:
    names = [f"fusion/{name}-{way}" for name in fusions if name not in BASELINES]
    pairs = list(combinations(names, 2))
    if pairs:
        yield _differences(figures, f"Which fusion is best ({_way(way)})?", "differences between fusions", pairs)


def _strides(figures: Figures, fusions: Sequence[str]) -> Finding:
    pairs = [(f"fusion/{name}-maxpool", f"fusion/{name}-strided") for name in fusions]
    return _differences(figures, "What does max-pooling buy?", "variants", pairs, full=True)


def _differences(
    figures: Figures, question: str, what: str, pairs: Sequence[tuple[str, str]], full: bool = False
) -> Finding:
    """How many of the pairs differ beyond noise, and which."""
    said, claims = [], []
    for pair in pairs:
        found = figures.comparison(*pair)
        better, worse = pair if found["difference"] > 0 else pair[::-1]
        claims.append(_claim(figures, better, worse))
        if not found["noise"]:
            named = [title(model) if full else _name(model) for model in (better, worse)]
            said.append(f"{named[0]} beats {named[1]} by {abs(found['difference']):.4f}")
    if not said:
        return Finding(question, f"None of {len(pairs)} {what} differs beyond noise.", claims)
    count = f"{len(said)} of {len(pairs)} {what} {'differs' if len(said) == 1 else 'differ'} beyond noise"
    return Finding(question, f"{count}: {'; '.join(said)}.", claims)


def _rgb2lidar(figures: Figures) -> Finding:
    accuracy = figures["rgb2lidar"]["test_accuracy"]
    mark = f"above the course's mark of {MARK}" if accuracy > MARK else f"not above the course's mark of {MARK}"
    return Finding(
        "Does CILP make a LiDAR classifier work on images?",
        f"The RGB-to-LiDAR classifier reaches {accuracy:.4f} on the test set, {mark}; the LiDAR classifier, whose head "
        f"it uses, {figures['lidar']['test_accuracy']:.4f} on LiDAR.",
        [f"rgb2lidar:test_accuracy {'>' if accuracy > MARK else '<'} {MARK}"],
    )


def _audit(figures: Figures, trained_on: Mapping[str, str]) -> Iterator[Finding]:
    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    for training in trained_on:
        models = figures[f"audit/{training}"]["models"]
        conditions = next(iter(models.values()))
        ranges[training] = {
            name: (min(values), max(values))
            for name in conditions
            if (values := [found[name]["accuracy"] for model, found in models.items() if _sees_lidar(model)])
        }
    first, *others = ranges
    if "swapped" not in ranges[first]:
        return
    low, high = ranges[first]["swapped"]
    verdict = "They count LiDAR returns" if high < 0.5 else "Some of them do not merely count returns"
    claims = [
        f"audit/{first}:models:{model}:swapped:accuracy < 0.5"
        for model in figures[f"audit/{first}"]["models"]
        if _sees_lidar(model) and high < 0.5
    ]
    yield Finding(
        "What do they look at?",
        f"{verdict}: with sizes swapped, classifiers that see the LiDAR reach {low:.3f} to {high:.3f}; chance is 0.5.",
        claims,
    )
    for training in others:
        low, high = ranges[training]["swapped"]
        means = [
            sum(found["swapped"]["accuracy"] for model, found in audit.items() if _sees_lidar(model))
            / sum(map(_sees_lidar, audit))
            for audit in (figures[f"audit/{training}"]["models"], figures[f"audit/{first}"]["models"])
        ]
        cured = means[0] > means[1]
        yield Finding(
            f"Does training on {trained_on[training]} cure it?",
            f"{'It helps' if cured else 'It does not help'}: with sizes swapped they then reach {low:.3f} to "
            f"{high:.3f}, {means[0]:.3f} on average instead of {means[1]:.3f}.",
        )


def _calibration(figures: Figures) -> Finding:
    errors = {model: it["expected_calibration_error"] for model, it in figures["calibration"].items()}
    best, worst = min(errors, key=errors.get), max(errors, key=errors.get)
    return Finding(
        "Are they as often right as they are sure?",
        f"The expected calibration error goes from {errors[best]:.4f} ({title(best)}) to {errors[worst]:.4f} "
        f"({title(worst)}).",
    )


def _labels(figures: Figures) -> Iterator[Finding]:
    for model, ways in figures["data_efficiency"].items():
        scratch, pretrained = (
            {int(count): it["test_accuracy"] for count, it in ways[way].items()} for way in ("scratch", "pretrained")
        )
        few, most = min(pretrained), max(pretrained)
        enough = next((count for count in sorted(scratch) if scratch[count] >= pretrained[few]), None)
        worth = f"from scratch that takes {enough}" if enough else "from scratch none of the sizes reaches that"
        if enough == few:
            worth = f"from scratch they give {scratch[few]:.3f}"
        names = {"fusion": "the fusion", "lidar": "the LiDAR classifier", "rgb2lidar": "the RGB-to-LiDAR classifier"}
        yield Finding(
            f"What is pretraining worth to {names[model]}?",
            f"On CILP's embeddings {few} labelled scenes give {pretrained[few]:.3f}; {worth}. With {most} scenes it is "
            f"{pretrained[most]:.3f}, from scratch {scratch[most]:.3f}.",
            [f"data_efficiency:{model}:pretrained:{few}:test_accuracy > {scratch[few]!r}"]
            if pretrained[few] > scratch[few]
            else [],
        )


def _sees_lidar(model: str) -> bool:
    return model != "rgb2lidar" and not model.startswith("fusion/rgb-")


def _claim(figures: Figures, better: str, worse: str) -> str:
    found = figures.comparison(better, worse)
    if found["noise"]:
        return f"{better} ~ {worse}"
    return f"{better} > {worse}" if found["difference"] > 0 else f"{worse} > {better}"


def _difference(found: Mapping[str, Any]) -> str:
    verdict = "within noise" if found["noise"] else "beyond noise"
    return f"The difference, {found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}), is {verdict}."


def _name(model: str) -> str:
    """Without the downsampling, which the question names."""
    return title(model).split(",")[0]


def _way(downsampling: str) -> str:
    return title(f"-{downsampling}").split(", ")[1]
