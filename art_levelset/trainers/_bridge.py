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
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from torch import Tensor, nn

from art_levelset.core.projection import Box


class AttackedNetwork(nn.Module):
    """
    A classifier's network as its attacker sees it: ART's preprocessing for prediction, then the model.

    :param classifier: An ART PyTorchClassifier.
    :raises ValueError: If a preprocessing step has no PyTorch implementation, so that no gradient passes through it.
    """

    def __init__(self, classifier: PyTorchClassifier) -> None:
        super().__init__()
        self.model: nn.Module = classifier.model
        self._operations = [step for step in classifier.preprocessing_operations if not _is_identity(step)]
        if self._operations and not classifier.all_framework_preprocessing:
            names = ", ".join(type(step).__name__ for step in self._operations)
            raise ValueError(f"classifier: its preprocessing ({names}) has no PyTorch implementation to differentiate")
        self._preprocess = classifier._apply_preprocessing

    def forward(self, x: Tensor) -> Tensor:
        """
        The model's outputs on raw inputs.

        :param x: Raw inputs, (batch, ...).
        :return: Outputs, (batch, classes).
        """
        if self._operations:
            x, _ = self._preprocess(x, None, fit=False, no_grad=False)
        outputs: Tensor = self.model(x)
        return outputs


def check_classifier(classifier: Any) -> None:
    """
    Check that a classifier can be trained.

    :param classifier: An ART PyTorchClassifier with an optimizer.
    :raises TypeError: If it is no PyTorchClassifier.
    :raises ValueError: If it has no optimizer.
    """
    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(f"classifier must be an art PyTorchClassifier, got {type(classifier).__name__}")
    if classifier.optimizer is None:
        raise ValueError("classifier has no optimizer, which training needs: PyTorchClassifier(..., optimizer=...)")


def clip_box(classifier: PyTorchClassifier) -> Box | None:
    """
    The box that inputs stay in.

    :param classifier: An ART PyTorchClassifier.
    :return: Its clip values as (low, high) tensors in float32, or None.
    """
    if classifier.clip_values is None:
        return None
    low, high = (
        torch.as_tensor(np.asarray(value, np.float32), device=classifier.device) for value in classifier.clip_values
    )
    shape = tuple(classifier.input_shape)
    if low.dim() and low.numel() == int(np.prod(shape)):
        low, high = low.reshape(shape), high.reshape(shape)
    return low, high


def _is_identity(step: Any) -> bool:
    if not isinstance(step, StandardisationMeanStdPyTorch):
        return False
    return bool(np.all(np.asarray(step.mean) == 0) and np.all(np.asarray(step.std) == 1))
