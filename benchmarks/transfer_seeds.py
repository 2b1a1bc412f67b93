"""What holds CILP back where size tells nothing: image classifiers with and without it, over several seeds.

    PYTHONPATH=src python benchmarks/transfer_seeds.py

Needs ``data/random_size.pt`` (``dvc repro pack_random_size``). Trains ``CLASSIFIERS`` on scenes in which size tells
nothing of the shape, and tests them on the scenes of ``more_seeds.py``. Writes what each says of each test scene to
``docs/transfer-seeds.json``, goes on from there when it is started again, and puts tables and picture of the seeds that
are complete into ``docs/transfer.md``.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

from more_seeds import begun, digits
from more_seeds_networks import TEST_SCENES, shares_right
from transfer_networks import Networks, Scenes, further_scenes

from cilp import params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.training.device import describe, prepare_device

SEEDS = range(51, 55)
RESULTS = Path("docs/transfer-seeds.json")
CLASSIFIERS = {
    "lidar": "LiDAR classifier",
    "lidar/course": "LiDAR classifier, course",
    "rgb2lidar": "RGB-to-LiDAR",
    "rgb2lidar/course": "RGB-to-LiDAR, head from the course",
    "rgb2lidar/more": "RGB-to-LiDAR, more pairs",
    "rgb2lidar/more/course": "RGB-to-LiDAR, more pairs, head from the course",
    "rgb2lidar/matched": "RGB-to-LiDAR, twins of matched size",
    "rgb2lidar/matched/course": "RGB-to-LiDAR, twins of matched size, head from the course",
    "image_supervised": "image, supervised",
    "image_distilled": "image, distilled",
    "image_distilled/course": "image, distilled, teacher from the course",
    "image_distilled/more/course": "image, distilled, more pairs, teacher from the course",
}
COMPARED = [
    ("rgb2lidar", "rgb2lidar/course"),
    ("rgb2lidar", "rgb2lidar/more"),
    ("rgb2lidar/course", "rgb2lidar/more/course"),
    ("rgb2lidar", "rgb2lidar/matched"),
    ("rgb2lidar/more", "rgb2lidar/matched"),
    ("rgb2lidar/more", "rgb2lidar/more/course"),
    ("rgb2lidar/matched", "rgb2lidar/matched/course"),
    ("rgb2lidar/matched/course", "image_supervised"),
    ("rgb2lidar", "image_supervised"),
    ("rgb2lidar", "image_distilled"),
    ("rgb2lidar/more/course", "image_supervised"),
    ("rgb2lidar/more/course", "image_distilled/more/course"),
    ("image_distilled", "image_supervised"),
    ("image_distilled", "image_distilled/course"),
    ("image_distilled/course", "image_distilled/more/course"),
    ("image_distilled/more/course", "image_supervised"),
    ("lidar", "lidar/course"),
    ("lidar", "rgb2lidar"),
    ("lidar/course", "rgb2lidar/more/course"),
]
"""What is asked; each difference is of the second to the first."""
DECIDES = {
    "data": (), "embedder": (), "lidar": (), "cilp": (), "image_classifier": (), "projector": (), "rgb2lidar": (),
    "random_size": ("train", "valid", "cilp_steps", "simulate"), "significance": (),
}  # fmt: skip
"""Sections of ``params.yaml`` that decide what a run gives and how it is judged; of one, only what is named."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings, device = params.load(), prepare_device("auto")
    decided = {
        section: {key: settings[section][key] for key in keys} if keys else settings[section]
        for section, keys in DECIDES.items()
    }
    head: dict[str, Any] = {
        **describe(device), **decided, "test_scenes": TEST_SCENES, "further_scenes": further_scenes(settings)
    }  # fmt: skip
    found = begun(RESULTS, head, "right", list(CLASSIFIERS))
    todo = [run for run in itertools.product(SEEDS, CLASSIFIERS) if str(run[0]) not in found["right"][run[1]]]
    scenes = Scenes.of(settings, device) if todo else None
    for seed, name in todo:
        right = shares_right(Networks(seed, settings, scenes).logits(name), scenes.test)
        found["right"][name][str(seed)] = digits(right)
        write_json(RESULTS, found)
        print(f"{name} seed {seed}: test accuracy {right.mean():.4f}", flush=True)


if __name__ == "__main__":
    cli.run(main)
