"""No sentence says more than the figures do."""

from itertools import combinations
from pathlib import Path

import pytest

from cilp.errors import UserError
from cilp.report.claims import Figures, claims_of, holds
from cilp.report.findings import findings

VARIANTS = {"fusion": ["rgb", "lidar", "add", "concat"], "downsampling": ["maxpool", "strided"]}
TRAINED_ON = {"one size": ["fixed_size"], "random sizes": ["random_size-51"]}
ACCURACY = {"rgb": 0.8, "lidar": 0.9, "add": 0.95, "concat": 0.97}


class Made(Figures):
    """Figures made up: in every comparison the better one is better beyond noise, unless said otherwise."""

    def __init__(self, noise=(), swapped=0.05, rgb2lidar=0.98, cured=0.9, dark=0.5):
        super().__init__(Path())
        names = [(fusion, way) for fusion in VARIANTS["fusion"] for way in VARIANTS["downsampling"]]
        value = {name: ACCURACY[name[0]] - 0.01 * (name[1] == "strided") for name in names}
        compared = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if a[1] == b[1] or a[0] == b[0]]
        compared = [("fusion/{}-{}".format(*a), "fusion/{}-{}".format(*b)) for a, b in compared]
        unsure = [{name if isinstance(name, str) else "fusion/{}-{}".format(*name) for name in both} for both in noise]
        images = {"image_supervised": 0.93, "image_distilled": 0.96, "rgb2lidar": rgb2lidar}
        by_name = {"fusion/{}-{}".format(*name): reached for name, reached in value.items()} | images
        swaps = {name: swapped if name[0] != "rgb" else 0.99 for name in names}
        labels = {"scratch": {"25": {"test_accuracy": 0.7}, "50": {"test_accuracy": 0.9}},
                  "pretrained": {"25": {"test_accuracy": 0.85}, "50": {"test_accuracy": 0.95}}}  # fmt: skip
        self.files = {
            "significance": {
                "models": {name: {"test_accuracy": reached} for name, reached in by_name.items()},
                "comparisons": [
                    {
                        "first": a, "second": b, "difference": by_name[b] - by_name[a],
                        "low": by_name[b] - by_name[a] - 0.001, "high": by_name[b] - by_name[a] + 0.001,
                        "p_corrected": 0.01, "within_noise": {a, b} in unsure,
                    }
                    for a, b in [*compared, *combinations(images, 2)]
                ],
            },
            "rgb2lidar": {"test_accuracy": rgb2lidar},
            "lidar": {"test_accuracy": 0.999},
            "calibration": {"add-maxpool": {"expected_calibration_error": 0.01, "overconfidence": 0.01},
                            "lidar": {"expected_calibration_error": 0.05, "overconfidence": -0.05}},
            "audit/fixed_size": {**audit(swaps, 0.99), "seeds": 3},
            "size_rule/fixed_size": {"threshold_m2": 8.125, "test_accuracy": 0.9995},
            "audit/random_size-51": audit(dict.fromkeys(names, cured), dark),
            "data_efficiency": {"fusion": labels},
        }  # fmt: skip


def audit(swapped, dark):
    """Accuracies with the sizes swapped, by fusion and downsampling, and of all with a black image."""
    return {
        "seeds": 1,
        "models": {
            f"fusion/{fusion}-{way}": {"swapped": {"accuracy": value}, "dark": {"accuracy": dark}}
            for (fusion, way), value in swapped.items()
        },
    }


def told(figures, trained_on=TRAINED_ON, conflicts=("conflict",)):
    found = list(findings(figures, VARIANTS, trained_on, conflicts))
    assert len({finding.question for finding in found}) == len(found)
    return {finding.question: finding for finding in found}


def test_every_finding_holds_its_own_claims():
    figures = Made(noise=[{("add", "maxpool"), ("concat", "maxpool")}])
    found = told(figures)
    claims = [claim for finding in found.values() for claim in finding.claims]
    assert len(claims) > 10
    assert all(holds(claim, figures) for claim in claims)
    assert all(claims_of(finding.markdown()) == finding.claims for finding in found.values())


def test_what_lies_within_noise_is_not_said_to_beat():
    question = "Which fusion is best (max-pooling)?"
    sure = told(Made())[question]
    assert "concatenation beats addition by 0.0200" in sure.answer
    figures = Made(noise=[{("add", "maxpool"), ("concat", "maxpool")}])
    unsure = told(figures)[question]
    assert unsure.answer == (
        "None of the 1 differences between fusions is beyond noise; "
        "the largest is concatenation ahead of addition by 0.0200."
    )
    assert "beats" not in unsure.answer
    # and the sentence written before no longer holds
    assert [holds(claim, figures) for claim in sure.claims] == [False]


def test_fusion_is_held_against_the_better_single_sensor():
    question = "Does fusion beat the better single sensor (max-pooling)?"
    assert told(Made())[question].answer.startswith("Yes: LiDAR alone reaches 0.9000")
    noise = [{("lidar", "maxpool"), ("concat", "maxpool")}]
    assert told(Made(noise))[question].answer.startswith("No: LiDAR alone")


def test_the_words_follow_the_figures():
    low = told(Made(rgb2lidar=0.9))
    question = "Does CILP make a LiDAR classifier work on images?"
    assert "not above 0.95" in low[question].answer
    exact = Made(rgb2lidar=0.95)
    said = told(exact)[question]
    assert "not above 0.95" in said.answer and all(holds(claim, exact) for claim in said.claims)
    calibrated = told(Made())["Are the classifiers calibrated?"].answer
    assert calibrated.endswith("0.0500 (LiDAR classifier), which is underconfident.")


def test_cilp_is_held_against_image_classifiers_that_take_as_many_steps():
    sure = told(Made())["Does it take CILP?"]
    assert "reaches 0.9300 if trained on the labels and 0.9600 if distilled from the LiDAR classifier" in sure.answer
    assert "RGB-to-LiDAR classifier beats image classifier, distilled by 0.0200" in sure.answer
    assert sure.claims == ["image_distilled > image_supervised", "rgb2lidar > image_supervised",
                           "rgb2lidar > image_distilled"]  # fmt: skip
    unsure = told(Made(noise=[{"image_distilled", "rgb2lidar"}]))["Does it take CILP?"]
    assert unsure.claims[-1] == "rgb2lidar ~ image_distilled" and "2 of the 3 differences" in unsure.answer


@pytest.mark.parametrize(
    ("swapped", "words"),
    [
        (0.05, "They go by size, not by shape"),
        (0.49, "They go by size more than by shape"),
        (0.7, "Some of them do not"),
    ],
)
def test_to_go_by_size_is_to_be_wrong_with_the_sizes_swapped_and_not_to_guess(swapped, words):
    assert told(Made(swapped=swapped))["What do they look at?"].answer.startswith(words)


def test_the_cure_is_told_with_what_it_costs():
    question = "Does training on random sizes cure it?"
    helped = told(Made())[question]
    assert helped.answer.startswith("It helps: with sizes swapped they then reach 0.900 to 0.900, 0.900 on average")
    dark = "With a black image the fusions that were trained as a whole reach 0.500 to 0.500, those of the study 0.990"
    assert dark in helped.answer
    figures = Made()
    trained = figures.files["audit/random_size-51"]["models"]
    trained["fusion/add-strided"]["dark"]["accuracy"] = 0.98764
    some = told(figures)[question]
    dark = "trained as a whole reach 0.500 (addition, max-pooling) to 0.988 (addition, strided convolution)."
    assert some.answer.endswith(dark) and all(holds(claim, figures) for claim in some.claims)
    assert "audit/random_size-51:models:fusion/add-strided:dark:accuracy > 0.987" in some.claims
    assert told(Made(cured=0.08))[question].answer.startswith("It does not help")  # three hundredths more
    lost = told(Made(cured=0.55))[question].answer
    assert "Not above 0.6 under any condition: LiDAR alone, max-pooling, LiDAR alone, strided" in lost


def test_classifiers_that_another_training_has_not_are_left_out_of_its_cure():
    figures = Made()
    figures.files["audit/fixed_size"]["models"]["lidar"] = {"swapped": {"accuracy": 0.0}, "dark": {"accuracy": 1.0}}
    answer = told(figures)["Does training on random sizes cure it?"].answer
    assert "0.900 on average instead of 0.050" in answer


def test_a_training_of_none_of_the_studys_models_that_see_the_lidar_is_no_cure():
    figures = Made()
    trained = figures.files["audit/random_size-51"]["models"]
    figures.files["audit/random_size-51"]["models"] = {"fusion/rgb-maxpool": trained["fusion/rgb-maxpool"]}
    assert "Does training on random sizes cure it?" not in told(figures)


def test_decision_level_fusion_need_not_be_lost_where_those_trained_as_a_whole_are():
    figures = Made()
    for name in ("fixed_size", "random_size-51"):
        of_decision = {"swapped": {"accuracy": 0.05}, "dark": {"accuracy": 0.93}}
        figures.files[f"audit/{name}"]["models"]["fusion/decision-maxpool"] = of_decision
    found = told(figures)["Does training on random sizes cure it?"]
    assert "trained as a whole reach 0.500 to 0.500" in found.answer
    assert found.answer.endswith(" Decision, max-pooling, of networks trained separately, reaches 0.930.")
    assert not any("decision" in claim and "dark" in claim for claim in found.claims)


def test_what_a_loss_for_each_sensor_saves_without_the_image_is_told():
    figures = Made()
    trained = figures.files["audit/random_size-51"]["models"]
    for fusion, dark in (("late", 0.9312), ("add", 0.8)):
        trained[f"fusion/{fusion}-maxpool-auxiliary"] = {"swapped": {"accuracy": 0.9}, "dark": {"accuracy": dark}}
    found = told(figures)["Does training on random sizes cure it?"]
    ending = " Trained with a loss for each sensor, fusions reach 0.800 to 0.931 with a black image (late, addition)."
    assert found.answer.endswith(ending) and "trained as a whole reach 0.500 to 0.500" in found.answer
    claim = "audit/random_size-51:models:fusion/{}-maxpool-auxiliary:dark:accuracy > 0.799"
    assert {claim.format("late"), claim.format("add")} <= set(found.claims)
    assert all(holds(claim, figures) for claim in found.claims)


def test_which_sensor_decides_where_they_disagree_is_told_by_training():
    figures = Made()
    question = "Which sensor do the fusions go by where the two disagree?"
    assert question not in told(figures)
    for name, shares in (("fixed_size", (0.01, 0.02)), ("random_size-51", (0.9, 0.95, 0.81))):
        for model, share in zip(("add-maxpool", "concat-maxpool", "add-maxpool-auxiliary"), shares, strict=False):
            entry = {"swapped": {"accuracy": 0.5}, "dark": {"accuracy": 0.5}, "conflict": {"accuracy": share}}
            figures.files[f"audit/{name}"]["models"][f"fusion/{model}"] = entry
    found = told(figures)[question]
    assert found.answer.endswith(
        "show different shapes: trained on one size, from one loss 0.010 to 0.020; trained on random sizes, from one "
        "loss 0.900 to 0.950, from a loss for each sensor 0.810 to 0.810."
    )
    model = "audit/fixed_size:models:fusion"
    ends = {f"{model}/add-maxpool:conflict:accuracy > 0.009", f"{model}/concat-maxpool:conflict:accuracy < 0.021"}
    assert ends <= set(found.claims) and all(holds(claim, figures) for claim in found.claims)


def test_conditions_go_by_what_they_are_and_not_by_a_name():
    """That of the disagreement may be called otherwise, and is no accuracy; one that is not there silences no other."""
    figures, question = Made(cured=0.55), "Does training on random sizes cure it?"
    for name, share in (("fixed_size", 0.02), ("random_size-51", 0.98)):
        for conditions in figures.files[f"audit/{name}"]["models"].values():
            conditions["twins"] = {"accuracy": share}
    found = told(figures, conflicts=["twins"])
    assert "from one loss 0.980 to 0.980" in found["Which sensor do the fusions go by where the two disagree?"].answer
    assert "Not above 0.6 under any condition: LiDAR alone" in found[question].answer
    for name in ("fixed_size", "random_size-51"):
        for conditions in figures.files[f"audit/{name}"]["models"].values():
            del conditions["swapped"]
    left = told(figures, conflicts=["twins"])
    assert {"What do they look at?", question}.isdisjoint(left)
    assert "Which sensor do the fusions go by where the two disagree?" in left


def test_several_seeds_of_the_cure_are_one_finding():
    figures = Made()
    figures.files["audit/random_size-52"] = Made(cured=0.7).files["audit/random_size-51"]
    trained_on = {**TRAINED_ON, "random sizes": ["random_size-51", "random_size-52"]}
    found = told(figures, trained_on)["Does training on random sizes cure it?"]
    assert "reach 0.800 to 0.800" in found.answer and "(seeds: 2, of the study 3)" in found.answer
    assert found.claims == []


@pytest.mark.parametrize(
    ("scratch", "spread", "words"),
    [
        ([0.7, 0.9, 0.95], 0.01, "from scratch that takes 50."),
        ([0.7, 0.845, 0.95], 0.02, "from scratch that takes 50 to 100."),
        ([0.7, 0.85, 0.95], 0.0, "from scratch that takes 50."),
        ([0.7, 0.8, 0.84], 0.02, "from scratch that takes 100 or more."),
        ([0.7, 0.75, 0.8], 0.02, "from scratch none of the sizes reaches that."),
        ([0.86, 0.9, 0.95], 0.02, "from scratch they give 0.860."),
    ],
)
def test_what_pretraining_is_worth_is_told_within_a_spread(scratch, spread, words):
    figures = Made()
    labels = figures.files["data_efficiency"]["fusion"]
    for way, values in (("scratch", scratch), ("pretrained", [0.85, 0.95, 0.96])):
        labels[way] = {
            str(count): {"test_accuracy": value, "test_accuracy_std": spread}
            for count, value in zip((25, 50, 100), values, strict=True)
        }
    found = told(figures)["What is pretraining worth to the fusion?"]
    assert f"25 labelled scenes give an accuracy of 0.850; {words}" in found.answer
    assert all(holds(claim, figures) for claim in found.claims)


@pytest.mark.parametrize(("as_long", "order"), [([0.8, 0.97], ("<", ">=")), ([0.85, 0.94], (">=", "<"))])
def test_an_image_classifier_that_takes_as_many_steps_is_told_beside_what_is_pretrained(as_long, order):
    figures = Made()
    counts = ("25", "50")
    figures.files["data_efficiency"]["rgb2lidar"] = {
        way: {count: {"test_accuracy": value} for count, value in zip(counts, values, strict=True)}
        for way, values in {"scratch": [0.7, 0.9], "pretrained": [0.85, 0.95], "supervised": as_long}.items()
    }
    found = told(figures)["What is pretraining worth to the RGB-to-LiDAR classifier?"]
    assert f"reaches {as_long[0]:.3f} with 25 scenes and {as_long[1]:.3f} with 50." in found.answer
    figures.files["data_efficiency"]["rgb2lidar_random_size"] = {
        way: figures.files["data_efficiency"]["rgb2lidar"][way] for way in ("pretrained", "supervised")
    }
    without = told(figures)["What is pretraining worth to the RGB-to-LiDAR classifier where size tells nothing?"]
    assert f"from scratch {as_long[1]:.3f}." in without.answer
    assert all(claim.startswith("data_efficiency:rgb2lidar_random_size:supervised:") for claim in without.claims)
    assert all(holds(claim, figures) for claim in without.claims)
    path = "data_efficiency:rgb2lidar:supervised"
    assert found.claims[-2:] == [
        f"{path}:{count}:test_accuracy {sign} {value}"
        for count, sign, value in zip(counts, order, (0.85, 0.95), strict=True)
    ]
    assert all(holds(claim, figures) for claim in found.claims)


def test_size_alone_is_told_beside_the_networks_and_is_none_of_them():
    """A rule that is always wrong on swapped sizes does not count among the networks that are said to go by size."""
    figures = Made(swapped=0.05, cured=0.9)
    before = told(figures)
    for name in ("fixed_size", "random_size-51"):
        entry = {"swapped": {"accuracy": 0.001}, "dark": {"accuracy": 0.9}, "conflict": {"accuracy": 0.0}}
        figures.files[f"audit/{name}"]["models"]["size_rule"] = entry
    found = told(figures)
    rule = found.pop("How far does size alone go?")
    assert (
        "8.12 m²" in rule.answer
        and "0.9995 on the test set" in rule.answer
        and "of 0.001 with sizes swapped" in rule.answer
    )
    assert len(rule.claims) == 2 and all(holds(claim, figures) for claim in rule.claims)
    figures.files["audit/fixed_size"]["models"]["size_rule"]["swapped"]["accuracy"] = 0.002
    assert not holds(rule.claims[1], figures)
    assert found == before


def test_an_audit_that_was_switched_off_is_not_spoken_of():
    assert "Does training on random sizes cure it?" not in told(Made(), {"one size": ["fixed_size"]})


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("rgb2lidar:test_accuracy > 0.95", True),
        ("rgb2lidar:test_accuracy < 0.95", False),
        ("fusion/concat-maxpool > fusion/add-maxpool", True),
        ("fusion/add-maxpool > fusion/concat-maxpool", False),
        ("fusion/add-maxpool ~ fusion/concat-maxpool", False),
    ],
)
def test_claims_are_held_against_the_figures(claim, expected):
    assert holds(claim, Made()) is expected


def test_braces_spell_out_a_claim_for_each_name_and_stand_for_the_same_name_twice():
    assert claims_of("so it is <!-- holds: {a,b}-{x,y} > c-{x,y} --> and <!-- holds: a:b > 1 -->") == [
        "a-x > c-x", "a-y > c-y", "b-x > c-x", "b-y > c-y", "a:b > 1",
    ]  # fmt: skip


def test_what_cannot_be_checked_is_an_error():
    with pytest.raises(ValueError, match="is no claim"):
        holds("late is nice", Made())
    with pytest.raises(UserError, match="does not compare fusion/late-maxpool"):
        holds("fusion/late-maxpool > fusion/add-maxpool", Made())
    with pytest.raises(UserError, match="has no accuracy"):
        holds("rgb2lidar:accuracy > 0.5", Made())
    with pytest.raises(UserError, match="has no half"):
        holds("rgb2lidar:test_accuracy:half > 0.5", Made())
    with pytest.raises(UserError, match="is no figure but holds swapped, dark"):
        holds("audit/fixed_size:models:fusion/add-maxpool > 0.5", Made())
