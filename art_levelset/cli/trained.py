"""
What is trained: the samples and the network that the options of `train` name, checked before the first step.

What is wrong with either is one line that names the option; and a run with a network that is not the package's goes on
from the checkpoints of the same network alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from art_levelset.attacks.inputs import class_logits, home
from art_levelset.attacks.network import seeded
from art_levelset.cli.networks import architecture_of, check_arch, is_own, new_network
from art_levelset.cli.options import ARCHITECTURES
from art_levelset.cli.python_path import errors_named, json_arguments
from art_levelset.cli.samples import read_data
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.datasets import Dataset
from art_levelset.identity import form
from art_levelset.trainers import Callback
from art_levelset.untrusted import printable

_FEW = 8
"""Samples by which the network is checked."""

_REMEDY = "; where labels of the last classes are missing, a Dataset says how many there are in its attribute classes"


class SameNetwork(Callback):
    """
    Training goes on from a checkpoint of the same network: one of the same code and settings, whatever its weights.

    :param name: What the network is called.
    :param network: The network, before training.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        self._name, self._form = name, form(network)

    def state_dict(self) -> dict[str, Any]:
        """
        What the network is.

        :return: A fingerprint.
        """
        return {"network": self._form}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Compare the network with that of a checkpoint.

        :param state: What :meth:`state_dict` returned.
        :raises ValueError: If it is another one.
        """
        if state != self.state_dict():
            raise ValueError(f"the network was another one: the code of {self._name}, or a setting in it, has changed")


@dataclass(frozen=True, eq=False)
class Trained:
    """
    Samples and a network.

    :param data: The samples, float32 in [0, 1].
    :param network: From samples to logits of the classes, on the CPU or where the user's code has it.
    :param architecture: What it is, as text.
    :param callbacks: Those that the training needs.
    """

    data: Dataset
    network: nn.Module
    architecture: str
    callbacks: Sequence[Callback]


def read(data: str, arch: str, arguments: argparse.Namespace) -> Trained:
    """
    What the options name, read and checked.

    :param data: What `--data` or the preset names.
    :param arch: What `--arch` or the preset names.
    :param arguments: The options `data_args`, `data_root`, `download`, `arch_args` and `seed`.
    :return: The samples, and the network with its first weights.
    :raises ValueError: If an option is wrong, or the network cannot be trained on the samples; in one line.
    :raises OSError: If a file cannot be read.
    """
    check_arch(arch)
    arch_args = json_arguments("--arch-args", arguments.arch_args)
    torch.manual_seed(arguments.seed)  # the file of the samples may be that of a network, too
    try:
        samples = _checked(read_data(data, arguments, train=True))
    except ValueError as error:  # too many for the memory, of which there is no option to read fewer
        raise ValueError(re.sub("^(--data: )?nb_examples: ", "--data: the number of samples: ", str(error))) from error
    if samples.classes > len(samples.x) and not is_own(arch):  # the last layer would have so many rows
        raise ValueError(
            f"--data: the labels of {samples.name} must be below the number of samples, {len(samples.x)}, got "
            f"{samples.classes - 1}"
        )
    torch.manual_seed(arguments.seed)
    network = new_network(arch, arch_args, shape=samples.x.shape[1:], classes=samples.classes)
    name = printable(architecture_of(arch, arch_args))
    _check_state(network, name)
    callbacks = [] if arch in ARCHITECTURES else [SameNetwork(name, network)]
    _check_pass(network, name, samples)
    return Trained(samples, network, name, callbacks)


def _checked(data: Dataset) -> Dataset:
    """The samples as training takes them."""
    x = data.x.astype(np.float32, copy=False)
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"--data: the samples of {data.name} must lie in [0, 1], got values in [{low:.4g}, {high:.4g}]"
        )
    if data.classes < 2:
        raise ValueError(f"--data: the labels of {data.name} must be of two classes at least, got 0 alone")
    return replace(data, x=x)


def _check_state(network: nn.Module, name: str) -> None:
    """That the network has weights, which a file can hold, and a new network of the same code takes."""
    parameters = list(network.parameters())
    if any(is_lazy(parameter) for parameter in parameters):
        raise ValueError(f"--arch: {name} must know the sizes of its layers, and not find them out in its first pass")
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(f"--arch: {name} must have parameters to train, got {len(parameters)} that are all frozen")
    others = [part for part, value in network.state_dict().items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(
            f"--arch: the state of {name} must be tensors, as the file of weights holds no others: {others[0]}"
        )


def _check_pass(network: nn.Module, name: str, data: Dataset) -> None:
    """That the network has a logit for each class, with gradients, by a pass that changes nothing."""
    device, dtype = home(network)
    if dtype != torch.float32:
        raise ValueError(f"--arch: {name} must compute in torch.float32, got {dtype}: network.float()")
    x = torch.from_numpy(data.x[:_FEW]).to(device).requires_grad_()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with (
        errors_named("--arch", f"{name}, given samples of the shape {tuple(x.shape[1:])},"),
        evaluating(network),
        seeded(0, device),
    ):
        outputs = network(x.clone())
        try:
            found = class_logits(outputs, len(x)).shape[1]
        except (TypeError, ValueError) as error:
            raise ValueError(f"--arch: {name}{str(error).removeprefix('model')}") from None
        if found != data.classes:
            raise ValueError(
                f"--arch: {name} must return {data.classes} logits, one for each class of --data, got {found}"
                f"{_REMEDY if found > data.classes else ''}"
            )
        wanted = [x, *parameters]
        gradients = torch.autograd.grad(outputs.sum(), wanted, allow_unused=True) if outputs.requires_grad else [None]
        if gradients[0] is None or all(gradient is None for gradient in gradients[1:]):
            raise ValueError(f"--arch: the logits of {name} must have gradients, of samples and of parameters")
