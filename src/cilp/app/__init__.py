"""The subset in the FiftyOne App, with what every model says of it."""

from pathlib import Path

SUBSET, PREDICTIONS, PACKED, EMBEDDINGS = (
    Path(path) for path in ("data/subset", "data/predictions.csv", "data/packed.pt", "data/embeddings/cilp")
)
