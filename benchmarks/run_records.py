"""What runs of several seeds said of each test scene, as the files in ``docs/`` hold it, and what is asked of them.

A record is one file: the machine and the params that made it, and by network and seed a digit for each scene.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cilp.atomic import write_json
from cilp.errors import UserError
from cilp.evaluation.significance import Comparison, compare

GOES_ON = "; more_seeds.py goes on from there with --another-machine"


def begun(
    results: Path, head: dict[str, Any], key: str, names: Sequence[str], another_machine: bool | None = None
) -> dict[str, Any]:
    """What ``results`` hold already of ``names`` under ``key``, after ``head``: what made it, and on what machine.

    ``another_machine`` is whether the record may be one's that this is not; None where there is no way to go on then.

    Raises:
        UserError: what there is was made of something else, on a machine that this is not, or has a name that there
            is not.
    """
    known: dict[str, dict[str, Any]] = {}
    if results.is_file():
        found = read(results)
        known, made_on = found.pop(key), machines(found)
        if another_machine or head["device"] in made_on:
            head = {**head, "device": made_on[0], **({"also": made_on[1:]} if made_on[1:] else {})}
        if found != head or not known.keys() <= set(names):
            other = [name for name in {**found, **head} if found.get(name) != head.get(name)]
            other += sorted(known.keys() - set(names))
            goes_on = GOES_ON if another_machine is False and {*other} <= {"device", "also"} else ""
            raise UserError(
                f"{results} was made with another {other[0]}; delete it to begin anew{goes_on}. "
                "Its tables and picture alone are written anew with --tables."
            )
    return {**head, key: {name: known.get(name, {}) for name in names}}


def read(results: Path) -> dict[str, Any]:
    """A record; ``UserError`` if there is none."""
    if not results.is_file():
        raise UserError(f"{results} is missing; there is nothing to make tables of.")
    return json.loads(results.read_text(encoding="utf-8"))


def machines(found: dict[str, Any]) -> list[str]:
    """On which a record was made; the first decides, on the others a run came out alike."""
    return [found["device"], *found.get("also", ())]


def keep(results: Path, found: dict[str, Any], name: str, seed: int, right: np.ndarray) -> None:
    """Write down what a run said, (scenes,) shares of each scene's samples that are right, and say how it did."""
    found["right"][name][str(seed)] = digits(right)
    write_json(results, found)
    print(f"{name} seed {seed}: test accuracy {right.mean():.4f}", flush=True)


def digits(right: np.ndarray) -> str:
    """A digit for each scene, in order: how many of its two samples are classified correctly, given their share."""
    return "".join(str(int(2 * share)) for share in right)


def shares(right: Mapping[str, str]) -> np.ndarray:
    """(seeds, scenes) float64, in order of the seeds: what ``digits`` were made of."""
    return np.array([[int(digit) / 2 for digit in right[seed]] for seed in sorted(right, key=int)])


def complete(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Shares of the networks that have the same seeds as the first of those that have most: they are compared seed by
    seed."""
    most = max((right.keys() for right in found["right"].values()), key=len)
    return {name: shares(right) for name, right in found["right"].items() if right.keys() == most}


def compared(found: dict[str, Any], pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
    """Those of the ``pairs`` whose networks are complete, p-values corrected over them; of each pair, the second's
    accuracy minus the first's."""
    accuracy = complete(found)
    ready = [pair for pair in pairs if accuracy.keys() >= set(pair)]
    return compare(accuracy, ready, found["significance"]["confidence"])


def check_same_scenes(one: dict[str, Any], other: dict[str, Any]) -> None:
    """``UserError`` if two records were tested on different scenes, which no difference scene by scene may be of."""
    if tested_on(one) != tested_on(other):
        raise UserError("two records that are held against each other were tested on different scenes; make one anew.")


def tested_on(found: dict[str, Any]) -> dict[str, Any]:
    """What decides which scenes test the networks of a record: of the default ones, which are drawn, and how."""
    data = found.get("data", {})
    if "test_scenes" not in found:
        return data
    decides = {"simulate": data.get("simulate"), "sizes": found.get("random_size", {}).get("simulate")}
    return {**decides, "scenes": found["test_scenes"], "added": found.get("added_to_seed", {}).get("tested", 0)}
