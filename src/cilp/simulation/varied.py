"""The study's simulator, with some of its params changed."""

from typing import Any

from cilp import params
from cilp.errors import UserError
from cilp.simulation.scenes import SimulateParams


def varied(settings: dict[str, Any], key: str, change: Any) -> SimulateParams:
    """The params in ``data.simulate``, but for what the mapping ``change`` says, which stands at the dotted ``key``.

    Raises:
        UserError: it is no mapping, or changes what there is not or to what is not legal.
    """
    if not isinstance(change, dict):
        raise UserError(f"{key} must be a mapping; got {change!r}.")
    place: dict[str, Any] = {**params.lookup(settings, "data.simulate"), **change}
    for part in reversed(key.split(".")):
        place = {part: place}
    return params.section(place, key, SimulateParams)


def of_random_size(settings: dict[str, Any]) -> SimulateParams:
    """Of the scenes in which size tells nothing of the shape; errors as in ``varied``."""
    key = "random_size.simulate"
    return varied(settings, key, params.lookup(settings, key))
