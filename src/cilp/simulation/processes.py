"""Scenes shared out among processes: results come in order, and Ctrl-C or the end of the parent is theirs, too."""

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np

from cilp.cores import available_cores
from cilp.simulation.scenes import SimulateParams, render

CHUNK = 32
"""Scenes that a process takes on at a time."""
SCENES_WORTH_A_PROCESS = 128
"""A process costs about as long to start as this many scenes take."""

T = TypeVar("T")
Rendered = tuple[str, np.ndarray, np.ndarray]
"""Class, picture (64, 64, 4) uint8 and range image (64, 64) float32 in metres of one object."""


@contextmanager
def rendering(
    params: SimulateParams, scenes: Sequence[int], processes: int | None = None, matched_twins: bool = False
) -> Iterator[Iterator[Rendered]]:
    """What ``render`` gives of each of ``scenes``, in their order; processes as in ``shared_out``."""
    with shared_out(partial(_render, params, matched_twins), scenes, processes) as rendered:
        yield (view for views in rendered for view in views)


@contextmanager
def shared_out(
    work: Callable[[Sequence[int]], T], scenes: Sequence[int], processes: int | None = None
) -> Iterator[Iterator[T]]:
    """Results of ``work`` for ``CHUNK`` scenes after the other, in order. On an error what has not begun is dropped.

    Args:
        work: can be pickled, and so can its results.
        processes: how many share the work at most; by default one for each core that this process may use, or fewer for
            little work. Forked on Linux, since what a stage has imported costs each of them seconds to import anew;
            spawned elsewhere: the calling script needs an ``if __name__ == "__main__"`` guard.
    """
    if processes is None:
        processes = min(available_cores(), math.ceil(len(scenes) / SCENES_WORTH_A_PROCESS))
    chunks = [scenes[start : start + CHUNK] for start in range(0, len(scenes), CHUNK)]
    processes = min(processes, len(chunks))
    if processes <= 1:
        yield map(work, chunks)
        return
    start = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(processes, mp_context=start, initializer=_begin) as pool:
        try:
            # Children inherit the blocked Ctrl-C: it reaches the parent alone, which ends them in order.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = deque(pool.submit(work, chunk) for chunk in chunks)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield (futures.popleft().result() for _ in chunks)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _render(params: SimulateParams, matched_twins: bool, scenes: Sequence[int]) -> list[Rendered]:
    return [view for scene in scenes for view in render(params, scene, matched_twins)]


def _begin() -> None:
    """Leave it to the parent to say that it was told to end, and do not outlive it: a killed one gives no more work."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)

    def follow() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
