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
from copy import deepcopy
from pathlib import Path

from clone import ENVIRONMENT, ROOT, clone, merge
from tiny import TINY

from cilp.console import cli
from cilp.errors import UserError
from cilp.models.fusion import FUSIONS
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
        before, after = (written(Path(folder) / name, root) for name, root in (("without", tree), ("with", ROOT)))
    if differ := [path for path in dict.fromkeys((*before, *after)) if before.get(path) != after.get(path)]:
        count = "1 output differs" if len(differ) == 1 else f"{len(differ)} outputs differ"
        raise UserError(f"{count} from what the code of {base[:7]} writes: {', '.join(differ)}.")
    print(f"{len(after)} outputs, each byte for byte as by the code of {base[:7]}.")
    if arguments.accept:
        print(f"dvc.lock: {accept()} stages were made by other code, which gives the same.")


def git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(done.stderr.strip())
    return done.stdout


def written(project: Path, root: Path) -> dict[str, str]:
    """What the tiny pipeline writes by the code of ``root``: by path the hash that DVC gives it, or a table's text."""
    project.mkdir()
    clone(project, PARAMS, root)
    repro = [sys.executable, "-m", "cilp.pipeline.warm", "dvc", "repro"]
    if subprocess.run(repro, cwd=project, env={**ENVIRONMENT, "WANDB_MODE": "disabled"}, check=False).returncode:
        raise UserError(f"the tiny pipeline failed by the code of {root}; the lines above say why.")
    stages = parse((project / "dvc.lock").read_text(encoding="utf-8"))
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}
    tables = {path: (project / path).read_text(encoding="utf-8") for path in found if path.endswith(".md")}
    found |= {path: QUOTED.sub("", text) for path, text in tables.items()}
    return {path: value for path, value in found.items() if not path.startswith(COST)}


def accept() -> int:
    """Have dvc.lock name the code that is here, and nothing else that it did not; of how many stages that is."""
    from dvc.dvcfile import load_file
    from dvc.repo import Repo

    path = ROOT / "dvc.lock"
    text = path.read_text(encoding="utf-8")
    lock = parse(text)
    with Repo(str(ROOT)) as repo, repo.lock:
        changed = []
        for stage in (stage for stage in repo.index.stages if stage.name in lock):
            before = [dep.hash_info for dep in stage.deps]
            stage.save_deps(allow_missing=True)
            if before != [dep.hash_info for dep in stage.deps]:
                changed.append(stage)
        load_file(repo, str(ROOT / "dvc.yaml")).dump_stages(changed, update_pipeline=False)
    if but_for_code(lock) != but_for_code(parse(path.read_text(encoding="utf-8"))):
        path.write_text(text, encoding="utf-8")
        raise UserError("data, params or commands are others than those of dvc.lock; run `dvc repro`. It is as it was.")
    return len(changed)


def but_for_code(lock: Lock) -> dict[str, dict]:
    """A lock file without what it says of ``src/`` and ``stages/``."""

    def data(stage):
        return [dep for dep in stage.get("deps", ()) if not dep["path"].startswith(("src/", "stages/"))]

    return {name: {**stage, "deps": data(stage)} for name, stage in lock.items()}


if __name__ == "__main__":
    cli.run(main)
