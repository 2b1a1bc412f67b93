"""Embeddings made once and kept: what is read is what the embedders say, or nothing."""

import math
from dataclasses import replace

import pytest
import torch
from synthetic import make_packed

from cilp.embeddings import FORMAT, embed_all, embed_split, load_embeddings, save_embeddings
from cilp.errors import UserError
from cilp.models import cilp
from cilp.packed import SPLITS
from cilp.training.inputs import load_split

CPU = torch.device("cpu")
ARGUMENTS = {"rgb": "shading", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0, "zero_background": True,
             "initialisation": "he"}  # fmt: skip


@pytest.fixture(scope="module")
def splits():
    data = make_packed(3, 2, 1)
    return {name: load_split(data, name, CPU) for name in SPLITS}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return cilp.build(**ARGUMENTS).requires_grad_(False).eval()


@pytest.fixture
def written(tmp_path, model, splits):
    save_embeddings(tmp_path / "seed-1.pt", embed_all([model.rgb, model.lidar], splits))
    return tmp_path / "seed-1.pt"


def test_what_is_read_is_what_each_embedder_says_of_each_split(written, model, splits):
    found = load_embeddings(written, CPU)
    assert list(found) == ["rgb", "lidar"]
    for modality, embedder in (("rgb", model.rgb), ("lidar", model.lidar)):
        for name, split in splits.items():
            seen = found[modality][name]
            assert torch.equal(seen.embedding, embed_split(embedder, split).embedding)
            assert torch.equal(seen.label, split.label)


@pytest.mark.parametrize(("modality", "other"), [("rgb", "range"), ("lidar", "rgb")])
def test_of_a_pair_only_the_embedders_own_sensor_is_read(model, splits, modality, other):
    embedder, half = getattr(model, modality), replace(splits["train"], **{other: None})
    assert torch.equal(embed_split(embedder, half).embedding, embed_split(embedder, splits["train"]).embedding)


def test_the_same_embeddings_are_the_same_bytes(written, tmp_path, model, splits):
    """Else DVC would train all that depends on them anew."""
    save_embeddings(tmp_path / "again.pt", embed_all([model.rgb, model.lidar], splits))
    assert (tmp_path / "again.pt").read_bytes() == written.read_bytes()


def test_progress_counts_every_view_once(model, splits):
    views = []
    embed_all([model.rgb, model.lidar], splits, views.append)
    assert sum(views) == 2 * sum(map(len, splits.values()))


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"absent.pt is missing; make it with `dvc repro embed`"):
        load_embeddings(tmp_path / "absent.pt", CPU)


def test_a_damaged_byte_is_found(written):
    data = bytearray(written.read_bytes())
    data[len(data) // 2] ^= 1
    written.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged.*dvc repro embed"):
        load_embeddings(written, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=f"{FORMAT}0"), "not in the format"),
        (lambda c: c["embeddings"].update(radar={}), "other modalities than rgb and lidar"),
        (lambda c: c["embeddings"]["rgb"].pop("val"), "val"),
        (lambda c: c["embeddings"]["rgb"]["val"].pop("label"), "label"),
        (lambda c: c["embeddings"]["rgb"]["val"].update(label=torch.zeros(5)), r"\(4, 200\) for 5 labels"),
        (lambda c: c["embeddings"]["lidar"]["test"].update(embedding=torch.zeros(2, 100)), r"\(2, 100\) for 2 labels"),
        (lambda c: c["embeddings"]["lidar"]["test"].update(embedding=torch.zeros(2, 200).double()), "torch.float64"),
        (lambda c: c["embeddings"]["lidar"]["train"]["embedding"][2].fill_(math.nan), "not finite"),
        (lambda c: c["embeddings"]["lidar"]["train"]["label"][2].fill_(0.5), "neither 0 nor 1"),
    ],
)
def test_what_is_no_embedding_is_refused(written, change, message):
    content = torch.load(written, weights_only=True)
    change(content)
    torch.save(content, written)
    with pytest.raises(UserError, match=f"no usable embeddings .*{message}.*dvc repro embed"):
        load_embeddings(written, CPU)
