"""The attacks that a diagnosis compares, and which samples stand after each."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from art_levelset.attacks.inputs import home
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import seeded
from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.attacks.protocol import Attack, parameters_of, reseeded
from art_levelset.core.balls import random_in_ball
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.robustness import evaluate
from art_levelset.identity import digest

Standing: TypeAlias = NDArray[np.bool_]

_ROUNDING = 1e-5


@dataclass(frozen=True)
class Ball:
    """
    Where an attacker may go: a ball around each sample, within a box.

    :param eps: Its radius, > 0.
    :param norm: Its norm.
    :param clip_values: Smallest and largest valid input.
    """

    eps: float
    norm: float
    clip_values: tuple[float, float]

    def whole_box(self, inputs: int) -> Ball:
        """
        The smallest ball that holds the box wherever its centre is.

        :param inputs: Dimension of the inputs.
        :return: The ball.
        """
        low, high = self.clip_values
        return Ball((high - low) * inputs ** (1 / self.norm), self.norm, self.clip_values)


@dataclass(frozen=True, eq=False)
class Subject:
    """
    A network and samples, to be attacked again and again.

    :param network: A classifier (batch, ...) -> (batch, classes).
    :param x: The samples, (n, ...).
    :param y: Their labels, (n,).
    :param right: Whether each is classified right as it is; the others count as broken and are not attacked, (n,).
    :param ball: Where attackers may go.
    :param eps_step: Length of their steps, > 0.
    :param max_iter: Number of their steps, >= 1.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished attacks are kept.
    :param progress: Counts the samples classified right once for each attack.
    """

    network: nn.Module
    x: Tensor
    y: Tensor
    right: Standing
    ball: Ball
    eps_step: float
    max_iter: int
    batch_size: int
    seed: int
    memo: Memo
    progress: tqdm[Any]

    def standing(self, attack: Attack, among: Standing | None = None) -> Standing:
        """
        Which samples are classified right after an attack. The same seeds serve every attack.

        :param attack: The attack.
        :param among: Those that stand so far, (n,); `right` by default.
        :return: (n,).
        """
        standing = (self.right if among is None else among).copy()
        (rows,) = standing.nonzero()
        if len(rows):
            with seeded(self.seed, home(self.network)[0]):
                report = evaluate(
                    self.network,
                    self.x[rows],
                    self.y[rows],
                    {"attack": attack},
                    batch_size=self.batch_size,
                    seed=self.seed,
                    memo=self.memo,
                    verbose=False,
                )
            standing[rows] = report.worst
        self.progress.update(int(self.right.sum()))
        return standing

    def pgd(self, loss: str, **changes: Any) -> Attack:
        """
        PGD in the ball, which leaves a sample once it is broken.

        :param loss: The loss.
        :param changes: What differs, under the names of :func:`art_levelset.attacks.pgd.pgd`.
        :return: The attack.
        """
        return functools.partial(pgd, **{**self._settings(), "loss": loss, "stop_when_broken": True, **changes})

    def white_box(self, ball: Ball | None = None) -> Standing:
        """
        Which samples stand after margin PGD, with equal and with decaying steps, and after cross-entropy PGD on
        rescaled logits.

        :param ball: Another ball, in which the steps grow as it does.
        :return: (n,).
        """
        ball = ball or self.ball
        changes = {"eps": ball.eps, "eps_step": self.eps_step * ball.eps / self.ball.eps}
        standing = self.standing(self.pgd("margin", **changes))
        decaying = {**changes, "eps_step": decaying_steps(ball.eps, self.max_iter)}
        standing = self.standing(self.pgd("margin", **decaying), standing)
        return self.standing(self.pgd("cross_entropy", **changes), standing)

    def transferred(self, source: nn.Module) -> Standing:
        """
        Which samples stand after examples of both losses made on another network, as far from its boundary as they go.

        :param source: The other network.
        :return: (n,).
        """
        by_margin, by_cross_entropy = (
            _Transferred(source, digest(source), {**self._settings(), "loss": loss})
            for loss in ("margin", "cross_entropy")
        )
        return self.standing(by_cross_entropy, self.standing(by_margin))

    def noise(self, draws: int) -> Standing:
        """
        Which samples stand after random points of the ball.

        :param draws: Points tried for each sample, >= 1.
        :return: (n,).
        """
        return self.standing(functools.partial(random_noise, draws=draws, **asdict(self.ball)))

    def given(self, attack: Attack) -> Standing:
        """
        Which samples stand after an attack of the caller's.

        :param attack: The attack.
        :return: (n,).
        :raises ValueError: If it leaves the ball or the box.
        """
        return self.standing(_Contained(attack, self.ball))

    def _settings(self) -> dict[str, Any]:
        return {
            **asdict(self.ball),
            "eps_step": self.eps_step,
            "max_iter": self.max_iter,
        }


def random_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: float = math.inf,
    clip_values: tuple[float, float] = (0.0, 1.0),
    draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """
    The attack that knows nothing: uniformly distributed points of the ball, until one is misclassified.

    :param model: A classifier (batch, ...) -> (batch, classes).
    :param x: Samples, (batch, ...), within `clip_values`.
    :param y: Labels, (batch,).
    :param eps: Radius of the ball, >= 0.
    :param norm: Its norm.
    :param clip_values: Smallest and largest valid input.
    :param draws: Points a sample, >= 1.
    :param seed: Their seed.
    :return: A misclassified point where one was found, x elsewhere.
    """
    device, dtype = home(model)
    centres, targets = x.to(device, dtype), y.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    found = centres.clone()
    active = torch.arange(len(x), device=device)
    with torch.no_grad(), evaluating(model):
        for _ in range(draws):
            radii = torch.full((len(active),), eps, dtype=dtype, device=device)
            drawn = random_in_ball(centres[active], radii, norm, generator).clamp(*clip_values)
            broken = model(drawn).argmax(dim=1) != targets[active]
            found[active[broken]] = drawn[broken]
            active = active[~broken]
            if not len(active):
                break
    return found.to(x.device, x.dtype)


@dataclass(frozen=True, eq=False)
class _Transferred:
    """PGD on another network."""

    source: nn.Module = field(repr=False)
    source_digest: str
    settings: Mapping[str, Any]
    seed: int = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
        return pgd(self.source, x, y, seed=self.seed, **self.settings)


@dataclass(frozen=True, eq=False)
class _Contained:
    """An attack of the caller's, refused where it leaves the ball or the box."""

    attack: Attack
    ball: Ball
    seed: int = 0

    def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
        name = parameters_of(self.attack)["name"]
        attacked = reseeded(self.attack, self.seed)(model, x, y)
        if attacked.shape != x.shape:
            raise ValueError(f"{name} must return the shape {tuple(x.shape)}, got {tuple(attacked.shape)}")
        eps, (low, high) = self.ball.eps, self.ball.clip_values
        offsets = (attacked - x).flatten(1).double()
        distance = torch.linalg.vector_norm(offsets, self.ball.norm, dim=1).max().item()
        if not distance <= eps + _ROUNDING * (eps + high - low):
            raise ValueError(f"{name} must stay within eps = {eps:g} of its samples, it went {distance:.4g} far")
        if not ((attacked >= low) & (attacked <= high)).all():
            raise ValueError(f"{name} must stay within clip_values {self.ball.clip_values}")
        return attacked
