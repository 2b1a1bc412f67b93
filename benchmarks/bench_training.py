"""Rows of the benchmark that train: ours and the reference study's loop, on the same samples."""

from collections.abc import Callable
from pathlib import Path

import reference_loop as theirs
import torch
from bench_table import Bench
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cilp import packed, params
from cilp.contrastive.loss import contrastive_loss
from cilp.contrastive.pairs import load_training_pairs
from cilp.contrastive.pretraining import CilpParams, pretrain
from cilp.contrastive.projection import ProjectorParams, projected_head, train_projector
from cilp.embeddings import embed_split
from cilp.models import embedder, fusion, lidar
from cilp.models.embedder import EmbedderParams
from cilp.training.classifier import TrainingParams, train_classifier
from cilp.training.inputs import Split, load_split
from cilp.training.loop import Run

PACKED = Path("data/packed.pt")
SAMPLES = {"train": 384, "val": 96}
"""Samples of an epoch here, a quarter of the study's, in whole batches: the reference loop drops partial ones."""
CONTRASTIVE_BATCH = 512


def samples(split: Split, data: packed.Packed, device: torch.device) -> theirs.Samples:
    """The same samples as the reference study serves them, one by one from the host's memory."""
    return theirs.Samples(
        split.rgb.cpu(), split.range.cpu(), data.azimuth[0], data.zenith[0], split.label.cpu(), str(device)
    )


def measure_classifier(bench: Bench, name: str, downsampling: str, aim: str) -> None:
    """An epoch of training and validation of one fusion variant, and a large product just after it."""
    data = packed.load(PACKED)
    train, valid = (load_split(data, split, bench.device).first(count) for split, count in SAMPLES.items())
    once = TrainingParams(epochs=1, batch_size=theirs.BATCH, lr=1e-3, lr_min=1e-6)

    def build() -> nn.Module:
        return fusion.build(name, downsampling, 50.0)

    def both(train: Split, valid: Split) -> tuple[Callable[[], object], Callable[[], object]]:
        loaders = theirs.loaders(samples(train, data, bench.device), samples(valid, data, bench.device))
        return (
            lambda: train_classifier(build, train, valid, once, Run(51, "bench")),
            lambda: theirs.train_epochs(theirs.fusion_network(name, downsampling).to(bench.device), *loaders, epochs=1),
        )

    few = both(train.first(2 * theirs.BATCH), valid.first(theirs.BATCH))
    seconds = bench.ratio(f"training epoch, {name}, {downsampling}", *both(train, valid), aim, warm_up=few)
    plain = flops_of(theirs.fusion_network(name, downsampling), train)
    done = plain if bench.device.type == "cuda" else flops_of(build(), train)  # kernels of our own are not counted
    peak = bench.in_turn("ours", lambda: product_rate(bench))
    rate = (done * SAMPLES["train"] * 3 + done * SAMPLES["val"]) / seconds
    bench.add(
        f"  of the machine's limit, {name}, {downsampling}",
        f"{rate / peak:.0%}, with {done / plain:.0%} of the plain network's operations",
        share=rate / peak,
        operations=done / plain,
    )


def product_rate(bench: Bench) -> float:
    """FLOP/s of a large matrix product, the best of five, in float32 or what a GPU makes of it (TF32)."""
    size = 8192 if bench.device.type == "cuda" else 2048
    a = torch.randn(size, size, device=bench.device)
    return 2 * size**3 / min(bench.seconds(lambda: a @ a) for _ in range(5))


def flops_of(model: nn.Module, split: Split) -> float:
    """Floating-point operations of a forward pass, a sample; a backward pass takes about twice as many."""
    batch = slice(0, theirs.BATCH)
    model = model.to(split.label.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*split.inputs(batch))
    return counter.get_total_flops() / theirs.BATCH


def measure_frozen(bench: Bench) -> None:
    """Projector (40 epochs) and RGB-to-LiDAR classifier (50) between frozen models, on the whole data.

    Of the reference loop a tenth of the epochs, on some of the samples: it embeds each of them in every epoch, so that
    all its batches cost the same.
    """
    data = packed.load(PACKED)
    train, valid = (load_split(data, name, bench.device) for name in ("train", "val"))
    some, few = train.first(320), train.first(2 * theirs.BATCH)
    arguments = params.load()["embedder"]
    torch.manual_seed(51)
    image = embedder.build("rgb", **arguments).to(bench.device, memory_format=torch.channels_last)
    classifier = lidar.build(**arguments).to(bench.device, memory_format=torch.channels_last)
    by_distance = ProjectorParams(epochs=40, batch_size=32, lr=1e-4, lr_min=1e-6, weight_decay=5e-4)
    on_labels = TrainingParams(epochs=50, batch_size=32, lr=1e-4, lr_min=1e-6)

    def ours(train: Split = train) -> None:
        images = [embed_split(image, split) for split in (train, valid)]
        points = [embed_split(classifier.embedder, split).embedding for split in (train, valid)]
        pairs = [(seen.embedding, target) for seen, target in zip(images, points, strict=True)]
        done = train_projector(*pairs, by_distance, Run(51, "bench"))
        train_classifier(lambda: projected_head(done.model, classifier.head), *images, on_labels, Run(51, "bench"))

    frozen = [theirs.Embedder().to(bench.device).requires_grad_(False) for _ in range(2)]
    projector = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 200)).to(bench.device)
    head = nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 1)).to(bench.device).requires_grad_(False)

    def other(split: Split = some) -> None:
        served = samples(split, data, bench.device)
        loader, _ = theirs.loaders(served, served)
        theirs.train_frozen(*frozen, projector, head, loader, (by_distance.epochs // 10, on_labels.epochs // 10))

    bench.ratio(
        "frozen stages, embeddings computed once", ours, other, ">= 80x", share=0.1 * len(some) / len(train),
        warm_up=(lambda: ours(few), lambda: other(few)),
    )  # fmt: skip


def measure_contrastive(bench: Bench) -> None:
    """Loss and gradients of a large batch, and what autograd keeps for them."""
    rgb, points = (
        torch.nn.functional.normalize(torch.randn(CONTRASTIVE_BATCH, 200, device=bench.device), dim=1).requires_grad_()
        for _ in range(2)
    )
    log_scale = torch.zeros((), device=bench.device)

    def ours() -> Tensor:
        loss = contrastive_loss(rgb, points, log_scale)
        loss.backward()
        return loss.detach()

    def other() -> Tensor:
        loss = theirs.contrastive_loss(rgb, points)
        loss.backward()
        return loss.detach()

    torch.testing.assert_close(ours(), other(), rtol=1e-4, atol=1e-5)
    what = f"contrastive loss, forward and backward, batch {CONTRASTIVE_BATCH}"
    bench.ratio(what, ours, other, ">= 300x", repeats=9, calls=20)  # of milliseconds, hence more of them
    kept = [kept_bytes(run) for run in (ours, other)]
    square = 4 * CONTRASTIVE_BATCH**2
    bench.add(
        "  memory kept for the backward pass",
        f"{kept[0] / 1e6:,.1f} MB, {kept[0] / square:.1f} B x B floats; reference {kept[1] / 1e6:,.0f} MB",
        "O(B^2) floats",
        our_bytes=kept[0],
        their_bytes=kept[1],
    )


def kept_bytes(run: Callable[[], object]) -> int:
    """Bytes of the distinct tensors that autograd keeps during a call."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def measure_whole_runs(bench: Bench, data: packed.Packed, settings: dict) -> None:
    """Whole training runs on a GPU, after one to warm up."""
    titles = {"fusion": "one fusion run (concatenation, max-pooling)", "cilp": "one CILP run"}
    if bench.device.type != "cuda":
        for title, aim in zip(titles.values(), ("<= 1 s, >= 10x", "<= 3 s"), strict=True):
            bench.add(f"{title}, GPU", "not measured: no GPU here", aim)
        return
    train, valid = (load_split(data, name, bench.device) for name in ("train", "val"))
    protocol = TrainingParams(epochs=20, batch_size=32, lr=1e-3, lr_min=1e-6)
    reference = theirs.fusion_network("concat", "maxpool").to(bench.device)
    loaders = theirs.loaders(samples(train, data, bench.device), samples(valid, data, bench.device))
    seconds = bench.ratio(
        f"{titles['fusion']}, GPU",
        lambda: train_classifier(
            lambda: fusion.build("concat", "maxpool", 50.0), train, valid, protocol, Run(51, "bench")
        ),
        lambda: theirs.train_epochs(reference, *loaders, epochs=20),
        ">= 10x",
        repeats=2,
    )
    bench.add("  seconds", f"{seconds:.2f} s", "<= 1 s", seconds=seconds)
    cilp, seen = params.section(settings, "cilp", CilpParams), params.section(settings, "embedder", EmbedderParams)
    pairs = load_training_pairs(data, None, cilp.mirror, bench.device)
    runs = [bench.seconds(lambda: pretrain(pairs, pairs.first(400), cilp, seen, Run(51, "bench"))) for _ in range(2)]
    bench.add(f"{titles['cilp']}, GPU", f"{runs[-1]:.2f} s", "<= 3 s", seconds=runs[-1])
