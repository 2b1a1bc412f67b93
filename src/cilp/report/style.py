"""How all pictures look, and how they are written."""

from pathlib import Path

import matplotlib

from cilp.atomic import replacing

matplotlib.use("Agg")  # there may be no screen
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Okabe and Ito's palette, with grey for its yellow, told apart by the colour-blind as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def save(figure: Figure, target: Path, dpi: int) -> None:
    """Write a picture as PNG, whole or not at all, and close it. Equal pictures are equal bytes."""
    with replacing(target, "wb") as file:
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
