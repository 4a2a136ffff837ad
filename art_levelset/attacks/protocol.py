"""
What the attacks of all libraries share: one protocol, and the care that it takes of a caller's network and data.

An attack is anything called as `attack(model, x, y) -> x_adv`: `functools.partial(pgd, eps=0.3)` is one, and a
:class:`LibraryAttack` wraps the attack of another library as one.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from art_levelset.attacks.effort import Effort, measured
from art_levelset.attacks.inputs import Array, ClipValues, SameArray, box_of, clamped, class_logits, home
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count, check_seed
from art_levelset.core.balls import Box, column, to_ball
from art_levelset.core.modes import evaluating

logger = logging.getLogger(__name__)

Attack: TypeAlias = Callable[[Any, Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class LibraryAttack:
    """
    The attack of another library, called as `attack(model, x, y) -> x_adv`.

    The network runs in evaluation mode, the library computes no gradient of its parameters and cannot change them, and
    modes and global random states are restored. What the library returns is moved into the ball and the box where
    rounding, or the library, has left them; where it returns values that are not finite, a sample stays as it was.

    :param name: What it is called, `library.Attack`.
    :param run: The library's part: `run(network, x, y, seed)` on one batch, on the network's device, in float32, which
           is what libraries work in.
    :param parameters: What the attack was made with, for records.
    :param eps: Radius of the ball, >= 0.
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input: numbers, or arrays for each feature or channel.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    """

    name: str
    run: Callable[[nn.Module, Tensor, Tensor, int], Tensor]
    parameters: Mapping[str, Any]
    eps: float
    norm: float = math.inf
    clip_values: ClipValues = (0.0, 1.0)
    batch_size: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"eps must be a finite number >= 0, got {self.eps}")
        if self.norm not in (1, 2, math.inf):
            raise ValueError(f"norm must be inf, 2 or 1, got {self.norm}")
        box_of(self.clip_values)
        check_count("batch_size", self.batch_size)
        check_seed(self.seed)

    def __call__(self, model: Any, x: SameArray, y: Array) -> SameArray:
        """
        Attack samples.

        :param model: An nn.Module (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
        :param x: Samples, (batch, ...), floating point, within `clip_values`.
        :param y: Labels, (batch,) integers or (batch, classes) one-hot.
        :return: As x: a tensor on the same device or an array, of the same dtype and shape.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or value is out of range.
        """
        subject = Subject.of(model, x, y, clip_values=self.clip_values)
        network, points, targets, device = subject.network, subject.x, subject.y, subject.device
        with torch.inference_mode(False), torch.enable_grad(), parameters_kept(network), seeded(self.seed, device):
            faced, attacked = DetachedNetwork(network), points.clone()
            for first in range(0, len(points), self.batch_size):
                rows = slice(first, first + self.batch_size)
                centres = points[rows].to(device)
                single = centres.to(torch.float32, copy=True)
                with evaluating(faced):
                    result = self.run(faced, single, targets[rows].to(device, copy=True), self.seed).detach()
                if result.shape != centres.shape:
                    raise ValueError(f"{self.name} returned the shape {tuple(result.shape)} for {tuple(centres.shape)}")
                result = inside(self._finite(result, centres), centres, self.eps, self.norm, subject.clip_values)
                attacked[rows] = result.to(attacked.device)
        return attacked.numpy() if isinstance(x, np.ndarray) else attacked

    def _finite(self, points: Tensor, centres: Tensor) -> Tensor:
        finite = points.isfinite().flatten(1).all(dim=1)
        if finite.all():
            return points.to(centres)
        logger.warning("%s failed on %d of %d samples: not finite", self.name, int((~finite).sum()), len(finite))
        return torch.where(finite.reshape(-1, *(1,) * (points.dim() - 1)), points, centres)


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome(Generic[SameArray]):
    """
    What an attack did.

    :param examples: What it returned.
    :param effort: What it spent.
    :param standing: Of an ensemble, how many samples are classified right after each of its attacks, in their order,
           "clean" at first; empty for a single attack.
    """

    examples: SameArray
    effort: Effort
    standing: Mapping[str, int]


def outcome_of(attack: Attack, network: nn.Module, x: Tensor, y: Tensor) -> Outcome[Tensor]:
    """
    Run an attack and measure it.

    :param attack: An attack; one with a method `outcome`, an ensemble, measures itself.
    :param network: The network.
    :param x: Samples, (batch, ...).
    :param y: Labels, (batch,) integers.
    :return: What the attack did.
    :raises ValueError: If the attack returns another shape than it was given.
    """
    if hasattr(attack, "outcome"):
        outcome: Outcome[Tensor] = attack.outcome(network, x, y)
    else:
        with measured(network) as effort:
            examples = attack(network, x, y)
        outcome = Outcome(examples, effort, {})
    if outcome.examples.shape != x.shape:
        raise ValueError(f"attack must return the shape {tuple(x.shape)}, got {tuple(outcome.examples.shape)}")
    return outcome


class DetachedNetwork(nn.Module):
    """
    A network whose parameters are constants: gradients go to its inputs only.

    Convolutions run on channels-last copies of weights and inputs where that is faster. Outputs are of the inputs'
    dtype, whatever the network's is.

    :param network: The network; not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._constants = {name: value.detach() for name, value in network.named_parameters()}
        self._layout: torch.memory_format | None = None
        _, self._dtype = home(network)

    def forward(self, x: Tensor) -> Tensor:
        """
        The network's outputs.

        :param x: (batch, ...).
        :return: (batch, classes).
        """
        points, first = x.to(self._dtype, copy=True), self._layout is None  # a copy, as networks may write to it
        if first:
            self._layout = fastest_layout(self.network, points[:1].detach())
            for name, value in self._constants.items():
                if value.dim() == 4:
                    self._constants[name] = value.contiguous(memory_format=self._layout)
        if self._layout == torch.channels_last:
            points = _Laid.apply(points, self._layout)
        outputs: Tensor = functional_call(self.network, self._constants, (points,))
        if first:
            class_logits(outputs, len(x))
        return outputs.to(x.dtype)


def fastest_layout(network: nn.Module, sample: Tensor) -> torch.memory_format:
    """
    How to lay out batches of such a sample in memory: on the CPU convolutions are faster with channels last.

    A network that calls `view` on its activations does not take them so.

    :param network: The network, in evaluation mode.
    :param sample: (1, ...), on the network's device and in its dtype.
    :return: `torch.channels_last` or `torch.contiguous_format`.
    """
    if sample.dim() == 4 and sample.device.type == "cpu" and any(isinstance(p, nn.Conv2d) for p in network.modules()):
        try:
            with torch.no_grad():
                network(sample.clone(memory_format=torch.channels_last))
        except RuntimeError:  # one that has another cause comes again in the usual layout
            return torch.contiguous_format
        return torch.channels_last
    return torch.contiguous_format


class _Laid(torch.autograd.Function):
    """The same values in another memory format; the gradient comes back contiguous, as libraries `view` it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        return x.clone(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].contiguous(), None


def inside(points: Tensor, centres: Tensor, eps: float, norm: float, box: Box | None) -> Tensor:
    """
    Points moved into a ball and a box, where they are not there: exactly, not up to rounding.

    The balls are smaller than asked for by what rounding may add to the distance.

    :param points: (batch, ...).
    :param centres: (batch, ...), in the box, of the same dtype.
    :param eps: The ball's radius, >= 0.
    :param norm: Its norm.
    :param box: The box.
    :return: (batch, ...).
    """
    points = clamped(points, box)
    sizes = torch.linalg.vector_norm(centres.flatten(1), norm, dim=1)
    radii = (eps - torch.finfo(points.dtype).eps * (sizes + 16 * eps)).clamp(min=0)
    if norm == 1:  # towards the centre: in the box, and in the ball, if not the nearest such point
        lengths = torch.linalg.vector_norm((points - centres).flatten(1), 1, dim=1)
        share = torch.where(lengths > radii, radii / lengths, 1.0)
        return torch.where(column(share, points) < 1, centres + (points - centres) * column(share, points), points)
    return clamped(to_ball(points, centres, radii, norm), box)


@contextmanager
def parameters_kept(network: nn.Module) -> Iterator[None]:
    """
    Set the parameters' gradients aside, and give them and `requires_grad` back on the way out.

    :param network: The network.
    """
    kept = [(parameter, parameter.grad, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient, required in kept:
            parameter.requires_grad_(required)
            parameter.grad = gradient


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """
    Seed the global random states that libraries draw from, and restore them on the way out.

    :param seed: >= 0.
    :param device: Where the network is; its random state is covered besides the CPU's.
    """
    numpys = np.random.get_state()  # noqa: NPY002  # what libraries draw from
    pythons = random.getstate()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)


def seed_of(seed: int, repeat: int, first: int) -> int:
    """
    The seed of one call of an attack among many.

    :param seed: The seed of them all, >= 0.
    :param repeat: Which repeat the call belongs to, >= 0.
    :param first: The place of its first sample, >= 0.
    :return: A seed, >= 0.
    """
    return int(np.random.SeedSequence((seed, repeat, first)).generate_state(1)[0])


def reseeded(attack: Attack, seed: int) -> Attack:
    """
    The same attack with another seed.

    :param attack: A :class:`LibraryAttack` or another dataclass with a field `seed`, or a function (or partial) that
           takes a `seed`.
    :param seed: >= 0.
    :return: The attack; as it is where it takes no seed, hence is not random.
    """
    made: Any = attack
    if dataclasses.is_dataclass(attack):
        if any(field.name == "seed" for field in dataclasses.fields(attack)):
            made = dataclasses.replace(made, seed=seed)
    elif "seed" in inspect.signature(attack).parameters:
        made = functools.partial(made, seed=seed)
    result: Attack = made
    return result


def describe(attack: Attack) -> dict[str, Any]:
    """
    What an attack is, for records and digests.

    :param attack: An attack.
    :return: Its name and its parameters, JSON-able, without the seed: a partial's keywords, an object's public
             attributes. What a function closes over is not among them.
    """
    if isinstance(attack, LibraryAttack):
        own = {"eps": attack.eps, "norm": attack.norm, "clip_values": attack.clip_values}
        return _plain({"name": attack.name, **own, **attack.parameters})
    if isinstance(attack, functools.partial):
        given = {name: value for name, value in attack.keywords.items() if name not in ("seed", "verbose")}
        return _plain({**describe(attack.func), **given})
    if dataclasses.is_dataclass(attack):
        fields = {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack) if field.repr}
        fields.pop("seed", None)
        return _plain({"name": type(attack).__name__, **fields})
    if inspect.isroutine(attack):
        return {"name": attack.__qualname__}
    own = {name: value for name, value in vars(attack).items() if not name.startswith("_") and name != "seed"}
    return _plain({"name": type(attack).__qualname__, **own})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain_value(item) for item in value]
    if isinstance(value, np.generic):
        return _plain_value(value.item())
    if isinstance(value, (np.ndarray, Tensor)):
        return _plain_value(value.tolist())
    return getattr(value, "__qualname__", type(value).__qualname__)
