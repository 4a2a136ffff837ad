"""Attacks and scores: what a network withstands."""

from __future__ import annotations

from art_levelset.evaluation.pgd import pgd
from art_levelset.evaluation.robustness import accuracy, classified_right, robust_accuracy

__all__ = ["accuracy", "classified_right", "pgd", "robust_accuracy"]
