"""The experiments on the released weights, on 200 images and with fewer steps."""

from __future__ import annotations

import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from art_levelset.evaluation import masking, pgd
from art_levelset.evaluation.record import read_records
from art_levelset.experiments import released_weights
from art_levelset.experiments.__main__ import main


@pytest.fixture
def run(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> partial[int]:
    """Runs a part in a quarter of the steps, each four times as long."""
    monkeypatch.setattr(released_weights, "MAX_ITER", 10)
    monkeypatch.setattr(released_weights, "EPS_STEP", 0.04)
    weights = data_dir / "checkpoints" / "levelsets-mnist"
    given = ["--weights", str(weights), "--data", str(data_dir / "mnist.npz"), "--nb-examples", "200"]
    return partial(call, [*given, "--output-dir", str(tmp_path)])


def call(given: list[str], part: str, *others: str) -> int:
    return main(["released-weights", part, *given, *others])


def test_transfer(run: partial[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("transfer") == 0
    result = json.loads((tmp_path / "transfer.json").read_text())
    found = {(row["target"], row["source"], row["loss"]): row["accuracy"] for row in result["rows"]}
    assert len(found) == 18
    assert all(accuracy >= 0.99 for accuracy in result["clean"].values())
    assert found["xent", "xent", "margin"] <= 0.02
    assert found["levelset_eps0.4", "levelset_eps0.4", "cross_entropy"] >= 0.98, "its gradients vanish"
    for name in ("madry_eps0.3", "levelset_eps0.4"):
        assert 0.9 <= found[name, name, "margin"] <= 0.99
        assert found[name, "xent", "margin"] >= found[name, name, "margin"], "black box is weaker than white box"
    for loss in ("cross_entropy", "margin"):
        assert (tmp_path / f"transfer_{loss}.png").read_bytes().startswith(b"\x89PNG")
    assert "| madry_eps0.3 |" in capsys.readouterr().out


@pytest.mark.slow
def test_libraries_agree(run: partial[int], tmp_path: Path) -> None:
    for library in ("torchattacks", "advertorch"):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    assert run("libraries", "--nb-examples", "80") == 0
    rows = json.loads((tmp_path / "libraries.json").read_text())["rows"]
    assert len(rows) == 12
    for target in ("madry_eps0.3", "levelset_eps0.4"):
        for loss in ("cross_entropy", "margin"):
            found = [row["accuracy"] for row in rows if (row["target"], row["loss"]) == (target, loss)]
            assert max(found) - min(found) <= 0.02


@pytest.mark.slow
def test_leaderboard(run: partial[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_its_stead(eps: float, memo: object) -> partial[object]:
        return partial(pgd, eps=eps, max_iter=20, loss="dlr")

    monkeypatch.setattr(released_weights, "AutoAttack", in_its_stead)
    monkeypatch.setattr(released_weights, "SQUARE_QUERIES", 20)
    monkeypatch.setattr(masking, "ITERATIONS", (2,))
    monkeypatch.setattr(masking, "MIN_SAMPLES", 24)
    about = released_weights._ABOUT  # whether the third has masked gradients is tested where they are looked for
    monkeypatch.setattr(released_weights, "_ABOUT", {name: about[name] for name in ("levelset_eps0.4", "xent")})
    assert run("leaderboard", "--nb-examples", "24") == 0
    records = {
        path.stem: record
        for path, record in zip(
            sorted((tmp_path / "records").iterdir()), read_records(tmp_path / "records"), strict=True
        )
    }
    assert sorted(records) == ["levelset_eps0.4", "xent"]
    assert records["xent"].worst_case.accuracy <= 0.02
    assert "zero gradients" in {check.check for check in records["levelset_eps0.4"].failed_checks}
    assert records["xent"].masking is None


def test_bad_input(run: partial[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--weights", str(tmp_path), "--data", "missing.npz", "--output-dir", str(tmp_path / "out")]
    assert main(["released-weights", "transfer", *given]) == 2
    assert "xent.pth" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
