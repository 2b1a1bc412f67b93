"""The Hugging Face Hub's real client against a small Hub on loopback: publish, fetch, and what can go wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_server import TOKEN, HubServer, Repository
from PIL import Image

from cilp import publish
from cilp.raw.layout import CLASSES, Pair, lidar_path, read_manifest, rgb_path, write_calibration, write_manifest
from cilp.sensors import lidar_angles
from cilp.subset.grouped import export_grouped

ROOT = Path(__file__).parents[1]
SCENES = {0: "train", 1: "train", 2: "val", 3: "test"}
NAME = "user/shapes"
MARKED = {kind: {name: yaml.safe_dump(mark).encode()} for kind, (name, mark) in publish.MARKS.items()}
"""By kind of repository, the file that says that it is of an earlier push."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Four scenes in the raw layout."""
    root = tmp_path_factory.mktemp("project") / "data/raw"
    pairs = [Pair(scene, label, split) for scene, split in SCENES.items() for label in CLASSES]
    rng = np.random.default_rng(0)
    for label in CLASSES:
        write_calibration(root, label, lidar_angles(), lidar_angles())
    for pair in pairs:
        for path in (rgb_path(root, pair), lidar_path(root, pair)):
            path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)).save(rgb_path(root, pair))
        np.save(lidar_path(root, pair), rng.uniform(20, 30, (64, 64)).astype(np.float32))
    write_manifest(root, pairs)
    return root


@pytest.fixture(scope="module")
def subset(raw):
    """The grouped dataset that the stage ``subset`` makes of them."""
    export_grouped(raw, read_manifest(raw / "manifest.csv"), raw.parent / "subset")
    return raw.parent / "subset"


@pytest.fixture
def hub(subset):
    with HubServer() as server:
        server.files = {p.relative_to(subset).as_posix(): p.read_bytes() for p in subset.rglob("*") if p.is_file()}
        server.repositories["datasets", NAME] = Repository(server.files)
        yield server


@pytest.fixture
def project(tmp_path):
    """An empty project whose source is the Hub."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["data"] |= {"source": "hub", "subset": 3, "test": 1, "hub": {"repo": NAME, "revision": "main"}}
    settings["data"]["folder"]["path"] = "/home/someone/archive.zip"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def run(project, address, *command, code=0, token=None, home=None):
    """Run a command of the project as a user would, with a Hugging Face home of its own; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {
        "PYTHONPATH": str(ROOT / "src"),
        "HF_ENDPOINT": address,
        "HF_HOME": home or str(project / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
        **({"HF_TOKEN": token} if token else {}),
    }
    done = subprocess.run([sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def acquire(project, address, **options):
    return run(project, address, str(ROOT / "stages/acquire.py"), **options)


def tree(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_published_comes_back_byte_for_byte(subset, raw, project, hub):
    hub.repositories.clear()
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    (project / "models/lidar").mkdir(parents=True)
    (project / "models/lidar/seed-1.pt").write_bytes(b"weights")
    (project / "metrics").mkdir()
    (project / "metrics/lidar.json").write_text(json.dumps({"test_accuracy": 0.75, "test_accuracy_std": 0.25}))
    output = run(project, hub.address, "-m", "cilp.publish", NAME, "--models", "user/models", token=TOKEN)
    assert f"{NAME}: pushed data/subset" in output
    published = hub.repositories["datasets", NAME].commits[-1][1]
    assert published["fiftyone.yml"].startswith(b"format: FiftyOneDataset")
    card = published["README.md"].decode()
    assert "| train | 2 | 2 |" in card
    assert "/home/someone" not in card and "Hadamard" not in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["data"]["hub"]["repo"] == NAME
    assert yaml.safe_load(card.split("---")[1])["tags"][0] == "fiftyone"
    models = hub.repositories["models", "user/models"].commits[-1][1]
    assert models["lidar/seed-1.pt"] == b"weights"
    assert "| lidar | 0.7500 ± 0.2500 | 1 |" in models["README.md"].decode()

    (project / "data/subset").unlink()
    acquire(project, hub.address)
    ours, theirs = tree(project / "data/raw"), tree(raw)
    origin = json.loads(ours.pop("origin.json"))
    assert origin["commit"] == hub.repositories["datasets", NAME].commits[-1][0]
    assert ours.pop("skipped.csv") == b"file,reason\n"
    assert ours == theirs  # images, range images, calibration, and the splits in manifest.csv


def test_publishing_again_removes_what_is_no_longer_there(subset, project, hub):
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    hub.repositories["datasets", NAME].commit({**hub.files, **MARKED["dataset"], "data/rgb/old.png": b"old"})
    run(project, hub.address, "-m", "cilp.publish", NAME, token=TOKEN)
    published = hub.repositories["datasets", NAME].commits[-1][1]
    assert "data/rgb/old.png" not in published
    assert set(hub.files) <= set(published)


def test_publishing_models_again_removes_those_that_are_gone_and_no_other_file(subset, project, hub):
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    (project / "models/lidar").mkdir(parents=True)
    (project / "models/lidar/seed-1.pt").write_bytes(b"weights")
    hub.repositories["datasets", NAME].commit({})
    before = {**MARKED["model"], "lidar/seed-9.pt": b"old", "data/notes.txt": b"mine"}
    hub.repositories["models", "user/models"] = Repository(before)
    run(project, hub.address, "-m", "cilp.publish", NAME, "--models", "user/models", token=TOKEN)
    published = hub.repositories["models", "user/models"].commits[-1][1]
    assert {"lidar/seed-1.pt", "data/notes.txt"} <= set(published) and "lidar/seed-9.pt" not in published


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("dataset", {"data/train.parquet": b"theirs", "README.md": b"# Other data"}),
        ("dataset", {"data/a.png": b"theirs", "fiftyone.yml": b"name: other\nformat: FiftyOneDataset\n"}),
        ("model", {"weights/best.pt": b"theirs"}),
    ],
)
def test_a_repository_of_other_files_is_left_as_it_is(subset, project, hub, kind, theirs):
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    (project / "models/lidar").mkdir(parents=True)
    (project / "models/lidar/seed-1.pt").write_bytes(b"weights")
    hub.repositories["datasets", NAME] = Repository({".gitattributes": b""})
    other = hub.repositories[f"{kind}s", "user/other"] = Repository({".gitattributes": b"", **theirs})
    names = ("user/other",) if kind == "dataset" else (NAME, "--models", "user/other")
    printed = run(project, hub.address, "-m", "cilp.publish", *names, code=2, token=TOKEN)
    assert printed.splitlines()[-1].startswith("error: user/other on the Hub holds files that are not of an earlier")
    assert all(name in printed.splitlines()[-1] for name in theirs)
    assert len(other.commits) == 1


def test_an_upload_that_breaks_off_leaves_no_card_and_may_be_tried_again(subset, project, hub):
    """A card describes files that are there."""
    hub.repositories.clear()
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    (project / "models/lidar").mkdir(parents=True)
    (project / "models/lidar/seed-1.pt").write_bytes(b"weights")
    command = ("-m", "cilp.publish", NAME, "--models", "user/models")
    for kind, name, file in (("dataset", NAME, "metadata.json"), ("model", "user/models", "lidar/seed-1.pt")):
        hub.lost = file
        said = run(project, hub.address, *command, code=2, token=TOKEN)
        assert f"error: The Hub refuses to write {name} (status 400); try again later." in said
        assert hub.repositories[f"{kind}s", name].commits[-1][1].keys() == MARKED[kind].keys()
    run(project, hub.address, *command, token=TOKEN)
    for kind, name, file in (("dataset", NAME, "metadata.json"), ("model", "user/models", "lidar/seed-1.pt")):
        assert {"README.md", file, *MARKED[kind]} <= hub.repositories[f"{kind}s", name].commits[-1][1].keys()


def test_a_cache_whose_path_is_not_normal_is_read_all_the_same(project, hub):
    hub.repositories["datasets", NAME].commit({**hub.files, "data/rgb/cube-0001.png": b""})
    (project / "elsewhere").mkdir()
    run(project, hub.address, str(ROOT / "stages/acquire.py"), home=str(project / "elsewhere/../home"))
    assert "data/rgb/cube-0001.png,empty file" in (project / "data/raw/skipped.csv").read_text()


def test_a_commit_can_be_asked_for_and_needs_no_network_the_second_time(project, hub):
    first = hub.repositories["datasets", NAME].commits[0][0]
    hub.repositories["datasets", NAME].commit({})
    settings = yaml.safe_load((project / "params.yaml").read_text())
    settings["data"]["hub"]["revision"] = first
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    acquire(project, hub.address)
    before = tree(project / "data/raw")
    acquire(project, "http://127.0.0.1:9")  # nobody listens
    assert tree(project / "data/raw") == before


def fetched(hub):
    """Files whose content was asked for since the last time."""
    paths = [path.split("/", 6)[-1] for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    hub.requests.clear()
    return set(paths)


def test_a_file_whose_connection_broke_is_asked_for_again(project, hub, raw):
    hub.cut = "cube-0001.npy"
    acquire(project, hub.address)
    asked = [path for method, path in hub.requests if method == "GET" and path.endswith("cube-0001.npy")]
    assert len(asked) == 2
    assert tree(project / "data/raw/cubes") == tree(raw / "cubes")


def test_a_failed_download_keeps_the_files_that_came(project, hub):
    hub.refused = ".npy"
    assert "what has come is kept" in acquire(project, hub.address, code=2)
    before = fetched(hub)
    hub.refused = None
    acquire(project, hub.address)
    came = {path for path in before if path.endswith(".png")}
    assert came
    after = fetched(hub)
    assert not came & after
    assert {path for path in hub.files if path.endswith((".png", ".npy"))} <= came | after  # and no point cloud
    assert not any(path.endswith(".pcd") for path in before | after)


def test_an_object_with_a_broken_file_is_left_out_and_listed(project, hub):
    broken = {**hub.files, "data/rgb/cube-0001.png": b"", "data/lidar/sphere-0002.npy": b"\x93NUMPY"}
    hub.repositories["datasets", NAME].commit(broken)
    acquire(project, hub.address)
    pairs = read_manifest(project / "data/raw/manifest.csv")
    assert {(pair.index, pair.label) for pair in pairs} == {(scene, label) for scene in SCENES for label in CLASSES} - {
        (1, "cube"),
        (2, "sphere"),
    }
    skipped = (project / "data/raw/skipped.csv").read_text()
    assert "data/rgb/cube-0001.png,empty file" in skipped
    assert "data/rgb/sphere-0002.png,its partner is unusable" in skipped


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("missing", f"error: The Hub has no dataset {NAME}, or it is private; mend data.hub.repo, or set HF_TOKEN"),
        ("private", f"error: The Hub has no dataset {NAME}, or it is private; mend data.hub.repo, or set HF_TOKEN"),
        ("revision", f"error: The dataset {NAME} has no revision main; mend data.hub.revision."),
        ("token", f"error: The Hub refuses {NAME} at main to this token; mend or unset HF_TOKEN"),
        ("down", f"error: {NAME} at main could not be fetched from the Hub"),
        ("name", "error: user/a--b is no name that the Hub allows; mend data.hub.repo."),
        ("network", f"error: {NAME} at main could not be fetched from the Hub (ConnectError)"),
    ],
)
def test_each_failure_is_one_sentence_that_names_the_cure(project, hub, case, sentence):
    address, token = hub.address, None
    if case == "missing":
        hub.repositories.clear()
    elif case == "private":
        hub.repositories["datasets", NAME].private = True
    elif case == "revision":
        hub.repositories["datasets", NAME].at = lambda revision: None
    elif case == "token":
        token = "hf_wrong0123456789abcdefghijklmnopq"
    elif case == "down":
        hub.status = 503
    elif case == "name":
        settings = (project / "params.yaml").read_text()
        (project / "params.yaml").write_text(settings.replace(NAME, "user/a--b"))
    else:
        address = "http://127.0.0.1:9"
    printed = acquire(project, address, code=2, token=token)
    assert next(line for line in printed.splitlines() if line.startswith("error: ")).startswith(sentence)
    assert "Traceback" not in printed
    assert not token or token not in printed
    assert not (project / "data/raw").exists()


def test_publishing_without_a_network_is_one_sentence(subset, project):
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    printed = run(project, "http://127.0.0.1:9", "-m", "cilp.publish", NAME, code=2, token=TOKEN)
    assert printed.splitlines()[-1] == (
        f"error: {NAME} could not be pushed to the Hub (ConnectError); check name and network."
    )


@pytest.mark.parametrize(
    ("arguments", "token", "sentence"),
    [
        ((NAME,), None, "error: Publishing needs a token; set HF_TOKEN"),
        (("someone/else",), TOKEN, "error: The Hub refuses to write someone/else (status 403); set HF_TOKEN"),
        ((NAME, "--models", "user/models"), TOKEN, "error: models holds no models; train them with `dvc repro`"),
    ],
)
def test_publishing_without_what_it_takes(subset, project, hub, arguments, token, sentence):
    (project / "data").mkdir()
    (project / "data/subset").symlink_to(subset)
    before = {name: len(repository.commits) for name, repository in hub.repositories.items()}
    printed = run(project, hub.address, "-m", "cilp.publish", *arguments, code=2, token=token)
    assert printed.splitlines()[-1].startswith(sentence)
    assert {name: len(repository.commits) for name, repository in hub.repositories.items()} == before
