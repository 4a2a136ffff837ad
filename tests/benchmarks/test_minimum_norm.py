from __future__ import annotations

import math
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..attacks.tiny import data, mlp, needs

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "minimum_norm.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("minimum_norm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs("adv_lib")
@pytest.mark.parametrize("norm", [math.inf, 2])
def test_all_are_measured_in_the_same_way(script: ModuleType, norm: float) -> None:
    model = mlp()
    x, y = data(model, 12)
    rows = {row["attack"]: row for row in script.rows(model, x, y, "mnist", norm, 0.1, [30])}
    assert {"boundary search (ours)", "FMN", "FAB", "bisected margin PGD"} < set(rows)
    assert ("DDN" in rows) is (norm == 2)
    for name, row in rows.items():
        assert 0 < row["gradients"] <= (30 if "Deep" not in name else 40)
        assert row["mean"] == pytest.approx(sum(row["distances"]) / 12, abs=1e-4)
    ours = rows["boundary search (ours)"]
    assert ours["nothing"] == 0
    assert ours["mean"] < 1.05 * min(row["mean"] for row in rows.values())


def test_the_smallest_mean_of_a_budget_is_in_bold(script: ModuleType) -> None:
    def row(attack: str, budget: int, mean: float) -> dict[str, Any]:
        rest = {"median": 0.1, "within": 0.5, "nothing": 0.25, "gradients": 9.6, "forwards": 20, "cpu_seconds": 0.004}
        return {"attack": attack, "norm": "L2", "budget": budget, "mean": mean, **rest}

    rows = [row("A", 10, 0.3), row("B", 10, 0.2), row("A", 30, 0.1), row("B", 30, 0.15)]
    lines = script.table([{"name": "Net", "n": 7, "eps": {"Linf": 0.1, "L2": 0.5}, "rows": rows}]).splitlines()
    assert "| attack | 10 gradients | 30 gradients |" in lines
    assert "| A | 0.3000 | **0.1000** |" in lines
    assert "| B | **0.2000** | 0.1500 |" in lines
    assert "7 images, ε = 0.5." in lines
    assert "| 10 | B | 0.2000 | 0.1000 | 50.0% | 25.0% | 10 | 20 | 4 |" in lines
    assert not any("L∞" in line for line in lines)
