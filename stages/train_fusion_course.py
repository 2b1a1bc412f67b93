"""Train one fusion variant, with one seed, on CILP's course, on scenes in which size tells nothing about shape.

    PYTHONPATH=src python stages/train_fusion_course.py --fusion late --downsampling maxpool --seed 51

As many steps as image classifiers take there, on batches as CILP's, varied alike; inputs are normalised as the
embedders' are, and it begins as they do. Of ``fusion.<fusion>``, modality dropout and auxiliary losses alone are read.
With ``--auxiliary-losses`` each sensor has a loss of its own in any case, and what is written is called
``<fusion>-<downsampling>-auxiliary``.
"""

from dataclasses import asdict
from pathlib import Path

from cilp import packed, params, tracking
from cilp.classifiers.course import OneCycleParams, course_of
from cilp.classifiers.fusion_course import OwnParams, train_fusion
from cilp.classifiers.random_size import sizes
from cilp.classifiers.variant import asked_for
from cilp.console import cli
from cilp.training.checkpoint import save_checkpoint
from cilp.training.device import describe, prepare_device
from cilp.training.inputs import load_split
from cilp.training.loop import Run
from cilp.training.unfinished import UnfinishedRuns

PACKED = Path("data/random_size.pt")


def main() -> None:
    variant = asked_for(__doc__)
    name, seed = variant.name, variant.seed
    settings = params.load()
    settings["cilp"]["steps"] = sizes(settings).cilp_steps
    course = course_of(settings)
    protocol = params.section(settings, "image_classifier", OneCycleParams)
    if variant.auxiliary_losses:
        settings["fusion"][variant.fusion]["auxiliary_losses"] = True
    own = OwnParams.of(settings, variant.fusion)
    arguments = variant.normalised(settings)
    device = prepare_device(params.lookup(settings, "device"))
    print(f"{name} on CILP's course: seed {seed} on {describe(device)['device']}")

    data = packed.load(PACKED)
    train, valid = (load_split(data, split, device) for split in ("train", "val"))
    runs = UnfinishedRuns(
        Path(f"unfinished/train_fusion_course@{name}-{seed}"), device, [PACKED], arguments, course, protocol, own
    )
    trained_by = {**asdict(course), **asdict(protocol), **asdict(own)}
    config = {**arguments, **trained_by, "optimizer": "AdamW", "scheduler": "1cycle", "seed": seed}
    with tracking.start_run(settings, group="fusion_course", name=f"{name}-course-{seed}", config=config) as tracked:
        run = Run(seed, f"{name}, course, seed {seed}", tracked.log_step, runs.of(seed))
        done = train_fusion(arguments, train, valid, course, protocol, own, run)
    path = Path(f"models/fusion_course/fusion/{name}/seed-{seed}.pt")
    save_checkpoint(path, done.model, "normalised_fusion", arguments, trained_by, seed)
    runs.clear()


if __name__ == "__main__":
    cli.run(main)
