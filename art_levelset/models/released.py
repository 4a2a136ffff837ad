"""
The MNIST weights that the paper's authors released.

Each file is a dictionary whose `model_state_dict` holds the parameters of :func:`convnet_4a_released`, under the names
that follow a prefix `model.`, once for each module that wrapped the network when it was saved (twice, in the release).

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import pickle
import re
from os import PathLike

import torch
from torch import Tensor, nn

from art_levelset.models.convnets import convnet_4a_released

_PREFIX = re.compile(r"^(model\.)*")


def load_released_weights(path: str | PathLike[str]) -> nn.Module:
    """
    The authors' network with their weights, in evaluation mode, on the CPU.

    Only tensors and plain containers are read from the file; it cannot run code.

    :param path: A `.pth` file of the release.
    :return: :func:`convnet_4a_released` with the file's weights.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is not such a file.
    """
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"path: {path} is not a file of PyTorch weights") from error
    state = contents.get("model_state_dict") if isinstance(contents, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"path: {path} holds no dictionary of tensors under 'model_state_dict'")
    model = convnet_4a_released()
    try:
        model.load_state_dict({_PREFIX.sub("", str(name)): value for name, value in state.items()})
    except RuntimeError as error:
        raise ValueError(f"path: {path} holds the weights of another network than ConvNet-4a") from error
    return model.eval()
