"""
Direct control over the level sets of any PyTorch network, inside IBM's Adversarial Robustness Toolbox.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from art_levelset.core.bracketing import false_position
from art_levelset.core.fields import Field, logit, margin, network
from art_levelset.core.projection import descend, project
from art_levelset.core.sample_network import SampleNetwork, sample_network
from art_levelset.core.samples import LevelSetSamples, Status

if TYPE_CHECKING:
    from art_levelset.trainers.geometric_svm import GeometricSVMTrainer
    from art_levelset.trainers.margin import LevelSetMarginTrainer

__version__ = "0.1.0"

__all__ = [
    "Field",
    "GeometricSVMTrainer",
    "LevelSetMarginTrainer",
    "LevelSetSamples",
    "SampleNetwork",
    "Status",
    "descend",
    "false_position",
    "logit",
    "margin",
    "network",
    "project",
    "sample_network",
]

_LAZY = {"GeometricSVMTrainer": "geometric_svm", "LevelSetMarginTrainer": "margin"}


def __getattr__(name: str) -> Any:
    """Import the trainers, and with them ART, only when they are asked for."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"art_levelset.trainers.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
