"""What a stage imports, directly or through others, is what ``dvc.yaml`` says it depends on: no more, no less."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from clone import ROOT

from cilp.contrastive.pretraining import CilpParams

STAGES = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
WITHOUT_EFFECT = {
    "src/cilp/console", "src/cilp/errors.py", "src/cilp/pipeline", "src/cilp/tracking.py", "src/cilp/__init__.py",
}  # fmt: skip
"""Bars, messages, the exception that carries them, how DVC starts a stage and the W&B mirror change no output, so a
change there retrains nothing."""


def imports(path: Path) -> set[Path]:
    """Files of the project that a module imports itself, anywhere in its body."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} imports relatively"
            continue
        for name in names:
            base = ROOT / "src" / Path(*name.split("."))
            found |= {file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()}
    return found


def closure(script: Path) -> set[Path]:
    """Everything a script imports, directly or not, without looking behind modules that change no output."""
    seen, todo = set(), {script}
    while todo:
        path = todo.pop()
        seen.add(path)
        if not any(covers(entry, path) for entry in WITHOUT_EFFECT):
            todo |= imports(path) - seen
    return seen - {script}


def covers(entry: str, path: Path) -> bool:
    return path == ROOT / entry or ROOT / entry in path.parents


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_what_the_stage_imports(stage):
    (script,) = re.findall(r"python (stages/\w+\.py)", STAGES[stage]["cmd"])
    deps = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))}
    assert script in deps
    by_name = {dep for dep in deps if "${" in dep}  # looked up when the stage runs, so that no import names it
    assert all(dep.startswith("src/cilp/models/fusion/") for dep in by_name)
    deps -= by_name
    modules = {
        path
        for path in closure(ROOT / script)
        if path.stat().st_size and not any(covers(entry, path) for entry in WITHOUT_EFFECT)
    }
    missing = {str(path.relative_to(ROOT)) for path in modules if not any(covers(dep, path) for dep in deps)}
    assert not missing, f"{stage} imports what its deps do not name"
    unused = {dep for dep in deps - {script} if not any(covers(dep, path) for path in modules)}
    assert not unused, f"{stage} depends on what it does not import"


def test_what_changes_no_result_is_there():
    """A package that is renamed would else be exempt, or forbidden, under a name that nothing has."""
    assert all((ROOT / entry).exists() for entry in WITHOUT_EFFECT)


def test_the_ablation_follows_every_param_of_pretraining_but_its_length():
    params = {name.removeprefix("cilp.") for name in STAGES["ablate_cilp"]["params"] if name.startswith("cilp.")}
    assert params == {field.name for field in fields(CilpParams)} - {"steps"}


def test_imports_run_one_way():
    """Sensors and scenes know nothing of training, models nothing of data on disk, training nothing of reports."""
    outer = {"raw", "subset", "packing", "report", "tracking"}
    forbidden = {
        "sensors.py": {*outer, "training", "models", "packed", "simulation", "evaluation"},
        "simulation": {*outer, "training", "models", "packed", "evaluation"},
        "models": {*outer, "training", "contrastive", "classifiers", "evaluation", "packed", "simulation"},
        "training": {*outer, "contrastive", "classifiers", "evaluation", "simulation"},
        "contrastive": {*outer, "classifiers", "evaluation", "simulation"},
        "classifiers": {*outer, "evaluation"},
        "evaluation": {*outer, "contrastive", "classifiers"},
        "raw": {"training", "contrastive", "classifiers", "models", "subset", "packed", "report", "evaluation"},
        "report": {"training", "contrastive", "classifiers", "models", "raw", "subset", "packed", "tracking"},
    }
    for part, others in forbidden.items():
        base = ROOT / "src/cilp" / part
        assert base.exists(), part
        for path in [base] if base.is_file() else base.rglob("*.py"):
            for imported in imports(path):
                top = imported.relative_to(ROOT / "src/cilp").parts[0].removesuffix(".py")
                assert top not in others, f"{path.name} imports {top}"


@pytest.mark.parametrize(
    "stage", ["train_fusion", "train_lidar", "pretrain_cilp", "train_projector", "train_rgb2lidar", "train_image"]
)
def test_training_stages_import_neither_fiftyone_nor_torchvision(stage):
    heavy = {"fiftyone", "torchvision", "dvc", "wandb", "matplotlib", "pandas", "PIL"}
    for path in closure(ROOT / f"stages/{stage}.py") | {ROOT / f"stages/{stage}.py"}:
        body = ast.parse(path.read_text()).body  # what runs at import: imports inside functions stay optional
        names = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in body if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & heavy, path
