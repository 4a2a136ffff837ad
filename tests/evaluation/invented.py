"""Records of evaluations that never took place."""

from __future__ import annotations

from typing import Any

from art_levelset.evaluation.record import AttackResult, DataUsed, MarginCurve, MaskingCheck, Record, WorstCase
from art_levelset.evaluation.record_outcomes import DrawnStratum, Estimate

RADII = tuple(i / 20 for i in range(11))


def attack(name: str = "PGD", accuracy: float = 0.9, **changes: Any) -> AttackResult:
    fields = {
        "parameters": {"eps": 0.3, "max_iter": 40, "loss": "margin"},
        "interval": (max(accuracy - 0.03, 0.0), min(accuracy + 0.03, 1.0)),
        "n_examples": 1000,
        "seconds": 12.5,
        "forward_passes": 40_000,
        "gradient_evaluations": 39_000,
    }
    return AttackResult(name=name, accuracy=accuracy, **{**fields, **changes})


def curve(name: str = "PGD", start: float = 1.0, end: float = 0.0) -> MarginCurve:
    steps = len(RADII) - 1
    return MarginCurve(
        name=name, eps=RADII, accuracy=tuple(start + (end - start) * (i / steps) ** 2 for i in range(steps + 1))
    )


def masking(*failed: str) -> tuple[MaskingCheck, ...]:
    return tuple(
        MaskingCheck(
            check=check,
            verdict="fail" if check in failed else "pass",
            statement=f"{check}: judged by what was measured.",
            value=0.25,
        )
        for check in ("zero gradients", "more iterations", "unbounded attack")
    )


def record(name: str = "Invented", worst: float = 0.9, **changes: Any) -> Record:
    fields = {
        "dataset": "mnist",
        "architecture": "ConvNet-4a",
        "eps": "0.3",
        "clean_acc": "99.00",
        "threat_model": "Linf",
        "n_examples": 1000,
        "clean_interval": (0.98, 0.995),
        "attacks": (attack(accuracy=worst),),
        "worst_case": WorstCase(accuracy=worst, interval=(max(worst - 0.03, 0.0), min(worst + 0.03, 1.0))),
        "seed": 0,
        "versions": {"art-levelset": "0.1.0", "torch": "2.15.0"},
        "data": DataUsed(sha256="ab" * 32, n_examples=1000),
        "created": "2026-11-22T12:00:00Z",
    }
    return Record(name=name, **{**fields, **changes})


def estimate(**changes: Any) -> Estimate:
    """Of 1,000 samples: 40 broken by other attacks, 950 that stand, of which AutoAttack breaks one of 200 drawn."""
    strata = (
        DrawnStratum(name="broken", n_examples=40, known_broken=True, pilot=10, pilot_broken=10, drawn=10, broken=10),
        DrawnStratum(name="standing", n_examples=950, pilot=100, pilot_broken=0, drawn=100, broken=1),
    )
    fields = {
        "parameters": {"name": "AutoAttack", "version": "standard"},
        "accuracy": 0.9415,
        "interval": (0.92, 0.949),
        "worst_case": 0.895,
        "worst_case_interval": (0.88, 0.8975),
        "asked": 0.01,
        "drawn": 220,
        "strata": strata,
        "seconds": 60.5,
        "forward_passes": 1_000_000,
        "gradient_evaluations": 300_000,
        "full_seconds": 300.0,
        "full_forward_passes": 5_000_000,
        "full_gradient_evaluations": 1_500_000,
    }
    return Estimate(**{**fields, **changes})
