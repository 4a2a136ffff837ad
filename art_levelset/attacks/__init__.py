"""
Attacks on PyTorch classifiers, one protocol: `attack(model, x, y) -> x_adv`.

:func:`pgd` is projected gradient descent in L_inf, L_2 and L_1, and :class:`LibraryAttack` wraps the attacks of other
libraries. :class:`Subject` is the door, which checks a network, samples and labels once. :class:`Memo` keeps finished
work, :func:`outcome_of` measures what an attack costs, and :mod:`art_levelset.attacks.boundary` looks for the nearest
misclassified point.

>>> import torch
>>> from functools import partial
>>> from art_levelset.attacks import Attack, pgd
>>> attack: Attack = partial(pgd, eps=0.3, max_iter=10)
>>> model = torch.nn.Linear(2, 2)
>>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
>>> x, y = torch.tensor([[0.6, 0.4], [0.1, 0.9]]), torch.tensor([0, 1])
>>> model(attack(model, x, y)).argmax(dim=1)  # the first sample is 0.1 from the decision boundary, the second 0.4
tensor([1, 1])
"""

from __future__ import annotations

from art_levelset.attacks.effort import Effort
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.attacks.protocol import Attack, LibraryAttack, Outcome, outcome_of
from art_levelset.attacks.subject import Subject

__all__ = ["Attack", "Effort", "LibraryAttack", "Memo", "Outcome", "Subject", "decaying_steps", "outcome_of", "pgd"]
