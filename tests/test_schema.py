"""Whatever is wrong anywhere in ``params.yaml`` is refused in one sentence, before any stage works."""

import ast
import json
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from cilp import params
from cilp.errors import UserError
from cilp.schema import NESTED, SECTIONS, check

ROOT = Path(__file__).parents[1]
DEFAULTS = params.load(ROOT / "params.yaml")


def changed(dotted, value):
    settings = deepcopy(DEFAULTS)
    *path, last = dotted.split(".")
    place = settings
    for part in path:
        place = place[part]
    place[last] = value
    return settings


def test_the_defaults_are_legal():
    check(DEFAULTS)


def test_what_others_made_may_have_more_scenes_than_are_simulated():
    large = deepcopy(DEFAULTS)
    large["data"] |= {"source": "folder", "folder": {"path": "/a"}, "subset": 20_000, "test": 10_000}
    check(large)
    large["data"]["source"] = "simulate"
    with pytest.raises(UserError, match=r"data\.subset must be a whole number from 2 to 9,999; got 20000"):
        check(large)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.source", "kagle", "data.source is 'kagle'; legal values: simulate, folder, kaggle, hub."),
        ("data.scenes", 10_000, "data.scenes must be a whole number from 1 to 9,999; got 10000."),
        ("data.scenes", 1999, "data.scenes is 1999, but data.subset and data.test ask for 2000"),
        ("data.test", 0, "data.test must be a whole number from 1 to 9,999; got 0."),
        ("data.valid_fraction", 1.0, "data.valid_fraction must leave at least one of 1000 scenes"),
        ("data.splits", "mine", "data.splits is 'mine'; legal values: given, drawn."),
        ("data.unlabeled", 3, "data.unlabeled is no known param; did you mean unlabelled?"),
        ("data.simulate.ambient", -1.0, "data.simulate.ambient must be 0 or more; got -1.0."),
        ("data.hub.repo", "nowhere", "data.hub.repo must be owner/name; got 'nowhere'."),
        ("data.kaggle.version", 0, "data.kaggle.version must be 1 or more; got 0."),
        ("data", 3, "data must be a mapping; got 3."),
        ("seeds", [], "seeds must be a list of one or more different whole numbers"),
        ("seeds", [51, 51], "got [51, 51]"),
        ("device", "gpu", "device is 'gpu'; legal values: auto, cpu, cuda."),
        ("variants.fusion", ["middle"], "variants.fusion must be a list of one or more different names out of add"),
        ("variants.fusion", ["rgb", "lidar", "decision"], "decision-level fusion has no training, and is evaluated"),
        ("variants.downsampling", [], "variants.downsampling must be a list of one or more different names"),
        ("variants.fusions", ["late"], "variants.fusions is no known param; did you mean fusion?"),
        ("fusion.late.lr", 0.0, "fusion.late.lr must be positive; got 0.0."),
        ("fusion.late.epochs", 0, "fusion.late.epochs must be at least 1; got 0."),
        ("fusion.late.batch_size", 1601, "fusion.late.batch_size is 1601, but there are 1600 training samples; lower"),
        ("fusion.middle", {}, "fusion.middle is no known param"),
        ("fusion.late.modality_dropout", 1.5, "fusion.late.modality_dropout must lie between 0 and 1; got 1.5."),
        (
            "fusion.concat.batch_size",
            1,
            "fusion.concat.batch_size must be at least 2 for modality_dropout; got 1",
        ),
        ("modality_dropout.fusion", ["middle"], "modality_dropout.fusion must be different names out of add"),
        ("modality_dropout.rate", 0.0, "modality_dropout.rate must be above 0 and at most 1; got 0.0."),
        ("random_size.seeds", [51, 51], "random_size.seeds must be a list of one or more different"),
        ("fusion_course.seeds", [51, 51], "fusion_course.seeds must be a list of one or more different"),
        ("fusion_course.auxiliary_losses", ["early"], "fusion_course.auxiliary_losses must be different names out"),
        ("fusion_course.auxiliary_losses", "late", "fusion_course.auxiliary_losses must be different names out"),
        ("fusion_course.seed", [51], "fusion_course.seed is no known param; did you mean seeds?"),
        ("random_size.inputs", "raw", "random_size.inputs is 'raw'; legal values: normalised, plain."),
        ("random_size.lr_factor", 0.0, "random_size.lr_factor must lie between 0.001 and 1000; got 0.0."),
        ("random_size.auxiliary_losses", ["early"], "random_size.auxiliary_losses must be different names out of add"),
        ("random_size.auxiliary_losses", ["late"] * 2, "random_size.auxiliary_losses must be different names out of"),
        ("fusion.early.auxiliary_losses", True, "fusion.early.auxiliary_losses is True, which is legal where"),
        ("fusion.late.auxiliary_losses", 1, "fusion.late.auxiliary_losses must be of type bool; got 1."),
        ("random_size.train", 10, "lidar.batch_size is 32, but there are 20 training samples of random_size"),
        ("random_size.simulate", {"edge": 1}, "random_size.simulate.edge is no known param"),
        ("random_size.pretraining", {"unlabelled": 1}, "random_size.pretraining.matched_twins is missing"),
        ("random_size.pretraining.unlabelled", -1, "random_size.pretraining.unlabelled must be a whole number from 0"),
        ("data_efficiency.scenes", [801], "data_efficiency.scenes asks for 801 scenes, but 800 train; lower it"),
        (
            "random_size.train",
            799,
            "data_efficiency.scenes asks for 800 scenes, but 799 of random size train; lower it",
        ),
        ("data_efficiency.fusion", "middle", "data_efficiency.fusion is 'middle'; legal values: add"),
        ("data_efficiency.head.lr", 0.0, "data_efficiency.head.lr must be positive; got 0.0."),
        ("embedder.rgb", "grey", "embedder.rgb is 'grey'; legal values: shading, plain."),
        ("lidar.lr_min", 1.0, "lidar.lr_min must lie between 0 and lr; got 1.0."),
        ("cilp.steps", "many", "cilp.steps must be of type int; got 'many'."),
        ("cilp.batch_size", 20_000, "cilp.batch_size is 20000, but there are 17598 training samples; lower it."),
        ("projector.weight_decay", -0.1, "projector.weight_decay must not be negative"),
        ("rgb2lidar.epoch", 5, "rgb2lidar.epoch is no known param; did you mean epochs?"),
        ("cilp_ablation.pairs", 0, "cilp_ablation.pairs must be a whole number from 1 to 1,000,000,000; got 0."),
        ("cilp_ablation.recipes", {}, "cilp_ablation.recipes must hold one or more recipes; got {}."),
        ("cilp_ablation.recipes.ours.cilp", {"lr": -1.0}, "cilp_ablation.recipes.ours.cilp.lr must be positive; got"),
        (
            "cilp_ablation.recipes.ours.cilp",
            {"steps": 5},
            "cilp_ablation.recipes.ours.cilp.steps follows from cilp_abl",
        ),
        ("cilp_ablation.recipes.ours.lidar", {}, "cilp_ablation.recipes.ours.lidar is no known param"),
        ("cilp_ablation.recipes.ours", None, "cilp_ablation.recipes.ours must be a mapping; got None."),
        ("cilp_ablation.recipes.ours.title", "a|b", "cilp_ablation.recipes.ours.title must be a text of one line"),
        ("cilp_ablation.recipes.a/b", {}, "cilp_ablation.recipes.a/b must be named in letters"),
        ("cilp_ablation.recipes.-fast", {}, "cilp_ablation.recipes.-fast must be named in letters"),
        ("audit.scenes", 5001, "audit.scenes must be a whole number from 1 to 5,000; got 5001."),
        ("tracking.mode", "on", "tracking.mode is 'on'; legal values: auto, online, offline, disabled."),
        ("data.simulate.sphere_radius", [1.5, 60.0], "data.simulate.sphere_radius must be less than the LiDAR's 50 m"),
        ("embedder.xyz_scale", 1e-40, "embedder.xyz_scale must be 0, or in size from 1e-30 to 1e+30; got 1e-40."),
        ("tracking.project", "a/b", "tracking.project must be of 1 to 128 characters other than"),
        ("tracking.entity", "", "tracking.entity must be null or a name of"),
        ("tracking.project", None, "tracking.project must be of type str; got None."),
        ("modell", {}, "modell is no known param"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(key, value, message):
    with pytest.raises(UserError) as raised:
        check(changed(key, value))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("section", [*NESTED, *SECTIONS])
def test_a_missing_section_is_named(section):
    settings = deepcopy(DEFAULTS)
    del settings[section]
    with pytest.raises(UserError, match=rf"^{section} is missing from params\.yaml"):
        check(settings)


def test_the_batches_of_cilp_on_random_sizes_are_of_all_its_pairs():
    settings = changed("random_size.train", 60)
    settings["data_efficiency"]["scenes"] = [60]
    check(settings)
    settings["random_size"]["pretraining"]["unlabelled"] = 3
    with pytest.raises(
        UserError, match=r"cilp\.batch_size is 128, but there are 126 training samples of random_size\."
    ):
        check(settings)


def test_where_scenes_are_drawn_it_is_known_how_many_train_whatever_the_source():
    settings = changed("data_efficiency.scenes", [801])
    settings["data"] |= {"source": "hub", "splits": "given"}  # the source may have more
    check(settings)
    settings["data"]["splits"] = "drawn"
    with pytest.raises(UserError, match=r"data_efficiency\.scenes asks for 801 scenes, but 800 train; lower it"):
        check(settings)


def test_batches_of_data_that_is_not_simulated_are_left_to_the_stages():
    """How many samples there are is not known before the data are."""
    settings = changed("lidar.batch_size", 5000)
    settings["data"]["source"] = "hub"
    settings["random_size"]["seeds"] = []  # what those models are trained on is known
    check(settings)


def test_a_folder_source_needs_its_path():
    settings = changed("data.source", "folder")
    with pytest.raises(UserError, match=r"^data\.folder\.path is not set"):
        check(settings)
    settings["data"]["folder"]["path"] = "download"
    check(settings)


@pytest.mark.parametrize("path", ["data/raw", "data/raw/archive.zip", "data", "data/subset/../raw/cubes"])
def test_a_folder_that_dvc_would_empty_is_no_source(path):
    """It removes what a stage writes before the stage runs: the only copy of the data would be gone."""
    settings = changed("data.source", "folder")
    settings["data"]["folder"]["path"] = path
    with pytest.raises(UserError, match=r"overlaps with data/raw, which is emptied before it is written; .* elsewhere"):
        check(settings)
    settings["data"]["folder"]["path"] = "data/archive.zip"
    check(settings)


def test_nothing_is_changed_by_checking():
    before = yaml.safe_dump(DEFAULTS)
    check(DEFAULTS)
    assert yaml.safe_dump(DEFAULTS) == before


def of_make_quick(folder, text):
    """What ``make quick`` changes, as DVC takes it, where ``params.yaml`` is ``text``."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "params.yaml").write_text(text)
    command = ["make", "--dry-run", "quick", "READY="]
    dry = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    line = next(line for line in dry.splitlines() if "cilp.experiment" in line)
    return re.findall(r"-S '?([^' ]+)'?", line)


def of_the_notebook(*_):
    cells = json.loads((ROOT / "notebooks/colab.ipynb").read_text())["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return ast.literal_eval("".join(cell["source"]).partition("=")[2].strip())


AS_IT_IS = (ROOT / "params.yaml").read_text()
IN_BLOCKS = yaml.safe_dump(DEFAULTS, sort_keys=False)
"""As DVC writes lists with `dvc exp run -S`, and more of it."""


@pytest.mark.parametrize(
    ("small_settings", "text"),
    [(of_make_quick, AS_IT_IS), (of_make_quick, IN_BLOCKS), (of_the_notebook, AS_IT_IS)],
    ids=["make quick", "make quick after dvc exp run -S", "notebook"],
)
def test_the_small_settings_are_legal_and_leave_no_fusion_long(tmp_path, small_settings, text):
    changed_by = deepcopy(DEFAULTS)
    for setting in small_settings(tmp_path, text):
        key, _, value = setting.partition("=")
        *path, last = key.split(".")
        place = changed_by
        for part in path:
            place = place[part]
        assert last in place, f"{key} is no param"
        place[last] = yaml.safe_load(value)
    check(changed_by)
    # in fewer steps than these, on so few samples, no fusion leaves chance
    assert all((fusion["epochs"], fusion["batch_size"]) == (8, 8) for fusion in changed_by["fusion"].values())


def test_the_notebook_runs_what_make_quick_runs(tmp_path):
    assert set(of_the_notebook(tmp_path, AS_IT_IS)) <= set(of_make_quick(tmp_path, AS_IT_IS))
