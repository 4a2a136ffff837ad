"""
Any network as attacks need it: from raw inputs to the logits of two classes or more.

Small modules, to be composed: what happens to the inputs before the network (:class:`Normalized`, or a `Sequential` of
a preprocessing and the network), and what of its outputs are the logits (:class:`Selected`, :class:`TwoClasses`,
:class:`LogOfProbabilities`). :func:`adapt` looks at what a network returns, and composes the latter. A random network
is attacked as the mean of several passes (:class:`AveragedAttack`).

The attacker acts in front of the preprocessing: radius and box are those of raw inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.attacks.inputs import are_probabilities, class_logits, home, network_of
from art_levelset.attacks.network import seeded
from art_levelset.attacks.protocol import Attack, parameters_of, reseeded
from art_levelset.checks import check_count
from art_levelset.core.modes import evaluating

LOOKED_AT = 64
"""Samples at most that :func:`adapt` passes through a network."""

_SAME = 1e-4
"""Two passes whose outputs differ by less, relatively, differ by rounding."""


class Normalized(nn.Module):
    """
    A network behind a normalisation of its inputs: network((x - mean) / std).

    :param network: The network.
    :param mean: A number, or one for each channel (the first dimension of a sample).
    :param std: The same, > 0.
    :raises ValueError: If they are no such numbers.

    >>> Normalized(nn.Identity(), mean=[0.5, 0.0], std=[0.5, 1.0])(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", _channels("mean", mean))
        self.register_buffer("std", _channels("std", std))
        if not bool((self.std > 0).all()):
            raise ValueError(f"std must be positive, got {self.std.tolist()}")

    def forward(self, x: Tensor) -> Any:
        """
        The network's outputs for raw inputs.

        :param x: (batch, channels, ...).
        :return: What the network returns for the normalised ones.
        :raises ValueError: If there are not as many channels as numbers.
        """
        if any(len(values) not in (1, x.shape[1]) for values in (self.mean, self.std)):
            raise ValueError(
                f"mean and std must have a number, or one for each of {x.shape[1]} channels, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        mean, std = (values.to(x).reshape(-1, *(1,) * (x.dim() - 2)) for values in (self.mean, self.std))
        return self.network((x - mean) / std)


class Selected(nn.Module):
    """
    A network of which one of several outputs is taken.

    :param network: A network that returns a dictionary, a tuple or an object.
    :param key: The output's key, its place, or its attribute.

    >>> class Both(nn.Module):
    ...     def forward(self, x):
    ...         return {"features": x, "logits": 2 * x}
    >>> Selected(Both(), "logits")(torch.ones(1, 2))
    tensor([[2., 2.]])
    """

    def __init__(self, network: nn.Module, key: str | int) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, x: Tensor) -> Any:
        """
        The selected output.

        :param x: What the network takes.
        :return: The output.
        :raises ValueError: If the network returns none of that key.
        """
        outputs = self.network(x)
        try:
            if isinstance(self.key, str) and not isinstance(outputs, Mapping):
                return getattr(outputs, self.key)
            return outputs[self.key]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ValueError(
                f"output_key: there is no {self.key!r} in what the model returns, {_shown(outputs)}"
            ) from None

    def extra_repr(self) -> str:
        """
        The key.

        :return: As text.
        """
        return f"key={self.key!r}"


class TwoClasses(nn.Module):
    """
    A network of one logit z as one of two classes, with the logits 0 and z: class 1 where z > 0.

    :param network: A network (batch, ...) -> (batch,) or (batch, 1).

    >>> TwoClasses(nn.Identity())(torch.tensor([[-3.0], [2.0]]))
    tensor([[ 0., -3.],
            [ 0.,  2.]])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """
        Two logits.

        :param x: (batch, ...).
        :return: (batch, 2).
        """
        logit = self.network(x).reshape(len(x), 1)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


class LogOfProbabilities(nn.Module):
    """
    A network that returns probabilities as one that returns logits: their logarithm.

    One number is the probability of class 1 of two. Where rounding has made a probability 0, its logarithm is that of
    the smallest number, and has no gradient.

    :param network: A network (batch, ...) -> (batch, classes), or (batch,) or (batch, 1), of probabilities.

    >>> LogOfProbabilities(nn.Softmax(dim=1))(torch.tensor([[1.0, 3.0]])).diff().round()
    tensor([[2.]])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """
        The logarithms.

        :param x: (batch, ...).
        :return: (batch, classes), at least two.
        """
        probabilities = self.network(x)
        if probabilities.dim() == 1 or probabilities.shape[1] == 1:
            one = probabilities.reshape(len(x), 1)
            probabilities = torch.cat([1 - one, one], dim=1)
        logarithms: Tensor = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
        return logarithms


class Averaged(nn.Module):
    """
    A random network as the mean of several passes: the expectation over its randomness (EOT), for attacks by gradients.

    | Paper link: https://arxiv.org/abs/1707.07397

    :param network: A network (batch, ...) -> (batch, classes) of logits.
    :param passes: How many, >= 1.
    :raises ValueError: If it is no such number.

    >>> noisy = nn.Dropout()
    >>> Averaged(noisy, 2000)(torch.ones(1, 2)).round()
    tensor([[1., 1.]])
    """

    def __init__(self, network: nn.Module, passes: int) -> None:
        super().__init__()
        check_count("passes", passes)
        self.network, self.passes = network, passes

    def forward(self, x: Tensor) -> Tensor:
        """
        The mean of the logits.

        :param x: (batch, ...).
        :return: (batch, classes).
        """
        total: Tensor = sum((self.network(x) for _ in range(self.passes - 1)), self.network(x))
        return total / self.passes

    def extra_repr(self) -> str:
        """
        The number of passes.

        :return: As text.
        """
        return f"passes={self.passes}"


@dataclass(frozen=True, eq=False)
class AveragedAttack:
    """
    An attack on the mean of several passes of a random network, called as `attack(model, x, y) -> x_adv`.

    :param attack: The attack.
    :param passes: How many passes, >= 1.
    :param seed: The attack's seed, and that of what the network draws, >= 0.
    """

    attack: Attack
    passes: int
    seed: int = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
        """
        Attack samples.

        :param model: A network, or an ART PyTorchClassifier.
        :param x: Samples, (batch, ...), as the attack takes them.
        :param y: Labels, as the attack takes them.
        :return: What the attack returns.
        """
        network = network_of(model)
        with seeded(self.seed, home(network)[0]):
            return reseeded(self.attack, self.seed)(Averaged(network, self.passes), x, y)

    def described(self) -> dict[str, Any]:
        """
        What the attack is, for records.

        :return: The parameters of the attack, and the passes.
        """
        return {**parameters_of(self.attack), "passes": self.passes}


@dataclass(frozen=True, eq=False)
class Adapted:
    """
    A network that returns logits, and what was seen of it.

    :param network: The network, or it in wrappers.
    :param classes: How many it has.
    :param random: Whether a second pass gives other logits.
    :param notes: What a reader of its robustness has to know, a sentence each.
    """

    network: nn.Module
    classes: int
    random: bool
    notes: tuple[str, ...]


def adapt(network: nn.Module, x: Tensor, *, output_key: str | int | None = None, seed: int = 0) -> Adapted:
    """
    Wrap a network so that it returns logits, as far as its outputs for some samples say what they are.

    Outputs in [0, 1] with the sum 1 are probabilities, and so is one number a sample that is always in [0, 1].

    :param network: The network, not changed.
    :param x: Some samples, (n, ...), n >= 1; the first 64 are passed through it, twice.
    :param output_key: Which output is taken of a dictionary, tuple or object: a key, a place or an attribute.
    :param seed: Seed of what the network draws that is random itself, >= 0.
    :return: The wrapped network.
    :raises ValueError: If the network returns several outputs and none is named, or no outputs that can be logits.

    >>> adapted = adapt(nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()), torch.rand(8, 2))
    >>> type(adapted.network).__name__, adapted.classes, adapted.random
    ('LogOfProbabilities', 2, False)
    """
    device, dtype = home(network)
    points = x[:LOOKED_AT].to(device, dtype)
    adapted = network if output_key is None else Selected(network, output_key)
    with torch.no_grad(), evaluating(network), seeded(seed, device):
        outputs = adapted(points.clone())
        again = adapted(points.clone()) if isinstance(outputs, Tensor) else outputs
    if not isinstance(outputs, Tensor):
        remedy = "say which one" if output_key is None else f"be another one than {output_key!r}"
        raise ValueError(f"output_key must {remedy}: the model returns {_shown(outputs)}")
    notes = []
    if _is_one_number(outputs, len(points)):
        if ((outputs >= 0) & (outputs <= 1)).all():
            adapted = LogOfProbabilities(adapted)
            notes.append(
                "the model returns the probability of class 1: its logarithm and that of the rest are attacked"
            )
        else:
            adapted = TwoClasses(adapted)
            notes.append("the model returns one logit z: as two classes, with the logits 0 and z")
    elif outputs.is_floating_point() and outputs.dim() == 2 and are_probabilities(outputs):
        adapted = LogOfProbabilities(adapted)
        notes.append("the model returns probabilities: their logarithms are attacked as logits")
    else:
        try:
            class_logits(outputs, len(points))
        except TypeError as error:
            raise ValueError(str(error)) from error
    different = (outputs - again).abs().amax() > _SAME * outputs.abs().amax()
    classes = 2 if _is_one_number(outputs, len(points)) else outputs.shape[1]
    return Adapted(adapted, classes, bool(different), tuple(notes))


def _is_one_number(outputs: Tensor, count: int) -> bool:
    return outputs.is_floating_point() and outputs.shape in ((count,), (count, 1))


def _channels(name: str, values: float | Sequence[float]) -> Tensor:
    try:
        numbers = torch.tensor([values] if isinstance(values, (int, float)) else list(values), dtype=torch.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or numbers, got {values!r}") from None
    if numbers.dim() != 1 or not len(numbers) or not bool(numbers.isfinite().all()):
        raise ValueError(f"{name} must be a finite number, or one for each channel, got {values!r}")
    return numbers


def _shown(outputs: Any) -> str:
    """What a network returns, for a message."""
    if isinstance(outputs, Mapping):
        return f"a dictionary with {', '.join(map(repr, outputs)):.200}"
    if isinstance(outputs, (tuple, list)):
        fields = getattr(outputs, "_fields", ())
        named = f" ({', '.join(fields)})" if fields else ""
        return f"a {type(outputs).__name__} of {len(outputs)}{named}"
    if isinstance(outputs, Tensor):
        return f"a tensor {tuple(outputs.shape)}"
    return f"an object {type(outputs).__name__}"
