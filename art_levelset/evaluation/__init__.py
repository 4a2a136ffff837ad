"""Attacks and scores: what a network withstands."""

from __future__ import annotations

from art_levelset.evaluation.accuracy import accuracy, classified_right, robust_accuracy, wilson
from art_levelset.evaluation.pgd import pgd
from art_levelset.evaluation.robustness import evaluate

__all__ = ["accuracy", "classified_right", "evaluate", "pgd", "robust_accuracy", "wilson"]
