"""
What a network withstands.

:func:`evaluate` runs an attack suite and, where asked, measures boundary distances and looks for masked gradients
(:func:`diagnose`); :func:`transfer_matrix` tries the examples made on one network on others. `record` and the modules
of the leaderboard keep and rank what was found.

>>> import torch
>>> from functools import partial
>>> from art_levelset.evaluation import accuracy, pgd, robust_accuracy
>>> model = torch.nn.Linear(2, 2)
>>> with torch.no_grad():
...     _ = model.weight.copy_(2 * torch.eye(2)), model.bias.zero_()
>>> x, y = torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1])
>>> accuracy(model, x, y), robust_accuracy(model, x, y, partial(pgd, eps=0.15))
(1.0, 0.5)
"""

from __future__ import annotations

from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.evaluation.accuracy import accuracy, classified_right, robust_accuracy, wilson
from art_levelset.evaluation.assessment import IncompleteEvaluation, Report, evaluate
from art_levelset.evaluation.calibration import calibration
from art_levelset.evaluation.distances import attack_distances, boundary_distances, margin_curve
from art_levelset.evaluation.masking import diagnose
from art_levelset.evaluation.transfer import transfer_matrix

__all__ = [
    "IncompleteEvaluation",
    "Report",
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
