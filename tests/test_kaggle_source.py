"""Kaggle's real client against a server on loopback, and without one."""

import io
import os
import runpy
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cilp.errors import UserError
from cilp.raw.folder import import_tree
from cilp.raw.kaggle import KaggleParams, fetch
from cilp.sensors import lidar_angles

PARAMS = KaggleParams("andandand/cubes-and-spheres-lidar-and-rgb", 1)
SECRET = "canary-0123456789abcdef"


def archive():
    """A download with two scenes, nested as the original is."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for kind in ("cubes", "spheres"):
            for name, array in (("azimuth", lidar_angles()), ("zenith", lidar_angles())):
                file.writestr(f"data/{kind}/{name}.npy", npy(array))
            for index in range(2):
                picture = io.BytesIO()
                Image.new("RGBA", (64, 64), (0, 0, 9 + index, 255)).save(picture, "PNG")
                file.writestr(f"data/{kind}/rgb/{index:04d}.png", picture.getvalue())
                file.writestr(f"data/{kind}/lidar/{index:04d}.npy", npy(np.full((64, 64), 25.0, dtype=np.float32)))
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.fixture
def client(tmp_path, monkeypatch):
    """kagglehub with a cache and a configuration of its own, and nobody's credentials."""
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    return monkeypatch


@pytest.fixture
def server(client):
    """Answers every request with ``server.answer``: a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.requests.append(self.path)
            status, body = self.server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.requests = (200, archive()), []
    from kagglesdk import kaggle_env

    address = f"http://127.0.0.1:{server.server_port}"
    client.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.TEST, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_version_is_fetched_once_and_read_as_a_folder(server, tmp_path):
    tree = fetch(PARAMS)
    pairs, _ = import_tree(tree, tmp_path / "raw", required_scenes=2)
    assert len(pairs) == 4
    asked = len(server.requests)
    assert asked >= 1
    server.answer = (500, b"")
    assert fetch(PARAMS) == tree
    assert len(server.requests) == asked  # a pinned version in the cache needs no network


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, r"has no .*, version 1, mend data\.kaggle"),
        (403, "refuses .*; set KAGGLE_USERNAME and KAGGLE_KEY"),
        (401, "refuses .*; set KAGGLE_USERNAME and KAGGLE_KEY"),
        (500, "fails to deliver .*try again later"),
    ],
)
def test_each_refusal_is_one_sentence_that_names_the_way_by_hand(server, client, status, sentence):
    client.setenv("KAGGLE_USERNAME", "someone")
    client.setenv("KAGGLE_KEY", SECRET)
    server.answer = (status, b'{"code": %d, "message": "no"}' % status)
    with pytest.raises(UserError, match=sentence) as refusal:
        fetch(PARAMS)
    assert "set data.source to folder and data.folder.path to the .zip" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_wrong_with_a_dataset_is_said_of_kaggles_params(server, tmp_path):
    server.answer = (200, archive().replace(b"cubes", b"kubes"))
    acquire = runpy.run_path(str(Path(__file__).parents[1] / "stages/acquire.py"))
    settings = {"data": {"kaggle": {"dataset": PARAMS.dataset, "version": PARAMS.version}}}
    fill = acquire["from_kaggle"](settings, 2)
    with pytest.raises(UserError, match=r"^data\.kaggle: no folder in .* contains both cubes/ and spheres/"):
        fill(tmp_path / "raw")


def test_a_broken_archive_is_not_kept(server, tmp_path):
    server.answer = (200, archive()[:500])
    with pytest.raises(UserError, match="failed"):
        fetch(PARAMS)
    server.answer = (200, archive())
    assert len(import_tree(fetch(PARAMS), tmp_path / "raw", required_scenes=2)[0]) == 4


def test_without_a_network(client):
    from kagglesdk import kaggle_env

    client.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.TEST, "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(UserError, match=r"cannot be reached \(ConnectionError\); check the network, or download"):
        fetch(PARAMS)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(
        UserError, match=r"needs the package kagglehub; run `.*`, or download the archive from https://"
    ):
        fetch(PARAMS)


@pytest.mark.parametrize("params", [("no-owner", 1), ("a/b/c", 1), ("../b", 1), ("a/b", 0)])
def test_bad_params(params):
    with pytest.raises(ValueError, match=r"dataset must be owner/name|version must be 1 or more"):
        KaggleParams(*params)
