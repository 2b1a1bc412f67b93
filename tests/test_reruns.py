"""What runs again after a change, what does not, and what is refused before anything runs: through DVC, or by hand."""

import hashlib
import shutil
import sys

import declared
import pytest
import yaml
from clone import run, set_params
from tiny import FUSIONS, VARIANTS, stages_run

from cilp.pipeline import record

pytestmark = pytest.mark.timeout(420)

TABLES = {"compare_fusion", "ablate_strided"}


def test_a_second_repro_runs_nothing(project):
    output = run(project, "dvc", "repro")
    assert not stages_run(output)
    assert "up to date" in output
    assert "up to date" in run(project, "dvc", "repro", "--dry", "--allow-missing")
    assert not run(project, "git", "status", "--porcelain")


def test_no_stage_reads_a_param_that_it_does_not_declare(project):
    """A change of it would else leave the stage's results as they are. All ran with what they declare alone."""
    stages = record.parse((project / "dvc.lock").read_text()).keys()
    assert len({name.partition("@")[0] for name in stages}) > 25
    assert declared.refused(project) == {}
    assert declared.seen_by(project) == stages


def test_what_a_stage_overrules_is_no_param_of_it(project):
    """A change of ``fusion.<fusion>.modality_dropout`` does not train again what has a rate of its own."""
    overruled = {"train_modality_dropout": "modality_dropout"}
    overruled |= dict.fromkeys(("train_random_size_auxiliary", "train_fusion_course_auxiliary"), "auxiliary_losses")
    seen = set()
    for name, stage in record.parse((project / "dvc.lock").read_text()).items():
        if key := overruled.get(kind := name.partition("@")[0]):
            seen.add(kind)
            declared = [param for param in stage["params"]["params.yaml"] if param.startswith("fusion.")]
            assert declared and all(param.count(".") == 2 and not param.endswith(f".{key}") for param in declared)
    assert seen == overruled.keys()


def test_results_are_links_into_dvcs_cache_which_a_stage_by_hand_leaves_whole(changing):
    """They do not lie on the disk twice, and are not changed by mistake."""
    models = [path for path in (changing / "models").rglob("*") if path.is_file()]
    assert len(models) > 10 and not any(path.stat().st_mode & 0o222 for path in models)
    shutil.rmtree(changing / "data/raw")  # this one is a copy of the project that ran
    run(changing, "dvc", "checkout", "acquire")
    assert all(path.stat().st_nlink > 1 for path in (changing / "data/raw").rglob("*.npy"))
    run(changing, sys.executable, "stages/acquire.py")
    assert all(path.stat().st_nlink == 1 for path in (changing / "data/raw").rglob("*.npy"))
    cached = [path for path in (changing / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    assert len(cached) > 100
    for path in cached:
        assert hashlib.md5(path.read_bytes()).hexdigest() == f"{path.parent.name}{path.stem}"
    assert "up to date" in run(changing, "dvc", "status")


def test_a_fusions_params_rerun_its_variants_and_the_tables_alone(changing, warm):
    before = {name: (changing / f"metrics/fusion/{name}.json").read_bytes() for name in VARIANTS}
    lr = "fusion.hadamard.lr=0.0005"
    command = ("dvc", "exp", "run", "--name", "slow", "--set-param", lr, *sorted(TABLES))
    hadamard = {"train_fusion@hadamard-maxpool", "train_fusion@hadamard-strided"}
    output = run(changing, *command, WANDB_MODE="disabled", **warm)
    assert set(stages_run(output)) == {"check_params", *hadamard, *TABLES}
    changed = {name for name in VARIANTS if (changing / f"metrics/fusion/{name}.json").read_bytes() != before[name]}
    assert changed == {"hadamard-maxpool", "hadamard-strided"}
    random_size = {"train_random_size@hadamard-maxpool-51", "train_random_size@hadamard-strided-51"}
    classifiers = {"predict", "audit", "sensor_failures"}  # run every classifier
    assert set(stages_run(run(changing, "dvc", "repro", "--dry"))) - {"write_report"} == {*random_size, *classifiers}

    targets = ("--targets", "metrics/fusion_comparison.json")
    difference = run(changing, "dvc", "metrics", "diff", *targets, "--no-path", "--precision", "4", "--md")
    assert "hadamard.valid_loss" in difference
    assert "late." not in difference


def test_a_new_fusion_trains_alone(changing):
    folder = changing / "src/cilp/models/fusion"
    (folder / "maximum.py").write_text((folder / "add.py").read_text())
    settings = yaml.safe_load((changing / "params.yaml").read_text())
    set_params(
        changing, {"fusion": {"maximum": settings["fusion"]["add"]}, "variants": {"fusion": [*FUSIONS, "maximum"]}}
    )
    ran = stages_run(run(changing, "dvc", "repro", "--dry"))
    trained = {f"train_fusion@maximum-{way}" for way in ("maxpool", "strided")}
    sizes = ("train_random_size", "train_fusion_course")
    trained |= {f"{stage}@maximum-{way}-51" for stage in sizes for way in ("maxpool", "strided")}
    assert {stage for stage in ran if "train" in stage} == trained


def test_restyling_a_table_or_plot_retrains_nothing(changing, warm):
    report = {"write_report"}  # it shows every table
    restyled = {
        "similarity": {"plot_similarity"},
        "curves": {"compare_fusion"},
        "pretraining": {"compare_cilp"},
        "audit": {"compare_audit"},
        "study": report,
    }
    stages = record.parse((changing / "dvc.lock").read_text())
    for name, affected in restyled.items():
        path = f"src/cilp/report/{name}.py"
        reading = {stage for stage, entry in stages.items() if path in {dep["path"] for dep in entry["deps"]}}
        assert reading == affected, name
    before = {path: path.read_text() for path in (changing / f"src/cilp/report/{name}.py" for name in restyled)}
    for path, text in before.items():
        path.write_text(text + "\n# another style\n")
    ran = set(stages_run(run(changing, "dvc", "repro", "--dry")))
    assert ran == set().union(*restyled.values())
    for path, text in before.items():
        path.write_text(text)
    path = changing / "src/cilp/report/tables.py"
    path.write_text(path.read_text() + "\n# another style\n")
    assert set(stages_run(run(changing, "dvc", "repro", **warm))) - report == TABLES


def test_a_lean_image_trains_to_the_same_figures(project, sandbox):
    """Without DVC, FiftyOne, torchvision, W&B and whatever else only other stages need."""
    absent = ["dvc", "fiftyone", "torchvision", "wandb", "tqdm", "matplotlib", "PIL", "huggingface_hub"]
    shutil.rmtree(sandbox / "metrics")
    script = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "sys.argv = ['train_fusion', '--fusion', 'late', '--downsampling', 'strided']\n"
        "runpy.run_path('stages/train_fusion.py', run_name='__main__')\n"
        "assert 'torch._dynamo' not in sys.modules"  # PyTorch's own compiler, almost as large as PyTorch
    )
    run(sandbox, sys.executable, "-c", script)
    for suffix in ("json", "csv"):
        name = f"metrics/fusion/late-strided.{suffix}"
        assert (sandbox / name).read_bytes() == (project / name).read_bytes()


def test_the_folder_source_gives_the_same_data(project, sandbox):
    (sandbox / "data/raw").rename(sandbox / "download")
    set_params(sandbox, {"data": {"source": "folder", "folder": {"path": "download"}}})
    output = run(sandbox, sys.executable, "stages/acquire.py")
    assert "36 pairs" in output
    files = [path for path in (project / "data/raw").rglob("*") if path.is_file()]
    assert len(files) == 2 * 36 + 4 + 1  # images, range images, calibration and manifest
    for path in files:
        assert (sandbox / path.relative_to(project)).read_bytes() == path.read_bytes()


def test_tables_show_the_declared_variants_whatever_else_lies_there(sandbox, warm):
    set_params(sandbox, {"variants": {"fusion": ["late"], "downsampling": ["maxpool"]}})
    assert "| metric | late |" in run(sandbox, "python", "stages/compare_fusion.py", WANDB_MODE="disabled", **warm)
    assert "Not run" in run(sandbox, "python", "stages/ablate_strided.py", **warm)
    (sandbox / "metrics/fusion/late-maxpool.json").unlink()
    output = run(sandbox, "python", "stages/compare_fusion.py", code=2, **warm)
    assert output == (
        "error: metrics/fusion/late-maxpool.json is missing; run `dvc repro train_fusion@late-maxpool` to train it.\n"
    )


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (
            "acquire",
            {"data": {"source": "kagle"}},
            "data.source is 'kagle'; legal values: simulate, folder, kaggle, hub.",
        ),
        ("acquire", {"data": {"scenes": 15}}, "data.scenes is 15, but data.subset and data.test ask for 16"),
        ("acquire", {"data": {"simulate": {"seed": "x"}}}, "data.simulate.seed must be of type int; got 'x'."),
        ("subset", {"data": {"test": 9}}, "data.test"),
        ("compare_fusion", {"variants": {"fusion": ["middle"]}}, "out of rgb, lidar, early, late, concat"),
        ("train_fusion --fusion late --downsampling maxpool", {"seeds": []}, "seeds must be a list of one or more"),
        ("train_fusion --fusion late --downsampling maxpool", {"device": "gpu"}, "legal values: auto, cpu, cuda"),
    ],
)
def test_a_wrong_param_is_refused_in_one_sentence_before_any_work(sandbox, warm, stage, change, message):
    set_params(sandbox, change)
    before = sorted(path for path in sandbox.rglob("*") if "__pycache__" not in path.parts)
    script, *options = stage.split()
    output = run(sandbox, "python", f"stages/{script}.py", *options, code=2, **warm)
    assert message in output
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    assert sorted(path for path in sandbox.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_wrong_param_anywhere_stops_the_pipeline_before_any_stage_works(changing, warm):
    set_params(changing, {"data": {"simulate": {"seed": 52}}, "rgb2lidar": {"lr": -1.0}})
    output = run(changing, "dvc", "repro", code=255, **warm)
    assert stages_run(output) == ["check_params"]
    assert "error: rgb2lidar.lr must be positive; got -1.0." in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants:\n", "data is missing from params.yaml."),
        ("seeds: [51\ndevice: auto\n", "params.yaml is no valid YAML: "),
        ("seeds: [51]\nseeds: [52]\n", "seeds stands twice, in lines 1 and 2; keep one."),
    ],
)
def test_make_says_in_one_sentence_what_dvc_stumbles_over(sandbox, warm, text, message):
    (sandbox / ".venv").mkdir()
    (sandbox / ".venv/.ready").touch()  # the environment that runs this test is set up
    (sandbox / "params.yaml").write_text(text)
    output = run(sandbox, "make", "repro", code=2, **warm)
    ours = [line for line in output.splitlines() if not line.startswith("make: ")]
    assert len(ours) == 1 and ours[0].startswith(f"error: {message}")


def test_a_stage_that_fails_leaves_the_results_of_the_run_before_it(changing):
    """DVC removes what a stage declares before it runs; results in git persist."""
    results = [path for name in ("metrics", "plots", "costs") for path in (changing / name).rglob("*.*")]
    before = {path: path.read_bytes() for path in results}
    assert len(before) > 50
    for stage in ("train_fusion@late-strided", "pretrain_cilp", "audit", "predict", "compare_cilp"):
        script = changing / f"stages/{stage.partition('@')[0]}.py"
        script.write_text("raise SystemExit(28)\n")
        run(changing, "dvc", "repro", "--single-item", stage, code=255)
    assert {path: path.read_bytes() for path in before} == before
