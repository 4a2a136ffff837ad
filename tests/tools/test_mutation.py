"""The arithmetic of the mutation score: the sample and its interval."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "tools" / "mutation.py"


@pytest.fixture(scope="module")
def mutation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutation_tool", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_sample_is_drawn_from_each_module_in_proportion(mutation: ModuleType) -> None:
    sizes = {"large": 800, "small": 190, "tiny": 10, "empty": 0}
    modules = [
        mutation.Module(name, {f"{name}.{i}": "not checked" for i in range(size)}) for name, size in sizes.items()
    ]
    drawn = mutation.sample(modules, 100, seed=0)
    assert len(drawn) == len(set(drawn)) == 100
    assert [sum(name.startswith(f"{module}.") for name in drawn) for module in sizes] == [80, 19, 1, 0]
    assert mutation.sample(modules, 100, seed=0) == drawn != mutation.sample(modules, 100, seed=1)
    assert set(drawn) < set(mutation.sample(modules, 200, seed=0))
    assert set(mutation.sample(modules, 1000, seed=0)) == {name for module in modules for name in module.ends}


def test_each_module_counts_by_its_mutants_and_what_was_tried_of_them(mutation: ModuleType) -> None:
    def module(name: str, size: int, *ends: str) -> object:
        return mutation.Module(name, {str(i): (*ends, *["not checked"] * size)[i] for i in range(size)})

    half = module("half", 100, *["killed"] * 5, *["survived"] * 4, "no tests")
    whole = module("whole", 10, *["killed"] * 8, "timeout", "survived")
    untried = module("untried", 1000)
    mean, interval = mutation.score([half, whole, untried])
    assert mean == pytest.approx((100 * 0.5 + 10 * 0.9) / 110)
    assert interval == pytest.approx(1.96 * 100 / 110 * (0.25 * 0.9 / 9) ** 0.5), "all of the other one were tried"
    lines = mutation.table([half, whole, untried]).splitlines()
    assert lines[2:4] == ["| `half` | 100 | 10 | 5 | 50% |", "| `whole` | 10 | 10 | 9 | 90% |"]
    assert lines[4] == f"| all | 110 | 20 | 14 | {mean:.1%} |"
    assert lines[-1] == f"Score {mean:.1%}, 95% interval ±{interval:.1%}"
