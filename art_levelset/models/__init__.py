"""The networks of Table B1 and the weights that the paper's authors released."""

from __future__ import annotations

from art_levelset.models.convnets import convnet_2a, convnet_2b, convnet_4a, convnet_4a_released, convnet_4b
from art_levelset.models.mlps import SkipMLP, fc_1, fc_2
from art_levelset.models.released import load_released_weights
from art_levelset.models.resnet import resnet_18

__all__ = [
    "SkipMLP",
    "convnet_2a",
    "convnet_2b",
    "convnet_4a",
    "convnet_4a_released",
    "convnet_4b",
    "fc_1",
    "fc_2",
    "load_released_weights",
    "resnet_18",
]
