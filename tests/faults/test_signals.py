"""A signal ends a run with one line and 128 + its number, and leaves nothing half done; a closed pipe ends nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..nursing import Nursery

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


def training(data: Path, *options: str) -> list[str]:
    return ["train", "--data", str(data), "--arch", "convnet2a", "--eps", "0.1", "--batch-size", "48", *options]


@pytest.mark.parametrize("number", list(WORDS))
def test_a_training_keeps_its_checkpoints(
    nursery: Nursery, few_digits: Path, tmp_path: Path, number: signal.Signals
) -> None:
    argv = training(few_digits, "--nb-epochs", "100000", "--checkpoint-dir", "kept", "--csv", "epochs.csv")
    run = nursery.start(argv, tmp_path)
    run.until(lambda: list(tmp_path.glob("kept/epoch-000001-*.pt")))
    run.kill(number)
    end = run.end()
    assert end.status == 128 + number
    line = f"art-levelset train: {WORDS[number]}; the same command goes on from the checkpoints in kept"
    assert (end.lines(), "Traceback" in end.err) == ([line], False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.csv", "kept"]
    assert all(path.name.startswith("epoch-") for path in (tmp_path / "kept").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_names_its_finished_work(
    nursery: Nursery, few_digits: Path, weights: Path, tmp_path: Path, number: signal.Signals
) -> None:
    argv = ["evaluate", "--model", str(weights), "--arch", "convnet2a", "--data", str(few_digits), "--eps", "0.01"]
    argv += ["--max-iter", "10", "--batch-size", "1", "--repeats", "10000", "--resume", "w"]
    run = nursery.start(argv, tmp_path)
    run.until(lambda: list(tmp_path.glob("w/*.npz")))
    run.kill(number)
    end = run.end()
    assert end.status == 128 + number
    line = f"art-levelset evaluate: {WORDS[number]}; the same command goes on from the finished work in w"
    assert (end.lines(), "Traceback" in end.err) == ([line], False)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reconstruction_ends_in_its_fit(
    nursery: Nursery, sphere: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = "import art_levelset.recon.fitting.checkpoint as module; module.INTERVAL = 0.0"
    argv = ["recon", str(sphere), "-o", "m.ply", "--steps", "100000", "--checkpoint", "fit.pt", "--quiet"]
    run = nursery.start(argv, tmp_path, before=before)
    run.until((tmp_path / "fit.pt").exists)
    run.kill(number)
    end = run.end()
    assert end.status == 128 + number
    line = f"art-levelset recon: {WORDS[number]}; the same command goes on from fit.pt"
    assert (end.lines(), "Traceback" in end.err) == ([line], False)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found = {pid}
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize(
    ("number", "group", "there"),
    [(signal.SIGINT, True, 2), (signal.SIGINT, True, 4), (signal.SIGTERM, False, 4)],
    ids=["Ctrl-C in the imports", "Ctrl-C", "SIGTERM"],
)
def test_the_processes_of_several_scans_end_with_it(
    nursery: Nursery, sphere: Path, tmp_path: Path, number: signal.Signals, group: bool, there: int
) -> None:
    argv = ["recon", str(sphere), str(sphere), str(sphere), "--jobs", "2", "--output-dir", ".", "--steps", "100000"]
    scans = []
    for name in "abc":
        (tmp_path / f"{name}.npy").write_bytes(sphere.read_bytes())
        scans.append(f"{name}.npy")
    run = nursery.start(["recon", *scans, *argv[4:]], tmp_path)
    run.until(lambda: len(descendants(run.pid)) >= there)  # Python's own, that which imports, and two forks of it
    children = descendants(run.pid)
    run.kill(number, group=group)
    end = run.end()
    assert end.status == 128 + number
    line = f"art-levelset recon: {WORDS[number]}; nothing is kept of unfinished scans"
    assert (end.lines(), "Traceback" in end.err) == ([line], False)
    for _ in range(60_000):
        if not any(Path(f"/proc/{child}").exists() for child in children):
            break
        time.sleep(0.01)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == scans


def test_an_interrupt_during_the_imports(tmp_path: Path) -> None:
    """Of a real start, as soon as PyTorch's library is being loaded."""
    command = [sys.executable, "-m", "art_levelset", "demo"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a background job ignores
    )
    maps = Path(f"/proc/{process.pid}/maps")
    try:
        while "libtorch" not in maps.read_text():
            time.sleep(0.001)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "art-levelset demo: interrupted\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_second_signal_does_not_wait(nursery: Nursery, tmp_path: Path) -> None:
    before = (
        "import time; import art_levelset.cli.demo as demo\n"
        "def run(*_):\n"
        "    try: open('begun', 'w').close(); time.sleep(600)\n"
        "    finally: open('ending', 'w').close(); time.sleep(600)\n"
        "demo.run = run"
    )
    run = nursery.start(["demo"], tmp_path, before=before)
    run.until((tmp_path / "begun").exists)
    run.kill(signal.SIGINT)
    run.until((tmp_path / "ending").exists)
    run.kill(signal.SIGTERM)
    end = run.end()
    assert (end.status, end.err) == (143, "terminated again: ended at once\n")


def test_an_interrupt_that_python_drops_comes_again(nursery: Nursery, tmp_path: Path) -> None:
    before = (
        "import os, signal, time; import art_levelset.cli.demo as demo\n"
        "class Late:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\n"
        "def run(*_):\n"
        "    late = Late(); del late; time.sleep(600); return 0\n"
        "demo.run = run"
    )
    end = nursery.run(["demo"], tmp_path, before=before)
    assert (end.status, end.err) == (130, "art-levelset demo: interrupted\n")


def test_nohup_stays_nohup(nursery: Nursery, tmp_path: Path) -> None:
    before = (
        "import os, signal; import art_levelset.cli.demo as demo\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "demo.run = lambda *_: os.kill(os.getpid(), signal.SIGHUP) or 7"
    )
    assert nursery.run(["demo"], tmp_path, before=before).status == 7


def test_nobody_reads_the_table(few_digits: Path, nursery: Nursery, tmp_path: Path) -> None:
    """`art-levelset train ... | head -n 1`: the work is done all the same, in silence."""
    before = "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)"
    end = nursery.run(training(few_digits, "--nb-epochs", "1"), tmp_path, before=before)
    assert (end.status, end.lines()) == (0, [])
    assert "Traceback" not in end.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.png", "weights.pth", "weights.yaml"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_table_has_no_room(few_digits: Path, nursery: Nursery, tmp_path: Path) -> None:
    end = nursery.run(training(few_digits, "--nb-epochs", "1"), tmp_path, out="/dev/full")
    assert end.status == 2
    assert end.lines() == ["art-levelset: error: the output cannot be written: No space left on device"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.png", "weights.pth", "weights.yaml"]
