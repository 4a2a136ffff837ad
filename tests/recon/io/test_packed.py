from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from art_levelset.recon import read_cloud
from art_levelset.recon.io.packed import format_of, stem_of
from art_levelset.recon.io.reading import SUFFIXES

from .forms import POINTS, SINGLE, Write, lines, pcd, ply


def npy(path: Path) -> bytes:
    np.save(path / "plain.npy", POINTS)
    return (path / "plain.npy").read_bytes()


def test_packed_files_are_read_as_what_they_were(tmp_path: Path, write: Write) -> None:
    plain = {
        "a.xyz.gz": lines(POINTS).encode(),
        "a.CSV.GZ": b"x,y,z\n" + lines(POINTS, separator=",").encode(),
        "a.ply.gz": ply("binary_big_endian", ["double x", "double y", "double z"], POINTS.astype(">f8").tobytes()),
        "a.pcd.gz": pcd("binary"),
        "a.npy.gz": npy(tmp_path),
        "a.obj.gz": "".join(f"v {line}\n" for line in lines(POINTS).splitlines()).encode(),
    }
    for name, contents in plain.items():
        found = read_cloud(write(name, gzip.compress(contents))).points
        np.testing.assert_allclose(found, SINGLE if name == "a.pcd.gz" else POINTS, rtol=1e-7)


def test_columns_of_packed_tables(write: Write) -> None:
    path = write("a.txt.gz", gzip.compress(lines(np.arange(40)[:, None], POINTS[:, [1, 0, 2]]).encode()))
    np.testing.assert_allclose(read_cloud(path, columns="3,2,4").points, POINTS, rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [  # without the time of writing: the tests' names must be the same for all workers
        ("a.ply.gz", b"ply\n", r"a\.ply\.gz: cannot be read as \.ply: it is not what gzip writes, or damaged"),
        ("a.xyz.gz", gzip.compress(b"1 2 3\n" * 99, mtime=0)[:-12], "it is not what gzip writes, or damaged"),
        ("a.xyz.gz", gzip.compress(b"", mtime=0), "it has no points"),
        ("a.xyz.gz", gzip.compress(bytes(1 << 29), mtime=0), "claims to hold 3.*, but the file has"),
        ("a.gz", gzip.compress(b"1 2 3\n", mtime=0), "unsupported suffix ''"),
        ("a.conf.gz", gzip.compress(b"bmesh a.ply 0 0 0 0 0 0 1\n", mtime=0), "unsupported suffix '.conf'"),
    ],
)
def test_damaged_files(name: str, contents: bytes, message: str, write: Write) -> None:
    with pytest.raises(ValueError, match=message):
        read_cloud(write(name, contents))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names(suffix: str) -> None:
    assert format_of(Path(f"a/b.c{suffix}.gz")) == format_of(Path(f"a/b.c{suffix.upper()}")) == suffix
    assert stem_of(Path(f"a/b.c{suffix}.gz")) == stem_of(Path(f"a/b.c{suffix}")) == "b.c"


def test_a_folder_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hall" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "hall")
    assert stem_of(Path()) == stem_of(Path("inner/..")) == "hall"
