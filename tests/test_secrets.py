"""Tokens in the environment stay there: nothing that a run writes or prints holds one, and nobody outside is served."""

import base64
import gzip
import io
import re
import shutil
import socket
import subprocess
import sys
import zipfile

import pytest
from canaries import SECRETS, VARIABLES, leaks, leaks_below
from clone import ENVIRONMENT, ROOT
from hub_server import TOKEN, HubServer

from cilp.console import cli
from cilp.errors import UserError

pytestmark = pytest.mark.timeout(420)


# --- what the pipeline writes


def test_nothing_that_the_pipeline_wrote_or_printed_holds_a_token(project):
    """Data, models, figures, W&B's runs, lock files, DVC's cache and what tools put into the user's home."""
    assert leaks_below(project) == {}
    printed = (project / ".git/printed").read_bytes()
    assert b"Running stage 'predict'" in printed
    runs = list((project / "wandb").glob("offline-run-*/*.wandb"))
    assert any(b"hadamard-maxpool-51" in path.read_bytes() for path in runs)  # what they hold could be found


@pytest.mark.parametrize("name", SECRETS)
def test_the_search_finds_a_token_whatever_it_is_wrapped_in(name, tmp_path):
    secret = SECRETS[name].encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("seed-51/data.pkl", b"x" + secret)
    wrapped = [secret, gzip.compress(secret), archive.getvalue()]
    wrapped += [base64.b64encode(b"user:"[:before] + secret + b"\n") for before in range(4)]
    for number, data in enumerate(wrapped):
        (tmp_path / str(number)).write_bytes(b"" if leaks(data) == {name} else data)
    assert leaks_below(tmp_path) == {}
    (tmp_path / "leak").write_bytes(wrapped[-1])
    assert leaks_below(tmp_path) == {"leak": [name]}


# --- what is said when something fails


def run(folder, *command, code=2, **environment):
    """Run a command with every token in its environment; it prints none, and leaves none in the folder, its home."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=200, check=False,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder), **VARIABLES, "NO_PROXY": "127.0.0.1",
             **environment},
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert not leaks(printed.encode()), printed
    assert "Traceback" not in printed
    assert leaks_below(folder) == {}
    return printed


@pytest.fixture
def folder(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def set_source(folder, source):
    path = folder / "params.yaml"
    path.write_text(re.sub(r"^  source: \w+", f"  source: {source}", path.read_text(), flags=re.MULTILINE))
    assert f"source: {source}" in path.read_text()


@pytest.mark.parametrize("case", ["refused", "missing", "unreachable"])
def test_a_failing_download_from_the_hub_names_no_token(folder, case):
    set_source(folder, "hub")
    with HubServer() as server:
        address = "http://127.0.0.1:9" if case == "unreachable" else server.address
        address = address.replace("://", f"://user:{SECRETS['KAGGLE_KEY']}@")  # whatever a user put into it
        known = {"HF_TOKEN": TOKEN} if case == "missing" else {}
        said = run(folder, str(ROOT / "stages/acquire.py"), HF_ENDPOINT=address, HF_HUB_ETAG_TIMEOUT="2", **known)
    assert TOKEN not in said
    assert "HF_TOKEN" in said or case == "unreachable"


@pytest.mark.parametrize(
    "repository", ["user/shapes", f"https://user:{SECRETS['HF_TOKEN']}@127.0.0.1/user/shapes"], ids=["name", "address"]
)
def test_a_failing_push_to_the_hub_names_no_token(project, tmp_path, repository):
    shutil.copytree(project / "data/subset", tmp_path / "data/subset")
    shutil.copy(project / "params.yaml", tmp_path)
    with HubServer() as server:
        said = run(tmp_path, "-m", "cilp.publish", repository, HF_ENDPOINT=server.address)
    assert "set HF_TOKEN" in said or "check name and network" in said


def test_a_push_shows_an_address_without_what_is_in_it_for_the_server(capsys, monkeypatch, tmp_path):
    import huggingface_hub

    from cilp import publish

    class Api:
        def create_repo(self, repo, **_):
            return f"https://user:{SECRETS['HF_TOKEN']}@127.0.0.1/{repo}"

        def list_repo_files(self, *_, **__):
            return []

        upload_file = upload_folder = list_repo_files

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    publish.push("user/shapes", "dataset", tmp_path, "# Card", private=True)
    assert capsys.readouterr().out == f"https://...@127.0.0.1/user/shapes: pushed {tmp_path}\n"


def test_kaggle_out_of_reach_names_no_token(folder):
    """Its real client, sent through a proxy that is not there."""
    set_source(folder, "kaggle")
    said = run(folder, str(ROOT / "stages/acquire.py"))
    assert "error: Kaggle cannot be reached (ProxyError)" in said


TRACK = (
    "from cilp import tracking; from cilp.console import cli\n"
    "settings = {'tracking': {'mode': 'auto', 'project': 'cilp', 'entity': None}}\n"
    "def main():\n"
    "    with tracking.start_run(settings, 'fusion', 'late-51', {'seed': 51}): pass\n"
    "cli.run(main)"
)


def test_a_server_of_weights_and_biases_that_refuses_the_key_leaves_no_trace_of_it(folder):
    said = run(folder, "-c", TRACK, code=0, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="2")
    assert "cannot be reached" in said
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1


def test_a_wrong_setting_of_weights_and_biases_is_named_without_its_value(folder):
    said = run(folder, "-c", TRACK, WANDB_BASE_URL=f"user:{SECRETS['WANDB_API_KEY']}@127.0.0.1")
    assert said == (
        "error: Weights & Biases refuses the value of WANDB_BASE_URL; mend or unset it, or set WANDB_MODE=disabled.\n"
    )


@pytest.mark.parametrize("credentials", ["user:{}@", "{}@", "{}:x-oauth-basic@", "me@home:{}@"])
def test_errors_show_addresses_without_what_is_in_them_for_the_server(capsys, credentials):
    address = f"https://{credentials.format(SECRETS['HF_TOKEN'])}host/user/name"

    def main():
        raise UserError(f"repo must be owner/name; got {address!r}, see mailto:a@b.example")

    with pytest.raises(SystemExit):
        cli.run(main)
    said = capsys.readouterr().err
    assert said == "error: repo must be owner/name; got 'https://...@host/user/name', see mailto:a@b.example\n"


# --- who is served


@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_no_test_can_serve_the_network(address):
    """``conftest.py`` sees to it for every server within the tests; the App's is asked in ``test_app.py``."""
    with pytest.raises(AssertionError, match="loopback"):
        socket.create_server((address, 0))
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[0] == "127.0.0.1"
