"""Push the subset, and the trained models if asked, to the Hugging Face Hub.

    PYTHONPATH=src python -m cilp.publish USER/DATASET [--models USER/MODELS] [--private]

The dataset can be loaded with FiftyOne (``load_from_hub``) and by ``data.source: hub``. Needs ``HF_TOKEN`` with the
right to write, or ``hf auth login``.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cilp import params
from cilp.console import cli
from cilp.errors import UserError
from cilp.evaluation.models import SIZE_RULE, variants
from cilp.pipeline.record import Lock, parse
from cilp.raw.exported import Export, read_export
from cilp.raw.layout import CLASSES, SPLITS

SUBSET, MODELS, METRICS, LOCK_FILE = Path("data/subset"), Path("models"), Path("metrics"), Path("dvc.lock")
SIZES = (("1K", "10K", 10_000), ("10K", "100K", 100_000), ("100K", "1M", 1_000_000))
"""The Hub's categories from 1,000 samples on: from, to, and the number of samples that is no longer in it."""
DATA_STAGES = ("acquire", "subset")
BETWEEN = ("pack", "pack_unlabelled", "pack_random_size", "pack_random_size_unlabelled", "embed")
"""What the models are trained on, made of the subset or beside it."""
ORIGINS = {
    "simulate": "rendered by this project's simulator: **simulated data**",
    "folder": "taken from a folder of the publisher's own",
    "kaggle": "taken from Kaggle, `{}`",
    "hub": "taken from the Hub, `{}`",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="repository for the subset, as user/name; made if missing")
    parser.add_argument("--models", help="repository for the trained models, as user/name; made if missing")
    parser.add_argument("--private", action="store_true", help="make new repositories private")
    arguments = parser.parse_args()
    settings = params.load()
    lock = parse(LOCK_FILE.read_text(encoding="utf-8")) if LOCK_FILE.is_file() else {}
    check_made_with(settings, lock, DATA_STAGES)
    models, metrics = trained(settings, lock) if arguments.models else ([], [])
    if lock:
        check_as_recorded([SUBSET, *models])
    card = dataset_card(read_export(SUBSET), settings)
    if arguments.models and not models:
        raise UserError(f"{MODELS} holds no models; train them with `dvc repro`, or fetch them with `dvc pull`.")
    push(arguments.dataset, "dataset", SUBSET, card, arguments.private)
    if arguments.models:
        push(arguments.models, "model", MODELS, model_card(arguments.dataset, metrics), arguments.private, models)


MARKS = {
    "dataset": ("fiftyone.yml", {"name": "multimodal-shapes", "format": "FiftyOneDataset", "tags": ["group", "image"]}),
    "model": ("cilp.yml", {"name": "multimodal-shapes-models", "format": "checkpoints"}),
}
"""By kind of repository, name and content of the file that says whose it is: ``push`` removes files from no other.

That of a dataset is also what FiftyOne's ``load_from_hub`` looks for.
"""
OF_THE_HUB = (".gitattributes",)
"""What is in a repository that the Hub has just made."""


def check_made_with(settings: dict, lock: Lock, stages: Iterable[str]) -> None:
    """Raise ``UserError`` if what ``stages`` wrote was made with other params than these, or of other data.

    Of a stage that the lock file does not know, nothing is known.
    """
    there = {out["path"]: out.get("md5") for stage in lock.values() for out in stage.get("outs", ())}
    for stage in stages:
        entry, data = lock.get(stage, {}), stage in DATA_STAGES
        cure = "run `dvc repro`" if stage in BETWEEN else f"run `dvc repro {DATA_STAGES[-1] if data else stage}`"
        for key, made_with in entry.get("params", {}).get("params.yaml", {}).items():
            if (now := params.lookup(settings, key)) != made_with:
                raise UserError(f"{made_by(stage)} made with {key} = {made_with}, but params.yaml says {now}; {cure}.")
        for dep in entry.get("deps", ()):
            if dep["path"] in there and dep.get("md5") != there[dep["path"]]:
                raise UserError(f"{made_by(stage)} made of another {dep['path']} than there is now; {cure}.")


def made_by(stage: str) -> str:
    """What a stage wrote, as the beginning of a sentence."""
    if stage in BETWEEN:
        return f"What {stage} wrote for the models was"
    return f"{SUBSET} was" if stage in DATA_STAGES else f"The models of {stage} were"


def trained(settings: dict, lock: Lock) -> tuple[list[Path], list[Path]]:
    """Checkpoints, and JSON files of what they reach, of the stages that these params ask for.

    DVC leaves behind what stages wrote that params asked for once. Without a lock file all that there are.

    Raises:
        UserError: some were made with other params or of other data, or are not here.
    """
    if not lock:
        models = [path for path in MODELS.rglob("*.pt") if path.stem != SIZE_RULE]
        return sorted(models), sorted(path for path in METRICS.rglob("*.json") if path.parent.name != SIZE_RULE)
    asked = training_stages(settings)
    stages = [stage for stage in asked if stage in lock]
    if untrained := [stage for stage in asked if stage not in lock]:
        more = f" and {len(untrained) - 3} more" if len(untrained) > 3 else ""
        print(f"not published, since dvc.lock does not know them: models of {', '.join(untrained[:3])}{more}")
    check_made_with(settings, lock, [*BETWEEN, *stages])
    outs = [Path(out["path"]) for stage in stages for out in lock[stage].get("outs", ())]
    for out in outs:
        if out.is_relative_to(MODELS) and not any(_files(out)):
            raise UserError(f"{out} is missing; fetch it with `dvc pull`, or train it with `dvc repro`.")
    models = [path for out in outs if out.is_relative_to(MODELS) for path in _files(out) if path.suffix == ".pt"]
    return sorted(models), sorted(out for out in outs if out.is_relative_to(METRICS) and out.suffix == ".json")


def check_as_recorded(paths: Iterable[Path]) -> None:
    """Raise ``UserError`` if DVC has other files in mind: of another branch, say, not yet checked out.

    Where DVC is not installed, or is not in use, nothing is known.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "data", "status", "--json"], capture_output=True, text=True)
    try:
        status = {} if done.returncode else json.loads(done.stdout)
    except ValueError:
        status = {}
    other = [Path(path) for path in status.get("uncommitted", {}).get("modified", ())]
    for path in paths:
        if any(path.is_relative_to(it) for it in other):
            raise UserError(f"{path} is not what dvc.lock speaks of; run `dvc checkout`, or `dvc repro`.")


def _files(out: Path) -> Iterable[Path]:
    return out.rglob("*") if out.is_dir() else [out] if out.is_file() else []


def training_stages(settings: dict) -> list[str]:
    """Names of the stages that train what is published."""
    names = [name.removeprefix("fusion/") for name in variants(settings)]
    sections = ("modality_dropout", "random_size", "fusion_course")
    again, sizes, course = (params.lookup(settings, section) for section in sections)
    return [
        *(f"train_fusion@{name}" for name in names),
        *(f"train_modality_dropout@{fusion}" for fusion in again["fusion"]),
        *("train_lidar", "pretrain_cilp", "train_projector", "train_rgb2lidar"),
        *("train_image_supervised", "train_image_distilled"),
        *(f"train_random_size@{name}-{seed}" for name in names for seed in sizes["seeds"]),
        *(f"train_random_size_auxiliary@{it}-{seed}" for it in sizes["auxiliary_losses"] for seed in sizes["seeds"]),
        *(f"train_random_size_{it}@{seed}" for it in ("cilp", "image") for seed in sizes["seeds"]),
        *(f"train_fusion_course@{name}-{seed}" for name in names for seed in course["seeds"]),
        *(
            f"train_fusion_course_auxiliary@{it}-{seed}"
            for it in course["auxiliary_losses"]
            for seed in course["seeds"]
        ),
    ]


def size_category(samples: int) -> str:
    """The Hub's name for a dataset of so many samples."""
    if samples < 1000:
        return "n<1K"
    return next(f"{low}<n<{high}" for low, high, most in SIZES if samples < most)


def dataset_card(export: Export, settings: dict) -> str:
    """What the dataset holds and where it comes from, as Markdown with the Hub's metadata."""
    counts = Counter((record.split, record.label) for record in export.records)
    rows = [f"| {split} | {' | '.join(f'{counts[split, label]:,}' for label in CLASSES)} |" for split in SPLITS]
    source = params.choice(settings, "data.source", tuple(ORIGINS))
    section = settings["data"].get(source) or {}
    origin = ORIGINS[source].format(section.get("repo") or section.get("dataset"))
    made = {name: value for name, value in settings["data"].items() if name not in ORIGINS or name == source}
    made.pop("folder", None)  # a path on the publisher's own disk
    metadata = {
        "pretty_name": "Cubes and spheres, seen by a camera and a LiDAR",
        "tags": ["fiftyone", "group", "image", "point-cloud"],
        "task_categories": ["image-classification"],
        "size_categories": [size_category(len(export.records))],
    }
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False)}---

# Cubes and spheres, seen by a camera and a LiDAR

A grouped FiftyOne dataset, {origin}. Each group is one object: slice `rgb` is its 64x64 RGBA picture, `lidar` its 64x64
range image (float32 metres, rows = azimuth, columns = zenith, 50 m where nothing was hit), `pcd` the returns as a point
cloud. `label` is cube or sphere; cube and sphere of the same `scene` share place, colour and light. Samples are tagged
with their split. The angles of the LiDAR, in radians, are `azimuth_cubes`, `zenith_cubes`, `azimuth_spheres` and
`zenith_spheres` in `dataset.info`.

| split | cubes | spheres |
| --- | --- | --- |
{chr(10).join(rows)}

Params that made it:

```yaml
{yaml.safe_dump({"data": made}, sort_keys=False)}```
"""


def model_card(dataset: str, metrics: Iterable[Path]) -> str:
    """What the models are and what they reach, as Markdown with the Hub's metadata."""
    accuracies = []
    for path in metrics:
        figures = json.loads(path.read_text(encoding="utf-8"))
        if "test_accuracy" in figures:
            spread = f" ± {figures['test_accuracy_std']:.4f}" if "test_accuracy_std" in figures else ""
            name = path.relative_to(METRICS).with_suffix("").as_posix()
            accuracies.append(f"| {name} | {figures['test_accuracy']:.4f}{spread} | {figures.get('seeds', 1)} |")
    metadata = yaml.safe_dump({"datasets": [dataset], "library_name": "pytorch", "tags": ["sensor-fusion", "lidar"]})
    return f"""---
{metadata}---

# Cube or sphere, from an image and a LiDAR

Checkpoints by model and seed: weights, the model's name and arguments, and the params that trained it, to be loaded
with `torch.load(path, weights_only=True)`. Test accuracy on the held-out scenes of `{dataset}`, mean and spread over
seeds:

| model | test accuracy | seeds |
| --- | --- | --- |
{chr(10).join(accuracies)}
"""


def push(repo: str, kind: str, folder: Path, card: str, private: bool, files: Iterable[Path] = ()) -> None:
    """Upload the files of ``folder``, or of those ``files`` alone, and then the ``card`` that describes them.

    The repository is made if it is missing. Data or checkpoints that it has and ``folder`` has not are removed.

    Raises:
        UserError: no token, no right to write, no network, or a repository that something else has put files into.
    """
    from huggingface_hub import HfApi, errors, get_token

    if get_token() is None:
        raise UserError("Publishing needs a token; set HF_TOKEN, or run `hf auth login`.")
    api = HfApi()
    try:
        address = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        name, mark = MARKS[kind]
        check_ours(api, repo, kind)
        add_text(api, repo, kind, name, yaml.safe_dump(mark))  # first, so that what breaks off may be tried again
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            ignore_patterns=[".gitignore"],
            allow_patterns=[path.relative_to(folder).as_posix() for path in files] or None,
            delete_patterns=["data/*"] if kind == "dataset" else ["*.pt"],  # of an earlier push: no other file
        )
        add_text(api, repo, kind, "README.md", card)
    except UserError:
        raise
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        cure = "set HF_TOKEN to a token that may write there" if status in (401, 403, 404) else "try again later"
        raise UserError(f"The Hub refuses to write {repo} (status {status}); {cure}.") from None
    except Exception as error:  # httpx's, OSError and the Hub client's own, all meaning that it did not arrive
        reason = type(error.__cause__ or error).__name__
        raise UserError(f"{repo} could not be pushed to the Hub ({reason}); check name and network.") from None
    print(f"{cli.without_credentials(address)}: pushed {folder}")


def check_ours(api: Any, repo: str, kind: str) -> None:
    """Raise ``UserError`` if a repository holds files and no mark of an earlier push; ``api`` is an ``HfApi``."""
    name, mark = MARKS[kind]
    there = set(api.list_repo_files(repo, repo_type=kind)).difference(OF_THE_HUB)
    if name in there:
        found = Path(api.hf_hub_download(repo, name, repo_type=kind)).read_text(encoding="utf-8", errors="replace")
        if f"name: {mark['name']}" in found.splitlines():
            return
    if there:
        shown = ", ".join(sorted(there)[:3]) + (", ..." if len(there) > 3 else "")
        raise UserError(
            f"{repo} on the Hub holds files that are not of an earlier `make publish` ({shown}), and some would be "
            f"removed; name another repository, or one that is not there yet."
        )


def add_text(api: Any, repo: str, kind: str, name: str, text: str) -> None:
    """One file in a commit of its own."""
    api.upload_file(
        path_or_fileobj=text.encode(),
        path_in_repo=name,
        repo_id=repo,
        repo_type=kind,
        commit_message=f"Write {name}",
    )


if __name__ == "__main__":
    cli.run(main)
