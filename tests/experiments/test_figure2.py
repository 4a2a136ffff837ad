"""Figure 2: what is chosen on validation data, what is paired, and the whole in seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import ttest_rel

from art_levelset.experiments.__main__ import main
from art_levelset.experiments.figure2 import METHODS, OURS, Setting, _preset, choose, results


def row(method: str, rate: float, seed: int, validation: float, test: float, gamma: float | None = None) -> dict:
    factor = 1.0 if method == OURS else None
    keys = {"data": "mnist", "count": 60, "method": method, "rate": rate, "gamma": gamma, "factor": factor}
    return {**keys, "seed": seed, "validation": validation, "test": test}


def test_the_validation_images_choose_and_not_the_test_images():
    rows = [
        *(row("hinge", 0.01, seed, 0.8, 0.9) for seed in range(2)),
        *(row("hinge", 0.02, seed, 0.85, 0.7) for seed in range(3)),
    ]
    assert choose(rows, "hinge", [0, 1]) == Setting("hinge", 0.02)
    (found,) = results(rows, 2)
    assert (found["rate"], found["seeds"]) == (0.02, 3)
    assert found["mean"] == pytest.approx(0.7)


def test_only_the_first_seeds_choose():
    rows = [
        row("hinge", rate, seed, 0.9 - 0.1 * (seed == 0) * (rate == 0.02), 0.5)
        for rate in (0.01, 0.02)
        for seed in (0, 1)
    ]
    rows.append(row("hinge", 0.02, 2, 1.0, 0.5))
    assert choose(rows, "hinge", [0, 1]).rate == 0.01


def test_the_test_is_paired_by_seed():
    ours, others = [0.91, 0.82, 0.75], [0.9, 0.8, 0.7]
    rows = [row(OURS, 0.02, seed, 0.9, ours[seed]) for seed in range(3)]
    rows += [row("hinge", 0.01, seed, 0.9, others[seed]) for seed in (2, 0, 1)]
    found = {item["method"]: item for item in results(rows, 1)}
    assert found["hinge"]["ahead"] == pytest.approx(np.mean(ours) - np.mean(others))
    assert found["hinge"]["p"] == pytest.approx(ttest_rel(ours, others).pvalue)
    assert found[OURS]["p"] is None


def test_table_b2_and_its_short_version():
    paper = _preset("mnist", 60, 60000, None)
    assert (paper.batch_size, paper.nb_epochs, paper.milestones[0]) == (32, 200, 50)
    assert _preset("mnist", 600, 60000, None).batch_size == 256
    short = _preset("mnist", 60, 60000, 100)
    assert (short.nb_epochs, short.milestones, short.options["lam"].nb_epochs) == (50, (12, 25, 30, 35, 40, 45), 12.5)


def test_fast(tmp_path, capsys):
    path = tmp_path / "figure2.json"
    assert main(["figure2", "--fast", "--selection-seeds", "1", "-o", str(path)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(path.read_text())["rows"]
    assert {item["method"] for item in rows} == set(METHODS)
    assert all(0 <= item["test"] <= 1 for item in rows)
    assert printed.count("| digits | 30 |") == 4
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    before = path.read_bytes()
    assert main(["figure2", "--fast", "--selection-seeds", "1", "-o", str(path)]) == 0
    assert path.read_bytes() == before, "finished rows are not made again"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--counts", "1"], "counts"),
        (["--seeds", "0", "0"], "seeds"),
        (["--steps", "0"], "steps"),
        (["--counts", "9999"], "counts"),
    ],
)
def test_bad_input(tmp_path, capsys, options, name):
    assert main(["figure2", *options, "-o", str(tmp_path / "figure2.json")]) == 2
    assert f"error: {name} must be" in capsys.readouterr().err
