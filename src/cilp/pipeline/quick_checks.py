"""What DVC looks up for each stage, looked up once: hashes of what has not changed, locks that it holds, params.

A study has a thousand dependencies, most of them the same files and folders stage after stage. DVC walks a folder of
12,000 files each time to find that none has changed, and writes its file of locks sixteen times for a stage.
"""

import contextlib
import copy
import hashlib
import json
import os
import stat
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cilp.atomic import write_text

KNOWN = "quick-hashes.json"
"""In DVC's folder for what may be lost, hashes of folders, for the next command."""


class Hashes:
    """DVC's ``Output._get_hash_meta``, which remembers what it found until a file's inode, size or time is another.

    That is what DVC goes by as well, file by file.
    """

    def __init__(self, compute: Callable[[Any], tuple[Any, Any]]):
        self.compute = compute
        self.known: dict[str, tuple[str, Any, Any]] = {}
        self.file: Path | None = None
        self.learnt = False
        self.checking = False
        """Whether DVC is looking for what has changed, and changes nothing."""
        self.signatures: dict[tuple[str, ...], str] = {}
        """Those it has seen while checking, since a stage ran."""

    def __call__(self, output: Any) -> tuple[Any, Any]:
        from dvc.fs import LocalFileSystem

        if not isinstance(output.fs, LocalFileSystem) or output.repo is None or output.repo.tmp_dir is None:
            return self.compute(output)
        if self.file is None:
            self.load(Path(output.repo.tmp_dir, KNOWN))
        try:
            now = self.signature(output.fs_path, f"{output.repo.root_dir}/.dvcignore")
        except OSError:  # DVC has words of its own for what is missing
            return self.compute(output)
        key = f"{output.hash_name}:{output.fs_path}"
        if key not in self.known or self.known[key][0] != now:
            self.known[key] = (now, *self.compute(output))
            self.learnt |= self.known[key][1].isdir
        return copy.copy(self.known[key][1]), copy.copy(self.known[key][2])

    def signature(self, *paths: str) -> str:
        """``signature``, taken once in all the checks between which no stage runs."""
        if not self.checking:
            return signature(*paths)
        if paths not in self.signatures:
            self.signatures[paths] = signature(*paths)
        return self.signatures[paths]

    def steady(self, check: Callable[..., Any]) -> Callable[..., Any]:
        """``check``, which looks for what has changed, and itself changes nothing."""

        def checked(*arguments: Any, **options: Any) -> Any:
            self.checking = True
            try:
                return check(*arguments, **options)
            finally:
                self.checking = False

        return checked

    def changing(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """``act``, after which a check has to look anew."""

        def acted(*arguments: Any, **options: Any) -> Any:
            try:
                return act(*arguments, **options)
            finally:
                self.signatures.clear()

        return acted

    def load(self, file: Path) -> None:
        """What another command has saved, if it can be read."""
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta

        self.file = file
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            for key, (known, meta, name, value) in json.loads(file.read_text("utf-8")).items():
                self.known[key] = (known, Meta.from_dict(meta), HashInfo(name, value))

    def save(self) -> None:
        """Keep the hashes of folders that there still are, if there are new ones; a file's is found at once anyway."""
        if self.learnt:
            folders = {
                key: (known, meta.to_dict(), hash_info.name, hash_info.value)
                for key, (known, meta, hash_info) in self.known.items()
                if meta.isdir and Path(key.partition(":")[2]).is_dir()
            }
            with contextlib.suppress(OSError):
                write_text(self.file, json.dumps(folders))


def signature(path: str, *beside: str) -> str:
    """Of a file, or of all in a folder, and of what else exists: where each is, its inode, size and time.

    Raises:
        OSError: there is nothing at ``path``, or something cannot be read.
    """
    paths, numbers = [], array("q")

    def see(path: str, of: os.stat_result) -> None:
        paths.append(path)
        numbers.extend((of.st_ino, of.st_size, of.st_mtime_ns))

    see(path, status := Path(path).stat())
    folders = [path] if stat.S_ISDIR(status.st_mode) else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                status = entry.stat()
                see(entry.path, status)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
    for path in beside:
        with contextlib.suppress(FileNotFoundError):
            see(path, Path(path).stat())
    return hashlib.blake2b(os.fsencode("\0".join(paths)) + numbers.tobytes(), digest_size=16).hexdigest()


def nesting(rwlock: Callable[..., Any]) -> Callable[..., Any]:
    """DVC's locks on paths, which write nothing where a block around it has them all; to write includes to read."""
    held: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def lock(tmp_dir: Any, fs: Any, cmd: str, read: list[str], write: list[str], hardlink: bool) -> Iterator[None]:
        wanted = {("write", path) for path in write}
        wanted |= {("read", path) for path in read if ("write", path) not in held}
        if wanted <= held:
            yield
            return
        taken = wanted - held
        with rwlock(tmp_dir, fs, cmd, read, write, hardlink):
            held.update(taken)
            try:
                yield
            finally:
                held.difference_update(taken)

    return lock


def looking_up(get: Callable[..., Any]) -> Callable[..., Any]:
    """``dpath.get``, which compares a path with all there are, even one without wildcards, of which there is one."""

    def look_up(values: Any, path: Any, separator: str = "/", **options: Any) -> Any:
        found = values
        if not isinstance(path, str) or not path or set("*?[") & set(path):
            return get(values, path, separator, **options)
        for part in path.split(separator):
            if not isinstance(found, dict) or part not in found:
                return get(values, path, separator, **options)
            found = found[part]
        return found

    return look_up


def resolving(get_cloud_fs: Callable[..., Any]) -> Callable[..., Any]:
    """DVC's ``get_cloud_fs``, which validates a configuration for each path to say that it is a local one."""
    last: list[Any] = [None, None]

    def resolve(repo_config: Any, **options: Any) -> Any:
        if options.keys() != {"url"} or "://" in str(options["url"]):
            return get_cloud_fs(repo_config, **options)
        if last[0] is not repo_config:
            last[:] = repo_config, get_cloud_fs(repo_config, **options)
        kind, config, _ = last[1]
        return kind, dict(config), kind._strip_protocol(options["url"])

    return resolve


def collecting(collect_stages: Callable[..., Any]) -> Callable[..., Any]:
    """DVC's ``collect_stages``, which reads the stages that its index has read already once more, if all are wanted."""

    def collect(repo: Any, targets: Any, recursive: bool = False, glob: bool = False) -> Any:
        from dvc.dvcfile import PROJECT_FILE

        path = repo.fs.abspath(PROJECT_FILE)
        if list(targets) == [PROJECT_FILE] and not glob and repo.fs.exists(path):
            return [stage for stage in repo.index.stages if stage.path == path]
        return collect_stages(repo, targets, recursive=recursive, glob=glob)

    return collect


def checking(check: Callable[..., Any]) -> Callable[..., Any]:
    """DVC's check that its cache has all of a folder's files, each read-only, with less to do about each that is so."""

    def check_all(cache: Any, found: Any, **options: Any) -> None:
        from dvc_data.hashfile.db.local import LocalHashFileDB
        from dvc_data.hashfile.tree import Tree

        if options or not isinstance(cache, LocalHashFileDB) or not isinstance(found, Tree):
            check(cache, found, **options)
            return
        for oid in [*(hash_info.value for _, _, hash_info in found), found.oid]:
            status = os.stat(cache.oid_to_path(oid))  # noqa: PTH116 - to make a Path takes longer than to look
            if stat.S_IMODE(status.st_mode) != cache.CACHE_MODE:
                cache.check(oid)

    return check_all
