"""Run CILP and the LiDAR classifier's embedder over every split, once, for all that trains on frozen embeddings.

PYTHONPATH=src python stages/embed.py
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.console import cli
from cilp.console.progress import ProgressBar
from cilp.embeddings import embed_all, save_embeddings
from cilp.models.cilp import Cilp
from cilp.models.lidar import LidarClassifier
from cilp.training.checkpoint import load_frozen
from cilp.training.device import prepare_device
from cilp.training.inputs import load_split
from cilp.training.seeds import check_seeds


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    data = packed.load(Path("data/packed.pt"))
    splits = {split: load_split(data, split, device) for split in packed.SPLITS}

    with ProgressBar("embed", 3 * len(seeds) * sum(map(len, splits.values())), unit="views") as bar:
        for seed in seeds:
            cilp = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
            lidar = load_frozen(Path(f"models/lidar/seed-{seed}.pt"), LidarClassifier, device)
            for name, embedders in (("cilp", [cilp.rgb, cilp.lidar]), ("lidar", [lidar.embedder])):
                embeddings = embed_all(embedders, splits, bar.advance)
                save_embeddings(Path(f"data/embeddings/{name}/seed-{seed}.pt"), embeddings)


if __name__ == "__main__":
    cli.run(main)
