"""A pipeline whose stages see the params that they declare, and no others."""

import json
import os
import shlex
from pathlib import Path

import yaml
from clone import run

from cilp import params

OF_FUSIONS = ("inputs", "lr_factor", "auxiliary_losses")
"""Of the section ``random_size``, what is about fusions."""
OF_NO_FUSION = [f"random_size.{key}" for key in ("train", "valid", "auxiliary_losses", "cilp_steps")]
"""And what decides of no fusion how it is trained."""
READ_TO_REFUSE = {
    "acquire": ["data.subset", "data.test"],
    "pack": ["cilp.mirror"],
    "compare_fusion": ["fusion"],
    "ablate_strided": ["fusion"],
    **{
        stage: [f"random_size.{key}" for key in (*OF_FUSIONS, "cilp_steps")]
        for stage in ("pack_random_size", "pack_random_size_unlabelled")
    },
    "train_random_size": OF_NO_FUSION,
    "train_random_size_auxiliary": OF_NO_FUSION,
    "train_random_size_cilp": ["cilp.unlabelled"],
    "train_random_size_image": [*(f"random_size.{key}" for key in ("train", "valid", *OF_FUSIONS)), "cilp.steps"],
    "train_fusion_course": [*(f"random_size.{key}" for key in ("train", "valid", *OF_FUSIONS)), "cilp.steps"],
    "train_fusion_course_auxiliary": [*(f"random_size.{key}" for key in ("train", "valid", *OF_FUSIONS)), "cilp.steps"],
    "data_efficiency_cilp": ["data_efficiency.fusion"],
    "data_efficiency_random_size": [
        "data_efficiency.fusion",
        "cilp.steps",
        *(f"random_size.{key}" for key in ("train", "valid", *OF_FUSIONS)),
    ],
    "data_efficiency_image": [f"data_efficiency.{key}" for key in ("fusion", "least_steps", "head")],
}
"""What decides no result of a stage, but is read for an error's sake or with its section. W&B's decides none of any."""

FOLDER = Path(".git/declared")
PYTHON = f"""#!/bin/sh
declared={FOLDER}/$DVC_STAGE
[ -f "$declared.yaml" ] || exec {{python}} "$@"
mv params.yaml "$declared.whole"
cp "$declared.yaml" params.yaml
{{python}} "$@" 2> "$declared.said"
code=$?
cat "$declared.said" >&2
mv "$declared.whole" params.yaml
mv "$declared.yaml" "$declared.seen"
[ $code = 0 ] || {{{{ mv "$declared.said" "$declared.refused"; exec {{python}} "$@"; }}}}
rm "$declared.said"
"""
LISTING = """
import json
from dvc.repo import Repo
print(json.dumps({stage.addressing: [key for one in stage.deps for key in getattr(one, "params", [])]
                  for stage in Repo().index.stages}))
"""
"""What prints the params that each stage declares."""


def hide_the_rest(project: Path, environment: dict[str, str]) -> dict[str, str]:
    """An environment as this one, in which a stage that DVC runs in ``project`` sees what it declares alone.

    One that then fails is noted, and runs once more with all that there is.
    """
    settings = yaml.safe_load((project / "params.yaml").read_text())
    (project / FOLDER).mkdir()
    for name, keys in json.loads(run(project, "declared-params")).items():
        kept: dict = {}
        for key in ("tracking", *READ_TO_REFUSE.get(name.partition("@")[0], []), *keys):
            *sections, last = key.split(".")
            place = kept
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = params.lookup(settings, key)
        (project / FOLDER / f"{name}.yaml").write_text(yaml.safe_dump(kept))
    first, _, rest = environment["PATH"].partition(os.pathsep)
    python = project / FOLDER / "bin/python"
    python.parent.mkdir()
    python.write_text(PYTHON.format(python=shlex.quote(f"{first}/python")))
    python.chmod(0o755)
    return {**environment, "PATH": os.pathsep.join((str(python.parent), first, rest))}


def seen_by(project: Path) -> set[str]:
    """Stages that ran so."""
    return {path.name.removesuffix(".seen") for path in (project / FOLDER).glob("*.seen")}


def refused(project: Path) -> dict[str, str]:
    """What those said that failed."""
    return {path.name.removesuffix(".refused"): path.read_text() for path in (project / FOLDER).glob("*.refused")}
