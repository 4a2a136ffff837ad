"""Attacks and scores: what a network withstands."""

from __future__ import annotations

from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.evaluation.accuracy import accuracy, classified_right, robust_accuracy, wilson
from art_levelset.evaluation.calibration import calibration
from art_levelset.evaluation.distances import attack_distances, boundary_distances, margin_curve
from art_levelset.evaluation.masking import diagnose
from art_levelset.evaluation.suite import evaluate
from art_levelset.evaluation.transfer import transfer_matrix

__all__ = [
    "accuracy",
    "attack_distances",
    "boundary_distances",
    "calibration",
    "classified_right",
    "decaying_steps",
    "diagnose",
    "evaluate",
    "margin_curve",
    "pgd",
    "robust_accuracy",
    "transfer_matrix",
    "wilson",
]
