"""A project with made-up data for ``benchmarks/more_seeds.py``."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from clone import ROOT, merge
from synthetic import make_packed

from cilp import packed
from cilp.models import fusion
from cilp.training.checkpoint import save_checkpoint


@pytest.fixture
def more_seeds():
    import more_seeds

    return more_seeds


@pytest.fixture
def networks(more_seeds):
    import more_seeds_networks

    return more_seeds_networks


@pytest.fixture
def study(more_seeds):
    return more_seeds.RECORDS["study"]


@pytest.fixture
def trained(study):
    return json.loads((ROOT / study.results).read_text(encoding="utf-8"))


@pytest.fixture
def project(more_seeds, tmp_path, monkeypatch):
    """A project with made-up data and the networks of two variants on two seeds."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    change = {
        "variants": {"fusion": ["add"]}, "seeds": [51, 52], "device": "cpu", "fusion": {"add": {"epochs": 1}},
        "random_size": {"lr_factor": 1.0},
    }  # fmt: skip
    settings = merge(settings, change)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "docs").mkdir()
    for page in {record.page for record in more_seeds.RECORDS.values()}:
        shutil.copy(ROOT / page, tmp_path / page)
    packed.save(make_packed(), tmp_path / "data/packed.pt")
    monkeypatch.chdir(tmp_path)
    for way in ("maxpool", "strided"):
        arguments = {"fusion": "add", "downsampling": way, "xyz_scale": 50.0}
        for seed in (51, 52):
            torch.manual_seed(seed)
            path = Path(f"models/fusion/add-{way}/seed-{seed}.pt")
            save_checkpoint(path, fusion.build(**arguments), "fusion", arguments, settings["fusion"]["add"], seed)
    for name, record in more_seeds.RECORDS.items():
        monkeypatch.setitem(more_seeds.RECORDS, name, replace(record, further=(54, 55)))
    monkeypatch.setattr(sys, "argv", ["more_seeds.py"])
    return tmp_path
