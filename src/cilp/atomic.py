"""Files that are whole or absent: written beside their place, flushed to disk, then renamed; and checked when read."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of ``path`` when the block ends, and vanishes when it raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinities are refused with ``ValueError``."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def check_archive(path: Path) -> dict[str, int]:
    """Name and size of each member of a file that ``torch.save`` wrote, a zip archive, all found as they were written.

    ``torch.load`` compares no checksums: to it a damaged weight or pixel is as good as any. The file is read once.

    Raises:
        ValueError: a member is damaged, compressed or there twice.
        Exception: whatever else ``zipfile`` raises on what is no intact archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        sizes = {member.filename: member.file_size for member in members}
        if len(sizes) < len(members) or any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is no archive that torch wrote")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} in it is damaged")
    return sizes
