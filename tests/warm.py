"""A python that has imported PyTorch and W&B before it is asked: importing is most of the time of a tiny stage.

``serving`` gives a folder with a ``python`` that has each ``python stages/...`` run by a fork of one process. It is for
the dozens of stages that DVC runs here one after the other. What is about processes (signals, kills, locks, two at
once) runs stages as users do; so does a test of ``make verify``, byte for byte with what came of forks.
"""

import array
import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

PRELOADED = (
    "torch",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "wandb",
    "wandb.sdk.launch",
    "tqdm",
    "yaml",
    "matplotlib.pyplot",
)
CLIENT = """#!{python} -IS
import array, json, os, socket, sys

if not sys.argv[1:] or not sys.argv[1].startswith("stages/"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
server.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
with server.makefile("rw") as stream:
    print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]), file=stream, flush=True)
    sys.exit(int(stream.readline() or 1))
"""


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A folder to put first in ``PATH``, below ``folder``."""
    bin, address = folder / "bin", str(folder / "socket")
    bin.mkdir(parents=True)
    (bin / "python").write_text(CLIENT.format(python=sys.executable, address=address))
    (bin / "python").chmod(0o755)
    command = [sys.executable, __file__, address]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"ready\n"
            yield bin
        finally:
            server.terminate()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that only wait
    for name in PRELOADED:
        __import__(name)
    gc.freeze()  # or else each fork copies all of it when it collects
    atexit._clear()  # what was made above, W&B's folder for pictures, serves the next ones too
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        print("ready", flush=True)
        while True:
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                break
            client.close()
    serve(client)


def serve(client: socket.socket) -> None:
    """Fork what is asked for, and tell its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, ancillary, _, _ = client.recvmsg(1, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    descriptors = array.array("i", ancillary[0][2])
    with client.makefile("rw") as stream:
        argv, cwd, environment = json.loads(stream.readline())
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=stream, flush=True)
            os._exit(0)
    client.close()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= environment
    sys.argv = argv
    sys.path[:1] = [str(Path(argv[0]).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    code = 1
    try:
        runpy.run_path(argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking an interpreter of so many modules apart takes a second


if __name__ == "__main__":
    main()
