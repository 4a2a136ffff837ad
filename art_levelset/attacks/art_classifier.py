"""
The bridge to ART: the only file that touches what ART keeps private.

An ART classifier is more than its network: raw inputs go through its preprocessing first. Margins and perturbations
are measured where the attacker acts, on raw inputs, so the level-set function is the network *behind* the
preprocessing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from torch import Tensor, nn

from art_levelset.identity import describe


class AttackedNetwork(nn.Module):
    """
    A classifier's network as its attacker sees it: ART's preprocessing for prediction, then the model.

    Steps in PyTorch are differentiated as they are. For the others gradients are those that ART estimates (backward
    pass differentiable approximation).

    | Paper link: https://arxiv.org/abs/1802.00420

    :param classifier: An ART PyTorchClassifier.
    :raises ValueError: If it has postprocessing defences, which act on the outputs after the network.
    """

    def __init__(self, classifier: PyTorchClassifier) -> None:
        super().__init__()
        if classifier.postprocessing_defences:
            names = ", ".join(type(step).__name__ for step in classifier.postprocessing_defences)
            raise ValueError(f"classifier: its postprocessing ({names}) acts on the outputs, behind the network")
        self.model: nn.Module = classifier.model
        self._steps = [step for step in classifier.preprocessing_operations if not _is_identity(step)]

    def forward(self, x: Tensor) -> Tensor:
        """
        The model's outputs on raw inputs.

        :param x: Raw inputs, (batch, ...).
        :return: Outputs, (batch, classes).
        """
        for step in self._steps:
            if step.apply_predict:
                x = step.forward(x)[0] if isinstance(step, PreprocessorPyTorch) else _Estimated.apply(x, step)
        outputs: Tensor = self.model(x)
        return outputs

    def extra_repr(self) -> str:
        """
        The steps with their parameters: what tells two classifiers apart that share their model.

        :return: One step a line; empty without steps.
        """
        return "\n".join(repr(describe(step)) for step in self._steps if step.apply_predict)


class _Estimated(torch.autograd.Function):
    """A preprocessing step in numpy, with the gradient that ART estimates for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Any) -> Tensor:
        ctx.step, ctx.inputs = step, x.detach().cpu().numpy()
        return torch.as_tensor(step(ctx.inputs.copy())[0], dtype=x.dtype, device=x.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        estimate = ctx.step.estimate_gradient(ctx.inputs, gradient.cpu().numpy())
        return torch.as_tensor(estimate, dtype=gradient.dtype, device=gradient.device), None


def is_classifier(model: Any) -> bool:
    """
    Whether something is a classifier that attacks know how to face.

    :param model: Anything.
    :return: Whether it is an ART PyTorchClassifier.
    """
    return isinstance(model, PyTorchClassifier)


def check_classifier(classifier: Any) -> None:
    """
    Check that a classifier can be trained.

    :param classifier: An ART PyTorchClassifier with an optimizer.
    :raises TypeError: If it is no PyTorchClassifier.
    :raises ValueError: If it has no optimizer, or a preprocessing step has no PyTorch implementation, so that no exact
            gradient passes through it.
    """
    if not is_classifier(classifier):
        raise TypeError(f"classifier must be an art PyTorchClassifier, got {type(classifier).__name__}")
    if classifier.optimizer is None:
        raise ValueError("classifier has no optimizer, which training needs: PyTorchClassifier(..., optimizer=...)")
    steps = [step for step in classifier.preprocessing_operations if not isinstance(step, PreprocessorPyTorch)]
    if steps:
        names = ", ".join(type(step).__name__ for step in steps)
        raise ValueError(f"classifier: its preprocessing ({names}) has no PyTorch implementation to differentiate")


def _is_identity(step: Any) -> bool:
    if not isinstance(step, StandardisationMeanStdPyTorch):
        return False
    return bool(np.all(np.asarray(step.mean) == 0) and np.all(np.asarray(step.std) == 1))
