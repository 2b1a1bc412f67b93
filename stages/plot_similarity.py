"""Draw the similarity matrices of CILP on the validation set and write how well its embeddings find their partners.

    PYTHONPATH=src python stages/plot_similarity.py

The pictures show the first seed's model; the retrieval figures are of every seed's.
"""

import argparse
from pathlib import Path

from cilp import packed, params
from cilp.console import cli
from cilp.contrastive.retrieval import ceilings, retrieval
from cilp.embeddings import load_embeddings
from cilp.models.embedder import MODALITIES
from cilp.report.similarity import FIRST_BATCH, draw_first_batch, draw_sorted
from cilp.training.seeds import check_seeds, write_metrics, write_rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    seeds = check_seeds(params.lookup(settings, "seeds"))
    data = packed.load(Path("data/packed.pt"))
    images = data.rgb[data.rows("val")]

    metrics = {}
    for seed in seeds:
        embeddings = load_embeddings(Path(f"data/embeddings/cilp/seed-{seed}.pt"))
        rgb, lidar = (embeddings[modality]["val"] for modality in MODALITIES)
        similarity = rgb.embedding @ lidar.embedding.T
        metrics[seed] = retrieval(similarity)
        if seed == seeds[0]:
            batch = similarity[:FIRST_BATCH, :FIRST_BATCH]
            draw_first_batch(batch.numpy(), seed, Path("plots/similarity_matrix.png"))
            draw_sorted(similarity.numpy(), rgb.label.numpy(), seed, Path("plots/similarity_sorted.png"))
    write_metrics(Path("metrics/retrieval.json"), metrics, pairs=len(images), **ceilings(images))
    write_rows(Path("metrics/retrieval.csv"), [{"seed": seed, **figures} for seed, figures in metrics.items()])


if __name__ == "__main__":
    cli.run(main)
