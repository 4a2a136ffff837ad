from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from art_levelset.files import (
    beside,
    check_place,
    claim,
    common_folder,
    remove_free_locks,
    remove_unfinished,
    replacing,
    write_bytes,
    write_text,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (f"robust{suffix}", "robust.png")
            for suffix in (".json", ".pth", ".pt", ".safetensors", ".npz", ".yaml", "")
        ),
        ("robust-0.15", "robust-0.15.png"),
        ("robust-0.15.pth", "robust-0.15.png"),
        ("robust.v2", "robust.v2.png"),
        ("epsilon.8-255", "epsilon.8-255.png"),
        (".weights", ".weights.png"),
    ],
)
def test_a_file_beside_another(name: str, expected: str) -> None:
    assert beside(Path("runs.d") / name, ".png") == Path("runs.d") / expected
    assert beside(Path(name), "").name == expected.removesuffix(".png")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.b.png"
    path.write_bytes(b"before")
    with replacing(path, durable=durable) as unfinished:
        unfinished.write_bytes(b"after")
        assert unfinished.name == path.name
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text("before", path)
    with suppress(RuntimeError), replacing(path) as unfinished:
        unfinished.write_text("half of it")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_texts_are_utf_8_and_bytes_are_themselves(tmp_path: Path) -> None:
    write_text("L∞\n", tmp_path / "text")
    write_bytes(b"\x00\xff", tmp_path / "bytes", durable=True)
    assert (tmp_path / "text").read_bytes() == "L∞\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"


def test_the_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_text("", tmp_path / "ours")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_writer_leaves_can_be_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from art_levelset.files import replacing\n"
        f"with replacing({str(tmp_path / 'epoch-1.pt')!r}) as unfinished:\n"
        "    unfinished.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    remove_unfinished(tmp_path, "other-*")
    assert len(list(tmp_path.iterdir())) == 1
    remove_unfinished(tmp_path, "epoch-*")
    assert list(tmp_path.iterdir()) == []


def test_the_last_one_removes_a_common_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with common_folder("common") as first:
        (first / "a.txt").write_text("a")
        with suppress(KeyError), common_folder("common") as second:
            assert (second / "a.txt").read_text() == "a"
            raise KeyError
        assert (first / "a.txt").exists()
        assert first.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "common").mkdir()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        common_folder("common").__enter__()


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_place(tmp_path / "nowhere" / "a.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_text("", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_locks_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    (tmp_path / ".dead.npz.lock").write_text("4711")
    with claim(tmp_path / "living.npz"):
        remove_free_locks(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".living.npz.lock"]
        with pytest.raises(BlockingIOError), claim(tmp_path / "living.npz"):
            pass
