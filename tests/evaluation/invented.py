"""Records of evaluations that never took place."""

from __future__ import annotations

from typing import Any

from art_levelset.evaluation.record import AttackResult, DataUsed, MarginCurve, MaskingCheck, Record, WorstCase

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
