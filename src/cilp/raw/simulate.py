"""Simulated data: ray-cast scenes written in the raw layout."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from cilp.console.progress import track
from cilp.errors import UserError
from cilp.raw.layout import CLASSES, Pair, lidar_path, rgb_path, write_calibration
from cilp.simulation.raycast import AZIMUTH, ZENITH
from cilp.simulation.scenes import SimulateParams, render

MOST_SCENES = 9_999
CHUNK = 32
"""Scenes that a process takes on at a time."""
SCENES_WORTH_A_PROCESS = 128
"""A process costs about as long to start as this many scenes take."""


def simulate(root: Path, scenes: int, params: SimulateParams, processes: int | None = None) -> list[Pair]:
    """Write cube i and sphere i for every scene i below ``scenes``, and both calibrations, in the raw layout.

    The bytes of scene i depend on ``params`` and i alone, not on how many scenes or processes there are.

    Args:
        root: folder of the raw layout; made if missing. Files of the same names are overwritten, others left alone.
        processes: how many share the work; by default one for each CPU that this process may use, or fewer for little
            work. They are spawned: the calling script needs an ``if __name__ == "__main__"`` guard.

    Returns:
        The pairs written, in the order of the manifest, which the caller writes.

    Raises:
        UserError: ``scenes`` is out of range, or the params leave an object no place in view.
    """
    if not 1 <= scenes <= MOST_SCENES:
        raise UserError(f"data.scenes must be between 1 and {MOST_SCENES}; got {scenes}.")
    root = Path(root)
    for label in CLASSES:
        write_calibration(root, label, AZIMUTH, ZENITH)
        for path in (rgb_path(root, Pair(0, label)), lidar_path(root, Pair(0, label))):
            path.parent.mkdir(parents=True, exist_ok=True)

    if processes is None:
        processes = min(_usable_cpus(), math.ceil(scenes / SCENES_WORTH_A_PROCESS))
    chunks = [range(start, min(start + CHUNK, scenes)) for start in range(0, scenes, CHUNK)]
    with _written(root, chunks, params, processes) as written:
        for _ in track(written, "simulate", total=scenes, unit="scene"):
            pass
    return [Pair(index, label) for index in range(scenes) for label in CLASSES]


@contextmanager
def _written(root: Path, chunks: list[range], params: SimulateParams, processes: int) -> Iterator[Iterable[int]]:
    """Write all chunks; gives the scenes as they get done. On an error or Ctrl-C what has not begun is dropped."""
    if processes <= 1:
        yield chain.from_iterable(_write_chunk(root, chunk, params) for chunk in chunks)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            # Spawned children inherit the blocked Ctrl-C: it reaches the parent alone, which ends them in order.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = [pool.submit(_write_chunk, root, chunk, params) for chunk in chunks]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield chain.from_iterable(future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Keep this process from outliving a parent that was killed: it would wait for work for ever."""

    def follow() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _write_chunk(root: Path, indices: range, params: SimulateParams) -> range:
    """Write some scenes, one after the other: no result depends on which scenes share a chunk."""
    for index in indices:
        for label, picture, ranges in render(params, index):
            pair = Pair(index, label)
            Image.fromarray(picture).save(rgb_path(root, pair))
            np.save(lidar_path(root, pair), ranges)
    return indices


def _usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
