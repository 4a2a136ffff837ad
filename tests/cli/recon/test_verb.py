from __future__ import annotations

from pathlib import Path

import pytest

from art_levelset.cli.main import main
from art_levelset.cli.recon import surfaces as recon


def test_the_arguments_are_passed_on_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def receive(argv: list[str]) -> int:
        given.append(argv)
        return 7

    monkeypatch.setattr(recon, "main", receive)
    assert main(["recon", "--resolution", "64", "scan.ply", "-o", "mesh.ply", "--seed=3", "--help"]) == 7
    assert given == [["--resolution", "64", "scan.ply", "-o", "mesh.ply", "--seed=3", "--help"]]


def test_a_missing_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recon", str(tmp_path / "missing.ply")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "missing.ply" in line
