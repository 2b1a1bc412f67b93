from copy import deepcopy

import pytest
import torch
from matplotlib import pyplot as plt

from cilp import params
from cilp.classifiers.trainings import audits
from cilp.errors import UserError
from cilp.evaluation.audit import (
    Audited,
    audit,
    conditions,
    mean_returns,
    rendered,
    together,
)
from cilp.report.audit import audit_markdown, draw_audit
from cilp.simulation.scenes import SimulateParams
from cilp.simulation.varied import of_random_size

CPU = torch.device("cpu")
SETTINGS = params.load()
SIMULATION = params.section(SETTINGS, "data.simulate", SimulateParams)


def test_the_conditions_are_the_study_but_for_their_changes():
    found = conditions(SETTINGS)
    assert found["trained"][1] == SIMULATION
    assert found["swapped"][1].cube_edge != SIMULATION.cube_edge
    assert found["swapped"][1].distance == SIMULATION.distance


def test_with_sizes_swapped_spheres_return_what_cubes_did():
    """The counterfactual does what it says: the number of returns points to the wrong class."""
    found = conditions(SETTINGS)
    usual, swapped = (mean_returns(rendered(found[name][1], 60, 1, CPU)) for name in ("trained", "swapped"))
    assert usual["cube_returns"] > 1.6 * usual["sphere_returns"]
    assert swapped["sphere_returns"] == pytest.approx(usual["cube_returns"], rel=0.1)
    assert swapped["cube_returns"] == pytest.approx(usual["sphere_returns"], rel=0.1)


def test_the_cure_is_tried_on_what_it_was_trained_on_where_size_says_nothing():
    found = conditions(SETTINGS)["equal"][1]
    assert found == of_random_size(SETTINGS)
    returns = mean_returns(rendered(found, 300, 1, CPU))
    assert returns["cube_returns"] == pytest.approx(returns["sphere_returns"], rel=0.1)


def test_where_the_sensors_disagree_each_image_has_the_other_shapes_range_image():
    condition = conditions(SETTINGS)["conflict"]
    usual, conflict = (rendered(condition.simulate, 3, 1, CPU, lidar) for lidar in ("own", condition.lidar))
    assert torch.equal(conflict.rgb, usual.rgb) and torch.equal(conflict.label, usual.label)
    assert torch.equal(conflict.range[0::2], usual.range[1::2]) and torch.equal(conflict.range[1::2], usual.range[0::2])
    assert torch.equal(conflict.scene, usual.scene) and not torch.equal(conflict.range, usual.range)


def test_a_light_behind_the_object_leaves_the_image_black():
    split = rendered(conditions(SETTINGS)["dark"][1], 5, 1, CPU)
    assert not split.rgb[..., :3].any() and (split.rgb[..., 3] == 255).all()
    assert (split.range < 50).any()


def test_places_outside_of_the_training_box_lie_outside():
    split = rendered(conditions(SETTINGS)["outside"][1], 20, 1, CPU)
    nearest = split.range.flatten(1).amin(dim=1)
    assert (nearest > SIMULATION.distance[1] - 2.2).all()


def test_accuracies_by_class():
    split = rendered(SIMULATION, 4, 1, CPU)
    found = audit(torch.tensor([0.1, 0.9, 0.2, 0.3] * 2, dtype=torch.double), split)
    assert found == Audited(0.75, 1.0, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "must hold one or more conditions"),
        ({"a": {"size": 1}}, "audit.conditions.a must be a mapping of title, simulate, lidar"),
        ({"a": {"simulate": {"edge": 1}}}, "audit.conditions.a.simulate.edge is no known param"),
        ({"a": {"simulate": {"cube_edge": [2.0, 1.0]}}}, "audit.conditions.a.simulate.cube_edge must be"),
        ({"a": {"lidar": "left"}}, "audit.conditions.a.lidar is 'left'; legal values: own, twin."),
        ({"a": {"title": 3}}, "audit.conditions.a.title must be a text of one line"),
    ],
)
def test_wrong_conditions_are_refused_by_name(change, message):
    settings = deepcopy(SETTINGS)
    settings["audit"]["conditions"] = change
    with pytest.raises(UserError, match=f"^{message}" if message.startswith("audit") else message):
        conditions(settings)


def audited(swapped):
    figures = {"a": vars(Audited(0.9, 0.8, 1.0)), "b": vars(Audited(swapped, 0.2, 1.0))}
    returns = {name: {"cube_returns": 280.0, "sphere_returns": 145.0} for name in figures}
    return {"models": {"fusion/late-maxpool": figures, "lidar": figures}, "scenes": returns, "seeds": 1}


def test_audits_of_several_seeds_are_averaged_with_their_spread():
    found = together([audited(0.2), audited(0.4)])
    assert found["seeds"] == 2
    assert found["models"]["lidar"]["b"]["accuracy"] == pytest.approx(0.3)
    assert found["models"]["lidar"]["b"]["accuracy_std"] == pytest.approx(0.2 / 2**0.5)
    assert found["models"]["lidar"]["a"]["cube_accuracy"] == 0.8
    assert together([audited(0.2)]) == audited(0.2)


def test_audits_are_those_of_the_seeds_that_are_trained():
    settings = deepcopy(SETTINGS)
    settings["random_size"]["seeds"], settings["fusion_course"]["seeds"] = [], [51, 52]
    of_the_course = ["fusion_course-51", "fusion_course-52"]
    assert list(audits(settings).values()) == [["fixed_size"], of_the_course]
    settings["fusion_course"]["seeds"], settings["random_size"]["seeds"] = [], [51]
    assert list(audits(settings).values()) == [["fixed_size"], ["random_size-51"]]


def test_each_training_has_a_map_in_the_picture(tmp_path):
    trainings = {f"training {number}": audited(number / 4) for number in range(1, 4)}
    sizes = []
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.png"
        draw_audit(dict(list(trainings.items())[:count]), {"a": "as trained", "b": "size swapped"}, path)
        sizes.append(plt.imread(path).shape[:2])
    assert sizes[0][1] < sizes[1][1] < sizes[2][1]


def test_the_picture_and_the_table(tmp_path):
    both = {"one size a class": audited(0.2), "random sizes": audited(0.8)}
    titles = {"a": "as trained", "b": "size swapped"}
    for name, drawn in (("1", both), ("2", both), ("3", {**both, "random sizes": audited(0.7)})):
        draw_audit(drawn, titles, tmp_path / f"{name}.png")
    first, again, changed = ((tmp_path / f"{name}.png").read_bytes() for name in "123")
    assert first == again != changed
    models = {"fusion/late-maxpool-auxiliary": audited(0.8)["models"]["lidar"]}  # trained on random sizes alone
    draw_audit(both, titles, tmp_path / "5.png", ["b"])  # shares, in colours of their own
    assert (tmp_path / "5.png").read_bytes() != first
    more = {**both["random sizes"], "models": {**both["random sizes"]["models"], **models}}
    draw_audit({**both, "random sizes": more}, titles, tmp_path / "4.png")
    table = audit_markdown(both, titles, 100)
    assert table.count("| LiDAR classifier | 0.80 / 1.00 | 0.20 / 1.00 |") == 2
    spread = audit_markdown({"random sizes": together([audited(0.2), audited(0.4)])}, titles, 100)
    assert "| LiDAR classifier | 0.80 ± 0.00 / 1.00 ± 0.00 |" in spread and "2 of those trained" in spread
    assert table.count("| *LiDAR returns* | 280 / 145 | 280 / 145 |") == 2
    assert "| late, max-pooling, auxiliary losses | 0.80 / 1.00 |" in audit_markdown({"random": more}, titles, 100)
    assert "trained on one size a class" in table and "trained on random sizes" in table
