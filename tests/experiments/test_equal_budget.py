"""The comparison at the same cost, on a few images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from art_levelset.experiments import equal_budget, equal_budget_rows
from art_levelset.experiments.__main__ import main
from art_levelset.experiments.equal_budget import paired, standing
from art_levelset.experiments.equal_budget_rows import Deadline
from art_levelset.models import CLASSIFIERS, load_weights
from art_levelset.trainers.schedules import Trapezoid


@pytest.fixture(autouse=True)
def _ticking(ticking: Callable[[float], None]) -> None:
    """0.2 s are 10 looks at the clock."""
    ticking(0.02)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose brightness is their label, as an .npz file."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 5128), ("test", 12)):
        labels = random.integers(10, size=count)
        pixels = labels[:, None, None] * 25 + random.integers(20, size=(count, 28, 28))
        arrays |= {f"x_{part}": pixels.astype(np.uint8), f"y_{part}": labels}
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def given(images: Path, tmp_path: Path) -> list[str]:
    shared = [
        "equal-budget",
        "--data-file",
        str(images),
        "--arch",
        "convnet2a",
        "--seconds",
        "0.2",
        "--strongest",
        "pgd",
    ]
    return [*shared, "--nb-examples", "6", "--work-dir", str(tmp_path / "work"), "-o", str(tmp_path / "results.json")]


def test_every_row_trains_and_a_second_call_recalls_it(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equal_budget_rows, "CHUNK", 256)
    call = [*given, "--seeds", "0", "--rows", *equal_budget.HEADLINE]
    assert main(call) == 0
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == list(equal_budget.HEADLINE)
    assert all(row["steps"] > 0 and row["epochs"] == pytest.approx(row["steps"] * 128 / 5128) for row in rows)
    assert all(0 <= row[share] <= 1 for row in rows for share in ("clean", "cross_entropy", "margin", "ece"))
    assert all("autoattack" not in row for row in rows)
    for row in rows:
        assert standing(row).mean() == pytest.approx(row["worst"])
        assert row["worst"] <= min(row["clean"] * 12 / 6, row["cross_entropy"], row["margin"])
    networks = sorted((tmp_path / "work").glob("*.pt"))
    assert len(networks) == len(rows)
    weights = [load_weights(CLASSIFIERS["convnet2a"](10, (1, 28, 28)), path).state_dict() for path in networks]
    first = [torch.cat([part.flatten() for part in one.values()]) for one in weights]
    assert all(not torch.equal(one, other) for number, one in enumerate(first) for other in first[:number])
    printed = capsys.readouterr().out
    assert all(f"| {row} |" in printed for row in equal_budget.HEADLINE)

    monkeypatch.setattr(equal_budget_rows, "_loop", None)
    monkeypatch.setattr(equal_budget, "rows", lambda data: dict.fromkeys(equal_budget.HEADLINE))
    assert main(call) == 0
    assert capsys.readouterr().out == printed


def test_the_ablations_train(given: list[str], tmp_path: Path) -> None:
    ablations = [name for name in equal_budget.rows("mnist") if name not in equal_budget.HEADLINE]
    call = [*given, "--validation", "--seeds", "1", "--rows", *ablations]
    assert main(call) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["settings"]["validation"]
    assert [row["name"] for row in results["rows"]] == ablations
    assert all(row["epochs"] == row["steps"] for row in results["rows"]), "5,000 of 5,128 images are held back"


def test_results_of_other_settings_are_not_mixed(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*given, "--seeds", "0", "--rows", "standard"]
    assert main(call) == 0
    before = (tmp_path / "results.json").read_text()
    capsys.readouterr()
    assert main([*call, "--nb-examples", "5"]) == 2
    assert "has rows of other settings" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == before


def test_the_guided_ensemble_is_the_strongest_where_asked_for(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*given, "--seeds", "0", "--rows", "standard", "--strongest", "guided"]) == 0
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert 0 <= row["guided"] <= 1
    assert "autoattack" not in row
    assert "| guided |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--rows", "Madrid"], "rows: 'Madrid' is none of standard"), (["--seconds", "0"], "seconds must be positive")],
)
def test_bad_input(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*given, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_table_has_means_over_the_seeds() -> None:
    shares = {"clean": 0.9, "cross_entropy": 0.5, "margin": 0.4, "ece": 0.01, "logit_margin": 3.0, "epochs": 2.0}
    others = {**shares, "clean": 0.8, "autoattack": 0.3}
    lines = equal_budget.table([{"name": "a", "seed": 0, **shares}, {"name": "a", "seed": 1, **others}])
    assert lines.splitlines()[-1] == "| a | 85.0 | 50.0 | 40.0 | 30.0 | 1.0 | 3.0 | 2.0 |  | 2 |"


def test_a_deadline_goes_on_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10.0, 14.0, 100.0, 100.0, 103.0])
    monkeypatch.setattr(equal_budget_rows.time, "process_time", lambda: next(seconds))
    first = Deadline(10.0, None)
    first.steps = 7
    state = first.state_dict()
    again = Deadline(10.0, None)
    again.load_state_dict(state)
    assert again.steps == 7
    assert again.fraction == pytest.approx(0.7)


def test_the_learning_rate_follows_the_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([10.0, 10.0, 15.0, 25.0])
    monkeypatch.setattr(equal_budget_rows.time, "process_time", lambda: next(seconds))
    rate = Trapezoid(0.1)
    deadline = Deadline(10.0, rate)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    for fraction in (0.0, 0.5, 1.0):
        deadline.set_rate(optimizer)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * rate.factor(fraction))


def test_l2_has_its_own_radius_rows_and_networks(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*given, "--threat-model", "L2", "--seeds", "0", "--strongest", "guided"]
    assert main([*call, "--rows", *equal_budget.rows_l2("mnist")]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["settings"]["threat_model"] == "L2"
    assert [row["name"] for row in found["rows"]] == ["level sets", "Madry, warm-up", "TRADES, warm-up"]
    assert all(path.name.startswith("L2_") for path in (tmp_path / "work").glob("*.pt"))
    capsys.readouterr()
    assert main([*call, "--rows", "NuAT"]) == 2
    assert "'NuAT' is none of" in capsys.readouterr().err
    assert main([*call, "--data", "fashion_mnist", "--rows", "level sets"]) == 2
    assert "data must be one of mnist, cifar10 for L2" in capsys.readouterr().err


def row(name: str, seed: int, kept: list[bool]) -> dict[str, Any]:
    packed = np.packbits(np.array(kept)).tobytes().hex()
    return {
        "name": name,
        "seed": seed,
        "clean": 1.0,
        "worst": np.mean(kept),
        "standing": packed,
        "n_examples": len(kept),
    }


def test_the_paired_test_counts_images_once() -> None:
    """Of 100 images one training keeps 10 that the other loses: t = 0.1 / (s / 10), s^2 = 0.1 * 0.9 * 100 / 99."""
    better, worse = [True] * 90 + [False] * 10, [True] * 80 + [False] * 20
    expected = 2 * scipy.stats.t.sf(0.1 / math.sqrt(0.09 / 99), 99)
    once = paired([row("a", 0, better)], [row("b", 0, worse)])
    assert once == pytest.approx(expected)
    again = paired([row("a", s, better) for s in range(3)], [row("b", s, worse) for s in range(3)])
    assert again == pytest.approx(once), "the same images a second time are no new evidence"
    assert paired([row("a", 0, better)], [row("b", 1, worse)]) is None
    assert paired([row("a", 0, better)], [row("b", 0, better)]) is None
    assert paired([row("a", 0, better)], [{"name": "b", "seed": 0}]) is None


def test_the_table_compares_with_its_first_row() -> None:
    better, worse = [True] * 90 + [False] * 10, [True] * 80 + [False] * 20
    lines = equal_budget.table([row("a", 0, better), row("b", 0, worse), row("c", 0, better)]).splitlines()
    assert lines[0] == "| training | clean | worst | p | seeds |"
    assert lines[2:] == [
        "| a | 100.0 | 90.0 |  | 1 |",
        "| b | 100.0 | 80.0 | 0.001 | 1 |",
        "| c | 100.0 | 90.0 |  | 1 |",
    ]
