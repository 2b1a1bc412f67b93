import gc
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bits import weights
from synthetic import make_packed
from torch.nn.functional import binary_cross_entropy_with_logits

import cilp
from cilp import cores
from cilp.errors import UserError
from cilp.models import fusion
from cilp.models.layers.blocks import DOWNSAMPLINGS
from cilp.sensors import ray_directions
from cilp.training import checkpoint, step
from cilp.training.classifier import TrainingParams, logits_of, score, train_classifier
from cilp.training.device import EVALUATION_BATCH, cpu_name, describe, exact_products, prepare_device
from cilp.training.distributed import place
from cilp.training.inputs import load_split, xyza
from cilp.training.loop import Run
from cilp.training.seeds import check_seeds, summarise

PARAMS = TrainingParams(epochs=2, batch_size=10, lr=1e-3, lr_min=1e-6)
CPU = torch.device("cpu")
CAPABILITY = "print(torch.backends.cpu.get_cpu_capability())"


@pytest.fixture(scope="module")
def splits():
    prepare_device("cpu")
    packed = make_packed()
    return [load_split(packed, split, CPU) for split in ("train", "val", "test")]


def train(splits, seed=1, params=PARAMS, name="add", downsampling="strided"):
    return train_classifier(
        lambda: fusion.build(name, downsampling, 50.0), splits[0], splits[1], params, Run(seed, "test")
    )


@pytest.mark.parametrize("name", fusion.FUSIONS)
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_a_seed_decides_every_bit_and_another_seed_gives_other_weights(splits, name, downsampling):
    params = TrainingParams(epochs=1, batch_size=16, lr=1e-3, lr_min=1e-6)
    first, again, other = (train(splits, seed, params, name, downsampling) for seed in (1, 1, 2))
    assert torch.equal(weights(first.model), weights(again.model))
    assert first.history == again.history
    assert all(parameter.grad is None for parameter in first.model.parameters())  # which a graph's memory would be
    assert not torch.equal(weights(first.model), weights(other.model))


def test_earlier_random_numbers_leave_a_run_as_it_is(splits):
    first = train(splits)
    torch.rand(1000)
    assert torch.equal(weights(first.model), weights(train(splits).model))


def test_it_learns_what_a_network_can_tell_apart(splits):
    params = TrainingParams(epochs=15, batch_size=8, lr=1e-3, lr_min=1e-6)
    done = train(splits, params=params, name="late")
    assert score(logits_of(done.model, splits[2]), splits[2].label)[1] == 1.0
    assert done.history[-1].train_loss < 0.1 < done.history[0].train_loss


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(splits):
    """Validation labels are swapped, so that these are not the last ones."""
    valid, seen = replace(splits[1], label=1 - splits[1].label), {}

    def build():
        seen["model"] = fusion.build("late", "strided", 50.0)
        return seen["model"]

    snapshots = []
    params = TrainingParams(epochs=6, batch_size=8, lr=1e-3, lr_min=1e-6)
    run = Run(3, "test", lambda epoch: snapshots.append(weights(seen["model"]).clone()))
    done = train_classifier(build, splits[0], valid, params, run)
    losses = [epoch.valid_loss for epoch in done.history]
    assert done.best == done.history[losses.index(min(losses))] and done.best.epoch < params.epochs
    assert torch.equal(weights(done.model), snapshots[done.best.epoch - 1])
    assert score(logits_of(done.model, valid), valid.label)[0] == min(losses)


def test_every_sample_is_evaluated_whatever_the_batch(splits, monkeypatch):
    model = fusion.build("concat", "maxpool", 50.0)
    together = logits_of(model, splits[0])
    monkeypatch.setitem(EVALUATION_BATCH, "cpu", 7)  # 48 samples: the last batch is a partial one
    assert len(together) == len(splits[0]) == 48
    torch.testing.assert_close(logits_of(model, splits[0]), together, rtol=1e-5, atol=1e-6)


def test_loss_and_accuracy_are_means_over_samples():
    logits, label = torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    loss, accuracy = score(logits, label)
    by_hand = sum(math.log1p(math.exp(-x if y else x)) for x, y in zip(logits.tolist(), label.tolist(), strict=True))
    assert loss == pytest.approx(by_hand / 4, rel=1e-6)
    assert accuracy == 0.5


def test_the_train_loss_counts_a_partial_batch_by_its_size(splits):
    """With a rate of almost zero the epoch's loss is the loss of the untrained network over all samples."""
    params = TrainingParams(epochs=1, batch_size=13, lr=1e-12, lr_min=1e-12)
    torch.manual_seed(1)
    untrained = fusion.build("add", "strided", 50.0)
    expected = binary_cross_entropy_with_logits(logits_of(untrained, splits[0]), splits[0].label).item()
    assert train(splits, params=params).history[0].train_loss == pytest.approx(expected, rel=1e-4)


def test_the_rate_falls_along_a_cosine_to_its_minimum(splits):
    done = train(splits, params=TrainingParams(epochs=4, batch_size=16, lr=1e-3, lr_min=1e-5))
    expected = [1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3, 4)]
    assert [epoch.learning_rate for epoch in done.history] == pytest.approx(expected, rel=1e-6)


def test_the_fast_step_equals_a_plain_one(splits):
    """One step of fused Adam on channels-last batches against textbook Adam on plain tensors, in float64."""
    rows = torch.randperm(len(splits[0]), generator=torch.Generator().manual_seed(5))
    rgb, lidar = (x.double() for x in splits[0].inputs(rows))
    label = splits[0].label[rows].double()
    torch.manual_seed(5)
    fast = fusion.build("late", "maxpool", 50.0).double().to(memory_format=torch.channels_last)
    plain = fusion.build("late", "maxpool", 50.0).double()
    plain.load_state_dict(fast.state_dict())
    before = weights(plain).clone()
    optimizer = torch.optim.Adam(fast.parameters(), lr=1e-3, fused=True)
    binary_cross_entropy_with_logits(fast(rgb, lidar), label).backward()
    optimizer.step()
    binary_cross_entropy_with_logits(plain(rgb.contiguous(), lidar.contiguous()), label).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
    expected = before - 1e-3 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
    # the parameters of the fast network lie in another order in memory: compare by name
    flat = torch.cat([parameter.detach().contiguous().flatten() for parameter in fast.parameters()])
    torch.testing.assert_close(flat, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_steps_leave_nothing_for_the_garbage_collector(splits, monkeypatch, downsampling):
    """So that it may look for garbage as seldom as the package tells it to, with no memory lost."""
    garbage, take_step = [], step.Step.__call__

    def counted(*arguments):
        loss = take_step(*arguments)
        garbage.append(gc.collect())
        return loss

    monkeypatch.setattr(step.Step, "__call__", counted)
    assert gc.get_threshold()[0] >= 100_000
    gc.collect()
    gc.freeze()  # what has been imported takes long to look through
    gc.disable()
    try:
        train(splits, name="concat", downsampling=downsampling)
    finally:
        gc.enable()
        gc.unfreeze()
    assert len(garbage) > 2 and not any(garbage[1:])


@pytest.mark.parametrize(
    ("flags", "capped"),
    [("fpu avx avx2 avx512f", True), ("fpu avx avx2", False), ("fpu avx512f", False), (None, False)],
)
def test_pytorch_is_kept_from_avx_512_where_there_is_avx2_to_use_instead(tmp_path, flags, capped):
    path = tmp_path / "cpuinfo"
    if flags:
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n\nprocessor\t: 1\n")
    assert cores._has({"avx2", "avx512f"}, path) == capped


@pytest.mark.parametrize("before", [[], ["torch"]])
def test_rounding_is_that_of_avx2_whichever_is_imported_first(before):
    program = "\n".join([*(f"import {name}" for name in before), "import cilp, torch", CAPABILITY])
    environment = {**os.environ, "PYTHONPATH": str(Path(cilp.__file__).parents[1])}
    environment.pop("ATEN_CPU_CAPABILITY", None)  # which this process has from the package
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() != "AVX512" and not said.stderr


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(splits):
    """The third step's batch holds an image that makes the loss NaN: step, rate and samples stand in the message."""
    poisoned = replace(splits[0], range=splits[0].range.clone())
    generator = torch.Generator().manual_seed(1)
    rows = torch.randperm(len(poisoned), generator=generator).split(10)[2]
    poisoned.range[rows[0]] = math.nan
    scenes = poisoned.scene[rows][poisoned.label[rows] == 0].tolist()
    with pytest.raises(UserError, match=r"test, step 3: the loss became nan at the learning rate 0\.00") as raised:
        train([poisoned, splits[1]])
    assert f"cubes {scenes} and spheres" in str(raised.value)
    with pytest.raises(UserError, match="lower"):
        train(splits, params=TrainingParams(epochs=3, batch_size=16, lr=1e30, lr_min=0.0))


def test_a_validation_loss_that_is_no_number_stops_the_run_as_well(splits):
    poisoned = replace(splits[1], range=splits[1].range.clone())
    poisoned.range[-1] = math.nan
    said = r"^test, step 5: the validation loss became nan at the learning rate 0\.000655; lower lr\.$"
    with pytest.raises(UserError, match=said):
        train([splits[0], poisoned])


def test_a_batch_larger_than_the_data_is_refused(splits):
    with pytest.raises(UserError, match="48 training samples"):
        train(splits, params=TrainingParams(epochs=1, batch_size=49, lr=1e-3, lr_min=0.0))


def test_xyza_is_the_sensor_model():
    packed = make_packed(train=2, val=1, test=1)
    split = load_split(packed, "train", CPU)
    rgb, points = split.inputs(slice(0, 3))
    directions = torch.from_numpy(ray_directions(packed.azimuth[0].numpy(), packed.zenith[0].numpy())).float()
    for row in range(3):
        ranges = packed.range[row]
        for channel in range(3):
            assert torch.equal(points[row, channel], ranges * directions[..., channel])
        assert torch.equal(points[row, 3], (ranges < 50).float())
    assert rgb.shape == points.shape == (3, 4, 64, 64)
    assert torch.equal(rgb[:, 3], torch.ones(3, 64, 64))
    assert points.is_contiguous(memory_format=torch.channels_last)


def test_a_ray_without_return_keeps_its_far_point():
    directions = torch.rand(64, 64, 3)
    points = xyza(torch.full((1, 64, 64), 50.0), directions)
    assert torch.equal(points[0, :3], 50 * directions.permute(2, 0, 1))
    assert not points[0, 3].any()


def test_each_class_is_seen_with_its_own_calibration():
    packed = make_packed(train=2, val=1, test=1, sensors=2)
    split = load_split(packed, "train", CPU)
    _, together = split.inputs(slice(0, 2))
    for row in (0, 1):
        angles = packed.azimuth[row].numpy()
        directions = torch.from_numpy(ray_directions(angles, angles)).float()
        assert torch.equal(together[row : row + 1], xyza(packed.range[row : row + 1], directions))
    assert not torch.equal(*(split.directions[k] for k in (0, 1)))


def test_a_checkpoint_rebuilds_its_own_model(tmp_path, splits):
    done = train(splits)
    arguments = {"fusion": "add", "downsampling": "strided", "xyz_scale": 50.0}
    checkpoint.save_checkpoint(tmp_path / "model.pt", done.model, "fusion", arguments, {"epochs": 2}, seed=1)
    model, content = checkpoint.load_checkpoint(tmp_path / "model.pt")
    assert torch.equal(logits_of(model, splits[2]), logits_of(done.model, splits[2]))
    assert content["params"] == {"epochs": 2}
    assert content["seed"] == 1


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("model", [Malicious(), "os", "os.path", "nowhere"])
def test_a_foreign_checkpoint_is_refused_and_not_executed(tmp_path, capsys, model):
    content = {"format": checkpoint.FORMAT, "model": model, "arguments": {}, "weights": {}}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError, match="no usable checkpoint"):
        checkpoint.load_checkpoint(tmp_path / "model.pt")
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(UserError, match="is missing"):
        checkpoint.load_checkpoint(tmp_path / "absent.pt")


def test_mean_and_spread_over_the_seeds():
    summary = summarise({51: {"loss": 1.0}, 52: {"loss": 2.0}, 53: {"loss": 6.0}})
    assert summary == {"loss": 3.0, "loss_std": pytest.approx(math.sqrt(7.0))}
    assert summarise({51: {"loss": 1.0}}) == {"loss": 1.0}


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [1.5], ["a"], [True], 51, None])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(UserError, match="seeds must be"):
        check_seeds(seeds)


def test_devices(monkeypatch):
    assert prepare_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        prepare_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert prepare_device("auto").type == "cpu"
    with pytest.raises(UserError, match="auto or cpu"):
        prepare_device("cuda")


def test_a_gpu_that_is_there_but_cannot_be_used_gives_way_to_the_cpu(monkeypatch, capsys):
    """Unless it was asked for, or other processes count on it."""

    def fail(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nand more")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch, "ones", fail)
    why = "CUDA error: no kernel image is available for execution on the device"
    assert prepare_device("auto").type == "cpu"
    assert capsys.readouterr().out == f"GPU 0 cannot be used ({why}): the CPU takes its place\n"
    with pytest.raises(
        UserError, match=r"^GPU 0 cannot be used \(CUDA .*\); set device: cpu, or choose another one\.$"
    ):
        prepare_device("cuda")
    monkeypatch.setattr("cilp.training.device.join", lambda cuda: pytest.fail("they met"))
    for name, value in (("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^GPU 1 cannot be used"):
        prepare_device("auto")


def test_a_process_alone_takes_the_first_gpu_whatever_else_started_it(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert place() == 0
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == 3


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    """As ``torchrun`` starts them: refused before they meet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr("cilp.training.device.join", lambda cuda: pytest.fail("they met"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for device in ("auto", "cuda"):
        with pytest.raises(UserError, match=r"^2 processes need as many GPUs, but there are 1; start fewer\.$"):
            prepare_device(device)


def test_two_cpus_of_the_same_name_are_two_devices(tmp_path, monkeypatch):
    """Virtual machines call each an "AMD EPYC", while their kernels round differently."""
    names = []
    for model, capability in ((1, "AVX2"), (17, "AVX2"), (17, "AVX512")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        cpuinfo = tmp_path / f"{model}"
        cpuinfo.write_text(f"processor\t: 0\ncpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n\n" * 2)
        names.append(cpu_name(cpuinfo))
    assert names[0] == "AMD EPYC (family 25, model 1, AVX2)" and len(set(names)) == 3
    assert cpu_name(tmp_path / "missing").endswith(" (AVX512)")
    assert describe(torch.device("cpu"))["device"].startswith(cpu_name())


def test_each_process_takes_its_share_of_the_cores_whatever_torchrun_leaves_it(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr("cilp.training.device.available_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for processes in ("1", "2", "16"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        prepare_device("cpu")
    assert asked == [1, 4, 1]


def test_what_is_too_small_for_a_normal_float_is_zero_in_every_thread():
    """Or else training slows down as it converges. In a process of its own: only threads that start later do it."""
    script = (
        "import sys, cilp, torch\n"
        "from cilp.training.device import prepare_device\n"
        "if len(sys.argv) > 1: prepare_device('cpu')\n"
        "torch.set_num_threads(2)\n"
        "print(int((torch.full((2**22,), 1e-30) * 1e-9).count_nonzero()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cilp.__file__).parents[1])}
    for prepared, left in (([], 2**22), (["prepared"], 0)):
        command = [sys.executable, "-c", script, *prepared]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert int(done.stdout) == left


@pytest.mark.parametrize("time", ["first", "second"])
def test_no_test_begins_as_another_left_it(time):
    assert torch.full((1,), 1e-30).mul(1e-9).count_nonzero()
    prepare_device("cpu")
    assert not torch.full((1,), 1e-30).mul(1e-9).count_nonzero()


def test_products_are_exact_where_cosines_are_compared():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_repeats_itself_and_agrees_with_the_cpu():
    packed = make_packed()
    device = prepare_device("cuda")
    splits = [load_split(packed, split, device) for split in ("train", "val")]
    first, again = (train(splits) for _ in range(2))
    assert torch.equal(weights(first.model), weights(again.model))
    on_cpu = train([load_split(packed, split, CPU) for split in ("train", "val")])
    assert first.history[0].train_loss == pytest.approx(on_cpu.history[0].train_loss, rel=1e-2)
