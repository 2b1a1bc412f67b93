"""DVC with less to do between the stages: the same commands, messages, exit codes and files, byte for byte.

    PYTHONPATH=src python -m cilp.pipeline.quick_dvc repro

After each stage DVC reads ``dvc.lock``, thousands of lines, and writes all of it anew, by a parser and an emitter in
Python that would keep comments: seconds, for one stage's record. For each stage it parses ``params.yaml`` as well. Here
a text is parsed once, and of the lock file the records that changed are written, into a file that takes the old one's
place when it is whole. ``tests/test_quick_dvc.py`` compares the bytes; ``dvc repro`` by itself does the same, slowly.
What it looks up less often, hashes above all, is in ``quick_checks.py``.
"""

import atexit
import contextlib
import hashlib
import json
import os
import pickle
import re
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from cilp.atomic import write_text
from cilp.pipeline.quick_checks import Hashes, checking, collecting, looking_up, nesting, resolving

LOCK = "dvc.lock"
KNOWN = Path(".dvc/tmp/quick-texts.json")
"""In DVC's folder for what may be lost, what the last texts mean, for the next command."""
TEXTS = 4
"""That are remembered: params, the pipeline, its lock file before and after a change."""


def run() -> NoReturn:
    """``main`` as a process, which does not take all of its objects apart before it ends: a tenth of what it takes."""
    code = main()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)


def main() -> int:
    hashes, parse = quicken()
    from dvc.cli import main as dvc

    parse.load(KNOWN)
    ended = unwinding()
    try:
        code = dvc(sys.argv[1:])
    finally:
        hashes.save()
        parse.save(KNOWN)
    return 128 + ended[0] if ended else code


def unwinding() -> list[int]:
    """Have a termination, or a terminal that is closed, unwind DVC as Ctrl-C does, once: numbers of such signals.

    By itself DVC would end at once, and leave git on no branch if an experiment was running in the work tree.
    """
    ended: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if ended:  # a terminal tells both DVC and who started it, which tells DVC again
            return
        ended.append(number)
        import psutil

        for child in psutil.Process().children():  # the stage, which DVC would not wait for
            with contextlib.suppress(psutil.Error):
                child.send_signal(number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # below nohup it stays ignored
            signal.signal(number, end)
    return ended


def quicken() -> "tuple[Hashes, Remembering]":
    """Replace what DVC reads and writes YAML and looks things up with, in this process."""
    import dpath
    from dvc import dvcfile, output, rwlock
    from dvc.repo import reproduce
    from dvc.stage import Stage
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse = Remembering(_yaml.parse_yaml)
    _yaml.parse_yaml = strictyaml.parse_yaml = parse
    dvcfile.modify_yaml = modifying(parse, dvcfile.modify_yaml, _yaml.dumps_yaml)
    hashes = Hashes(output.Output._get_hash_meta)
    output.Output._get_hash_meta = lambda self: hashes(self)
    Stage.changed, Stage.run, Stage.checkout = (
        hashes.steady(Stage.changed), hashes.changing(Stage.run), hashes.changing(Stage.checkout)
    )  # fmt: skip
    output.ocheck = checking(output.ocheck)
    rwlock.rwlock = nesting(rwlock.rwlock)
    dpath.get = looking_up(dpath.get)
    output.get_cloud_fs = resolving(output.get_cloud_fs)
    reproduce.collect_stages = collecting(reproduce.collect_stages)
    return hashes, parse


class Remembering:
    """A parser that knows what the last few texts mean; each caller gets a copy of its own."""

    def __init__(self, parse: Callable[..., Any]):
        self.parse = parse
        self.known: OrderedDict[str, bytes] = OrderedDict()
        self.learnt = False

    def __call__(self, text: str, path: Any, typ: str = "safe") -> Any:
        if typ != "safe":  # with comments
            return self.parse(text, path, typ)
        key = _digest(text)
        if key not in self.known:
            self.remember(text, self.parse(text, path))
        self.known.move_to_end(key)
        return pickle.loads(self.known[key])

    def remember(self, text: str, meaning: Any) -> None:
        """What ``text`` means, as plain values."""
        self.known[_digest(text)] = pickle.dumps(meaning)
        self.learnt = True
        while len(self.known) > TEXTS:
            self.known.popitem(last=False)

    def load(self, file: Path) -> None:
        """What another command has saved, if it can be read."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for key, meaning in json.loads(file.read_text("utf-8")).items():
                self.known[key] = pickle.dumps(meaning)

    def save(self, file: Path) -> None:
        """Keep what is new, if it is the same as JSON, and if there is a folder for it."""
        if not self.learnt or not file.parent.is_dir():
            return
        meanings = {}
        for key, meaning in ((key, pickle.loads(pickled)) for key, pickled in self.known.items()):
            with contextlib.suppress(TypeError, ValueError):  # a date, for one, is not
                if repr(json.loads(json.dumps(meaning))) == repr(meaning):
                    meanings[key] = meaning
        with contextlib.suppress(OSError):
            write_text(file, json.dumps(meanings))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def modifying(parse: Remembering, modify_yaml: Callable[..., Any], dumps: Callable[[Any], str]) -> Callable[..., Any]:
    """``modify_yaml``, which hands out what a file holds and writes it when the block ends, quicker for a lock file."""

    @contextlib.contextmanager
    def modify(path: Any, fs: Any = None) -> Iterator[dict[str, Any]]:
        from dvc.fs import LocalFileSystem

        lock = Path(path)
        if lock.name != LOCK or not lock.is_file() or not (fs is None or isinstance(fs, LocalFileSystem)):
            with modify_yaml(path, fs=fs) as data:
                yield data
            return
        text = lock.read_text("utf-8")
        before, data = parse(text, path), parse(text, path)
        yield data
        changed = changed_stages(before, data)
        if changed is None:
            write_text(lock.resolve(), dumps(data))
        elif changed:
            fresh = dumps({"stages": changed})
            written = spliced(text, fresh)
            if written is not None:
                stages = (before["stages"] or {}) | parse.parse(fresh, path)["stages"]
                parse.remember(written, {**before, "stages": stages})
            write_text(lock.resolve(), written or dumps(data))

    return modify


def changed_stages(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any] | None:
    """Records of stages that are new or others than they were, in order; None if anything else has changed."""
    old, new = (lock.get("stages") or {} for lock in (before, after))
    rest = [{key: value for key, value in lock.items() if key != "stages"} for lock in (before, after)]
    if rest[0] != rest[1] or list(new)[: len(old)] != list(old):
        return None
    return {name: stage for name, stage in new.items() if name not in old or repr(stage) != repr(old[name])}


def spliced(text: str, fresh: str) -> str | None:
    """A lock file with the records of another in the place of its own, or behind them; None if it is no plain one."""
    parts = [records(each) for each in (text, fresh)]
    if None in parts:
        return None
    (head, old), (_, new) = parts
    return head + "".join({**old, **new}.values())


def records(text: str) -> tuple[str, dict[str, str]] | None:
    """What comes before the first stage's record, and each by its first line; None if there is more than that."""
    found = re.match(r"(?P<head>(?:[^ \n].*\n)*?stages:\n)(?P<body>(?:  .*\n)*)\Z", text)
    if not found:
        return None
    blocks = re.split(r"^(?=  \S)", found["body"], flags=re.MULTILINE)[1:]
    by_name = {block.partition("\n")[0]: block for block in blocks}
    return (found["head"], by_name) if len(by_name) == len(blocks) else None


if __name__ == "__main__":
    run()
