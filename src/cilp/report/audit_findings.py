"""What the audits say of what classifiers look at, as findings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil, floor
from statistics import fmean

from cilp.evaluation.models import BASELINES, ON_IMAGES, SINGLE, SIZE_RULE, asked
from cilp.report.claims import Figures
from cilp.report.finding import Finding, short_title
from cilp.report.titles import title

MISLED, CHANCE = 0.1, 0.5
"""With sizes swapped, who goes by size alone is nearly always wrong; who guesses, half the time."""
GUESSES = 0.6
"""Accuracy below which a classifier is taken to guess."""
HELPS = 0.05
"""Accuracy by which training on other scenes must change the mean for it to be said that it helps."""

Audit = dict[str, dict[str, float]]
"""By model and condition: accuracy, the mean over audits."""


def audit_findings(
    figures: Figures, trained_on: Mapping[str, Sequence[str]], conflicts: Sequence[str] = ()
) -> Iterator[Finding]:
    """By what models were trained on, in words, the names of their audits, the study's first: what they go by, how far
    size alone goes, which sensor fusions follow where the two disagree (``conflicts``), and whether other scenes cure
    it. What takes a condition that the audit does not have, ``swapped`` or ``dark``, is left out."""
    audits = {training: _mean_audit(figures, names) for training, names in trained_on.items()}
    (first, names), *others = trained_on.items()
    study = {model: found for model, found in audits[first].items() if _sees_lidar(model)}
    if all("swapped" in found for found in study.values()):
        yield _shortcut(names, study, audits[first].get("rgb2lidar"))
        yield from _size_rule(figures, trained_on)
    yield from _conflict(audits, trained_on, conflicts)
    for training, names in others:
        cured = {model: found for model, found in audits[training].items() if "swapped" in found}
        if not study.keys() & cured.keys():
            continue
        seeds = [sum(figures[f"audit/{name}"]["seeds"] for name in those) for those in (names, trained_on[first])]
        yield _cure(training, names, audits[training], study, seeds, conflicts)


def _shortcut(names: Sequence[str], study: Audit, bridge: Mapping[str, float] | None) -> Finding:
    """What the study's classifiers that see the LiDAR go by, and the RGB-to-LiDAR classifier ``bridge`` beside them."""
    low, high = _range(study, "swapped")
    if high < MISLED:
        verdict, bound = "They go by size, not by shape", f"< {MISLED}"
    elif high < CHANCE:
        verdict, bound = "They go by size more than by shape", f"< {CHANCE}"
    else:
        verdict, bound = "Some of them do not merely go by size", ""
    return Finding(
        "What do they look at?",
        f"{verdict}: with sizes swapped, classifiers that see the LiDAR reach {low:.3f} to {high:.3f}; chance is 0.5."
        + (f" The RGB-to-LiDAR classifier reaches {bridge['swapped']:.3f}." if bridge else ""),
        _bounds(names, study, "swapped", bound) if bound else [],
    )


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
        f"One threshold, {rule['threshold_m2']:.2f} m² of area across the line of sight as the LiDAR sees it, "
        f"reaches an accuracy of {accuracy:.4f} on the test set, and of {swapped:.3f} with sizes swapped.",
        [
            f"size_rule/{first}:test_accuracy >= {accuracy!r}",
            f"audit/{first}:models:{SIZE_RULE}:swapped:accuracy <= {swapped!r}",
        ],
    )


def _conflict(
    audits: Mapping[str, Audit], trained_on: Mapping[str, Sequence[str]], conflicts: Sequence[str]
) -> Iterator[Finding]:
    """What the fusions go by if each image has the range image of the other shape, by what they were trained on; of
    several such conditions, in the first."""
    if not conflicts:
        return
    condition = conflicts[0]
    said, claims = [], []
    for training, audit in audits.items():
        both = {model: found for model, found in audit.items() if condition in found and not _single(model)}
        kinds = {
            "from one loss": {model: it for model, it in both.items() if not asked(model) and not _supervised(model)},
            "from a loss for each sensor": {model: it for model, it in both.items() if _supervised(model)},
            "as networks of one sensor each": {model: it for model, it in both.items() if asked(model)},
        }
        shares = []
        for kind, models in kinds.items():
            if models:
                low, high = _range(models, condition)
                shares.append(f"{kind} {low:.3f} to {high:.3f}")
                claims += _between(trained_on[training], models, condition)
        said += [f"trained on {training}, {', '.join(shares)}"] if shares else []
    if said:
        yield Finding(
            "Which sensor do the fusions go by where the two disagree?",
            f"Shares of pairs in which they go by the image, where image and LiDAR show different shapes: "
            f"{'; '.join(said)}.",
            claims,
        )


def _supervised(model: str) -> bool:
    """Whether each sensor had a loss of its own while it trained."""
    return model.endswith("-auxiliary")


def _cure(
    training: str, names: Sequence[str], audit: Audit, study: Audit, seeds: Sequence[int], conflicts: Sequence[str]
) -> Finding:
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
    claims = _between(names, cured, "swapped")
    lost = [
        model for model, found in cured.items()
        if max(accuracy for condition, accuracy in found.items() if condition not in conflicts) < GUESSES
    ]  # fmt: skip
    if lost:
        answer += f" Not above {GUESSES} under any condition: {', '.join(map(title, lost))}."
    both = {model: found for model, found in cured.items() if "dark" in found and not _single(model)}
    whole = {model: found for model, found in both.items() if not asked(model)}
    if whole:
        worst, best = (choose(whole, key=lambda model: whole[model]["dark"]) for choose in (min, max))
        dark, dark_before = _range(whole, "dark"), _range({model: study[model] for model in whole}, "dark")
        answer += " With a black image the fusions that were trained as a whole reach "
        if dark[1] < GUESSES < dark_before[0]:
            answer += (
                f"{dark[0]:.3f} to {dark[1]:.3f}, those of the study {dark_before[0]:.3f} to {dark_before[1]:.3f}: "
                "they now fail without the image."
            )
        else:
            answer += f"{dark[0]:.3f} ({title(worst)}) to {dark[1]:.3f} ({title(best)})."
        claims += _between(names, whole, "dark")
    for model in filter(asked, both):
        answer += f" {title(model).capitalize()}, of networks trained separately, reaches {both[model]['dark']:.3f}."
    supervised = {model: found for model, found in audit.items() if _supervised(model) and "dark" in found}
    if supervised:
        dark = _range(supervised, "dark")
        answer += (
            f" Trained with a loss for each sensor, fusions reach {dark[0]:.3f} to {dark[1]:.3f} with a black image "
            f"({', '.join(map(short_title, supervised))})."
        )
        claims += _between(names, supervised, "dark")
    return Finding(f"Does training on {training} cure it?", answer, claims)


def _bounds(names: Sequence[str], models: Iterable[str], condition: str, bound: str) -> list[str]:
    """The claim of each model's accuracy; of means over several audits no figure can be named."""
    if len(names) > 1:
        return []
    return [f"audit/{names[0]}:models:{model}:{condition}:accuracy {bound}" for model in models]


def _between(names: Sequence[str], models: Audit, condition: str) -> list[str]:
    """The claims that accuracies lie between the lowest and the highest, quoted to three digits, and reach these."""
    least, most = (choose(models, key=lambda model: models[model][condition]) for choose in (min, max))
    below, above = (
        [f"{sign} {_to_three_digits(models[model][condition], sign)}" for model in (least, most)] for sign in "<>"
    )
    return [
        *_bounds(names, models, condition, above[0]),
        *_bounds(names, models, condition, below[1]),
        *_bounds(names, [least], condition, below[0]),
        *_bounds(names, [most], condition, above[1]),
    ]


def _to_three_digits(value: float, sign: str) -> float:
    """What a value is ``<`` or ``>``, by a thousandth at most."""
    return (floor(1000 * value) + 1) / 1000 if sign == "<" else (ceil(1000 * value) - 1) / 1000


def _mean_audit(figures: Figures, names: Sequence[str]) -> Audit:
    every = [figures[f"audit/{name}"]["models"] for name in names]
    return {
        model: {name: fmean(models[model][name]["accuracy"] for models in every) for name in conditions}
        for model, conditions in every[0].items()
    }


def _range(audit: Audit, condition: str) -> tuple[float, float]:
    values = [found[condition] for found in audit.values()]
    return min(values), max(values)


def _single(model: str) -> bool:
    """Whether it sees one sensor alone."""
    return model in (*SINGLE, SIZE_RULE) or model.removeprefix("fusion/").split("-")[0] in BASELINES


def _sees_lidar(model: str) -> bool:
    """Whether it is a network that sees the LiDAR."""
    return model not in (*ON_IMAGES, SIZE_RULE) and not model.startswith("fusion/rgb-")
