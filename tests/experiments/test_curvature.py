"""The experiment with curvature penalties: seconds of each part, and that finished rows are kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from trimesh.creation import box, icosphere

from art_levelset.experiments import curvature
from art_levelset.experiments.__main__ import main


def test_every_part_in_seconds_and_a_second_call_keeps_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["curvature", "--fast", "--seeds", "0", "-o", str(tmp_path / "found.json")]
    assert main(given) == 0
    printed = capsys.readouterr().out
    decays = [f"weight decay {decay:g}" for decay in curvature.DECAYS]
    names = {
        "recon": ["reference", "0", "0.001"],
        "moons": ["0", "0.01", "0.01, moving", *decays],
        "digits": ["0", "0.01"],
    }
    for part, wanted in names.items():
        rows = json.loads((tmp_path / f"found_{part}.json").read_text())["rows"]
        assert [row["name"] for row in rows] == wanted
        assert all(0 <= row["curvature"] < math.inf for row in rows)
    for part in ("recon", "moons"):
        assert (tmp_path / f"found_{part}.png").read_bytes().startswith(b"\x89PNG")
    assert "| 0.01, moving |" in printed

    for name in ("reconstruct", "_train"):
        monkeypatch.setattr(curvature, name, None)
    assert main(given) == 0
    assert capsys.readouterr().out == printed


def test_a_negative_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curvature", "--fast", "--seeds", "-1", "-o", str(tmp_path / "found.json")]) == 2
    assert "seeds must be >= 0, got -1" in capsys.readouterr().err


def test_the_curvature_of_meshes() -> None:
    assert curvature.mesh_curvature(icosphere(4, radius=2.0), 0.4, 100) == pytest.approx(1 / 2, rel=0.05)
    assert curvature.mesh_curvature(box((1, 1, 1)), 0.001, 100) < 1.0
