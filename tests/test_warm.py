"""A stage that starts at once is the stage that starts by itself."""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from clone import ENVIRONMENT

from cilp.pipeline.warm import LONGEST_ADDRESS, serving

SCRIPT = """
import os, sys
print(sys.argv, os.getcwd(), os.environ["ASKED"], __name__, sys.stdin.read(), "torch" in sys.modules, flush=True)
print("beside", file=sys.stderr, flush=True)
exec(os.environ["ASKED"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/one.py").write_text(SCRIPT)
    (tmp_path / "other.py").write_text(SCRIPT)
    (tmp_path / "stages/beside.py").write_text("HERE = 1\n")
    return tmp_path


def run(folder, *command, asked="", path, **more):
    environment = {**ENVIRONMENT, "PATH": path, "ASKED": asked, **more}
    return subprocess.run(["python", *command], cwd=folder, env=environment, input="in", text=True, capture_output=True)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("", 0),
        ("import beside; sys.exit(beside.HERE - 1)", 0),
        ("sys.exit(2)", 2),
        ("sys.exit('in a word')", 1),
        ("1 / 0", 1),
        ("os.kill(os.getpid(), 9)", -9),
        ("import atexit; atexit.register(print, 'at the end')", 0),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()", 0),
    ],
)
def test_it_has_the_arguments_folder_environment_streams_and_exit_code(folder, warm, asked, code):
    command = ("stages/one.py", "--some", "argument")
    cold = run(folder, *command, asked=asked, path=ENVIRONMENT["PATH"])
    done = run(folder, *command, asked=asked, path=warm["PATH"])
    assert (done.returncode, done.stdout.replace("True", "False")) == (code, cold.stdout)
    assert "True" in done.stdout
    assert cold.returncode == code
    assert done.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


def test_what_a_stage_leaves_to_its_end_is_done_and_what_it_shares_stays(folder, tmp_path):
    """Temporary folders: those of a stage go with it, those that the server's modules have made go with the server."""
    modules, left = nothing_to_import(tmp_path / "modules"), tmp_path / "left"
    left.mkdir()
    (modules / "wandb.py").write_text("import tempfile\nSHARED = tempfile.TemporaryDirectory()\n")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(modules), "TMPDIR": str(left)}
    asked = "import tempfile; own = tempfile.TemporaryDirectory(); print('has', os.path.isdir(own.name))"
    with serving(environment) as first:
        path = f"{first}{os.pathsep}{ENVIRONMENT['PATH']}"
        (shared,) = eventually(lambda: [path for path in left.iterdir() if path.is_dir()])  # not a file to try it
        for _ in range(2):
            assert "has True" in run(folder, "stages/one.py", asked=asked, path=path, TMPDIR=str(left)).stdout
            assert list(left.iterdir()) == [shared]
    assert not list(left.iterdir())


@pytest.mark.parametrize("start", ["by itself", "at once"])
def test_its_large_tensors_lie_in_huge_pages(folder, warm, start):
    """Or are to: where the kernel finds none that are free, it takes small ones."""
    if not Path("/sys/kernel/mm/transparent_hugepage/enabled").is_file():
        pytest.skip("no huge pages here")
    asked = f"""
sys.path.insert(0, {str(Path(__file__).parents[1] / "src")!r})
import torch, cilp  # in the order in which a stage imports them
tensor = torch.ones(2**24)
middle, inside = tensor.data_ptr() + 2**25, False
for line in open("/proc/self/smaps"):
    first, *flags = line.split()
    if not first.endswith(":"):
        low, high = (int(end, 16) for end in first.split("-"))
        inside = low <= middle < high
    elif inside and first == "VmFlags:":
        print("asked for:", "hg" in flags)"""
    path = warm["PATH"] if start == "at once" else ENVIRONMENT["PATH"]
    assert run(folder, "stages/one.py", asked=asked, path=path).stdout.partition("asked for: ")[2] == "True\n"


def test_what_is_no_stage_is_run_as_ever(folder, warm):
    assert "False" in run(folder, "other.py", path=warm["PATH"]).stdout
    assert run(folder, "-c", "print(6 * 7)", path=warm["PATH"]).stdout == "42\n"


def test_a_stage_ends_with_the_one_who_asked_for_it(folder, warm):
    asked = "import time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    environment = {**ENVIRONMENT, **warm, "ASKED": asked}
    with subprocess.Popen(["python", "stages/one.py"], cwd=folder, env=environment, stdin=subprocess.DEVNULL) as client:
        pid = eventually(lambda: int((folder / "pid").read_text() or 0))
        client.kill()
    assert eventually(lambda: not alive(pid))


def test_a_termination_is_the_stages_which_is_waited_for(folder, warm):
    asked = "\n".join(
        (
            "import signal, time",
            "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), open('ended', 'w').close(), sys.exit(143)))",
            "open('ready', 'w').write('1')",
            "time.sleep(60)",
        )
    )
    environment = {**ENVIRONMENT, **warm, "ASKED": asked}
    with subprocess.Popen(["python", "stages/one.py"], cwd=folder, env=environment, stdin=subprocess.DEVNULL) as client:
        eventually(lambda: (folder / "ready").read_text())
        client.terminate()
        assert client.wait(20) == 143
    assert (folder / "ended").exists()


def test_a_stage_ends_with_the_command_that_it_was_started_for(folder, tmp_path):
    """Which, like DVC, leaves its children alone when it is told to stop."""
    asked = "import time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    path = f"{nothing_to_import(tmp_path)}{os.pathsep}{Path(__file__).parents[1] / 'src'}"
    environment = {**ENVIRONMENT, "PYTHONPATH": path, "ASKED": asked}
    command = [sys.executable, "-m", "cilp.pipeline.warm", "sh", "-c", "python stages/one.py; true"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL) as launcher:
        pid = eventually(lambda: int((folder / "pid").read_text() or 0))
        launcher.terminate()
        assert launcher.wait(20) == 143
    assert eventually(lambda: not alive(pid))


def test_an_interrupt_from_the_terminal_is_the_stages(folder, warm):
    """Which the whole group gets: the client waits for what the stage makes of it, and the server outlives it."""
    asked = "\n".join(
        (
            "import time",
            "try:",
            "    os.setpgid(0, int(os.environ['GROUP']))",
            "    open('ready', 'w').write('1')",
            "    time.sleep(60)",
            "except KeyboardInterrupt:",
            "    sys.exit(130)",
        )
    )
    program = (
        "import os, sys; os.setpgid(0, 0); os.environ['GROUP'] = str(os.getpid()); os.execvp('python', sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "python", "stages/one.py"]
    environment = {**ENVIRONMENT, **warm, "ASKED": asked}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL) as client:
        eventually(lambda: (folder / "ready").read_text())
        os.killpg(client.pid, signal.SIGINT)
        assert client.wait(20) == 130
    assert run(folder, "stages/one.py", path=warm["PATH"]).returncode == 0


def test_without_its_server_a_stage_runs_as_ever(folder, tmp_path):
    with serving({**ENVIRONMENT, "PYTHONPATH": str(nothing_to_import(tmp_path))}) as first:
        path = f"{first}{os.pathsep}{ENVIRONMENT['PATH']}"
        assert run(folder, "stages/one.py", path=path).returncode == 0
        (first.parent / "socket").unlink()
        assert "False" in run(folder, "stages/one.py", path=path).stdout
    assert "False" in run(folder, "stages/one.py", path=path).stdout


def test_dvc_is_the_quick_one_whatever_starts_it(folder, tmp_path):
    """In a folder of its own, too, as an experiment has one."""
    with serving({**ENVIRONMENT, "PYTHONPATH": str(nothing_to_import(tmp_path))}) as first:
        environment = {**ENVIRONMENT, "PATH": f"{first}{os.pathsep}{ENVIRONMENT['PATH']}", "PYTHONPATH": "nowhere"}
        command = ["sh", "-c", "dvc --version"]
        done = subprocess.run(
            command, cwd=folder, env=environment | {"PYTHONPROFILEIMPORTTIME": "1"}, text=True, capture_output=True
        )
    assert done.stdout.strip() == importlib.metadata.version("dvc")
    assert "cilp.pipeline.quick_dvc" in done.stderr


def test_a_path_may_hold_a_space(folder, tmp_path, monkeypatch):
    """As that of a clone below "My projects" does, in which .venv lies."""
    python = tmp_path / "a folder" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    (nothing_to_import(tmp_path) / "torch.py").write_text("")
    with serving({**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}) as first:
        path = f"{first}{os.pathsep}{ENVIRONMENT['PATH']}"
        for shell in ("sh", "bash"):
            done = subprocess.run(
                [shell, "-c", "python stages/one.py --some 'argument here'"], cwd=folder, text=True, input="in",
                env={**ENVIRONMENT, "PATH": path, "ASKED": ""}, capture_output=True,
            )  # fmt: skip
            assert (done.returncode, "True" in done.stdout, "'argument here'" in done.stdout) == (0, True, True)


def test_where_no_program_can_run_stages_start_by_themselves(folder):
    """A folder for temporary files may be mounted ``noexec``."""
    started = "import os, sys; from cilp.pipeline import warm; os.access = lambda *_: False; warm.main()"
    command = [sys.executable, "-c", started, "python", "stages/one.py"]
    root = Path(__file__).parents[1]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(root / "src"), "ASKED": ""}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, input="in", capture_output=True)
    assert done.returncode == 0 and "each stage starts by itself" in done.stdout and "False" in done.stdout


def test_where_the_address_of_a_socket_would_be_too_long_stages_start_by_themselves(folder):
    long = folder / ("a" * 100)
    long.mkdir()
    command = [sys.executable, "-m", "cilp.pipeline.warm", "python", "stages/one.py"]
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "ASKED": "",
        "TMPDIR": str(long),
    }
    done = subprocess.run(command, cwd=folder, env=environment, text=True, input="in", capture_output=True)
    assert done.returncode == 0 and "False" in done.stdout
    assert f"{long} (TMPDIR) is too long for the address of a socket: each stage starts by itself" in done.stdout
    assert done.stderr == "beside\n"
    assert not list(long.iterdir())


def test_the_longest_address_is_one_of_a_socket_and_a_longer_one_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        with pytest.raises(OSError, match="too long"):
            listening.bind("a" * (LONGEST_ADDRESS + 1))
        listening.bind("a" * LONGEST_ADDRESS)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["before the command", "while it runs"])
def test_nothing_is_left_behind_by_a_signal(folder, tmp_path, number, when):
    """From the first moment on: such as a terminal that is closed at once."""
    program = "from cilp.pipeline import warm\n"
    if when == "before the command":  # the folder and the server are there
        program += "def wait(*_): open('there', 'w').write('1'); __import__('time').sleep(60)\nwarm.os.access = wait\n"
    program += "warm.main()"
    path = f"{nothing_to_import(tmp_path / 'modules')}{os.pathsep}{Path(__file__).parents[1] / 'src'}"
    command = [sys.executable, "-c", program, "sh", "-c", "echo 1 > there; exec sleep 60"]
    with tempfile.TemporaryDirectory() as left:
        environment = {**ENVIRONMENT, "PYTHONPATH": path, "TMPDIR": left}
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        ) as launcher:  # or nohup's
            eventually((folder / "there").read_text)
            assert list(Path(left).iterdir())
            os.killpg(launcher.pid, number)
            said = launcher.communicate(timeout=20)[1]
        assert launcher.returncode == 128 + number
        assert "Traceback" not in said
        assert not list(Path(left).iterdir())


def test_below_nohup_a_closed_terminal_ends_nothing(folder, tmp_path):
    modules, root = nothing_to_import(tmp_path / "modules"), Path(__file__).parents[1] / "src"
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{modules}{os.pathsep}{root}"}
    command = ["nohup", sys.executable, "-m", "cilp.pipeline.warm", "sh", "-c", "echo 1 > there; sleep 1; exit 3"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True) as launcher:  # fmt: skip
        eventually((folder / "there").read_text)
        os.killpg(launcher.pid, signal.SIGHUP)
        assert launcher.wait(20) == 3


def test_a_command_has_its_own_exit_code(tmp_path):
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{nothing_to_import(tmp_path)}{os.pathsep}src"}
    command = [sys.executable, "-m", "cilp.pipeline.warm"]
    for code, text in ((0, "0"), (3, "3"), (143, "os.kill(os.getpid(), 15)")):
        program = ["python", "-c", f"import os, sys; sys.exit({text})"]
        root = Path(__file__).parents[1]
        assert subprocess.run([*command, *program], env=environment, cwd=root, check=False).returncode == code
    assert subprocess.run(command, env=environment, cwd=root, capture_output=True, check=False).returncode == 2


def nothing_to_import(folder: Path) -> Path:
    """What has the server be there at once."""
    folder.mkdir(exist_ok=True)
    for name in ("torch", "wandb", "matplotlib", "tqdm", "yaml"):
        (folder / f"{name}.py").write_text("raise ImportError\n")
    return folder


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def eventually(what, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it has not come to that")
