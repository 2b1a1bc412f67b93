"""The subset in the FiftyOne App, with what every model says of it."""

from pathlib import Path

SUBSET, PREDICTIONS, PACKED, MODELS = (
    Path(path) for path in ("data/subset", "data/predictions.csv", "data/packed.pt", "models/cilp")
)
