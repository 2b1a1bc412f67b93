"""Two processes that take turns: ours, with memory as the study has it, and the reference loop's, with PyTorch's own.

How PyTorch asks for memory is settled once for a process (``cilp`` sets it), and what a process has computed before
decides how much of it need not be asked for anew. Both make everything ready, and one waits while the other measures.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
SIDES = {"ours": "1", "theirs": "0"}
"""And whether their large tensors lie in huge pages."""


@dataclass(frozen=True)
class Side:
    """One of the two processes, as it knows itself."""

    name: str
    pipe: Connection

    def turn(self, name: str, measure: Callable[[], float]) -> float:
        """What side ``name`` measures, which tells the other."""
        if name != self.name:
            return self.pipe.recv()
        measured = measure()
        self.pipe.send(measured)
        return measured


def in_turns(run: Callable[..., T], *arguments: object) -> T:
    """``run(side, *arguments)`` in two fresh processes; what it returns in ours.

    Raises:
        Exception: whatever either raises.
    """
    context, before = multiprocessing.get_context("spawn"), os.environ.get(HUGE_PAGES)
    ends, futures, others = context.Pipe(), [], set(multiprocessing.active_children())
    with ExitStack() as stack:
        for (name, huge), end in zip(SIDES.items(), ends, strict=True):
            os.environ[HUGE_PAGES] = huge  # which the process inherits
            pool = ProcessPoolExecutor(1, mp_context=context, initializer=_become, initargs=(name, end))
            futures.append(stack.enter_context(pool).submit(_as_side, run, *arguments))
        os.environ.pop(HUGE_PAGES)
        if before is not None:
            os.environ[HUGE_PAGES] = before
        for end in ends:  # so that each hears of the other's end
            end.close()
        try:
            failures = [error for future in futures if (error := future.exception()) is not None]
        except BaseException:  # told to end: not after some more minutes
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
        # the one that failed first: the other then finds nobody to hear or to tell
        for error in sorted(failures, key=lambda error: isinstance(error, EOFError | ConnectionError)):
            raise error
        return futures[0].result()


def _become(name: str, pipe: Connection) -> None:
    global _side
    _side = Side(name, pipe)


def _as_side(run: Callable[..., T], *arguments: object) -> T:
    try:
        return run(_side, *arguments)
    finally:
        _side.pipe.close()
