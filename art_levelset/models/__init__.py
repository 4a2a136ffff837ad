"""The networks of Table B1, weights from files, and those that the paper's authors released."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from art_levelset.models.convnets import convnet_2a, convnet_2b, convnet_4a, convnet_4a_released, convnet_4b
from art_levelset.models.mlps import SkipMLP, fc_1, fc_2
from art_levelset.models.resnet import resnet_18
from art_levelset.models.weights import load_released_weights, load_weights

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "convnet2a": convnet_2a,
    "convnet2b": convnet_2b,
    "convnet4a": convnet_4a,
    "convnet4a-released": convnet_4a_released,
    "convnet4b": convnet_4b,
    "resnet18": lambda nb_classes, input_shape: resnet_18(nb_classes, input_shape[0]),
}
"""The image classifiers by name, each called with `nb_classes` and `input_shape`."""

__all__ = [
    "CLASSIFIERS",
    "SkipMLP",
    "convnet_2a",
    "convnet_2b",
    "convnet_4a",
    "convnet_4a_released",
    "convnet_4b",
    "fc_1",
    "fc_2",
    "load_released_weights",
    "load_weights",
    "resnet_18",
]
