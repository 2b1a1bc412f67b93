"""The step that a GPU replays is the step that is launched."""

import contextlib
from typing import ClassVar

import pytest
import torch
from synthetic import make_packed
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp.errors import UserError
from cilp.models import fusion
from cilp.training import step as step_module
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.step import Gradients

PARAMS = TrainingParams(epochs=2, batch_size=20, lr=1e-3, lr_min=1e-6)  # of 48 samples: the last batch is smaller
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def splits(device):
    packed = make_packed()
    return [load_split(packed, split, torch.device(device)) for split in ("train", "val")]


def train(device="cpu", **kwargs):
    return train_classifier(lambda: fusion.build("add", "maxpool", 50.0), *splits(device), PARAMS, 1, "test", **kwargs)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu()


class FakeGraph:
    """Replays like a CUDA graph: recomputes what was recorded from the same inputs, into the same outputs.

    It knows nothing of what the parameters hold as gradients at the time; here they end up as what is not a number.
    """

    recorded: ClassVar[list["FakeGraph"]] = []

    def replay(self):
        loss, gradients = self.owner.loss, self.owner.gradients
        loss.copy_(self.step.plain(*self.owner.inputs).detach())
        for parameter, gradient in zip(self.owner.parameters, gradients, strict=True):
            gradient.copy_(parameter.grad)
            parameter.grad = torch.full_like(gradient, torch.nan)


@pytest.fixture
def fake_cuda(monkeypatch):
    """CUDA's side of recording, played on the CPU."""

    class Stream:
        def __init__(self, device=None): ...
        def wait_stream(self, other): ...

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    made = step_module._Graph.__init__

    def init(self, step, inputs):
        made(self, step, inputs)
        self.graph.owner, self.graph.step = self, step
        FakeGraph.recorded.append(self.graph)

    monkeypatch.setattr(step_module._Graph, "__init__", init)
    monkeypatch.setattr(FakeGraph, "recorded", [])


def test_replayed_steps_train_as_launched_ones_do(fake_cuda, monkeypatch):
    """Recorded once per batch shape, whatever the order; inputs, loss and gradients of each step are its own."""
    prepare_device("cpu")
    launched = train()
    plain = Gradients.__init__
    monkeypatch.setattr(
        Gradients, "__init__", lambda self, parameters, loss_of, replays: plain(self, parameters, loss_of, True)
    )
    replayed = train()
    assert len(FakeGraph.recorded) == 2  # batches of 20 and of 8
    assert torch.equal(weights(replayed.model), weights(launched.model))
    assert replayed.history == launched.history


def test_where_no_graph_can_be_recorded_one_line_says_so_and_steps_are_launched(monkeypatch, capsys):
    class NoGraph:
        def __init__(self):
            raise RuntimeError("graphs need CUDA 11\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", NoGraph)
    weight = torch.nn.Parameter(torch.tensor(3.0))
    gradients = Gradients([weight], lambda x: (weight * x).sum(), replays=True)
    for value in (2.0, 5.0):
        assert gradients(torch.tensor([value])).item() == 3 * value
        assert weight.grad.item() == value
    assert capsys.readouterr().out == "no CUDA graph, each step is launched by itself: graphs need CUDA 11\n"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), None], ids=["gpu", "cpu"])
def test_where_memory_is_too_small_the_param_to_lower_is_named(monkeypatch, error):
    def fail(self, *inputs):
        if error:
            raise error
        return torch.empty(1 << 60)  # what the CPU's allocator says

    monkeypatch.setattr(Gradients, "plain", fail)
    with pytest.raises(UserError, match=r"^test, step 1: memory .* batch of 20; lower fusion\.add\.batch_size\.$"):
        train(section="fusion.add")


def test_the_optimizer_and_the_validation_may_be_what_has_no_memory(monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"step 1: memory .* lower batch_size\.$"):
        patch.setattr(torch.optim.Adam, "step", fail)
        train()
    monkeypatch.setattr("cilp.training.classifier.logits_of", fail)
    with pytest.raises(UserError, match=r"^test, step 3: memory is too small to validate; free some .* cpu\.$"):
        train()


def test_graphs_share_one_stream(fake_cuda):
    weight = torch.nn.Parameter(torch.tensor(3.0))
    streams = []
    step_module._recording_stream.cache_clear()
    for _ in range(2):
        gradients = Gradients([weight], lambda x: (weight * x).sum(), replays=True)
        gradients(torch.ones(1))
        streams.append(step_module._recording_stream(torch.device("cpu")))
    assert streams[0] is streams[1] and step_module._recording_stream.cache_info().misses == 1
    step_module._recording_stream.cache_clear()


def test_another_error_stays_what_it_is(monkeypatch):
    def fail(self, *inputs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Gradients, "plain", fail)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        train()


@CUDA
@pytest.mark.parametrize("name", ["concat", "late", "hadamard", "early"])
def test_a_recorded_step_has_the_bits_of_a_launched_one(name):
    device = prepare_device("cuda")
    train_split, _ = splits(device)
    torch.manual_seed(1)
    model = fusion.build(name, "maxpool", 50.0).to(device, memory_format=torch.channels_last)

    def loss_of(*inputs):
        return binary_cross_entropy_with_logits(model(*inputs[:-1]), inputs[-1])

    steps = [Gradients(model.parameters(), loss_of, replays) for replays in (False, True)]
    for first, size in ((0, 20), (8, 8), (16, 20), (24, 8)):  # two shapes, in turns
        rows = torch.arange(first, first + size, device=device)
        inputs = (*train_split.inputs(rows), train_split.label[rows])
        found = []
        for step in steps:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(torch.nan)
            loss = step(*inputs)
            found.append((loss.clone(), [parameter.grad.clone() for parameter in model.parameters()]))
        assert torch.equal(found[0][0], found[1][0])
        assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    assert steps[1].replays and len(steps[1].graphs) == 2


@CUDA
def test_a_forward_and_a_backward_pass_on_a_gpu_do_not_wait_for_the_host():
    """PyTorch reports every implicit synchronisation; once kernels are chosen there are none."""
    device = prepare_device("cuda")
    data = splits(device)
    train_classifier(lambda: fusion.build("late", "strided", 50.0), *data, PARAMS, 1, "warm")
    model = fusion.build("late", "strided", 50.0).to(device, memory_format=torch.channels_last)
    rows = torch.arange(20, device=device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = binary_cross_entropy_with_logits(model(*data[0].inputs(rows)), data[0].label[rows])
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
