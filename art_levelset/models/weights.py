"""
The image classifiers by name, weights from files, and those that the paper's authors released.

A file of PyTorch holds a state dictionary as it is, or in a dictionary (a checkpoint) under one of :data:`CHECKPOINTS`;
one of safetensors, which ends in `.safetensors`, as it is. Its names may have a prefix, `model.`, `module.` or
`_orig_mod.`, once for each module that wrapped the network when it was saved.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from torch import Tensor, nn

from art_levelset.checks import check_count
from art_levelset.models.convnets import (
    ImageShape,
    convnet_2a,
    convnet_2b,
    convnet_4a,
    convnet_4a_released,
    convnet_4b,
)
from art_levelset.models.resnet import resnet_18
from art_levelset.tensors import load_tensors
from art_levelset.untrusted import check_claim, opened, size_of

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "convnet2a": convnet_2a,
    "convnet2b": convnet_2b,
    "convnet4a": convnet_4a,
    "convnet4a-released": convnet_4a_released,
    "convnet4b": convnet_4b,
    "resnet18": lambda nb_classes, input_shape: resnet_18(nb_classes, input_shape[0]),
}
"""The image classifiers by name, each called with `nb_classes` and `input_shape`; the last layer has the classes."""

CHECKPOINTS = ("model_state_dict", "state_dict", "model", "net")
"""Under one of these names a checkpoint has the state dictionary."""

Network = TypeVar("Network", bound=nn.Module)

_PREFIX = re.compile(r"^((model|module|_orig_mod)\.)*")


def load_weights(model: Network, path: str | PathLike[str]) -> Network:
    """
    Load a network's weights from a file.

    Only tensors and plain containers are read from the file; it cannot run code.

    :param model: The network, changed in place.
    :param path: A file of `torch.save`, a state dictionary or a checkpoint with one; or of safetensors.
    :return: The network, in evaluation mode.
    :raises OSError: If the file cannot be read.
    :raises ImportError: If it is one of safetensors, and that library is missing.
    :raises ValueError: If it is no such file, or holds the weights of another network; the network is unchanged then.
    """
    given = _read(path)
    wanted = {_PREFIX.sub("", name): (name, value.shape) for name, value in model.state_dict().items()}
    for name in [*wanted, *given]:
        if name not in given or name not in wanted:
            raise ValueError(f"path: {path} holds the weights of another network: {name} is only in one of them")
        if given[name].shape != wanted[name][1]:
            there, here = tuple(given[name].shape), tuple(wanted[name][1])
            raise ValueError(f"path: {path} holds the weights of another network: {name} is {there} there, {here} here")
    model.load_state_dict({wanted[name][0]: value for name, value in given.items()})
    return model.eval()


def load_classifier(
    name: str, path: str | PathLike[str], *, input_shape: ImageShape, least_classes: int = 1
) -> nn.Module:
    """
    One of the image classifiers with the weights of a file, which say how many classes it has.

    :param name: A name in :data:`CLASSIFIERS`.
    :param path: A file as for :func:`load_weights`.
    :param input_shape: Channels, height and width of one image.
    :param least_classes: How many classes the labels show. They may show fewer than the network has, where the last
           classes are missing, but not more.
    :return: The network, in evaluation mode, on the CPU.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If there is no classifier of that name, the file is none of weights or has another network's,
            or the network has fewer classes than the labels.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"name must be one of {', '.join(CLASSIFIERS)}, got {name!r}")
    check_count("least_classes", least_classes)
    classes = classes_of(CLASSIFIERS[name](nb_classes=least_classes, input_shape=input_shape), path) or least_classes
    if classes < least_classes:
        raise ValueError(
            f"path: {path} holds the weights of a network of {classes} classes, but the labels show {least_classes}"
        )
    return load_weights(CLASSIFIERS[name](nb_classes=classes, input_shape=input_shape), path)


def classes_of(model: nn.Module, path: str | PathLike[str]) -> int | None:
    """
    How many classes the network has whose weights are in a file.

    :param model: A network of the same structure, with any number of classes; its last parameter is the last layer's.
    :param path: A file as for :func:`load_weights`.
    :return: The number; None if the file has no such layer.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is none of weights.
    """
    state = _read(path)
    *_, last = (_PREFIX.sub("", name) for name, _ in model.named_parameters())
    return len(state[last]) if last in state and state[last].dim() == 1 else None


def load_released_weights(path: str | PathLike[str]) -> nn.Module:
    """
    The authors' MNIST network with their weights, in evaluation mode, on the CPU.

    :param path: A `.pth` file of the release.
    :return: :func:`convnet_4a_released` with the file's weights.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is not such a file.
    """
    return load_weights(convnet_4a_released(), path)


def _read(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by their names without prefixes."""
    with opened(path) as file:
        if Path(path).suffix == ".safetensors":
            contents: Any = _safe_tensors(file, path)
        else:
            try:
                contents = load_tensors(file)
            except ValueError as error:
                raise ValueError(f"path: {path} is not a file of PyTorch weights: {error}") from error
    state = contents
    for name in CHECKPOINTS:
        if isinstance(contents, dict) and isinstance(contents.get(name), dict):
            state = contents[name]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"path: {path} holds no dictionary of tensors, neither as it is nor as a checkpoint")
    return {_PREFIX.sub("", str(name)): value for name, value in state.items()}


def _safe_tensors(file: BinaryIO, path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file of safetensors, whose reader checks sizes and runs no code."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise ImportError('safetensors is not installed: pip install "art-levelset[safetensors]"') from error
    size = size_of(file)
    check_claim(size, size)
    file.seek(0)
    try:
        return load(file.read())
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"path: {path} is not a file of safetensors: {' '.join(str(error).split()):.200}") from error
