"""Data larger than memory trains like data in memory, except for the order of its samples."""

from types import SimpleNamespace

import pytest
import torch
from synthetic import make_packed

from cilp import packed
from cilp.classifiers.course import Course, OneCycleParams
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.contrastive.pairs import load_training_pairs, passes
from cilp.models import fusion
from cilp.training import inputs, stream
from cilp.training.classifier import TrainingParams, logits_of, score, train_classifier
from cilp.training.inputs import load_split
from cilp.training.loop import Run, shuffled, steps_of_a_pass

CPU = torch.device("cpu")
SHARD = 20


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "packed.pt"
    packed.save(make_packed(), path)
    return path


@pytest.fixture
def tight(monkeypatch):
    """Memory for next to nothing, and small shards."""
    monkeypatch.setattr(stream, "RESIDENT_BYTES", {"cpu": 1000})
    for module in (stream, inputs):
        monkeypatch.setattr(module, "SHARD", SHARD)


def test_a_streamed_field_reads_as_one_in_memory(path, tight):
    data = packed.load(path)
    rows = data.rows("train")
    rgb, ranges = stream.pixels([(data, rows)], CPU)
    for streamed, whole in ((rgb, data.rgb[rows]), (ranges, data.range[rows])):
        assert isinstance(streamed, stream.Streamed) and len(streamed) == len(whole) == 48
        for part in (slice(0, 48), slice(3, 7), slice(18, 45), slice(40, 60), slice(20, 40)):
            assert torch.equal(streamed[part], whole[part])
        batch = torch.tensor([39, 20, 33])
        assert torch.equal(streamed[batch], whole[batch])
        assert torch.equal(streamed[47], whole[47])
        with pytest.raises(IndexError, match="one shard"):
            streamed[torch.tensor([19, 20])]


def test_several_files_read_as_one(path, tight):
    data = packed.load(path)
    sources = [(data, data.rows("train")), (data, slice(None)), (data, data.rows("test"))]
    rgb, _ = stream.pixels(sources, CPU)
    whole = torch.cat([source.rgb[rows] for source, rows in sources])
    assert torch.equal(rgb[0 : len(whole)], whole)
    assert torch.equal(rgb[torch.tensor([41, 59])], whole[[41, 59]])


def test_what_fits_or_lies_in_no_file_stays_in_memory(path, tight, monkeypatch):
    assert isinstance(load_split(make_packed(), "train", CPU).rgb, torch.Tensor)
    monkeypatch.setitem(stream.RESIDENT_BYTES, "cpu", 10**9)
    split = load_split(packed.load(path), "train", CPU)
    assert isinstance(split.rgb, torch.Tensor) and split.shard is None


def test_of_a_small_gpu_half_is_left_to_the_training(monkeypatch):
    """Whatever lies there already, such as other pairs, counts towards the other half."""
    for gigabytes, most in ((8, 4), (15, 7.5), (140, 16)):
        card = SimpleNamespace(total_memory=gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        assert stream.resident_bytes(torch.device("cuda", 0)) == most * 2**30
    for there, most in ((50, 16), (60, 10), (80, 0)):
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device, there=there: there * 2**30)
        assert stream.resident_bytes(torch.device("cuda", 0)) == most * 2**30


def test_batches_lie_in_one_shard_and_every_sample_comes_once_a_pass():
    batches = shuffled(48, 8, 1, CPU, shard=SHARD)
    count = steps_of_a_pass(48, 8, SHARD)
    assert count == 3 + 3 + 1
    orders = []
    for _ in range(2):
        rows = [next(batches)[0] for _ in range(count)]
        assert all(len(set((part // SHARD).tolist())) == 1 for part in rows)
        orders.append(torch.cat(rows))
        assert sorted(orders[-1].tolist()) == list(range(48))
    assert not torch.equal(*orders)


def test_pairs_of_a_batch_lie_in_one_shard_with_their_twins():
    scene = torch.arange(24).repeat_interleave(2)
    batches = passes(scene, 6, True, torch.Generator().manual_seed(1), SHARD)
    for rows in (next(batches) for _ in range(30)):
        assert len(set((rows // SHARD).tolist())) == 1
        assert torch.unique(scene[rows], return_counts=True)[1].tolist() == [2, 2, 2]


def test_a_streamed_training_set_is_learned_as_well(path, tight):
    data = packed.load(path)
    train, valid, test = (load_split(data, split, CPU) for split in packed.SPLITS)
    assert train.shard == SHARD
    params = TrainingParams(epochs=20, batch_size=8, lr=1e-3, lr_min=1e-6)
    done = train_classifier(lambda: fusion.build("late", "strided", 50.0), train, valid, params, Run(1, "test"))
    assert len(done.history) == 20
    assert score(logits_of(done.model, test), test.label)[1] == 1.0


def test_a_streamed_training_set_takes_cilps_course(path, tight):
    """Its batches are the rows of one shard, varied as those in memory."""
    data = packed.load(path)
    train, valid, test = (load_split(data, split, CPU) for split in packed.SPLITS)
    course = Course(steps=100, batch_size=8, twins=True, mirror=True, permute_colours=True, validate_every=100)
    arguments = {"fusion": "late", "downsampling": "strided", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0}
    own = OwnParams("he", modality_dropout=0.1, auxiliary_losses=True)
    done = train_fusion(arguments, train, valid, course, OneCycleParams(1e-3, 1e-2), own, Run(1, "test"))
    assert score(logits_of(done.model, test), test.label)[1] == 1.0


def test_pairs_are_streamed_too(path, tight, monkeypatch):
    data = packed.load(path)
    streamed = load_training_pairs(data, data, False, CPU)
    assert isinstance(streamed.range, stream.Streamed) and len(streamed) == 48 + len(data.label)
    assert streamed.shard == SHARD
    monkeypatch.setitem(stream.RESIDENT_BYTES, "cpu", 10**9)
    whole = load_training_pairs(data, data, False, CPU)
    for rows in (torch.tensor([50, 48]), torch.tensor([0, 19]), torch.tensor([75, 60, 79])):
        for ours, theirs in zip(streamed.inputs(rows), whole.inputs(rows), strict=True):
            assert torch.equal(ours, theirs)


def test_shards_take_turns_in_the_same_memory_and_what_was_handed_out_stays(path, tight):
    data = packed.load(path)
    whole = data.rgb[data.rows("train")]
    rgb, _ = stream.pixels([(data, data.rows("train"))], CPU)
    firsts = range(0, 48, SHARD)
    handed = [
        (rgb[first : first + 2], rgb[torch.tensor([first])], rgb[first], rgb.block.data_ptr()) for first in firsts
    ]
    assert {memory for *_, memory in handed} == {rgb.block.data_ptr()} and len(rgb.block) == SHARD
    for first, (rows, batch, row, _) in zip(firsts, handed, strict=True):
        assert torch.equal(rows, whole[first : first + 2]) and torch.equal(batch, whole[[first]])
        assert torch.equal(row, whole[first])


def test_a_shard_that_could_not_be_read_is_not_taken_for_another(path, tight, monkeypatch):
    data = packed.load(path)
    rgb, _ = stream.pixels([(data, data.rows("train"))], CPU)
    rgb[0]
    with monkeypatch.context() as context:
        context.setattr(stream.packed, "load", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rgb[SHARD]
    assert torch.equal(rgb[0], data.rgb[data.rows("train")][0])
