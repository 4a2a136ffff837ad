"""The estimate of AutoAttack's accuracy, from the attacks to the record."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.adapters.catalogue import attack_by_name
from art_levelset.attacks.boundary import nearest_misclassified
from art_levelset.attacks.effort import measured
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Outcome
from art_levelset.evaluation import Report, assessment, evaluate
from art_levelset.evaluation.outcomes import read_outcomes, recompute, write_outcomes
from art_levelset.evaluation.record import read_record, write_record

ABOUT = {"name": "a network", "dataset": "noise", "architecture": "small", "outcomes_file": "record.outcomes.npz"}
EPS = 0.06


class Counted(nn.Sequential):
    """Counts the samples that pass, and is killed at a pass."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        layer = nn.Linear(64, 5)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(5, 64, generator=generator) / 8)
            layer.bias.zero_()
        super().__init__(nn.Flatten(), layer)
        self.seen, self.end = deque[int](), deque([-1])  # a network's key does not depend on what is in them

    @property
    def passes(self) -> int:
        return len(self.seen)

    @property
    def samples(self) -> int:
        return sum(self.seen)

    def forward(self, x: Tensor) -> Tensor:
        if self.passes + 1 == self.end[0]:
            raise KeyboardInterrupt
        self.seen.append(len(x))
        outputs: Tensor = super().forward(x)
        return outputs


@dataclass(frozen=True)
class Stub:
    """In the place of AutoAttack, which takes longer: one of its members, PGD, does all the work."""

    eps: float
    seed: int = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("its outcome is asked for")

    def outcome(self, model: Any, x: Tensor, y: Tensor) -> Outcome[Tensor]:
        with measured(model) as effort:
            examples = pgd(model, x, y, eps=self.eps, max_iter=20, loss="margin", seed=self.seed)
            broken = model(examples).argmax(dim=1) != y
        left = dict.fromkeys(("clean", "apgd-ce", "apgd-t"), len(x) - int(broken.sum()))
        return Outcome(examples, effort, {**left, "clean": len(x)}, torch.where(broken, 0, -1))

    def described(self) -> dict[str, Any]:
        return {"name": "AutoAttack", "eps": self.eps, "norm": math.inf, "version": "standard"}


@dataclass(frozen=True)
class Near:
    """In the place of the guided ensemble: a short search for the boundary."""

    eps: float
    seed: int = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("its outcome is asked for")

    def outcome(self, model: Any, x: Tensor, y: Tensor) -> Outcome[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        with measured(model) as effort:
            found = nearest_misclassified(model, x, y, norm=math.inf, box=(0.0, 1.0), max_iter=3, generator=generator)
        inside = found.distances <= self.eps
        examples = torch.where(inside[:, None, None, None], found.points, x)
        left = {"clean": len(x), "boundary": int((~inside).sum())}
        return Outcome(examples, effort, left, torch.where(inside, 0, -1), found.distances)

    def described(self) -> dict[str, Any]:
        return {"name": "Guided", "eps": self.eps, "norm": math.inf}


@pytest.fixture(scope="module", autouse=True)
def _stub() -> Iterator[None]:
    def made(name: str, *, eps: float, **others: Any) -> Any:
        return {"autoattack": Stub, "guided": Near}[name](eps)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(assessment, "attack_by_name", made)
        yield


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    x = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = Counted()(x).argmax(dim=1)
    y[::15] = (y[::15] + 1) % 5
    return x, y


def weak(**others: Any) -> Any:
    """Breaks less than AutoAttack does."""
    return {"weak": partial(pgd, eps=EPS, eps_step=EPS / 8, max_iter=4, random_start=False, **others)}


def run(samples: tuple[Tensor, Tensor], model: nn.Module | None = None, **options: Any) -> Report:
    settings: dict[str, Any] = {"autoattack": "estimate", "interval": 0.05, "verbose": False, **options}
    return evaluate(model or Counted(), *samples, settings.pop("attacks", weak()), **settings)


@pytest.fixture(scope="module")
def report(samples: tuple[Tensor, Tensor]) -> Report:
    return run(samples)


def test_autoattack_sees_a_part_of_each_stratum_and_all_of_the_nearest(report: Report) -> None:
    found = report.estimate
    assert found is not None
    assert [attacked.name for attacked in report.attacks] == ["weak", "guided"]
    assert (found.stratum[~report.clean] == -1).all()
    assert (found.stratum[report.clean] >= 0).all()
    assert 0 < (found.phase > 0).sum() < report.clean.sum()
    for place, one in enumerate(found.strata):
        drawn = found.phase[found.stratum == place]
        assert 0 < (drawn == 1).sum() == len(one.pilot)
        assert (drawn == 2).sum() == len(one.rest)
    ratios = report.distances / EPS
    near = report.worst & (ratios < 1.01)
    assert (found.phase[near] > 0).all()
    assert found.strata[0].stratum.broken
    assert not report.worst[found.strata[0].stratum.rows].any()


def test_the_figures_are_those_of_the_samples(report: Report, samples: tuple[Tensor, Tensor]) -> None:
    """On a network on which all attacks find the same: the truth is known without AutoAttack."""
    assert report.estimate is not None
    result = report.estimate.result()
    low, high = result.interval
    assert low <= report.worst.mean() <= high
    assert result.worst_case == pytest.approx(report.worst.mean())
    assert result.worst_case <= result.accuracy
    assert (high - low) / 2 <= 0.05 + 1e-9
    assert result.parameters["name"] == "AutoAttack"
    drawn = report.estimate.phase > 0
    assert result.drawn == drawn.sum()
    assert report.estimate.members == ("apgd-ce", "apgd-t")
    broken = drawn & ~report.estimate.right
    assert broken.any()
    assert (report.estimate.broken_by[broken] == 0).all()
    assert (report.estimate.distances[broken] <= EPS + 1e-6).all()
    assert (report.estimate.broken_by[~broken] == -1).all()


def test_what_it_has_cost_and_what_all_would_cost(report: Report) -> None:
    assert report.estimate is not None
    spent, full = report.estimate.effort, report.estimate.full
    assert 0 < spent.gradients < full.gradients
    each = {
        effort.gradients / len(one.right)
        for one, effort in zip(report.estimate.strata, report.estimate.efforts, strict=True)
    }
    assert each == {20.0}, "every image costs the same here"
    assert full.gradients == 20 * report.clean.sum()
    assert f"AutoAttack on {int((report.estimate.phase > 0).sum())} of 300 images" in report.text()


def test_an_interval_of_next_to_nothing_is_autoattack_itself(samples: tuple[Tensor, Tensor]) -> None:
    few = tuple(part[:60] for part in samples)
    found = run(few, interval=1e-6)
    everything = evaluate(Counted(), *few, {"all": Stub(EPS)}, verbose=False)
    assert found.estimate is not None
    result = found.estimate.result()
    assert result.drawn == found.clean.sum()
    assert result.interval[0] == result.interval[1] == pytest.approx(result.accuracy)
    assert result.accuracy == pytest.approx(everything.attacks[0].accuracy, abs=1.5 / 60)  # other seeds


def test_a_longer_interval_needs_fewer(samples: tuple[Tensor, Tensor]) -> None:
    counts = []
    for interval in (0.2, 0.05, 0.02):
        found = run(samples, interval=interval).estimate
        assert found is not None
        counts.append(found.result().drawn)
    assert counts[0] < counts[1] < counts[2]


def test_from_the_file_beside_the_record(report: Report, tmp_path: Path) -> None:
    write_record(report.record(**ABOUT), tmp_path / "record.json")
    write_outcomes(report.outcomes(), tmp_path / "record.outcomes.npz")
    record = read_record(tmp_path / "record.json")
    assert record.autoattack_acc == ""
    assert record.estimate is not None
    assert recompute(record, read_outcomes(record, tmp_path)) == record
    wrong = record.model_copy(update={"estimate": record.estimate.model_copy(update={"accuracy": 0.5})})
    assert recompute(wrong, read_outcomes(record, tmp_path)) == record


def test_strata_that_were_not_drawn_so_are_refused(report: Report) -> None:
    record, outcomes = report.record(**ABOUT), report.outcomes()
    arrays = outcomes.arrays
    for changes, message in [
        ({"phase": np.zeros_like(arrays["phase"])}, "stratum 0 is not as it is drawn"),
        ({"stratum": np.zeros_like(arrays["stratum"])}, "the strata are not those of the record"),
        ({"stratum": np.where(arrays["stratum"] > 0, arrays["stratum"], 1)}, "stratum"),
    ]:
        with pytest.raises(ValueError, match=message):
            recompute(record, type(outcomes)({**arrays, **changes}))


@pytest.mark.usefixtures("as_if_installed")
def test_a_killed_estimate_goes_on(samples: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    whole = Counted()
    expected = run(samples, whole, batch_size=30)
    killed = Counted()
    killed.end[0] = whole.passes - 10
    with pytest.raises(KeyboardInterrupt):
        run(samples, killed, batch_size=30, memo=Memo(tmp_path))
    resumed = Counted()
    found = run(samples, resumed, batch_size=30, memo=Memo(tmp_path))
    assert resumed.samples < whole.samples / 4
    assert expected.estimate is not None
    assert found.estimate is not None
    for name in ("phase", "stratum", "right", "broken_by", "distances"):
        assert np.array_equal(getattr(found.estimate, name), getattr(expected.estimate, name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoattack": "all"}, "autoattack must be 'estimate' or None"),
        ({"interval": 0.0}, r"interval must be in \(0, 0.5\)"),
        ({"interval": float("nan")}, r"interval must be in \(0, 0.5\)"),
        ({"attacks": {"none": lambda model, x, y: x}}, "eps must be given for margins, masking and autoattack"),
    ],
)
def test_bad_arguments_are_found_before_the_first_pass(
    samples: tuple[Tensor, Tensor], options: dict[str, Any], message: str
) -> None:
    model = Counted()
    with pytest.raises(ValueError, match=message):
        run(samples, model, **options)
    assert model.passes == 0


def test_another_seed_draws_others(samples: tuple[Tensor, Tensor]) -> None:
    phases = []
    for seed in (0, 0, 1):
        found = run(samples, seed=seed).estimate
        assert found is not None
        phases.append(found.phase.tolist())
    assert phases[0] == phases[1] != phases[2]


@pytest.mark.usefixtures("quick_autoattack")
def test_with_autoattack_itself(samples: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyautoattack")
    monkeypatch.setattr(assessment, "attack_by_name", attack_by_name)
    found = run(tuple(part[:60] for part in samples), interval=0.2).estimate
    assert found is not None
    assert found.members == ("apgd-ce", "apgd-t", "fab-t", "square")
    result = found.result()
    assert result.parameters["name"] == "AutoAttack"
    assert result.interval[0] <= result.accuracy <= result.interval[1]
    assert 0 < result.drawn <= found.stratum.size
