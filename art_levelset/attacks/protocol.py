"""
One protocol for the attacks of all libraries, what they return and spend, and their seeds.

An attack is anything called as `attack(model, x, y) -> x_adv`: `functools.partial(pgd, eps=0.3)` is one, and a
:class:`LibraryAttack` wraps the attack of another library as one.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.attacks.balls import shrunk_radii
from art_levelset.attacks.effort import Effort, measured
from art_levelset.attacks.inputs import Array, ClipValues, SameArray, box_of, clamped
from art_levelset.attacks.network import DetachedNetwork, parameters_kept, seeded
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count, check_not_negative, check_seed
from art_levelset.core.balls import NAMES, Box, check_norm, column, to_ball
from art_levelset.core.modes import evaluating
from art_levelset.identity import describe

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
        check_not_negative("eps", self.eps)
        check_norm(self.norm, tuple(NAMES))
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

    def described(self) -> dict[str, Any]:
        """
        What the attack is, for records (:func:`art_levelset.identity.describe`).

        :return: Its name, radius, norm and box, and its parameters by their names.
        """
        own = {"name": self.name, "eps": self.eps, "norm": self.norm, "clip_values": self.clip_values}
        losses = {name: type(value).__name__ for name, value in self.parameters.items() if isinstance(value, nn.Module)}
        return {**own, **self.parameters, **losses}

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
    :param survivors: Of an ensemble, how many samples are classified right after each of its attacks, in their order,
           "clean" at first; empty for a single attack.
    :param broken_by: Of an ensemble, which attack broke each sample, (batch,), int64: its place among the names of
           `survivors` without "clean", -1 where none did. None where it does not say.
    :param distances: The distance of each sample to the nearest misclassified point that was found, in the attack's
           norm, (batch,), floating point: 0 where the sample itself is misclassified, infinite where none was found.
           Such a point may lie outside the ball. None where the attack does not search beyond its examples.
    """

    examples: SameArray
    effort: Effort
    survivors: Mapping[str, int]
    broken_by: Tensor | None = None
    distances: Tensor | None = None


def outcome_of(attack: Attack, network: nn.Module, x: Tensor, y: Tensor) -> Outcome[Tensor]:
    """
    Run an attack and measure it.

    :param attack: An attack, which returns a tensor or an array; one with a method `outcome`, an ensemble, measures
           itself.
    :param network: The network.
    :param x: Samples, (batch, ...).
    :param y: Labels, (batch,) integers.
    :return: What the attack did.
    :raises TypeError: If the attack returns anything else.
    :raises ValueError: If the attack returns another shape than it was given.
    """
    if hasattr(attack, "outcome"):
        outcome: Outcome[Tensor] = attack.outcome(network, x, y)
    else:
        with measured(network) as effort:
            examples: Any = attack(network, x, y)
        if isinstance(examples, np.ndarray):
            examples = torch.from_numpy(examples.copy())
        if not isinstance(examples, Tensor):
            name, kind = parameters_of(attack)["name"], type(examples).__name__
            raise TypeError(f"attack must return a tensor or an array, got {kind} of {name}")
        outcome = Outcome(examples, effort, {})
    if outcome.examples.shape != x.shape:
        raise ValueError(f"attack must return the shape {tuple(x.shape)}, got {tuple(outcome.examples.shape)}")
    return outcome


def inside(points: Tensor, centres: Tensor, eps: float, norm: float, box: Box | None) -> Tensor:
    """
    Points moved into a ball and a box, where they are not there: exactly, not up to rounding.

    The balls are smaller than asked for (:func:`art_levelset.attacks.balls.shrunk_radii`).

    :param points: (batch, ...).
    :param centres: (batch, ...), in the box, of the same dtype.
    :param eps: The ball's radius, >= 0.
    :param norm: Its norm.
    :param box: The box.
    :return: (batch, ...).
    """
    points = clamped(points, box)
    radii = shrunk_radii(centres, eps, norm, torch.finfo(points.dtype).eps)
    if norm == 1:  # towards the centre: in the box, and in the ball, if not the nearest such point
        lengths = torch.linalg.vector_norm((points - centres).flatten(1), 1, dim=1)
        share = torch.where(lengths > radii, radii / lengths, 1.0)
        return torch.where(column(share, points) < 1, centres + (points - centres) * column(share, points), points)
    return clamped(to_ball(points, centres, radii, norm), box)


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


def parameters_of(attack: Attack) -> dict[str, Any]:
    """
    What an attack is, for records.

    :param attack: An attack.
    :return: Its name and its parameters (:func:`art_levelset.identity.describe`), JSON-able, without the seed. What a
             function closes over is not among them.
    """
    known = describe(attack)
    return known if isinstance(known, dict) else {"name": known}
