"""The files of a source tree, listed from a directory or a zip archive without trusting either.

A zip archive is read in place: no member is ever written under a name that the archive chose, so none can land outside
the target and an interrupted import leaves no unpacked copy behind. Hidden files, links and the like are left out and
reported, the same for both kinds of source.
"""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from cilp.errors import UserError
from cilp.raw.decode import MAX_FILE_BYTES, Unusable, bounded, read_file

Skip = Callable[[str, str], None]
"""Called with the path of something left out, relative to the source, and the reason."""

MAX_TOTAL_BYTES = 4 * 2**30
"""Most bytes that are inflated from a zip archive: 12 times the 0.33 GB of 20,000 range images, the full data set."""
MAX_LIST_BYTES = 32 * 2**20
"""Most bytes of the list of members at a zip archive's end, each of which costs twenty times as much memory once it is
read. That of the full data set, 40,000 files, takes 4 MB."""
MAX_DEPTH = 32
"""Most parts of a path, the name of the file among them: a name in an archive may have thousands."""

HIDDEN_FOLDERS = ("__MACOSX",)
_SYMLINK = "symbolic link"
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Entry:
    """One file: its path relative to the source, and how to ``read`` it, up to a limit (raises ``Unusable``)."""

    name: PurePosixPath
    read: Callable[..., bytes]


class _BoundedReads(io.BufferedReader):
    """A file that refuses to be read in large parts: ``zipfile`` reads the list of members at once, however long."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))

    def read(self, size: int = -1, /) -> bytes:
        wanted = size if size >= 0 else os.fstat(self.fileno()).st_size - self.tell()
        if wanted > MAX_LIST_BYTES:
            raise zipfile.BadZipFile(f"the list of its members takes more than {MAX_LIST_BYTES // 2**20} MiB")
        return super().read(size)


@contextmanager
def open_source(source: Path, skip: Skip, param: str) -> Iterator[list[Entry]]:
    """The files of ``source``, a directory or a zip archive, ordered by path; readable inside the ``with`` block.

    ``param`` is the name of what says where it is, for errors.

    Raises:
        UserError: a file that is no zip archive, or one that is damaged, encrypted or too large.
    """
    if source.is_dir():
        yield _ordered(_directory_entries(source, skip), skip)
        return
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_BoundedReads(source))
            archive = opened.enter_context(zipfile.ZipFile(file))
        except _DAMAGED as error:
            raise UserError(
                f"{param}: {source} is no zip archive, or a damaged one ({error}); "
                "give a folder or an intact .zip that contains cubes/ and spheres/."
            ) from None
        yield _ordered(_archive_entries(archive, f"{param}: {source}", skip), skip)


def _ordered(entries: Iterable[Entry], skip: Skip) -> list[Entry]:
    """The entries by path, without those that lie too deep."""
    found = []
    for entry in entries:
        if len(entry.name.parts) > MAX_DEPTH:
            skip(str(entry.name), f"in more than {MAX_DEPTH - 1} folders")
        else:
            found.append(entry)
    return sorted(found, key=lambda entry: entry.name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN_FOLDERS


def _directory_entries(source: Path, skip: Skip) -> Iterator[Entry]:
    """Regular files below ``source``; no link is followed, whether it leads out of the source or not."""

    def unreadable(error: OSError) -> None:
        skip(Path(error.filename).relative_to(source).as_posix(), "folder that cannot be read")

    for folder, subfolders, files in os.walk(source, onerror=unreadable):
        relative = Path(folder).relative_to(source)
        for name in list(subfolders):
            if _is_hidden(name) or Path(folder, name).is_symlink():
                skip((relative / name).as_posix(), "hidden folder" if _is_hidden(name) else _SYMLINK)
                subfolders.remove(name)
        for name in files:
            path, shown = Path(folder, name), PurePosixPath((relative / name).as_posix())
            mode = _mode(path)
            if _is_hidden(name):
                skip(str(shown), "hidden file")
            elif stat.S_ISLNK(mode):
                skip(str(shown), _SYMLINK)
            elif not stat.S_ISREG(mode):  # opening a pipe would wait for ever
                skip(str(shown), "not a regular file")
            else:
                yield Entry(shown, partial(read_file, path))


def _mode(path: Path) -> int:
    """What kind of file it is, links not followed; 0 when even that cannot be told."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _archive_entries(archive: zipfile.ZipFile, shown: str, skip: Skip) -> Iterator[Entry]:
    """Members that are ordinary files with a path inside the archive, which errors call ``shown``."""
    members = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    if any(info.flag_bits & 0x1 for info in members):
        raise UserError(f"{shown} is encrypted; unpack it and give the folder.")
    total = sum(min(info.file_size, MAX_FILE_BYTES) for info in members)
    if total > MAX_TOTAL_BYTES:
        raise UserError(
            f"{shown} unpacks to {total / 2**30:.1f} GiB, more than the {MAX_TOTAL_BYTES / 2**30:g} "
            "GiB allowed; unpack it yourself if you trust it, and give the folder."
        )
    hidden_folders = set()
    for info in members:
        name = _safe_path(info.filename)
        if name is None:
            skip(info.filename, "unsafe path in the archive")
            continue
        depth = next((i for i, part in enumerate(name.parts) if _is_hidden(part)), None)
        if depth is not None and depth < len(name.parts) - 1:
            hidden_folders.add(PurePosixPath(*name.parts[: depth + 1]))
        elif depth is not None:
            skip(str(name), "hidden file")
        elif stat.S_ISLNK(info.external_attr >> 16):
            skip(str(name), _SYMLINK)
        else:
            yield Entry(name, partial(_read_member, archive, info))
    for folder in sorted(hidden_folders):
        skip(str(folder), "hidden folder")


def _safe_path(name: str) -> PurePosixPath | None:
    """A member's path, with Windows separators understood; None for one that leaves the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        return None
    return path


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int = MAX_FILE_BYTES) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unusable("compressed by another method than deflate")
    try:
        with archive.open(info) as file:
            data = bounded(file.read(limit + 1), limit)
        if len(data) != info.file_size:
            raise ValueError("another size than the archive says")
        return data
    except _DAMAGED:
        raise Unusable("damaged in the archive") from None
