"""One fusion variant on one seed, as a stage is asked for it on its command line."""

import argparse
from dataclasses import dataclass
from typing import Any

from cilp import params
from cilp.models import fusion
from cilp.models.layers.blocks import DOWNSAMPLINGS


@dataclass(frozen=True)
class Variant:
    """What to train, by the names that ``params.yaml`` has for it."""

    fusion: str
    downsampling: str
    seed: int
    auxiliary_losses: bool
    """Whether each sensor has a loss of its own, whatever ``fusion.<fusion>.auxiliary_losses`` is."""

    @property
    def name(self) -> str:
        """Of what is written: ``late-maxpool``, or ``late-maxpool-auxiliary``."""
        return f"{self.fusion}-{self.downsampling}{'-auxiliary' if self.auxiliary_losses else ''}"

    def normalised(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The arguments of ``cilp.models.normalised_fusion.build``, which a checkpoint keeps."""
        normalisation = {key: params.lookup(settings, f"embedder.{key}") for key in ("xyz_centre", "xyz_scale")}
        return {"fusion": self.fusion, "downsampling": self.downsampling, **normalisation}


def asked_for(description: str | None) -> Variant:
    """Parse the command line; it ends the process, as ``argparse`` does, if it names no variant that can be trained."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusion", choices=fusion.FUSIONS, required=True)
    parser.add_argument("--downsampling", choices=DOWNSAMPLINGS, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--auxiliary-losses", action="store_true", help="whatever fusion.<fusion>.auxiliary_losses is")
    variant = Variant(**vars(parser.parse_args()))
    if variant.auxiliary_losses and not issubclass(fusion.kind(variant.fusion), fusion.TwoEncoders):
        parser.error(f"--auxiliary-losses: {variant.fusion} has no encoder for each sensor")
    return variant
