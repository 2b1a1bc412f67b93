"""Does a change of the code change a result? The tiny pipeline, without it and with it, and all that either writes.

    python tests/unchanged.py [--base main] [--accept]

For what is meant to change none: DVC goes by the bytes of the code, and would spend hours on trainings that come out
the same. Both pipelines run here, by the params of ``tiny.py``, from the code of ``base`` and from that of the working
tree, and what they write is compared byte for byte: data, weights, metrics, plots, tables. What is measured is left
out: ``costs/``, and what tables quote of it.

``--accept`` then has DVC take the new code for that which made the committed results, as ``dvc commit`` does, but where
data and models are not here as well. It is for changes that tiny params reach: all stages run, with all fusions.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from clone import ENVIRONMENT, ROOT, clone, merge
from tiny import TINY

from cilp.console import cli
from cilp.errors import UserError
from cilp.models.fusion import FUSIONS
from cilp.pipeline.quick_dvc import quicken
from cilp.pipeline.record import Lock, parse

COST = "costs/"
QUOTED = re.compile(r"^\| (train time|training samples/s|peak memory).*\n|Pretraining took [^.]+\.", flags=re.MULTILINE)
"""What tables tell of a cost."""
PARAMS = merge(deepcopy(TINY), {"variants": {"fusion": list(FUSIONS)}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", help="commit without the change (default: main)")
    parser.add_argument("--accept", action="store_true", help="if nothing differs, take the code over into dvc.lock")
    arguments = parser.parse_args()
    base = git("rev-parse", "--verify", f"{arguments.base}^{{commit}}").strip()
    with tempfile.TemporaryDirectory(prefix="unchanged-") as folder:
        tree = Path(folder) / "base"
        git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(tree))
        git("-C", str(tree), "checkout", "--quiet", base)
        before, after = (tiny(Path(folder) / name, root) for name, root in (("without", tree), ("with", ROOT)))
    paths = dict.fromkeys((*before.wrote, *after.wrote))
    if differ := [path for path in paths if before.wrote.get(path) != after.wrote.get(path)]:
        count = "1 output differs" if len(differ) == 1 else f"{len(differ)} outputs differ"
        raise UserError(f"{count} from what the code of {base[:7]} writes: {', '.join(differ)}.")
    print(f"{len(paths)} outputs, each byte for byte as by the code of {base[:7]}.")
    if arguments.accept:
        print(f"dvc.lock: {accept(before, after)} stages were made by other code, which gives the same.")


def git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(done.stderr.strip())
    return done.stdout


@dataclass(frozen=True)
class Tiny:
    """A run of the tiny pipeline: hashes by path, as DVC gives them."""

    code: dict[str, str]
    """Of ``src/`` and ``stages/``, as far as a stage depends on it."""
    wrote: dict[str, str]
    """Of all that it wrote and that is not measured; of tables, their text."""


def tiny(project: Path, root: Path) -> Tiny:
    """Run it in ``project``, by the code of ``root``."""
    project.mkdir()
    clone(project, PARAMS, root)
    repro = [sys.executable, "-m", "cilp.pipeline.warm", "dvc", "repro"]
    if subprocess.run(repro, cwd=project, env={**ENVIRONMENT, "WANDB_MODE": "disabled"}, check=False).returncode:
        raise UserError(f"the tiny pipeline failed by the code of {root}; the lines above say why.")
    lock = parse((project / "dvc.lock").read_text(encoding="utf-8"))
    wrote = {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", ())}
    tables = {path: (project / path).read_text(encoding="utf-8") for path in wrote if path.endswith(".md")}
    wrote |= {path: QUOTED.sub("", text) for path, text in tables.items()}
    return Tiny(code_of(lock), {path: value for path, value in wrote.items() if not path.startswith(COST)})


def accept(before: Tiny, after: Tiny) -> int:
    """Have dvc.lock name the code that is here instead of that of ``before``; of how many stages that is.

    Raises:
        UserError: dvc.lock is of yet other code, the code here is no longer that of ``after``, or more than the code
            is other than dvc.lock says; it is left as it was.
    """
    from dvc.dvcfile import load_file
    from dvc.repo import Repo

    quicken()  # params.yaml is parsed for every stage, and dvc.lock written twice
    path = ROOT / "dvc.lock"
    text = path.read_text(encoding="utf-8")
    lock = parse(text)
    if other := [name for name, md5 in code_of(lock).items() if before.code.get(name) != md5]:
        raise UserError(f"dvc.lock names another {other[0]} than the base; compare with what made the results.")
    with Repo(str(ROOT)) as repo, repo.lock:
        changed = []
        for stage in (stage for stage in repo.index.stages if stage.name in lock):
            named = {dep["path"] for dep in lock[stage.name].get("deps", ())}
            known = [dep.hash_info for dep in stage.deps]
            stage.save_deps(allow_missing=True)
            same = known == [dep.hash_info for dep in stage.deps] and named == {dep.def_path for dep in stage.deps}
            if not same or stage.cmd != lock[stage.name]["cmd"]:
                changed.append(stage)
        try:
            load_file(repo, str(ROOT / "dvc.yaml")).dump_stages(changed, update_pipeline=False)
            now = parse(path.read_text(encoding="utf-8"))
            if not narrower(but_for_code(now), but_for_code(lock)):
                refuse("data, params or commands are others than those of dvc.lock; run `dvc repro`")
            if not code_of(now).items() <= after.code.items():
                refuse("the code has changed since it was compared; begin anew")
        except BaseException:
            path.write_text(text, encoding="utf-8")
            raise
    return sum(stage != lock[name] for name, stage in now.items())


def refuse(complaint: str) -> NoReturn:
    raise UserError(f"{complaint}. dvc.lock is as it was.")


def is_code(dep: Mapping[str, Any]) -> bool:
    """Whether a dependency is part of this project's code."""
    return dep["path"].startswith(("src/", "stages/"))


def code_of(lock: Lock) -> dict[str, str]:
    """Hashes of the code that a lock file names."""
    return {dep["path"]: dep["md5"] for stage in lock.values() for dep in stage.get("deps", ()) if is_code(dep)}


def narrower(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> bool:
    """Whether stages are as they were ``before``, or declare fewer params, each of which has the value that it had."""
    if now.keys() != before.keys():
        return False
    for name, stage in now.items():
        declared, known = (dict(values(one.get("params", {}))) for one in (stage, before[name]))
        if not declared.items() <= known.items() or {**stage, "params": None} != {**before[name], "params": None}:
            return False
    return True


def values(params: dict[str, Any], key: str = "") -> Iterator[tuple[str, str]]:
    """The scalars and lists of nested params, by dotted keys, as text: 1 is not 1.0."""
    for name, value in params.items():
        if isinstance(value, dict) and value:
            yield from values(value, f"{key}{name}.")
        else:
            yield f"{key}{name}", repr(value)


def but_for_code(lock: Lock) -> dict[str, dict[str, Any]]:
    """A lock file without what it says of the code."""
    return {
        name: {**stage, "deps": [dep for dep in stage.get("deps", ()) if not is_code(dep)]}
        for name, stage in lock.items()
    }


if __name__ == "__main__":
    cli.run(main)
