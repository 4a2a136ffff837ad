"""The decision where PyTorch comes from: by the system, its GPU, and whether the index of CPU builds answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "install_torch.sh"
pytestmark = [
    pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell"),
    pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="would see the GPU of this machine"),
]

PYTHON = """#!/bin/sh
# An environment without torch, whose pip only says what it would do.
if [ "$1" = -m ]; then echo "$@" >> "{log}"; exit {status}; fi
case $2 in *find_spec*) exit {missing} ;; esac
exec "{real}" "$@"
"""


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an index that has torch."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "torch").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def decided(
    folder: Path, *choice: str, system: str = "Linux", gpu: bool = False, status: int = 0, missing: int = 1
) -> tuple[str, str]:
    """What the script says, and what pip was told."""
    log = folder / "pip.log"
    program(folder / "python", PYTHON.format(log=log, status=status, missing=missing, real=sys.executable))
    program(folder / "uname", f"#!/bin/sh\necho {system}\n")
    program(folder / "nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "no_proxy": "*"}
    command = ["sh", str(SCRIPT), str(folder / "python"), *choice]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return line, log.read_text(encoding="utf-8") if log.exists() else ""


def test_without_a_gpu_the_cpu_builds_are_taken(tmp_path: Path, index: str) -> None:
    assert decided(tmp_path, "auto", index) == (
        f"PyTorch: installed from {index}",
        f"-m pip install torch torchvision --index-url {index}\n",
    )


def test_with_a_gpu_the_usual_build_is_taken(tmp_path: Path, index: str) -> None:
    line, told = decided(tmp_path, "auto", index, gpu=True)
    assert (line, told) == ("PyTorch: the usual build, with CUDA for the GPU of this machine", "")


def test_on_macos_the_usual_build_is_taken(tmp_path: Path, index: str) -> None:
    line, told = decided(tmp_path, "auto", index, system="Darwin")
    assert (line, told) == ("PyTorch: the usual build, which has no CUDA here", "")


def test_an_index_that_does_not_answer_is_said(tmp_path: Path, index: str) -> None:
    line, told = decided(tmp_path, "auto", f"{index}/nothing")
    assert line.startswith(f"PyTorch: the usual build, for {index}/nothing does not answer")
    assert told == ""


def test_what_is_asked_for_is_done(tmp_path: Path, index: str) -> None:
    assert decided(tmp_path, "default", index) == ("PyTorch: the usual build, as asked for", "")
    line, told = decided(tmp_path, "https://example.org/whl", index, gpu=True)
    assert line == "PyTorch: installed from https://example.org/whl"
    assert told.endswith("--index-url https://example.org/whl\n")


def test_an_index_without_a_fitting_build_is_said(tmp_path: Path, index: str) -> None:
    line, _ = decided(tmp_path, "auto", index, status=1)
    assert line == f"PyTorch: the usual build, for {index} has none that can be installed"


def test_what_is_installed_stays(tmp_path: Path, index: str) -> None:
    assert decided(tmp_path, "auto", index, missing=0) == ("PyTorch: is there already", "")
