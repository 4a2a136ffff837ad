"""
Weights from files, and those that the paper's authors released.

A file holds a state dictionary as it is, or under `model_state_dict` or `state_dict` in a dictionary (a checkpoint).
Its names may have a prefix: `model.` or `module.`, once for each module that wrapped the network when it was saved.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import pickle
import re
from os import PathLike
from typing import TypeVar

import torch
from torch import Tensor, nn

from art_levelset.models.convnets import convnet_4a_released

Network = TypeVar("Network", bound=nn.Module)

_PREFIX = re.compile(r"^((model|module)\.)*")


def load_weights(model: Network, path: str | PathLike[str]) -> Network:
    """
    Load a network's weights from a file.

    Only tensors and plain containers are read from the file; it cannot run code.

    :param model: The network, changed in place.
    :param path: A file of `torch.save`: a state dictionary or a checkpoint with one.
    :return: The network, in evaluation mode.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is no such file, or holds the weights of another network; the network is unchanged then.
    """
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"path: {path} is not a file of PyTorch weights") from error
    state = contents
    for name in ("model_state_dict", "state_dict"):
        if isinstance(contents, dict) and name in contents:
            state = contents[name]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"path: {path} holds no dictionary of tensors, neither as it is nor as a checkpoint")
    given = {_PREFIX.sub("", str(name)): value for name, value in state.items()}
    wanted = {_PREFIX.sub("", name): (name, value.shape) for name, value in model.state_dict().items()}
    if given.keys() != wanted.keys() or any(given[name].shape != shape for name, (_, shape) in wanted.items()):
        raise ValueError(f"path: {path} holds the weights of another network")
    model.load_state_dict({wanted[name][0]: value for name, value in given.items()})
    return model.eval()


def load_released_weights(path: str | PathLike[str]) -> nn.Module:
    """
    The authors' MNIST network with their weights, in evaluation mode, on the CPU.

    :param path: A `.pth` file of the release.
    :return: :func:`convnet_4a_released` with the file's weights.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is not such a file.
    """
    return load_weights(convnet_4a_released(), path)
