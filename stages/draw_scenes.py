"""Draw a contact sheet of the first training scenes: image, range image and point cloud of each cube and its sphere.

PYTHONPATH=src python stages/draw_scenes.py
"""

import argparse
from pathlib import Path

from cilp import packed
from cilp.console import cli
from cilp.errors import UserError
from cilp.raw.layout import CLASSES
from cilp.report.contact_sheet import View, draw_contact_sheet
from cilp.sensors import point_cloud, ray_directions

SCENES = 8
TARGET = Path("plots/scenes.png")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = packed.load(Path("data/packed.pt"))
    rows = both_shapes(data)[:SCENES]
    if not rows:
        raise UserError(
            "There is no cube or no sphere to train on; `data.splits: drawn` gives each split as many of both."
        )
    directions = [ray_directions(*angles) for angles in zip(data.azimuth.numpy(), data.zenith.numpy(), strict=True)]
    views = [
        [
            View(
                f"{CLASSES[data.label[row]]} {data.scene[row]:04d}",
                data.rgb[row].numpy(),
                data.range[row].numpy(),
                point_cloud(data.range[row].numpy(), directions[data.sensor[row]]),
            )
            for row in pair
        ]
        for pair in rows
    ]
    draw_contact_sheet(views, TARGET)
    print(f"{TARGET}: {len(views)} scenes")


def both_shapes(data: packed.Packed) -> list[list[int]]:
    """Rows of cube and sphere of each training scene that has both.

    Splits that were given may cut every scene; then any cube stands beside any sphere, under their own numbers.
    """
    rows = range(*data.rows("train").indices(len(data.label)))
    cubes, spheres = ({int(data.scene[row]): row for row in rows if data.label[row] == label} for label in (0, 1))
    whole = [[cubes[scene], spheres[scene]] for scene in cubes if scene in spheres]
    return whole or [list(pair) for pair in zip(cubes.values(), spheres.values(), strict=False)]


if __name__ == "__main__":
    cli.run(main)
