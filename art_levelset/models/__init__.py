"""
The networks of Table B1 and ResNet-18, and weights from files, those that the paper's authors released among them.

>>> import torch
>>> from art_levelset.models import convnet_2a
>>> model = convnet_2a(nb_classes=10, input_shape=(1, 28, 28))
>>> model(torch.zeros(5, 1, 28, 28)).shape
torch.Size([5, 10])
"""

from __future__ import annotations

from art_levelset.models.convnets import convnet_2a, convnet_2b, convnet_4a, convnet_4a_released, convnet_4b
from art_levelset.models.mlps import SkipMLP, fc_1, fc_2
from art_levelset.models.resnet import resnet_18
from art_levelset.models.weights import CLASSIFIERS, load_classifier, load_released_weights, load_weights

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
    "load_classifier",
    "load_released_weights",
    "load_weights",
    "resnet_18",
]
