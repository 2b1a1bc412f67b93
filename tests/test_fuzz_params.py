"""Whatever ``params.yaml`` holds, the check accepts it and so does every stage, or one sentence says what is wrong.

Seeded, about 2,000 cases. ``CILP_FUZZ=100000 python -m pytest tests/test_fuzz_params.py`` tries more, and others.
"""

import os
import random
import re
from copy import deepcopy
from datetime import date

import pytest
from legal import CASES, DEFAULTS, SEED, said

pytestmark = pytest.mark.timeout(int(os.environ.get("CILP_FUZZ", "2000")) // 20 + 60)

LAUGHS = []
for _ in range(12):
    LAUGHS = [LAUGHS] * 9
RECURSIVE = {}
RECURSIVE["self"] = RECURSIVE
DEEP = 0
for _ in range(3000):
    DEEP = [DEEP]
VALUES = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        51,
        1600,
        1601,
        10_000,
        2**31,
        2**32,
        2**53,
        2**63,
        -(2**64),
        10**400,
        10**5000,
    ),
    *(0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e-9, 1e9, 1e39, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "1",
        "1e-3",
        "0x10",
        "true",
        "null",
        "late",
        "auto",
        "simulate",
        "folder",
        "hub",
        "a/b",
        "../..",
        "é",
        "\0",
    ),
    *("two\nlines", "\ud800", "\u202e", "x" * 5000, "${seeds}", "{", "a|b", "~"),
    *([], {}, [[]], [{}], [None], [51], [51, 51], [0, 0], [1.0, 2.0], [2.0, 1.0], ["late"], ["late", "late"], ["x"]),
    *([float("nan")] * 2, [1e308, 1e308], [10**400], [True, False], list(range(2000)), [0.0, 1.0, 2.0], ["late", 3]),
    *({"a": {"b": {"c": 1}}}, {1: 2}, {None: 1}, {"": 0}, {"x" * 200: 0}, {"lr": "1e-3"}, {"title": 3}, {(1, 2): 3}),
    *(LAUGHS, RECURSIVE, DEEP, date(2026, 1, 1), b"bytes", {1, 2}, (1, 2), 1j, object()),
]
"""What a leaf or a section may be set to; whatever else YAML can hold is refused by its type."""


def places(value, path=()):
    """The path of every mapping, list and leaf."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = list(places(DEFAULTS))


def at(settings, path):
    for key in path:
        settings = settings[key]
    return settings


def dotted(path):
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


RELATED = {
    "data": r"data\.(scenes|valid_fraction|folder\.path|simulate\.distance)|batch_size|data_efficiency|random_size",
    "random_size": r"batch_size|simulate\.distance",
    "data_efficiency": "lr_min",
    "fusion": "lr_min",
    "lidar": "lr_min",
    "rgb2lidar": "lr_min",
    "projector": "lr_min",
    "cilp": "batch_size",
    "cilp_ablation": "batch_size",
    "audit": r"simulate\.distance",
}
"""Where a value that is legal by itself contradicts another, the sentence names the other or both."""


def test_every_leaf_and_section_takes_any_value_or_refuses_it_by_name():
    draw = random.Random(SEED)
    each = max(4, CASES // len(PLACES))
    refused = accepted = 0
    for path in PLACES:
        for value in draw.sample(VALUES, min(each, len(VALUES))):
            settings = deepcopy(DEFAULTS)
            at(settings, path[:-1])[path[-1]] = value
            text = said(settings)
            if text is None:
                accepted += 1
                continue
            refused += 1
            key = dotted(path)
            whole = dotted([part for part in path if not isinstance(part, int)])
            related = RELATED.get(path[0])
            assert whole in text or (related and re.search(related, text)), (key, value, text)
            if whole in text and isinstance(value, (int, float)) and abs(value) < 2**63:
                shown = {f"{value!r}", f"{value}", f"{float(value)}", f"{value:,}"}
                assert any(one in text for one in shown) or (related and re.search(related, text)), (key, value, text)
    assert refused > 3 * accepted > 0


def test_keys_that_are_removed_are_missed_and_added_ones_unknown():
    for path in PLACES:
        if isinstance(path[-1], int):
            continue
        settings = deepcopy(DEFAULTS)
        del at(settings, path[:-1])[path[-1]]
        text = said(settings)
        nested = (("cilp_ablation", "recipes"), ("audit", "conditions"), ("random_size", "simulate"))
        optional = path[:2] in nested and len(path) > 2
        assert (text is None) if optional else text.startswith(f"{dotted(path)} is missing"), text
        if isinstance(at(DEFAULTS, path), dict):
            settings = deepcopy(DEFAULTS)
            at(settings, path)["lrr"] = 1
            text = said(settings)
            assert text.startswith(f"{dotted(path)}.lrr ") and ("no known param" in text or "mapping" in text), text


def test_order_decides_nothing_but_where_it_means_something():
    draw = random.Random(SEED)
    for _ in range(CASES // 100):
        settings = {}
        for key in draw.sample(list(DEFAULTS), len(DEFAULTS)):
            value = deepcopy(DEFAULTS[key])
            settings[key] = value if not isinstance(value, dict) else dict(draw.sample(list(value.items()), len(value)))
        for key in ("fusion", "downsampling"):
            draw.shuffle(settings["variants"][key])
        draw.shuffle(settings["seeds"])
        assert said(settings) is None
    settings["data"]["simulate"]["distance"].reverse()
    assert said(settings).startswith("data.simulate.distance must be [low, high]")


def test_several_wrong_values_at_once():
    draw = random.Random(SEED)
    for _ in range(CASES // 4):
        settings = deepcopy(DEFAULTS)
        for path in draw.sample(PLACES, draw.randint(2, 6)):
            try:
                at(settings, path[:-1])[path[-1]] = draw.choice(VALUES)
            except (TypeError, KeyError, IndexError, AttributeError):
                continue  # what was there has been replaced already
        said(settings)
