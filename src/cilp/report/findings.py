"""What the study found, in sentences whose words and numbers follow from the figures, each with the claims it makes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import ceil, floor
from statistics import fmean
from typing import Any

from cilp.evaluation.models import BASELINES, IMAGE, ON_IMAGES, SINGLE, SIZE_RULE, asked
from cilp.report.claims import Figures
from cilp.report.titles import title

MARK = 0.95
"""Accuracy that the course asks of the RGB-to-LiDAR classifier."""
MISLED, CHANCE = 0.1, 0.5
"""With sizes swapped, who goes by size alone is nearly always wrong; who guesses, half the time."""
GUESSES = 0.6
"""Accuracy below which a classifier is taken to guess."""
HELPS = 0.05
"""Accuracy by which training on other scenes must change the mean for it to be said that it helps."""


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
    figures: Figures, variants: Mapping[str, Sequence[str]], trained_on: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """All findings.

    ``variants`` holds each ``fusion`` and ``downsampling`` that was compared, ``trained_on`` by what models had seen,
    in words, the names of their audits, the study's first.
    """
    for way in variants["downsampling"]:
        yield from _against_single_sensors(figures, variants["fusion"], way)
        yield from _among_fusions(figures, variants["fusion"], way)
    if {"maxpool", "strided"} <= set(variants["downsampling"]):
        yield _strides(figures, variants["fusion"])
    yield _rgb2lidar(figures)
    yield _images(figures)
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
        ahead, behind = (title(model) if full else _name(model) for model in (better, worse))
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
    mark = f"{'above' if accuracy > MARK else 'not above'} {MARK}, the pass mark of the reference study's course"
    return Finding(
        "Does CILP make a LiDAR classifier work on images?",
        f"The RGB-to-LiDAR classifier reaches {accuracy:.4f} on the test set, {mark}; the LiDAR classifier, whose head "
        f"it uses, {figures['lidar']['test_accuracy']:.4f} on LiDAR.",
        [f"rgb2lidar:test_accuracy {'>' if accuracy > MARK else '<='} {MARK}"],
    )


def _images(figures: Figures) -> Finding:
    """The RGB-to-LiDAR classifier beside image classifiers that take as many steps as CILP."""
    reached = {model: _accuracy(figures, model) for model in ON_IMAGES}
    found = _differences(
        figures, "Does it take CILP?", "differences between the three", [*combinations(ON_IMAGES, 2)], full=True
    )
    told = {
        "image_supervised": "told the labels",
        "image_distilled": "told the LiDAR classifier's answers to all pairs",
    }
    beside = " and ".join(f"{reached[model]:.4f} if {told[model]}" for model in IMAGE)
    answer = (
        f"An image classifier that takes as many steps on the same batches reaches {beside}; the RGB-to-LiDAR "
        f"classifier {reached['rgb2lidar']:.4f}. {found.answer}"
    )
    return replace(found, answer=answer)


Audit = dict[str, dict[str, float]]
"""By model and condition: accuracy, the mean over audits."""


def _audit(figures: Figures, trained_on: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    audits = {training: _mean_audit(figures, names) for training, names in trained_on.items()}
    (first, names), *others = trained_on.items()
    study = {model: found for model, found in audits[first].items() if _sees_lidar(model)}
    if any("swapped" not in found for found in study.values()):
        return
    low, high = _range(study, "swapped")
    bridge = audits[first].get("rgb2lidar")
    if high < MISLED:
        verdict, bound = "They go by size, not by shape", f"< {MISLED}"
    elif high < CHANCE:
        verdict, bound = "They go by size more than by shape", f"< {CHANCE}"
    else:
        verdict, bound = "Some of them do not merely go by size", ""
    yield Finding(
        "What do they look at?",
        f"{verdict}: with sizes swapped, classifiers that see the LiDAR reach {low:.3f} to {high:.3f}; chance is 0.5."
        + (f" The RGB-to-LiDAR classifier reaches {bridge['swapped']:.3f}." if bridge else ""),
        _bounds(names, study, "swapped", bound) if bound else [],
    )
    yield from _size_rule(figures, trained_on)
    yield from _conflict(audits, trained_on)
    for training, names in others:
        if not study.keys() & audits[training].keys():
            continue
        seeds = [sum(figures[f"audit/{name}"]["seeds"] for name in those) for those in (names, trained_on[first])]
        yield _cure(training, names, audits[training], study, seeds)


def _size_rule(figures: Figures, trained_on: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """What a threshold on the area that the LiDAR sees makes of the study's test set, and of the sizes swapped."""
    (first, *_), *_ = trained_on.values()
    found = figures[f"audit/{first}"]["models"].get(SIZE_RULE)
    if found is None:
        return
    rule, swapped = figures[f"size_rule/{first}"], found["swapped"]["accuracy"]
    accuracy = rule["test_accuracy"]
    yield Finding(
        "How far does size alone go?",
        f"One threshold, {rule['threshold_m2']:.2f} m² of area across the line of sight as the LiDAR sees it, is right "
        f"on {accuracy:.4f} of the test set, and with sizes swapped on {swapped:.3f}.",
        [
            f"size_rule/{first}:test_accuracy >= {accuracy!r}",
            f"audit/{first}:models:{SIZE_RULE}:swapped:accuracy <= {swapped!r}",
        ],
    )


def _conflict(audits: Mapping[str, Audit], trained_on: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """What the fusions go by if each image has the range image of the other shape, by what they were trained on."""
    said, claims = [], []
    for training, audit in audits.items():
        both = {model: found for model, found in audit.items() if "conflict" in found and not _single(model)}
        kinds = {
            "from one loss": {model: it for model, it in both.items() if not asked(model) and not _supervised(model)},
            "from a loss for each sensor": {model: it for model, it in both.items() if _supervised(model)},
            "as networks of one sensor each": {model: it for model, it in both.items() if asked(model)},
        }
        shares = []
        for kind, models in kinds.items():
            if models:
                low, high = _range(models, "conflict")
                shares.append(f"{kind} {low:.3f} to {high:.3f}")
                claims += _bounds(trained_on[training], models, "conflict", f"< {(floor(1000 * high) + 1) / 1000}")
        said += [f"trained on {training}, {', '.join(shares)}"] if shares else []
    if said:
        yield Finding(
            "Which sensor do the fusions go by where the two disagree?",
            f"Shares in which they go by the image, given that of one shape and the LiDAR of the other: "
            f"{'; '.join(said)}.",
            claims,
        )


def _supervised(model: str) -> bool:
    """Whether each sensor had a loss of its own while it trained."""
    return model.endswith("-auxiliary")


def _cure(training: str, names: Sequence[str], audit: Audit, study: Audit, seeds: Sequence[int]) -> Finding:
    """Whether training on other scenes made the classifiers that see the LiDAR look at shape, or at the image alone.

    ``seeds`` is how many the audits of either training are of, those of the study last.
    """
    cured = {model: audit[model] for model in study if model in audit}
    low, high = _range(cured, "swapped")
    before, after = (fmean(models[model]["swapped"] for model in cured) for models in (study, cured))
    helps = after - before >= HELPS
    answer = (
        f"{'It helps' if helps else 'It does not help'}: with sizes swapped they then reach {low:.3f} to {high:.3f}, "
        f"{after:.3f} on average instead of {before:.3f} (seeds: {seeds[0]}, of the study {seeds[1]})."
    )
    claims = _bounds(names, cured, "swapped", f"> {(ceil(1000 * low) - 1) / 1000}")
    lost = [model for model, found in cured.items() if max(found.values()) < GUESSES]
    if lost:
        answer += f" Under no condition better than {GUESSES}: {', '.join(map(title, lost))}."
    both = {model: found for model, found in cured.items() if "dark" in found and not _single(model)}
    apart = {model: found for model, found in both.items() if asked(model)}
    whole = {model: found for model, found in both.items() if model not in apart}
    if whole and _range(whole, "dark")[1] < GUESSES:
        dark, dark_before = _range(whole, "dark"), _range({model: study[model] for model in whole}, "dark")
        if dark_before[0] > GUESSES:
            answer += (
                f" With a black image the fusions that were trained as a whole reach {dark[0]:.3f} to {dark[1]:.3f}, "
                f"those of the study {dark_before[0]:.3f} to {dark_before[1]:.3f}: without the image they are lost now."
            )
            for model, found in apart.items():
                answer += f" {title(model).capitalize()}, of networks trained apart, reaches {found['dark']:.3f}."
        claims += _bounds(names, whole, "dark", f"< {GUESSES}")
    elif whole:
        ordered = sorted(whole, key=lambda model: whole[model]["dark"])
        worst, best, (low, high) = ordered[0], ordered[-1], _range(whole, "dark")
        answer += (
            f" With a black image the fusions that were trained as a whole reach {low:.3f} ({title(worst)}) to "
            f"{high:.3f} ({title(best)})."
        )
        claims += _bounds(names, [worst], "dark", f"< {(floor(1000 * low) + 1) / 1000}")
        claims += _bounds(names, [best], "dark", f"> {(ceil(1000 * high) - 1) / 1000}")
    supervised = {model: found for model, found in audit.items() if _supervised(model) and "dark" in found}
    if supervised:
        low, high = _range(supervised, "dark")
        answer += (
            f" Trained with a loss for each sensor, fusions reach {low:.3f} to {high:.3f} with a black image "
            f"({', '.join(map(_name, supervised))})."
        )
        claims += _bounds(names, supervised, "dark", f"> {(ceil(1000 * low) - 1) / 1000}")
    return Finding(f"Does training on {training} cure it?", answer, claims)


def _bounds(names: Sequence[str], models: Iterable[str], condition: str, bound: str) -> list[str]:
    """The claim of each model's accuracy; of means over several audits no figure can be named."""
    if len(names) > 1:
        return []
    return [f"audit/{names[0]}:models:{model}:{condition}:accuracy {bound}" for model in models]


def _mean_audit(figures: Figures, names: Sequence[str]) -> Audit:
    every = [figures[f"audit/{name}"]["models"] for name in names]
    return {
        model: {name: fmean(models[model][name]["accuracy"] for models in every) for name in conditions}
        for model, conditions in every[0].items()
    }


def _range(audit: Audit, condition: str) -> tuple[float, float]:
    values = [found[condition] for found in audit.values()]
    return min(values), max(values)


def _calibration(figures: Figures) -> Finding:
    found = figures["calibration"]
    errors = {model: it["expected_calibration_error"] for model, it in found.items()}
    best, worst = min(errors, key=errors.get), max(errors, key=errors.get)
    surer = found[worst]["overconfidence"] > 0
    return Finding(
        "Are they as often right as they are sure?",
        f"The expected calibration error goes from {errors[best]:.4f} ({title(best)}) to {errors[worst]:.4f} "
        f"({title(worst)}), which is {'overconfident' if surer else 'underconfident'}.",
        [f"calibration:{worst}:overconfidence {'>' if surer else '<='} 0"],
    )


def _labels(figures: Figures) -> Iterator[Finding]:
    for model, ways in figures["data_efficiency"].items():
        scratch, pretrained = (
            {int(count): it["test_accuracy"] for count, it in sorted(ways[way].items(), key=lambda row: int(row[0]))}
            for way in ("scratch", "pretrained")
        )
        spread = {int(count): it.get("test_accuracy_std", 0.0) for count, it in ways["scratch"].items()}
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
        path = f"data_efficiency:{model}:scratch"
        claims = [f"{path}:{count}:test_accuracy < {aim!r}" for count in scratch if count < (may or most + 1)]
        claims += [f"{path}:{does}:test_accuracy >= {aim!r}"] if does and does > few else []
        answer = (
            f"On CILP's embeddings {few} labelled scenes give {aim:.3f}; {worth}. With {most} scenes it is "
            f"{pretrained[most]:.3f}, from scratch {scratch[most]:.3f}."
        )
        if "supervised" in ways:
            as_long = {count: ways["supervised"][str(count)]["test_accuracy"] for count in (few, most)}
            answer += (
                " An image classifier that takes as many steps as CILP, from scratch on images varied alike, reaches "
                f"{as_long[few]:.3f} with {few} scenes and {as_long[most]:.3f} with {most}."
            )
            claims += [
                f"data_efficiency:{model}:supervised:{count}:test_accuracy {'<' if it < pretrained[count] else '>='} "
                f"{pretrained[count]!r}"
                for count, it in as_long.items()
            ]
        yield Finding(f"What is pretraining worth to {names[model]}?", answer, claims)


def _single(model: str) -> bool:
    """Whether it sees one sensor alone."""
    return model in (*SINGLE, SIZE_RULE) or model.removeprefix("fusion/").split("-")[0] in BASELINES


def _sees_lidar(model: str) -> bool:
    """Whether it is a network that sees the LiDAR."""
    return model not in (*ON_IMAGES, SIZE_RULE) and not model.startswith("fusion/rgb-")


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
