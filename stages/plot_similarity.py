"""Draw the similarity matrices of CILP on the validation set and write how well its embeddings find their partners.

    PYTHONPATH=src python stages/plot_similarity.py

The pictures show the first seed's model; the retrieval figures are of every seed's.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.console import cli
from cilp.contrastive.frozen import load_frozen
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import embed
from cilp.contrastive.retrieval import ceilings, retrieval
from cilp.models.cilp import Cilp
from cilp.report.similarity import FIRST_BATCH, draw_first_batch, draw_sorted
from cilp.training.device import exact_products, prepare_device
from cilp.training.seeds import check_seeds, write_metrics, write_rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    seeds = check_seeds(params.lookup(settings, "seeds"))
    device = prepare_device(params.lookup(settings, "device"))
    data = packed.load(Path("data/packed.pt"))
    rows = data.rows("val")
    valid = load_pairs([(data, rows)], device)
    label = data.label[rows]

    metrics = {}
    for seed in seeds:
        model = load_frozen(Path(f"models/cilp/seed-{seed}.pt"), Cilp, device)
        rgb, lidar = embed(model, valid)
        with exact_products():
            similarity = rgb @ lidar.T
        metrics[seed] = retrieval(similarity)
        if seed == seeds[0]:
            batch = similarity[:FIRST_BATCH, :FIRST_BATCH]
            draw_first_batch(batch.numpy(), seed, Path("plots/similarity_matrix.png"))
            draw_sorted(similarity.numpy(), label.numpy(), seed, Path("plots/similarity_sorted.png"))
    write_metrics(Path("metrics/retrieval.json"), metrics, pairs=len(valid), **ceilings(valid.rgb))
    write_rows(Path("metrics/retrieval.csv"), [{"seed": seed, **figures} for seed, figures in metrics.items()])


if __name__ == "__main__":
    cli.run(main)
