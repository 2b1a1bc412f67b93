"""The step that a GPU replays is the step that is launched."""

import contextlib
from typing import ClassVar

import pytest
import torch
from bits import weights
from synthetic import make_packed
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp.classifiers.course import Course, OneCycleParams
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.classifiers.images import train_image
from cilp.errors import UserError
from cilp.models import fusion
from cilp.models.embedder import EmbedderParams
from cilp.training import optimizers
from cilp.training import step as step_module
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.step import Step

PARAMS = TrainingParams(epochs=2, batch_size=20, lr=1e-3, lr_min=1e-6)  # of 48 samples: the last batch is smaller
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def splits(device):
    packed = make_packed()
    return [load_split(packed, split, torch.device(device)) for split in ("train", "val")]


def train(device="cpu", section=""):
    run = Run(1, "test")
    return train_classifier(lambda: fusion.build("add", "maxpool", 50.0), *splits(device), PARAMS, run, section)


class FakeGraph:
    """Replays like a CUDA graph: recomputes what was recorded from the same inputs, into the same outputs.

    It knows nothing of what the parameters hold as gradients at the time; here they end up as what is not a number.
    """

    recorded: ClassVar[list["FakeGraph"]] = []

    def replay(self):
        loss, gradients = self.owner.loss, self.owner.gradients
        loss.copy_(self.step.plain(*self.owner.inputs).detach())
        if self.step.whole:
            with self.owner.rates_as_tensors():
                self.step.optimizer.step()
        for parameter, gradient in zip(self.owner.parameters, gradients, strict=True):
            gradient.copy_(parameter.grad)
            parameter.grad = torch.full_like(gradient, torch.nan)


@pytest.fixture
def fake_cuda(monkeypatch):
    """CUDA's side of recording, played on the CPU."""

    class Stream:
        def __init__(self, device=None): ...
        def wait_stream(self, other): ...
        def wait_event(self, event): ...

    class Event:
        def record(self): ...

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    made = step_module._Graph.__init__

    def init(self, step, inputs):
        moments = [tensor for state in step.optimizer.state.values() for tensor in state.values()]
        before = [tensor.detach().clone() for tensor in (*step.parameters, *moments)]
        made(self, step, inputs)
        with torch.no_grad():  # what is recorded does not happen
            for tensor, value in zip((*step.parameters, *moments), before, strict=True):
                tensor.copy_(value)
        self.graph.owner, self.graph.step = self, step
        FakeGraph.recorded.append(self.graph)

    monkeypatch.setattr(step_module._Graph, "__init__", init)
    monkeypatch.setattr(FakeGraph, "recorded", [])


def replaying(monkeypatch):
    """As on a GPU."""
    plain = Step.__init__
    monkeypatch.setattr(
        Step,
        "__init__",
        lambda self, parameters, loss_of, optimizer, replays: plain(self, parameters, loss_of, optimizer, True),
    )


def test_replayed_steps_train_as_launched_ones_do(fake_cuda, monkeypatch):
    """Recorded once per batch shape, whatever the order; inputs, loss and gradients of each step are its own.

    The learning rate too, though as a tensor it is a float32. Adam magnifies that where a gradient is next to nothing,
    so that weights are compared as a whole, with what they learnt.
    """
    prepare_device("cpu")
    launched = train()
    replaying(monkeypatch)
    replayed = train()
    assert len(FakeGraph.recorded) == 2  # batches of 20 and of 8
    assert all(graph.step.whole for graph in FakeGraph.recorded)
    torch.manual_seed(1)
    learnt = weights(launched.model) - weights(fusion.build("add", "maxpool", 50.0))
    differs = weights(replayed.model) - weights(launched.model)
    assert differs.norm() < 1e-5 * learnt.norm()
    assert [epoch.learning_rate for epoch in replayed.history] == [epoch.learning_rate for epoch in launched.history]
    for ours, theirs in zip(replayed.history, launched.history, strict=True):
        assert ours.valid_loss == pytest.approx(theirs.valid_loss, abs=1e-5)


def by_course(kind, device):
    """Weights after a few steps on CILP's course, whose batches are mirrored and coloured anew in each."""
    pairs, valid = splits(device)
    course = Course(steps=6, batch_size=8, twins=True, mirror=True, permute_colours=True, validate_every=3)
    protocol, run = OneCycleParams(lr=1e-3, weight_decay=1e-2), Run(1, "test")
    if kind == "image":
        embedder = EmbedderParams("shading", (0.0, 25.0, 0.0), 5.0, True, "he")
        return weights(train_image(pairs, pairs.label, valid, valid.label, course, protocol, embedder, run).model)
    arguments = {"fusion": "late", "downsampling": "maxpool", "xyz_centre": [0.0, 25.0, 0.0], "xyz_scale": 5.0}
    own = OwnParams("he", 0.5 if kind == "dropout" else 0.0, kind == "auxiliary")
    return weights(train_fusion(arguments, pairs, valid, course, protocol, own, run).model)


@pytest.mark.parametrize("kind", ["image", "dropout", "auxiliary"])
def test_on_cilps_course_replayed_steps_train_as_launched_ones_do(fake_cuda, monkeypatch, kind):
    """To the same bits: momentum is cycled, so that the optimiser steps outside."""
    prepare_device("cpu")
    launched = by_course(kind, "cpu")
    replaying(monkeypatch)
    assert torch.equal(by_course(kind, "cpu"), launched)
    assert len(FakeGraph.recorded) == 1


@CUDA
@pytest.mark.parametrize("kind", ["image", "dropout", "auxiliary"])
def test_on_cilps_course_a_gpu_trains_with_a_graph_as_without(monkeypatch, capsys, kind):
    prepare_device("cuda")
    replayed = by_course(kind, "cuda")
    assert "no CUDA graph" not in capsys.readouterr().out
    plain = Step.__init__
    monkeypatch.setattr(Step, "__init__", lambda self, *arguments, replays: plain(self, *arguments, replays=False))
    assert torch.equal(by_course(kind, "cuda"), replayed)


def test_where_momentum_is_cycled_the_optimiser_steps_outside(fake_cuda):
    weight = torch.nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    step = Step([weight], lambda x: (weight * x).sum(), optimizer, replays=True)
    alone = torch.nn.Parameter(torch.tensor(3.0))
    other = torch.optim.Adam([alone], lr=0.1, fused=True)
    same = torch.optim.lr_scheduler.OneCycleLR(other, 0.1, total_steps=10)
    for value in range(1, 9):
        step(torch.tensor([float(value)]))
        alone.grad = torch.tensor(float(value))
        other.step()
        schedule.step()
        same.step()
        assert torch.equal(weight, alone)
    assert len(FakeGraph.recorded) == 1 and not step.whole


def test_where_no_graph_can_be_recorded_one_line_says_so_and_steps_are_launched(monkeypatch, capsys):
    class NoGraph:
        def __init__(self):
            raise RuntimeError("graphs need CUDA 11\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", NoGraph)
    weight = torch.nn.Parameter(torch.tensor(3.0))
    step = Step([weight], lambda x: (weight * x).sum(), torch.optim.SGD([weight], lr=0.0, momentum=0.9), replays=True)
    for value in (2.0, 5.0, 7.0):
        assert step(torch.tensor([value])).item() == 3 * value
        assert weight.grad.item() == value
    assert capsys.readouterr().out == "no CUDA graph, each step is launched by itself: graphs need CUDA 11\n"


def test_where_memory_is_too_small_for_a_graph_beside_a_step_steps_are_launched(monkeypatch, capsys):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(step_module, "_Graph", fail)
    weight = torch.nn.Parameter(torch.tensor(3.0))
    step = Step([weight], lambda x: (weight * x).sum(), torch.optim.SGD([weight], lr=0.0, momentum=0.9), replays=True)
    assert [step(torch.tensor([value])).item() for value in (2.0, 5.0, 7.0)] == [6.0, 15.0, 21.0]
    assert capsys.readouterr().out == "no CUDA graph, each step is launched by itself: CUDA out of memory\n"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), None], ids=["gpu", "cpu"])
def test_where_memory_is_too_small_the_param_to_lower_is_named(monkeypatch, error):
    def fail(self, *inputs):
        if error:
            raise error
        return torch.empty(1 << 60)  # what the CPU's allocator says

    monkeypatch.setattr(Step, "plain", fail)
    with pytest.raises(UserError, match=r"^test, step 1: memory .* batch of 20; lower fusion\.add\.batch_size\.$"):
        train(section="fusion.add")


def test_the_optimizer_and_the_validation_may_be_what_has_no_memory(monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"step 1: memory .* lower batch_size\.$"):
        patch.setattr(optimizers.Adam, "step", fail)
        train()
    monkeypatch.setattr("cilp.training.classifier.logits_of", fail)
    with pytest.raises(UserError, match=r"^test, step 3: memory is too small to validate; free some of it\.$"):
        train()


def test_graphs_share_one_stream(fake_cuda):
    weight = torch.nn.Parameter(torch.tensor(3.0))
    streams = []
    step_module._stream.cache_clear()
    for _ in range(2):
        step = Step([weight], lambda x: (weight * x).sum(), torch.optim.Adam([weight]), replays=True)
        for _ in range(2):
            step(torch.ones(1))
        streams.append(step_module._stream(torch.device("cpu"), "recording"))
    assert streams[0] is streams[1]
    assert step_module._stream.cache_info()[:2] == (3, 1)  # hits and misses: each graph asks for it, as is done here
    step_module._stream.cache_clear()


def test_another_error_stays_what_it_is(monkeypatch):
    def fail(self, *inputs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Step, "plain", fail)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        train()


@CUDA
@pytest.mark.parametrize("cycled", [False, True])
@pytest.mark.parametrize("name", ["concat", "late", "hadamard", "early"])
def test_a_recorded_step_has_the_bits_of_a_launched_one(name, cycled):
    """Loss and gradients; and weights, but that the learning rate is a float32 where the graph holds the optimiser."""
    device = prepare_device("cuda")
    train_split, _ = splits(device)
    found = []
    for replays in (False, True):
        torch.manual_seed(1)
        model = fusion.build(name, "maxpool", 50.0).to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=2.0**-10, fused=True)  # that is a float32
        if cycled:
            torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.0**-10, total_steps=10)
        step = Step(model.parameters(), loss_with(model), optimizer, replays)
        losses = []
        for first, size in ((0, 20), (8, 8), (16, 20), (24, 8), (4, 20)):  # two shapes, in turns
            rows = torch.arange(first, first + size, device=device)
            losses.append(step(*train_split.inputs(rows), train_split.label[rows]))
        assert step.replays is replays and len(step.graphs) == 2 * replays
        found.append((torch.stack(losses), weights(model)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def loss_with(model):
    return lambda *inputs: binary_cross_entropy_with_logits(model(*inputs[:-1]), inputs[-1])


@CUDA
def test_inputs_made_beside_the_step_before_are_those_made_after_it(monkeypatch):
    """Many batches in the memory of the same few, and one that is launched in between: bits of all weights."""
    device = prepare_device("cuda")
    data = splits(device)
    params = TrainingParams(epochs=20, batch_size=20, lr=1e-3, lr_min=1e-6)

    def done():
        return train_classifier(lambda: fusion.build("concat", "maxpool", 50.0), *data, params, Run(1, "test"))

    beside = done()
    monkeypatch.setattr(Step, "preparing", lambda self: contextlib.nullcontext())
    after = done()
    assert torch.equal(weights(beside.model), weights(after.model))
    assert beside.history == after.history


@CUDA
def test_a_forward_and_a_backward_pass_on_a_gpu_do_not_wait_for_the_host():
    """PyTorch reports every implicit synchronisation; once kernels are chosen there are none."""
    device = prepare_device("cuda")
    data = splits(device)
    train_classifier(lambda: fusion.build("late", "strided", 50.0), *data, PARAMS, Run(1, "warm"))
    model = fusion.build("late", "strided", 50.0).to(device, memory_format=torch.channels_last)
    rows = torch.arange(20, device=device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = binary_cross_entropy_with_logits(model(*data[0].inputs(rows)), data[0].label[rows])
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_optimisers_without_their_wrappers_take_the_same_steps(name):
    """With momentum that is cycled, a hook, and a state that is saved and loaded."""
    found = []
    for kind in (getattr(optimizers, name), getattr(torch.optim, name)):
        weight = torch.nn.Parameter(torch.arange(6.0))
        optimizer = kind([weight], lr=0.1, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        called = []
        optimizer.register_step_post_hook(lambda *_, called=called: called.append(1))
        for number in range(9):
            optimizer.zero_grad()
            (weight - number).square().sum().backward()
            optimizer.step()
            schedule.step()
            optimizer.load_state_dict(optimizer.state_dict())
        assert len(called) == 9 and weight.is_leaf and weight.requires_grad
        found.append(weight.detach())
    assert torch.equal(*found)
