"""The ``hub`` source: a grouped FiftyOne dataset on the Hugging Face Hub, at one commit, copied out clean.

FiftyOne itself is not needed. The files come by way of the user's Hugging Face cache, so that an interrupted download
goes on where it stopped, and a commit that was fetched once needs no network again.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.raw.decode import Unusable, decode_range, decode_rgb, read_file
from cilp.raw.exported import Record, read_export
from cilp.raw.folder import Report
from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path, write_calibration

ORIGIN = "origin.json"
"""Beside the manifest: which commit of which repository the data are."""
FILES = ["samples.json", "metadata.json", "data/*"]


@dataclass(frozen=True)
class HubParams:
    """The params section ``data.hub``."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise ValueError(f"repo must be owner/name; got {self.repo!r}.")
        if not self.revision:
            raise ValueError("revision must name a branch, tag or commit; it is empty.")


def fetch(params: HubParams) -> tuple[Path, str]:
    """Folder with the files of the dataset, and the commit that they are of. ``HF_TOKEN`` is used if it is set.

    Raises:
        UserError: the Hub cannot be reached, or has no such repository or revision for this user.
    """
    from huggingface_hub import errors, snapshot_download

    name = f"{params.repo} at {params.revision}"
    try:
        folder = snapshot_download(
            params.repo,
            repo_type="dataset",
            revision=params.revision,
            allow_patterns=FILES,
            ignore_patterns="*.pcd",
            max_workers=16,
        )
    except errors.RevisionNotFoundError:
        raise UserError(
            f"The dataset {params.repo} has no revision {params.revision}; mend data.hub.revision."
        ) from None
    except errors.GatedRepoError:
        raise UserError(
            f"The dataset {params.repo} asks for consent: give it on its page on the Hub, and set HF_TOKEN."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"The Hub has no dataset {params.repo}, or it is private; mend data.hub.repo, or set HF_TOKEN to a token "
            "that may read it."
        ) from None
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise UserError(
                f"The Hub refuses {name} to this token; mend or unset HF_TOKEN, or run `hf auth login`."
            ) from None
        raise UserError(_unreachable(name, f"status {error.response.status_code}")) from None
    except errors.HFValidationError:
        raise UserError(f"{params.repo} is no name that the Hub allows; mend data.hub.repo.") from None
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be written; set HF_HOME to a folder of your own.") from None
    except Exception as error:  # httpx's, OSError and the Hub client's own, all meaning that it did not come
        reason = type(error.__cause__ or error).__name__  # texts may quote addresses
        raise UserError(_unreachable(name, reason)) from None
    return Path(folder), Path(folder).name


def _unreachable(name: str, reason: str) -> str:
    return (
        f"{name} could not be fetched from the Hub ({reason}), and no whole copy is in the cache; check the network "
        "and try again: what has come is kept."
    )


def import_export(folder: Path, root: Path, params: HubParams, commit: str) -> tuple[list[Pair], Report]:
    """Copy the usable pairs of an exported dataset into the clean raw layout below ``root``, with their split tags.

    ``root`` also gets ``skipped.csv`` and ``origin.json``; writing ``manifest.csv`` is left to the caller.

    Raises:
        UserError: the files are no grouped export with calibration.
    """
    folder = Path(os.path.normpath(folder))  # as the paths of its files are
    export = read_export(folder, need_splits=False)
    for label, (azimuth, zenith) in export.calibration.items():
        write_calibration(root, label, azimuth, zenith)
    for label in CLASSES:
        for path in (rgb_path(root, Pair(0, label)), lidar_path(root, Pair(0, label))):
            path.parent.mkdir(parents=True, exist_ok=True)
    report, pairs = Report(), []
    for record in track(export.records, "checking and copying", unit="pair"):
        pair = Pair(record.scene, record.label, record.split)
        if _copy(record, rgb_path(root, pair), lidar_path(root, pair), folder, report):
            pairs.append(pair)
    report.write(root)
    print(report.summary(), flush=True)
    origin = {"repo": params.repo, "revision": params.revision, "commit": commit}
    (root / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return sorted(pairs), report


def _copy(record: Record, rgb: Path, lidar: Path, folder: Path, report: Report) -> bool:
    """Copy both files if both are good, else report them."""
    files = {record.rgb_path: (rgb, decode_rgb), record.lidar_path: (lidar, decode_range)}
    contents, reasons = {}, {}
    for source, (_, decode) in files.items():
        try:
            contents[source] = read_file(source)
            decode(contents[source])
        except Unusable as error:
            reasons[source] = str(error)
    for source in files if reasons else ():
        report.skip(source.relative_to(folder).as_posix(), reasons.get(source, "its partner is unusable"))
    if not reasons:
        for source, (target, _) in files.items():
            target.write_bytes(contents[source])
    return not reasons
