"""`recon --blocks`, alone and under torchrun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ...nursing import Nursery
from .quick import OneError, main

BLOCKS = ["--blocks", "3", "--steps", "2", "--resolution", "32", "--quiet"]
TWO = ["--nproc-per-node", "2", "-m", "art_levelset.recon"]


def test_ranks_share_the_blocks_of_a_scan(scan: Path, nursery: Nursery) -> None:
    folder = scan.parent
    assert nursery.run(["recon", scan.name, *BLOCKS, "-o", "one.ply", "--json", "one.json"], folder).status == 0
    files = ["-o", "two.ply", "--json", "two.json", "--checkpoint", "fit.pt"]
    done = nursery.torchrun([*TWO, scan.name, *BLOCKS, *files], folder)
    assert done.status == 0, done.err
    assert (folder / "two.ply").read_bytes() == (folder / "one.ply").read_bytes()
    one, two = (json.loads((folder / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["blocks"] == two["blocks"]
    assert len(one["blocks"]) == 3
    assert [sorted(block) for block in one["blocks"]] == [["attempts", "high", "low", "planes"]] * 3
    assert list(folder.glob("fit.pt*")) == []


def test_a_scan_that_cannot_be_read_stops_no_other(scan: Path, nursery: Nursery) -> None:
    folder = scan.parent
    (folder / "bad.npy").write_text("nothing")
    done = nursery.torchrun([*TWO, "bad.npy", scan.name, *BLOCKS], folder)
    assert done.status != 0
    assert "bad.npy: cannot be read" in done.err
    assert (folder / "scan.mesh.ply").exists()


def test_a_reference_that_cannot_be_read_leaves_no_rank_waiting(scan: Path, nursery: Nursery) -> None:
    folder = scan.parent
    (folder / "bad.ply").write_text("nothing")
    done = nursery.torchrun([*TWO, scan.name, *BLOCKS, "--reference", "bad.ply"], folder)
    assert done.status != 0
    assert "bad.ply" in done.err
    assert not (folder / "scan.mesh.ply").exists()


def test_what_does_not_go_with_it(scan: Path, one_error: OneError, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_error(main, [str(scan), "--blocks", "0"]).endswith("--blocks must be an integer >= 1, got 0")
    both = one_error(main, [str(scan), "--blocks", "2", "--time-budget", "9s"])
    assert both.endswith("--blocks and --time-budget: only one of them can be given")
    paper = one_error(main, [str(scan), "--blocks", "2", "--preset", "paper"])
    assert paper.endswith("--blocks: the preset paper does not have it")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    jobs = one_error(main, [str(scan), "--blocks", "2", "--jobs", "2"])
    assert jobs.endswith("--jobs: 2 processes share the blocks of one scan at a time, got 2")


def test_one_block_is_none(scan: Path) -> None:
    folder = scan.parent
    for name, more in (("a", []), ("b", ["--blocks", "1"])):
        files = ["-o", str(folder / f"{name}.ply"), "--json", str(folder / f"{name}.json")]
        assert main([str(scan), "--steps", "1", "--resolution", "16", "--quiet", *files, *more]) == 0
    assert (folder / "a.ply").read_bytes() == (folder / "b.ply").read_bytes()
    assert json.loads((folder / "b.json").read_text())["blocks"] == []
