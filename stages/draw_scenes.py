"""Draw a contact sheet of the first training scenes: image, range image and point cloud of each cube and its sphere.

PYTHONPATH=src python stages/draw_scenes.py
"""

import argparse
from pathlib import Path

from cilp import packed
from cilp.console import cli
from cilp.raw.layout import CLASSES
from cilp.report.contact_sheet import View, draw_contact_sheet
from cilp.sensors import point_cloud, ray_directions

SCENES = 8
TARGET = Path("plots/scenes.png")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = packed.load(Path("data/packed.pt"))
    rows = range(*data.rows("train").indices(len(data.label)))[: 2 * SCENES]
    directions = [ray_directions(*angles) for angles in zip(data.azimuth.numpy(), data.zenith.numpy(), strict=True)]
    views = [
        View(
            f"{CLASSES[data.label[row]]} {data.scene[row]:04d}",
            data.rgb[row].numpy(),
            data.range[row].numpy(),
            point_cloud(data.range[row].numpy(), directions[data.sensor[row]]),
        )
        for row in rows
    ]
    draw_contact_sheet(list(zip(views[0::2], views[1::2], strict=True)), TARGET)
    print(f"{TARGET}: {len(rows) // 2} scenes")


if __name__ == "__main__":
    cli.run(main)
