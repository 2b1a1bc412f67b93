"""What the study found, in sentences whose words and numbers follow from the figures, each with the claims it makes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from cilp.evaluation.models import BASELINES, IMAGE, ON_IMAGES
from cilp.report.audit_findings import audit_findings
from cilp.report.claims import Figures
from cilp.report.finding import Finding, short_title
from cilp.report.titles import title

MARK = 0.95
"""Accuracy that the reference study's assignment asks of the RGB-to-LiDAR classifier."""


def findings(
    figures: Figures,
    variants: Mapping[str, Sequence[str]],
    trained_on: Mapping[str, Sequence[str]],
    conflicts: Sequence[str] = (),
) -> Iterator[Finding]:
    """All findings.

    ``variants`` holds each ``fusion`` and ``downsampling`` that was compared, ``trained_on`` by what models had seen,
    in words, the names of their audits, the study's first. ``conflicts`` are the audit's conditions in which image and
    LiDAR show different shapes, so that its accuracy is the share that goes by the image.
    """
    for way in variants["downsampling"]:
        yield from _against_single_sensors(figures, variants["fusion"], way)
        yield from _among_fusions(figures, variants["fusion"], way)
    if {"maxpool", "strided"} <= set(variants["downsampling"]):
        yield _strides(figures, variants["fusion"])
    yield _rgb2lidar(figures)
    yield _images(figures)
    yield from audit_findings(figures, trained_on, conflicts)
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
        f"{answer}: {short_title(sensor)} reaches "
        f"{_accuracy(figures, sensor):.4f} on the test set, the best fusion, {short_title(fusion)}, "
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
    return _differences(figures, "What does max-pooling buy?", "differences to strided convolution", pairs, full=True)


def _differences(
    figures: Figures, question: str, what: str, pairs: Sequence[tuple[str, str]], full: bool = False
) -> Finding:
    """How many of the pairs differ beyond noise, and which; if none does, the largest difference."""
    said, claims, largest = [], [], (0.0, "")
    for pair in pairs:
        found = figures.comparison(*pair)
        better, worse = pair if found["difference"] > 0 else pair[::-1]
        claims.append(_claim(figures, better, worse))
        ahead, behind = (title(model) if full else short_title(model) for model in (better, worse))
        by = abs(found["difference"])
        if not found["noise"]:
            said.append(f"{ahead} beats {behind} by {by:.4f}")
        largest = max(largest, (by, f"{ahead} ahead of {behind} by {by:.4f}"))
    if not said:
        answer = f"None of the {len(pairs)} {what} is beyond noise; the largest is {largest[1]}."
        return Finding(question, answer, claims)
    count = f"{len(said)} of the {len(pairs)} {what} {'is' if len(said) == 1 else 'are'} beyond noise"
    return Finding(question, f"{count}: {'; '.join(said)}.", claims)


def _rgb2lidar(figures: Figures) -> Finding:
    accuracy = figures["rgb2lidar"]["test_accuracy"]
    mark = f"{'above' if accuracy > MARK else 'not above'} {MARK}, the pass mark of the reference study's assignment"
    return Finding(
        "Does CILP make a LiDAR classifier work on images?",
        f"The RGB-to-LiDAR classifier reaches {accuracy:.4f} on the test set, {mark}; the LiDAR classifier, whose head "
        f"it uses, reaches {figures['lidar']['test_accuracy']:.4f} on LiDAR.",
        [f"rgb2lidar:test_accuracy {'>' if accuracy > MARK else '<='} {MARK}"],
    )


def _images(figures: Figures) -> Finding:
    """The RGB-to-LiDAR classifier beside image classifiers that take as many steps as CILP."""
    reached = {model: _accuracy(figures, model) for model in ON_IMAGES}
    found = _differences(
        figures, "Does it take CILP?", "differences between the three", [*combinations(ON_IMAGES, 2)], full=True
    )
    told = {
        "image_supervised": "trained on the labels",
        "image_distilled": "distilled from the LiDAR classifier on all pairs",
    }
    beside = " and ".join(f"{reached[model]:.4f} if {told[model]}" for model in IMAGE)
    answer = (
        f"An image classifier that takes as many steps on the same batches reaches {beside}; the RGB-to-LiDAR "
        f"classifier reaches {reached['rgb2lidar']:.4f}. {found.answer}"
    )
    return replace(found, answer=answer)


def _calibration(figures: Figures) -> Finding:
    found = figures["calibration"]
    errors = {model: it["expected_calibration_error"] for model, it in found.items()}
    best, worst = min(errors, key=errors.get), max(errors, key=errors.get)
    surer = found[worst]["overconfidence"] > 0
    return Finding(
        "Are the classifiers calibrated?",
        f"The expected calibration error ranges from {errors[best]:.4f} ({title(best)}) to {errors[worst]:.4f} "
        f"({title(worst)}), which is {'overconfident' if surer else 'underconfident'}.",
        [f"calibration:{worst}:overconfidence {'>' if surer else '<='} 0"],
    )


def _labels(figures: Figures) -> Iterator[Finding]:
    for model, ways in figures["data_efficiency"].items():
        without = "scratch" if "scratch" in ways else "supervised"
        scratch, pretrained = (
            {int(count): it["test_accuracy"] for count, it in sorted(ways[way].items(), key=lambda row: int(row[0]))}
            for way in (without, "pretrained")
        )
        spread = {int(count): it.get("test_accuracy_std", 0.0) for count, it in ways[without].items()}
        few, most = min(pretrained), max(pretrained)
        aim = pretrained[few]
        may = next((count for count, it in scratch.items() if it + spread[count] >= aim), None)
        does = next((count for count, it in scratch.items() if it - spread[count] >= aim), None)
        if may is None:
            worth = "from scratch none of the sizes reaches that"
        elif may == few:
            worth = f"from scratch they give {scratch[few]:.3f}"
        else:
            worth = f"from scratch that takes {may}" + ("" if may == does else f" to {does}" if does else " or more")
        names = {"fusion": "the fusion", "lidar": "the LiDAR classifier", "rgb2lidar": "the RGB-to-LiDAR classifier"}
        names |= {f"{name}_random_size": f"{words} where size tells nothing" for name, words in names.items()}
        path = f"data_efficiency:{model}:{without}"
        claims = [f"{path}:{count}:test_accuracy < {aim!r}" for count in scratch if count < (may or most + 1)]
        claims += [f"{path}:{does}:test_accuracy >= {aim!r}"] if does and does > few else []
        answer = (
            f"On CILP's embeddings, {few} labelled scenes give an accuracy of {aim:.3f}; {worth}. With {most} scenes "
            f"it is {pretrained[most]:.3f}, and from scratch {scratch[most]:.3f}."
        )
        if without == "supervised":
            answer += " From scratch is an image classifier that takes CILP's course."
        elif "supervised" in ways:
            as_long = {count: ways["supervised"][str(count)]["test_accuracy"] for count in (few, most)}
            answer += (
                " An image classifier that takes as many steps as CILP, from scratch and with the same augmentation, "
                f"reaches {as_long[few]:.3f} with {few} scenes and {as_long[most]:.3f} with {most}."
            )
            claims += [
                f"data_efficiency:{model}:supervised:{count}:test_accuracy {'<' if it < pretrained[count] else '>='} "
                f"{pretrained[count]!r}"
                for count, it in as_long.items()
            ]
        yield Finding(f"What is pretraining worth to {names[model]}?", answer, claims)


def _claim(figures: Figures, better: str, worse: str) -> str:
    found = figures.comparison(better, worse)
    if found["noise"]:
        return f"{better} ~ {worse}"
    return f"{better} > {worse}" if found["difference"] > 0 else f"{worse} > {better}"


def _difference(found: Mapping[str, Any]) -> str:
    verdict = "within noise" if found["noise"] else "beyond noise"
    return f"The difference, {found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}), is {verdict}."


def _way(downsampling: str) -> str:
    return title(f"-{downsampling}").split(", ")[1]
