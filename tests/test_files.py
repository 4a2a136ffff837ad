from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from art_levelset.files import check_place, remove_unfinished, replacing, write_bytes, write_text


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


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_place(tmp_path / "nowhere" / "a.txt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_text("", tmp_path)
    assert list(tmp_path.iterdir()) == []
