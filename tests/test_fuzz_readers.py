"""Every reader of outside data against mutated inputs (``fuzz``), and properties of what it reads.

    CILP_FUZZ=10000 python -m pytest -s tests/test_fuzz_readers.py -k mutated

runs so many inputs instead of the few of every day, and prints what became of them.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from clone import ROOT
from fuzz.exports import EXPORTED, write_export
from fuzz.mutations import npy
from fuzz.runner import READERS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cilp.errors import UserError
from cilp.raw.decode import Unusable, decode_range
from cilp.raw.exported import read_export
from cilp.raw.layout import CLASSES, SPLITS, Pair, read_manifest, write_manifest

INPUTS = int(os.environ.get("CILP_FUZZ", "300"))
PROPERTIES = settings(max_examples=60)


@pytest.fixture(scope="module")
def outcomes():
    """What ``python -m fuzz`` says, run in a process of its own, which may crash, hang or run out of memory."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--inputs", str(INPUTS)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60 + INPUTS,
        check=False,
    )
    assert done.returncode in (0, 1), f"status {done.returncode} at the input named last:\n{done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    for reader, counts in found["counts"].items():
        shown = ", ".join(f"{outcome} {count:,}" for outcome, count in counts.items())
        print(f"{reader}: {sum(counts.values()):,} inputs: {shown}")
    return found


@pytest.mark.timeout(60 + INPUTS)
def test_mutated_inputs_are_read_rightly_or_refused_with_a_reason(outcomes):
    assert not outcomes["failures"], "\n".join(outcomes["failures"])
    assert sum(sum(counts.values()) for counts in outcomes["counts"].values()) >= INPUTS


@pytest.mark.parametrize("reader", READERS)
def test_mutated_inputs_reach_behind_the_first_check(outcomes, reader):
    """Some are accepted, most are refused: else the mutations would test nothing."""
    counts = outcomes["counts"][reader]
    total = sum(counts.values())
    assert counts["unchanged"] + counts["other, valid"] > 0
    assert counts["refused"] > total / 3


MISBEHAVED = """
import json, sys, tempfile, time
from pathlib import Path
import numpy as np
from fuzz import runner as fuzz

outside = Path(tempfile.mkdtemp())
def writes(rng, place):
    (outside / "evil").write_text("x")
def takes_memory(rng, place):
    np.empty(3 * 2**29, dtype=np.uint8)
def hides_an_allocation(rng, place):
    try:
        np.empty(2**60, dtype=np.uint8)
    except MemoryError:
        raise fuzz.Unusable("damaged") from None
def hangs(rng, place):
    time.sleep(60)
def raises(rng, place):
    raise KeyError("x")
def leaves_a_file(rng, place):
    (place.inputs.parent / "scratch" / "left").write_text("x")
fuzz.SECONDS = fuzz.LEAST = 1
fuzz.READERS = {f.__name__: (f, 0.1) for f in (writes, hides_an_allocation, hangs, raises, leaves_a_file, takes_memory)}
print(json.dumps(fuzz.run([*fuzz.READERS], 10, 0)))
"""


def test_a_reader_that_misbehaves_is_noticed():
    done = subprocess.run(
        [sys.executable, "-c", MISBEHAVED],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    counts, failures = json.loads(done.stdout)
    assert all(outcomes["FAILED"] == 1 for outcomes in counts.values())
    expected = ["touched .*evil", "memory: ", "more than 1 s", "KeyError", "temporary file", "more than 1 GiB"]
    for failure, words in zip(failures, expected, strict=True):
        assert re.search(words, failure), failure


# --- properties


@PROPERTIES
@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.dtype(">f4")]),
        st.sampled_from([(64, 64), (64, 63), (4096,), (1, 64, 64), (0, 64)]),
        elements={"min_value": -10, "max_value": 60},
        fill=st.sampled_from([20, 50]),
    )
)
@example(np.full((64, 64), 20, dtype=np.float32))
@example(np.full((64, 64), np.nan, dtype=np.float32))
def test_a_range_image_is_taken_as_it_is_or_not_at_all(array):
    good = array.dtype == np.float32 and array.shape == (64, 64) and bool(((array > 0) & (array <= 50.001)).all())
    try:
        found = decode_range(npy(array))
    except Unusable:
        assert not good
    else:
        assert good
        np.testing.assert_array_equal(found, array)


@PROPERTIES
@given(
    st.lists(
        st.builds(Pair, st.integers(0, 10**9 - 1), st.sampled_from(CLASSES), st.sampled_from(["", *SPLITS])),
        unique_by=lambda pair: (pair.index, pair.label),
    )
)
def test_a_manifest_is_read_as_it_was_written(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("manifest")
    write_manifest(folder, pairs)
    assert read_manifest(folder / "manifest.csv") == sorted(pairs)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(CLASSES + SPLITS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"))


@PROPERTIES
@given(field=st.sampled_from(["filepath", "tags", "label", "scene", "group"]), value=JSON)
def test_any_value_in_a_sample_is_legal_or_refused(export, field, value):
    before = (export / "samples.json").read_text()
    document = json.loads(before)
    document["samples"][0][field] = value
    (export / "samples.json").write_text(json.dumps(document))
    try:
        records = read_export(export).records
    except UserError as error:
        assert len(str(error)) < 2000
    else:
        assert len(records) == len(EXPORTED)
        assert all(record.label in CLASSES and record.split in SPLITS for record in records)
    finally:
        (export / "samples.json").write_text(before)
