"""Evaluations by several processes, and by shards."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset import __version__
from art_levelset.attacks.memo import Share
from art_levelset.cli.main import main
from art_levelset.cli.processes import leave_mark, own_device, shared_memo, status_of_rank
from art_levelset.evaluation.datasets import digits
from art_levelset.models import convnet_2a

from ..nursing import Nursery, Running

RUN = ["--arch", "convnet2a", "--data", "data.npz", "--eps", "0.1", "--max-iter", "2", "--batch-size", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ConvNet-2a as it is made and 6 digits, of which it is right in all but one."""
    torch.manual_seed(0)
    model = convnet_2a(10, (1, 8, 8))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    x = digits()[1][0][:6]
    y = model(torch.from_numpy(x)).argmax(dim=1).numpy()
    y[3] = 9 - y[3]
    np.savez(tmp_path / "data.npz", x_test=x[:, 0], y_test=y)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*options: str) -> list[str]:
    return ["evaluate", "--model", "weights.pth", *RUN, *options]


def record(path: Path) -> dict[str, Any]:
    """A record, without what differs between two runs of the same: its date, its seconds and the name of a file."""
    contents: dict[str, Any] = json.loads(path.read_text())
    del contents["created"], contents["outcomes"]["file"]
    for attack in contents["attacks"]:
        del attack["seconds"]
    return contents


def started(nursery: Nursery, folder: Path, name: str, size: int, *, met: int) -> list[Running]:
    """
    An evaluation by several processes, which keep their work in a folder of that name.

    Each waits in its first batch until so many have begun one.
    """
    before = f"""
import time
from pathlib import Path
from art_levelset.evaluation import suite

def batch(*arguments, work=suite._batch):
    Path("{name}-began-" + __import__("os").environ["RANK"]).touch()
    while len([*Path().glob("{name}-began-*")]) < {met}:
        time.sleep(0.01)
    return work(*arguments)

suite._batch = batch
"""
    given = command("--margins", "-q", "--resume", name, "-o", f"{name}.json")
    places = [{"RANK": str(rank), "WORLD_SIZE": str(size)} for rank in range(size)]
    return [nursery.start(given, folder, before=before, environment=place) for place in places]


def test_any_number_of_processes_writes_the_same_record_even_if_one_is_killed(folder: Path, nursery: Nursery) -> None:
    for name, size in (("one", 1), ("two", 2), ("three", 3)):
        ends = [process.end() for process in started(nursery, folder, name, size, met=size)]
        assert [end.status for end in ends] == [0] * size, ends
        assert ["worst case" in end.out for end in ends] == [True] + [False] * (size - 1), "only the first one prints"
    first, second = started(nursery, folder, "killed", 2, met=3)
    second.until((folder / "killed-began-1").exists)
    first.until((folder / "killed-began-0").exists)
    second.kill(signal.SIGKILL)
    assert second.end().status == -signal.SIGKILL
    (folder / "killed-began-2").touch()
    assert first.end().status == 0

    alone = record(folder / "one.json")
    assert alone["clean_acc"] == "83.33"
    for name in ("two", "three", "killed"):
        assert record(folder / f"{name}.json") == alone
        kept = {path.name for path in (folder / name).iterdir() if path.suffix == ".npz"}
        assert kept == {path.name for path in (folder / "one").iterdir()}


def test_an_interrupt_is_told_once(folder: Path, nursery: Nursery) -> None:
    processes = started(nursery, folder, "kept", 2, met=3)
    for rank, process in enumerate(processes):
        process.until((folder / f"kept-began-{rank}").exists)
        process.kill(signal.SIGINT)
    ends = [process.end() for process in processes]
    assert [end.status for end in ends] == [130, 130]
    assert ends[0].lines()[-1].endswith("interrupted; the same command goes on from the finished work in kept")
    assert ends[1].lines() == []
    assert [*(folder / "kept").iterdir()] == []


def test_shards_and_their_merge(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("-o", "alone.json", "-q")) == 0
    assert main(command("--resume", "a", "--shard", "3/3", "-o", "not_yet.json")) == 0
    capsys.readouterr()
    assert main(command("--resume", "a", "--shard", "1/3", "-q", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {
        "verb": "evaluate",
        "version": __version__,
        "files": [],
        "shard": 1,
        "of": 3,
        "pieces": 2,
    }
    assert not Path("not_yet.json").exists()

    assert main(["merge", "a", "-o", "merged.json"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "art-levelset merge: warning: 1 of 3 shards are not finished: 2",
        "art-levelset merge: error: 2 of 6 pieces are missing: of 3 shards, shard 2 lacks 2 of 2",
    ]
    assert not Path("merged.json").exists()

    assert main(command("--resume", "b", "--shard", "2/3", "--device", "cpu", "-v")) == 0
    assert "the record is made by: art-levelset merge b -o record.json" in capsys.readouterr().out
    files = {path: path.stat().st_mtime_ns for name in "ab" for path in Path(name).iterdir()}
    assert main(["merge", "a", "b", "-o", "merged.json", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["merged.json", "merged.outcomes.npz"]
    assert record(folder / "merged.json") == record(folder / "alone.json")
    assert {path: path.stat().st_mtime_ns for name in "ab" for path in Path(name).iterdir()} == files

    assert main(command("--resume", "a", "-o", "resumed.json", "-q")) == 0, "which does what is missing"
    assert record(folder / "resumed.json") == record(folder / "alone.json")


def test_shards_of_the_same_evaluation_in_other_words_and_places(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shard(number: int, folder: str, device: str, *options: str) -> None:
        """A shard that was done on another device, as far as its mark says."""
        given = ["--nb-examples", "4", "-q", "--resume", folder, "--shard", f"{number}/2", "--device"]
        assert main(command(*given, "cpu", *options)) == 0
        (mark,) = Path(folder).glob("*.json")
        mark.write_text(mark.read_text().replace('"cpu"', f'"{device}"'))

    words = ["--eps", "1/10", "--eps-step", "0.05", "--attacks", "pgd-ce", "pgd-margin"]
    shard(1, "a", "cuda:0", *words)
    shard(2, "b", "cuda:1", "--eps", "0.10", "--eps-step", "1/20")
    assert main(["merge", "a", "b", "--device", "cpu", "-o", "merged.json"]) == 0
    assert main(command("--nb-examples", "4", *words, "-o", "alone.json")) == 0
    assert record(folder / "merged.json") == record(folder / "alone.json")


@pytest.mark.parametrize(
    ("one", "other", "different"),
    [
        (["--arch-args", '{"a":1}'], ["--arch-args", '{"a": 1}'], None),
        (["--preset", "quick"], ["--attacks", "guided"], None),
        (["--max-iter", "40"], [], None),
        (["--batch-size", "500", "--device", "cpu"], ["--device", "cuda:1"], None),
        (["--device", "cpu"], ["--device", "cuda"], "batch_size"),
        (["--preset", "quick"], ["--preset", "autoattack"], "attacks, masking"),
        (["--eps", "0.1500001"], [], "eps"),
    ],
)
def test_what_shards_were_asked_for_is_compared(
    folder: Path, capsys: pytest.CaptureFixture[str], one: list[str], other: list[str], different: str | None
) -> None:
    shared = ["evaluate", "--arch", "convnet2a", "--model", "none.pth", "--data", "data.npz", "--eps", "0.15"]
    for number, options in ((1, one), (2, other)):
        leave_mark(folder, (number, 2), [*shared, *options])
    assert main(["merge", str(folder), "--device", "cpu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.partition("1 and 2 differ in ")[2] == (different or "")


def test_a_merge_of_other_things_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*folders: str) -> str:
        capsys.readouterr()
        assert main(["merge", *folders, "-o", "merged.json"]) == 2
        return capsys.readouterr().err.splitlines()[-1].removeprefix("art-levelset merge: error: ")

    assert refusal("nowhere") == "nowhere is no folder"
    Path("empty").mkdir()
    assert refusal("empty") == "there is no finished shard in empty"
    common = ("--nb-examples", "4", "-q")
    assert main(command(*common, "--resume", "a", "--shard", "1/2")) == 0
    assert main(command(*common, "--resume", "b", "--shard", "2/2", "--seed", "1")) == 0
    assert main(command(*common, "--resume", "c", "--shard", "2/3")) == 0
    assert refusal("a", "b") == "the shards are not those of one evaluation: 1 and 2 differ in seed"
    assert refusal("a", "c") == "the shards are not those of one evaluation: they are of [2, 3]"
    for path in Path("a").glob("*.npz"):
        path.rename(path.with_name(f"{'0' * 64}.npz"))  # what the key of another version may be
    assert refusal("a").startswith(
        "4 of 4 pieces are missing: of 2 shards, shard 1 lacks 2 of 2, shard 2 lacks 2 of 2;"
    )
    (mark,) = Path("a").glob("*.json")
    for wrong in ("", "[]", '{"format": "art-levelset shard", "shard": 3, "of": 2, "arguments": []}', "9" * 5000):
        mark.write_text(wrong)
        assert refusal("a") == f"{mark} is no mark of a shard"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "1/2"], "--resume must name the folder that keeps the work of a --shard"),
        (["--shard", "3/2", "--resume", "a"], "--shard must be I/N with 1 <= I <= N, such as 2/8, got '3/2'"),
        (["--shard", "0/2", "--resume", "a"], "--shard must be I/N with 1 <= I <= N, such as 2/8, got '0/2'"),
        (["--shard", "one", "--resume", "a"], "--shard must be I/N with 1 <= I <= N, such as 2/8, got 'one'"),
    ],
)
def test_bad_shards(options: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(command(*options))
    except SystemExit as stop:  # the parser's
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_where_processes_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with shared_memo(tmp_path / "kept", None) as memo:
        assert (memo.folder, memo.share) == (tmp_path / "kept", Share(1, 2))
    with pytest.raises(ValueError, match="--resume must name a folder that all 2 processes see"):
        shared_memo(None, None).__enter__()
    with pytest.raises(ValueError, match="--shard must be given to single processes"):
        shared_memo(tmp_path / "kept", (1, 2)).__enter__()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with shared_memo(None, None) as one:
        with shared_memo(None, None) as other:
            assert one.folder == other.folder == tmp_path / f"art-levelset-{os.getppid()}-29500"
        assert one.folder.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"], "the last one to leave has removed it"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    with pytest.raises(ValueError, match="--resume must name a folder that all 2 processes see"):
        shared_memo(None, None).__enter__()


def test_what_stops_a_process_other_than_the_first_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> int:
        raise MemoryError("too large")

    def mistaken() -> int:
        raise KeyError("a mistake")

    with pytest.raises(MemoryError):
        status_of_rank(full)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert status_of_rank(full) == 0
    assert caplog.messages == ["process 2 of 2 has stopped, the others do its share: too large"]
    with pytest.raises(KeyError):
        status_of_rank(mistaken)


def test_each_process_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [own_device(name) for name in ("cpu", "cuda", "cuda:0")] == ["cpu", "cuda:1", "cuda:0"]
