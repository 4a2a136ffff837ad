"""
Projected gradient descent (PGD) against a PyTorch classifier, natively: gradients go to the input and nowhere else.

With L the loss of the label and B the ball of radius eps around x, intersected with the box of valid inputs:

    x_0 in B,    x_{k+1} = Proj_B(x_k + eps_step * v_k),    v_k = argmax_{|v| <= 1} <v, grad L(x_k)>,

v_k = sign(grad L) for L_inf and grad L / |grad L| for L_2. For L_1 the step is the best one that the box leaves room
for, :func:`art_levelset.core.balls.sparse_step`.

| Paper link: https://arxiv.org/abs/1706.06083
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.attacks.balls import Balls
from art_levelset.attacks.climbing import Goal, climb, logits_of
from art_levelset.attacks.inputs import Array, ClipValues, SameArray, clamped, home
from art_levelset.attacks.losses import LEAD, LOSSES
from art_levelset.attacks.network import fastest_layout
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count, check_not_negative, check_positive, check_seed
from art_levelset.core.balls import NAMES, check_norm
from art_levelset.core.modes import evaluating
from art_levelset.progress import progress_bar

logger = logging.getLogger(__name__)


def pgd(
    model: Any,
    x: SameArray,
    y: Array,
    *,
    eps: float,
    eps_step: float | Sequence[float] | None = None,
    max_iter: int = 40,
    loss: str = "cross_entropy",
    norm: float = math.inf,
    clip_values: ClipValues | None = (0.0, 1.0),
    targeted: bool = False,
    random_start: bool = True,
    num_random_init: int = 1,
    rescale: bool = True,
    stop_when_broken: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> SameArray:
    """
    PGD: samples in the ball and the box that the network is meant to misclassify.

    The result never leaves the ball around x, as the network sees it (in the network's dtype), nor the box: that holds
    exactly, not up to rounding. The network runs in evaluation mode; its modes are restored, its parameters' gradients
    are neither computed nor touched.

    :param model: A classifier (batch, ...) -> (batch, classes) of logits: an nn.Module, or an ART PyTorchClassifier,
           whose preprocessing is then attacked with it.
    :param x: Samples, (batch, ...), floating point, within `clip_values`.
    :param y: Labels, (batch,) or (batch, 1) whole numbers, or (batch, classes) one-hot; if targeted, the classes to
           reach.
    :param eps: Radius of the ball, >= 0.
    :param eps_step: Length of a step, > 0, or one length for each step, as :func:`decaying_steps` gives them;
           2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param loss: "cross_entropy"; "margin", max_{i != y} f_i - f_y, the field of eq. 1 with its sign turned; or "dlr",
           the difference of logits ratio. See :mod:`art_levelset.attacks.losses`.
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input, numbers or arrays for each feature or channel; None where
           every value is valid.
    :param targeted: Whether a sample is broken when the network says y, rather than when it says anything else.
    :param random_start: Whether to start at a random point of the ball rather than at x.
    :param num_random_init: Number of random starts, >= 1. A sample that one of them breaks is not attacked from the
           next; of one that none breaks, the result is the last point of the start that ended with the highest loss.
    :param rescale: Whether to divide the logits of a sample, before the cross-entropy, by a constant wherever the
           label leads by more than :data:`art_levelset.attacks.losses.LEAD`: there float32 rounds the
           gradient, in the end to zero. A warning says for how many samples. False for the plain loss.
    :param stop_when_broken: Whether a sample stays at the first point where it is broken and costs nothing more.
           Otherwise every sample makes all its steps.
    :param batch_size: Samples attacked at a time; by default 100 on the CPU, where the activations then stay in the
           cache, and 1000 elsewhere.
    :param seed: Seed of the random starts, one generator for all batches.
    :param verbose: Whether to show a progress bar.
    :return: As x: a tensor on the same device or an array, of the same dtype and shape.
    :raises ValueError: If a shape, label or number is out of range, or the network's logits or gradients not finite.
    :raises TypeError: If the model, the samples or the labels are of another type.

    >>> import torch
    >>> from art_levelset.attacks import pgd
    >>> model = torch.nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    >>> x, y = torch.tensor([[0.6, 0.4], [0.1, 0.9]]), torch.tensor([0, 1])
    >>> adversarial = pgd(model, x, y, eps=0.3, max_iter=10, loss="margin")
    >>> model(adversarial).argmax(dim=1)  # the first sample is 0.1 from the decision boundary, the second 0.4
    tensor([1, 1])
    """
    subject = Subject.of(model, x, y, clip_values=clip_values)
    network, points, classes, box = subject.network, subject.x, subject.y, subject.clip_values
    device, dtype = home(network)
    if batch_size is None:
        batch_size = 100 if device.type == "cpu" else 1000
    _check(eps, max_iter, loss, norm, random_start, num_random_init, batch_size, seed)
    lengths = _lengths(eps, eps_step, max_iter)
    goal = Goal(loss, targeted, rescale and loss == "cross_entropy" and not targeted)
    progress = progress_bar(total=num_random_init * len(points), desc=f"PGD {loss}", unit="sample", verbose=verbose)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(network), progress:
        search = _Search(
            network,
            fastest_layout(network, points[:1].to(device, dtype)),
            goal,
            partial(Balls.around, eps=eps, norm=norm, box=box, device=device, dtype=dtype),
            lengths,
            stop_when_broken,
            torch.Generator(device).manual_seed(seed) if random_start else None,
            batch_size,
            progress.update,
        )
        examples, rescaled = search.run(points, classes)
        if num_random_init > 1:
            search.restart(points, classes, examples, num_random_init - 1)
    examples = clamped(examples, box)  # whose rounding to the network's dtype may be outside
    if rescaled:
        logger.warning(
            "pgd scaled down the logits of %d of %d samples, whose labels lead by more than %g: there float32 rounds "
            "the gradient of the cross-entropy (rescale=False leaves it so)",
            rescaled,
            len(points),
            LEAD,
        )
    return examples.numpy() if isinstance(x, np.ndarray) else examples


def decaying_steps(eps: float, max_iter: int) -> list[float]:
    """
    Step lengths that fall from eps / 2 to nearly 0 along half a cosine: far at first, fine in the end.

    :param eps: Radius of the ball, > 0.
    :param max_iter: Number of steps, >= 1.
    :return: The lengths, for :func:`pgd`'s `eps_step`.
    :raises ValueError: If a number is out of range.
    """
    check_positive("eps", eps)
    check_count("max_iter", max_iter)
    return [eps * (1 + math.cos(math.pi * step / max_iter)) / 4 for step in range(max_iter)]


@dataclass(frozen=True, eq=False)
class _Search:
    """PGD over all samples, in batches, in evaluation mode and with gradients enabled."""

    network: nn.Module
    layout: torch.memory_format
    goal: Goal
    balls: Callable[[Tensor], Balls]
    lengths: Sequence[float]
    stop_when_broken: bool
    generator: torch.Generator | None
    batch_size: int
    done: Callable[[int], object]

    def run(self, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        """One start of each sample: the examples, and for how many samples logits were scaled down."""
        examples, rescaled = x.clone(), 0
        for first in range(0, len(x), self.batch_size):
            rows = slice(first, first + self.batch_size)
            balls = self.balls(x[rows])
            start = balls.centres if self.generator is None else balls.random(self.generator)
            labels = y[rows].to(start.device)
            found, scaled = climb(
                self.network,
                self.goal,
                balls,
                labels,
                start,
                self.lengths,
                stop_when_broken=self.stop_when_broken,
                layout=self.layout,
            )
            examples[rows] = found.to(examples.device, examples.dtype)
            rescaled += int(scaled.sum())
            self.done(len(found))
        return examples, rescaled

    def restart(self, x: Tensor, y: Tensor, examples: Tensor, times: int) -> None:
        """Replace the examples of samples that survive by those of further starts where these are better."""
        broken, ranks = self._judge(examples, y)
        for _ in range(times):
            left = (~broken).nonzero().squeeze(1)
            self.done(len(x) - len(left))
            found, _ = self.run(x[left], y[left])
            broken[left], new_ranks = self._judge(found, y[left])
            better = broken[left] | (new_ranks > ranks[left])
            examples[left[better]], ranks[left[better]] = found[better], new_ranks[better]

    def _judge(self, examples: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Which samples are broken, and how high they rank."""
        broken, ranks = torch.zeros_like(y, dtype=torch.bool), torch.zeros_like(y, dtype=torch.double)
        for first in range(0, len(y), self.batch_size):
            rows = slice(first, first + self.batch_size)
            with torch.no_grad():
                logits = logits_of(self.network, examples[rows].to(*home(self.network)), y[rows]).to(y.device)
            broken[rows], ranks[rows] = self.goal.reached(logits, y[rows]), self.goal.ranks(logits, y[rows]).double()
        return broken, ranks


def _lengths(eps: float, eps_step: float | Sequence[float] | None, max_iter: int) -> list[float]:
    if eps_step is None:
        return [2.5 * eps / max_iter] * max_iter
    steps = [eps_step] * max_iter if isinstance(eps_step, (float, Real)) else eps_step
    lengths = [float(step) for step in steps]
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        raise ValueError(f"eps_step must be a finite number > 0, or one for each step, got {eps_step}")
    if len(lengths) != max_iter:
        raise ValueError(f"eps_step must be a number or hold max_iter = {max_iter} numbers, got {len(lengths)}")
    return lengths


def _check(
    eps: float,
    max_iter: int,
    loss: str,
    norm: float,
    random_start: bool,
    num_random_init: int,
    batch_size: int,
    seed: int,
) -> None:
    check_not_negative("eps", eps)
    check_count("max_iter", max_iter)
    check_count("batch_size", batch_size)
    check_count("num_random_init", num_random_init)
    if num_random_init > 1 and not random_start:
        raise ValueError(f"num_random_init must be 1 where random_start is False, got {num_random_init}")
    check_norm(norm, tuple(NAMES))
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    check_seed(seed)
