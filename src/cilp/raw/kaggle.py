"""The ``kaggle`` source: one version of a dataset on Kaggle, fetched once into the user's cache of kagglehub.

What comes out is a tree for the ``folder`` source. kagglehub (Apache-2.0, Kaggle's own) is optional: no other source
needs it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cilp.errors import UserError


@dataclass(frozen=True)
class KaggleParams:
    """The params section ``data.kaggle``."""

    dataset: str
    version: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+/[\w-]+", self.dataset):
            raise ValueError(f"dataset must be owner/name; got {self.dataset!r}.")
        if self.version < 1:
            raise ValueError(f"version must be 1 or more; got {self.version}.")

    @property
    def by_hand(self) -> str:
        """How to do without Kaggle's client."""
        return (
            f"or download the archive from https://www.kaggle.com/datasets/{self.dataset} and set data.source to "
            "folder and data.folder.path to the .zip"
        )


def fetch(params: KaggleParams) -> Path:
    """Folder with the files of the dataset; a version that is in the cache is taken from there, without a network.

    Raises:
        UserError: kagglehub is not installed, or Kaggle cannot be reached, refuses, or has no such version.
    """
    try:
        import kagglehub
        import requests
        from kagglehub.exceptions import UnauthenticatedError
    except ImportError:
        raise UserError(
            "data.source: kaggle needs the package kagglehub; run `.venv/bin/uv pip install --python .venv/bin/python "
            f"kagglehub`, {params.by_hand}."
        ) from None
    name = f"{params.dataset}, version {params.version},"
    account = f"set KAGGLE_USERNAME and KAGGLE_KEY to those of your account, {params.by_hand}"
    try:
        return Path(kagglehub.dataset_download(f"{params.dataset}/versions/{params.version}"))
    except UnauthenticatedError:
        raise UserError(f"Kaggle gives {name} to known users alone; {account}.") from None
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status in (401, 403):
            raise UserError(f"Kaggle refuses {name} (status {status}); {account}.") from None
        if status == 404:
            raise UserError(f"Kaggle has no {name} mend data.kaggle, {params.by_hand}.") from None
        raise UserError(
            f"Kaggle fails to deliver {name} (status {status}); try again later, {params.by_hand}."
        ) from None
    except requests.RequestException as error:
        reason = type(error).__name__  # its text may hold a signed address
        raise UserError(f"Kaggle cannot be reached ({reason}); check the network, {params.by_hand}.") from None
    except Exception as error:
        reason = type(error).__name__
        raise UserError(f"Fetching {name} from Kaggle failed ({reason}); try again, {params.by_hand}.") from None
