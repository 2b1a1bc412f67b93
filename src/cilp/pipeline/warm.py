"""Stages that start at once: each is a fork of one process that has imported PyTorch and W&B before it is asked.

    PYTHONPATH=src python -m cilp.pipeline.warm dvc repro

Importing is five to ten seconds of each of the dozens of stages that DVC runs one after the other, and most of what
they take on a GPU. While the command runs, ``python`` in its ``PATH`` is one that hands ``python stages/...`` over to
that process, and is the usual one for all else; the command itself does not wait for the imports. A stage has the
terminal, folder, environment and exit code that it has by itself, and the same results (``tests/test_warm.py``,
``tests/test_verify.py``); without its server it runs as usual. ``dvc`` there is that of ``cilp.pipeline.quick_dvc``,
for what DVC starts in turn as well, such as an experiment in a folder of its own.
"""

import argparse
import array
import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

PRELOADED = (
    "torch",
    "wandb",
    "wandb.sdk.launch",
    "pandas",  # which W&B asks what it is given by
    "tqdm",
    "yaml",
    "matplotlib.pyplot",
)
PREFIX = "cilp-warm-"
LONGEST_ADDRESS = 107
"""Bytes of the path of a socket."""
LAUNCHER = """#!/bin/sh
'''exec' {python} {options} "$0" "$@"
' '''
"""
"""The head of a script in Python, at whatever path: a space in it would end the first line's own ``#!python``."""
CLIENT = """
import array, json, os, signal, socket, sys

def as_usual():
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])

if not sys.argv[1:] or not sys.argv[1].startswith({scripts!r}):
    as_usual()
server = socket.socket(socket.AF_UNIX)
try:
    server.connect({address!r})
except OSError:
    as_usual()
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage has it as well, and says what becomes of it
server.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])

def pass_on(*_):
    try:
        server.shutdown(socket.SHUT_WR)  # the stage is told to end, and waited for
    except OSError:
        pass

with server.makefile("rw") as stream:
    print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]), file=stream, flush=True)
    signal.signal(signal.SIGTERM, pass_on)
    code = int(stream.readline() or 1)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
DVC = """
import sys
sys.path.insert(0, {package!r})
from cilp.pipeline.quick_dvc import run
run()
"""


@contextlib.contextmanager
def serving(
    environment: Mapping[str, str] = os.environ, modules: Sequence[str] = PRELOADED, scripts: str = "stages/"
) -> Iterator[Path]:
    """A folder to put first in ``PATH``. The process behind it starts with ``environment``, imports ``modules``, and
    runs what ``python`` is given if its path begins with ``scripts``."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        address, client = f"{folder}/socket", Path(folder, "bin/python")
        client.parent.mkdir()
        asks = CLIENT.format(python=sys.executable, address=address, scripts=scripts)
        dvc = DVC.format(package=str(Path(__file__).parents[2]))
        for program, options, text in ((client, "-IS", asks), (client.parent / "dvc", "-P", dvc)):
            program.write_text(LAUNCHER.format(python=shlex.quote(sys.executable), options=options) + text)
            program.chmod(0o755)
        command = [sys.executable, "-P", __file__, "--serve", address, *modules]  # its folder is none to import from
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            try:
                server.stdout.readline()
                yield client.parent
            finally:
                server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", metavar="SOCKET", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, and its arguments")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.command)
        return
    if not arguments.command:
        parser.error("name a command, such as dvc repro")
    started: list[subprocess.Popen] = []

    def end(number: int, _: FrameType | None) -> None:
        if not started:
            sys.exit(128 + number)  # and the folder that there may be goes
        started[0].send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP is below nohup
            signal.signal(number, end)
    reason = _why_not()
    with contextlib.nullcontext() if reason else serving() as folder:
        path = os.environ.get("PATH", os.defpath)
        if folder and not os.access(folder / "python", os.X_OK):
            reason = f"No program can run in {tempfile.gettempdir()} (TMPDIR)"
        if reason:
            print(f"{reason}: each stage starts by itself, more slowly")
        else:
            path = f"{folder}{os.pathsep}{path}"
        with subprocess.Popen(arguments.command, env={**os.environ, "PATH": path}) as process:
            started.append(process)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for the client
            code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _why_not() -> str:
    """Why there can be no server here; empty if there can."""
    if sys.platform != "linux":  # a fork of a process that has imported NumPy: macOS' Accelerate does not survive it
        return f"On {sys.platform} no process that has imported NumPy can fork"
    if len(os.fsencode(f"{tempfile.gettempdir()}/{PREFIX}01234567/socket")) > LONGEST_ADDRESS:
        return f"{tempfile.gettempdir()} (TMPDIR) is too long for the address of a socket"
    return ""


def serve(address: str, modules: Sequence[str]) -> None:
    """Import, then fork for each that connects, until terminated or left alone; who comes meanwhile waits."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever started this goes, and ends it
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        _preload(modules)
        # NumPy's threads are idle, and a fork needs none of them; Python 3.12 and newer would warn at each
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        signal.signal(signal.SIGTERM, lambda *_: _end())
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that only wait
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:  # closed: whoever started this is gone
                _end()
            client, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGHUP, hangup)
                listening.close()
                break
            client.close()
    hand_over(client, interrupt)


def _preload(modules: Sequence[str]) -> None:
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a process that has begun to use CUDA cannot fork
    gc.disable()  # all of it stays
    for name in modules:
        with contextlib.suppress(ImportError):  # a lean environment
            __import__(name)
    gc.freeze()  # or else each fork copies all of it when it collects
    gc.enable()


def _end(code: int = 0) -> NoReturn:
    """What an interpreter does at its end, but for taking itself apart, which with so many modules takes a second."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _leave_what_there_is() -> None:
    """Of what the server has made, such as W&B's folder for pictures, this fork of it removes nothing at its end."""
    atexit._clear()
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    atexit.register(weakref.finalize._exitfunc)  # for what it makes itself: who was cleared does not come back


def hand_over(client: socket.socket, interrupt: signal.Handlers) -> None:
    """Run what a client asks for in a fork of this process, and tell it the exit code; end it when the client goes."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, ancillary, _, _ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    descriptors = array.array("i", ancillary[0][2])
    with client.makefile("rw") as stream:
        argv, folder, environment = json.loads(stream.readline())
        child = os.fork()
        if child:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            threading.Thread(target=_end_with, args=(client, child), daemon=True).start()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with contextlib.suppress(OSError):
                print(code, file=stream, flush=True)
            os._exit(0)
    client.close()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, interrupt)
    os.chdir(folder)
    os.environ.clear()
    os.environ |= environment
    _leave_what_there_is()
    sys.argv = argv
    sys.path[:0] = [str(Path(argv[0]).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    code = _run(argv[0])
    threading._shutdown()
    _end(code)


def _end_with(client: socket.socket, child: int) -> None:
    """Terminate the stage once its client is gone, killed or with the terminal, or whoever started the server."""
    while True:
        ready, _, _ = select.select([client, sys.stdin], [], [])
        if sys.stdin in ready or not client.recv(1):
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


def _run(script: str) -> int:
    """What ``python script`` does, and its exit code."""
    code = 1
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    return code


if __name__ == "__main__":
    main()
