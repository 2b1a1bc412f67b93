"""Ways of fusing an RGBA image with an XYZA range image, each (B, 4, 64, 64), into one sphere-or-cube logit.

A module for each, of the fusion's name, with one network; those that see one sensor alone are baselines. A new fusion
is one such module and one block under ``fusion`` in ``params.yaml``: modules are looked up by name, so that the others
stay as they are and nothing but the new one trains.
"""

import importlib
from pathlib import Path

from cilp.models.fusion._base import Fusion, TwoEncoders

FUSIONS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))
"""Names of all there are."""


def kind(fusion: str) -> type[Fusion]:
    """The class of a fusion; ``ValueError`` names the legal ones."""
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is {fusion!r}; legal values: {', '.join(FUSIONS)}")
    module = importlib.import_module(f"{__name__}.{fusion}")
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Fusion)]
    (found,) = [item for item in classes if item.__module__ == module.__name__]
    return found


def build(fusion: str, downsampling: str, xyz_scale: float) -> Fusion:
    """An untrained network that sees XYZ in units of ``xyz_scale`` metres; ``ValueError`` names the legal fusions."""
    return kind(fusion)(downsampling, xyz_scale)


def with_two_encoders() -> tuple[str, ...]:
    """Names of those that have an encoder for each sensor."""
    return tuple(name for name in FUSIONS if issubclass(kind(name), TwoEncoders))
