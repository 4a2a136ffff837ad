"""
The convolutional networks of Table B1: ConvNet-2a, 2b, 4a and 4b.

In the table's notation "k w x h + s", s is the stride; the paddings are those that give the parameter counts of Section
5.2 (312 K for ConvNet-4a, 2.5 M for ConvNet-4b). Every layer but the last is followed by a ReLU. The layers are named
conv1, conv2, ..., fc1, fc2, ...

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from art_levelset.checks import check_count

ImageShape = tuple[int, int, int]


def convnet_2a(nb_classes: int = 10, input_shape: ImageShape = (1, 28, 28)) -> nn.Sequential:
    """
    ConvNet-2a: two 4x4 convolutions of stride 2 and padding 1 (16, 32 channels), then 100 and `nb_classes` units.

    The cheapest of the networks: on MNIST a sixteenth of ConvNet-4a's multiplications.

    :param nb_classes: Number of outputs.
    :param input_shape: Channels, height and width of one image.
    :return: The network, (batch, *input_shape) -> (batch, nb_classes), with PyTorch's default initialisation.
    :raises ValueError: If `nb_classes` or `input_shape` is not positive, or the image is too small.
    """
    _check(nb_classes, input_shape)
    features = [
        ("conv1", nn.Conv2d(input_shape[0], 16, 4, stride=2, padding=1)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(16, 32, 4, stride=2, padding=1)),
        ("relu2", nn.ReLU()),
    ]
    return _classifier(features, input_shape, (100, nb_classes))


def convnet_2b(nb_classes: int = 10, input_shape: ImageShape = (1, 28, 28)) -> nn.Sequential:
    """
    ConvNet-2b: two unpadded 5x5 convolutions (32, 64 channels), each with 2x2 max-pooling, then 512 and `nb_classes`.

    :param nb_classes: Number of outputs.
    :param input_shape: Channels, height and width of one image.
    :return: The network, (batch, *input_shape) -> (batch, nb_classes), with PyTorch's default initialisation.
    :raises ValueError: If `nb_classes` or `input_shape` is not positive, or the image is too small.
    """
    _check(nb_classes, input_shape)
    features = [
        ("conv1", nn.Conv2d(input_shape[0], 32, 5)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(32, 64, 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
    ]
    return _classifier(features, input_shape, (512, nb_classes))


def convnet_4a(nb_classes: int = 10, input_shape: ImageShape = (1, 28, 28)) -> nn.Sequential:
    """
    ConvNet-4a: unpadded 3x3 convolutions 32, 32, pool, 64, 64, pool, then 200, 200 and `nb_classes` units.

    312,202 parameters on MNIST. The weights that the paper's authors released belong to :func:`convnet_4a_released`.

    :param nb_classes: Number of outputs.
    :param input_shape: Channels, height and width of one image.
    :return: The network, (batch, *input_shape) -> (batch, nb_classes); convolutions Kaiming-normal with bias 0.
    :raises ValueError: If `nb_classes` or `input_shape` is not positive, or the image is too small.
    """
    _check(nb_classes, input_shape)
    return _kaiming(_classifier(_features_4a(input_shape[0]), input_shape, (200, 200, nb_classes)), "fan_in")


def convnet_4a_released(nb_classes: int = 10, input_shape: ImageShape = (1, 28, 28)) -> nn.Sequential:
    """
    ConvNet-4a as the paper's authors trained it: without a ReLU after the first two fully connected layers.

    Their three fully connected layers are therefore one affine map, factored. The parameters have the names and shapes
    of :func:`convnet_4a`, so the released weights load into both, but only here do they reach the published accuracy.

    :param nb_classes: Number of outputs.
    :param input_shape: Channels, height and width of one image.
    :return: The network, (batch, *input_shape) -> (batch, nb_classes); convolutions Kaiming-normal with bias 0.
    :raises ValueError: If `nb_classes` or `input_shape` is not positive, or the image is too small.
    """
    _check(nb_classes, input_shape)
    layers = _classifier(_features_4a(input_shape[0]), input_shape, (200, 200, nb_classes), hidden_relu=False)
    return _kaiming(layers, "fan_in")


def convnet_4b(nb_classes: int = 10, input_shape: ImageShape = (3, 32, 32)) -> nn.Sequential:
    """
    ConvNet-4b: 3x3 stride 1 (32), 4x4 stride 2 (32), 3x3 stride 1 (64), 4x4 stride 2 (64), then 512, 512, `nb_classes`.

    All paddings 1; 2,466,858 parameters on CIFAR10.

    :param nb_classes: Number of outputs.
    :param input_shape: Channels, height and width of one image.
    :return: The network, (batch, *input_shape) -> (batch, nb_classes); convolution weights normal with variance
             2 / (kernel area * output channels), biases 0.
    :raises ValueError: If `nb_classes` or `input_shape` is not positive, or the image is too small.
    """
    _check(nb_classes, input_shape)
    features = [
        ("conv1", nn.Conv2d(input_shape[0], 32, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(32, 32, 4, stride=2, padding=1)),
        ("relu2", nn.ReLU()),
        ("conv3", nn.Conv2d(32, 64, 3, padding=1)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(64, 64, 4, stride=2, padding=1)),
        ("relu4", nn.ReLU()),
    ]
    return _kaiming(_classifier(features, input_shape, (512, 512, nb_classes)), "fan_out")


def _features_4a(channels: int) -> list[tuple[str, nn.Module]]:
    return [
        ("conv1", nn.Conv2d(channels, 32, 3)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(32, 32, 3)),
        ("relu2", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv3", nn.Conv2d(32, 64, 3)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(64, 64, 3)),
        ("relu4", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
    ]


def _classifier(
    features: list[tuple[str, nn.Module]], input_shape: ImageShape, widths: tuple[int, ...], hidden_relu: bool = True
) -> nn.Sequential:
    """The feature layers, then fully connected layers of these widths with ReLUs (or nothing) between them."""
    layers = [*features, ("flatten", nn.Flatten())]
    try:
        with torch.no_grad():
            inputs = nn.Sequential(OrderedDict(layers))(torch.zeros(1, *input_shape)).shape[1]
    except RuntimeError:
        inputs = 0
    if inputs == 0:
        raise ValueError(f"input_shape {tuple(input_shape)} is too small for this network's convolutions")
    for number, (before, after) in enumerate(zip((inputs, *widths), widths, strict=False), start=1):
        layers.append((f"fc{number}", nn.Linear(before, after)))
        if hidden_relu and number < len(widths):
            layers.append((f"fc_relu{number}", nn.ReLU()))
    return nn.Sequential(OrderedDict(layers))


def _kaiming(model: nn.Sequential, mode: Literal["fan_in", "fan_out"]) -> nn.Sequential:
    """Kaiming-normal convolution weights with bias 0; the fully connected layers keep PyTorch's default."""
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


def _check(nb_classes: int, input_shape: ImageShape) -> None:
    check_count("nb_classes", nb_classes)
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape must be (channels, height, width), all positive, got {tuple(input_shape)}")
