import os

import pytest

from cilp import cores, params
from cilp.simulation import processes
from cilp.simulation.scenes import SimulateParams

DEFAULTS = params.section(params.load(), "data.simulate", SimulateParams)


@pytest.mark.parametrize(("quota", "left"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1)])
def test_a_quota_leaves_as_many_cores_as_it_pays_for(tmp_path, monkeypatch, quota, left):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    assert cores.available_cores() == 8
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cores.available_cores() == left


def test_no_process_starts_for_which_there_is_no_work(monkeypatch):
    """A pool starts all of its processes as soon as it has one piece of work."""
    started = []

    class Pool(processes.ProcessPoolExecutor):
        def __init__(self, number, **options):
            started.append(number)
            super().__init__(number, **options)

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    for scenes in (processes.CHUNK, processes.CHUNK + 1):
        with processes.rendering(DEFAULTS, range(scenes), processes=8) as rendered:
            assert len(list(rendered)) == 2 * scenes
    assert started == [2]
