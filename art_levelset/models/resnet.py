"""
ResNet-18 in its CIFAR form, as in Section 5.2.

| Paper link: https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from torch import nn

from art_levelset.checks import check_count


def resnet_18(nb_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """
    ResNet-18 for small images: a 3x3 stem of stride 1 and no max-pooling; blocks of 64, 128, 256 and 512 channels.

    11.2 M parameters. Inputs in [0, 1]: there is no normalisation layer in front.

    :param nb_classes: Number of outputs.
    :param in_channels: Channels of an image.
    :return: The network, (batch, in_channels, height, width) -> (batch, nb_classes).
    :raises ValueError: If a number is not positive.
    """
    check_count("nb_classes", nb_classes)
    check_count("in_channels", in_channels)
    from torchvision.models import resnet18

    model: nn.Module = resnet18(weights=None, num_classes=nb_classes)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
