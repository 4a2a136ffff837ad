"""The attacks that a diagnosis compares, and the samples that survive each of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from art_levelset.attacks.inputs import clamped, home
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import seeded
from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.attacks.protocol import Attack, parameters_of, reseeded
from art_levelset.attacks.subject import Subject
from art_levelset.core.balls import Box, random_in_ball
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.suite import RobustMask, run_suite
from art_levelset.identity import digest

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
    clip_values: Box

    def whole_box(self, inputs: int) -> Ball:
        """
        The smallest ball that holds the box wherever its centre is.

        :param inputs: Dimension of the inputs.
        :return: The ball.
        """
        return Ball(self.width * inputs ** (1 / self.norm), self.norm, self.clip_values)

    @property
    def width(self) -> float:
        """The longest side of the box."""
        low, high = self.clip_values
        return float((torch.as_tensor(high) - torch.as_tensor(low)).max())


@dataclass(frozen=True, eq=False)
class Examination:
    """
    A subject that is attacked again and again.

    :param subject: A classifier (batch, ...) -> (batch, classes), samples and labels, checked.
    :param right: Whether each is classified right as it is; the others count as broken and are not attacked, (n,).
    :param ball: Where attackers may go.
    :param eps_step: Length of their steps, > 0; None for the usual one, 2.5 radii / steps. An attack that has been made
           with the same settings is recalled from the memo.
    :param max_iter: Number of their steps, >= 1.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished attacks are kept.
    :param progress: Counts the samples classified right once for each attack.
    """

    subject: Subject
    right: RobustMask
    ball: Ball
    eps_step: float | None
    max_iter: int
    batch_size: int
    seed: int
    memo: Memo
    progress: tqdm[Any]

    def survivors(self, attack: Attack, among: RobustMask | None = None) -> RobustMask:
        """
        Which samples are classified right after an attack. The same seeds serve every attack.

        :param attack: The attack.
        :param among: Those that have survived so far, (n,); `right` by default.
        :return: (n,).
        """
        left = self.right if among is None else among
        if left.any():
            with seeded(self.seed, self.subject.device):
                _, (attacked,) = run_suite(
                    self.subject,
                    {"attack": attack},
                    repeats=1,
                    batch_size=self.batch_size,
                    seed=self.seed,
                    memo=self.memo,
                    verbose=False,
                    norm=self.ball.norm,
                    among=left,
                )
            left = left & attacked.right[0]
        self.progress.update(int(self.right.sum()))
        return left

    def pgd(self, loss: str, **changes: Any) -> Attack:
        """
        PGD in the ball, which leaves a sample once it is broken.

        :param loss: The loss.
        :param changes: What differs, under the names of :func:`art_levelset.attacks.pgd.pgd`.
        :return: The attack.
        """
        return functools.partial(pgd, **{**self._settings(), "loss": loss, "stop_when_broken": True, **changes})

    def white_box(self, ball: Ball | None = None) -> RobustMask:
        """
        Which samples survive margin PGD, with equal and with decaying steps, and cross-entropy PGD on
        rescaled logits.

        :param ball: Another ball, in which the steps grow as it does.
        :return: (n,).
        """
        ball = ball or self.ball
        step = None if self.eps_step is None else self.eps_step * ball.eps / self.ball.eps
        changes: dict[str, Any] = {"eps": ball.eps, "eps_step": step}
        left = self.survivors(self.pgd("margin", **changes))
        decaying = {**changes, "eps_step": decaying_steps(ball.eps, self.max_iter)}
        left = self.survivors(self.pgd("margin", **decaying), left)
        return self.survivors(self.pgd("cross_entropy", **changes), left)

    def transferred(self, source: nn.Module) -> RobustMask:
        """
        Which samples survive examples of both losses made on another network, as far from its boundary as they go.

        :param source: The other network.
        :return: (n,).
        """
        by_margin, by_cross_entropy = (
            _Transferred(source, digest(source), {**self._settings(), "loss": loss})
            for loss in ("margin", "cross_entropy")
        )
        return self.survivors(by_cross_entropy, self.survivors(by_margin))

    def noise(self, draws: int) -> RobustMask:
        """
        Which samples survive random points of the ball.

        :param draws: Points tried for each sample, >= 1.
        :return: (n,).
        """
        return self.survivors(functools.partial(random_noise, draws=draws, **asdict(self.ball)))

    def given(self, attack: Attack) -> RobustMask:
        """
        Which samples survive an attack of the caller's.

        :param attack: The attack.
        :return: (n,).
        :raises ValueError: If it leaves the ball or the box.
        """
        return self.survivors(_Contained(attack, self.ball))

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
    clip_values: Box = (0.0, 1.0),
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
            drawn = clamped(random_in_ball(centres[active], radii, norm, generator), clip_values)
            broken = model(drawn.clone()).argmax(dim=1) != targets[active]
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
        eps = self.ball.eps
        offsets = (attacked - x).flatten(1).double()
        distance = torch.linalg.vector_norm(offsets, self.ball.norm, dim=1).max().item()
        if not distance <= eps + _ROUNDING * (eps + self.ball.width):
            raise ValueError(f"{name} must stay within eps = {eps:g} of its samples, it went {distance:.4g} far")
        if (clamped(attacked, self.ball.clip_values) != attacked).any():
            raise ValueError(f"{name} must stay within clip_values {self.ball.clip_values}")
        return attacked
