"""
Projected gradient descent (PGD) against a PyTorch classifier, natively: gradients go to the input and nowhere else.

With L the loss of the label and B the ball of radius eps around x, intersected with the box of valid inputs:

    x_0 in B,    x_{k+1} = Proj_B(x_k + eps_step * v_k),    v_k = argmax_{|v| <= 1} <v, grad L(x_k)>,

v_k = sign(grad L) for L_inf and grad L / |grad L| for L_2.

| Paper link: https://arxiv.org/abs/1706.06083
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from art_levelset.adapters.inputs import (
    Array,
    SameArray,
    check_count,
    check_logits,
    home,
    labels,
    network_of,
    samples,
)
from art_levelset.core.balls import check_norm, random_in_ball, steepest, to_ball
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating

_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda logits, y: functional.cross_entropy(logits, y, reduction="none"),
    "margin": lambda logits, y: -label_margin(logits, y),
}


def pgd(
    model: nn.Module,
    x: SameArray,
    y: Array,
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    loss: str = "cross_entropy",
    norm: float = math.inf,
    clip_values: tuple[float, float] | None = (0.0, 1.0),
    random_start: bool = True,
    stop_when_broken: bool = False,
    batch_size: int = 500,
    seed: int = 0,
    verbose: bool = False,
) -> SameArray:
    """
    Untargeted PGD: samples in the ball and the box that the network is meant to misclassify.

    The result never leaves the ball around x, as the network sees it (in the network's dtype), nor the box: that holds
    exactly, not up to rounding. The network runs in evaluation mode; its modes are restored, its parameters' gradients
    are neither computed nor touched.

    :param model: A classifier (batch, ...) -> (batch, classes) of logits.
    :param x: Samples, (batch, ...), floating point, within `clip_values`.
    :param y: Labels, (batch,) integers or (batch, classes) one-hot.
    :param eps: Radius of the ball, >= 0.
    :param eps_step: Length of a step, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param loss: "cross_entropy", or "margin": max_{i != y} f_i - f_y, the field of eq. 1 with its sign turned.
    :param norm: `math.inf` or 2.
    :param clip_values: Smallest and largest valid input; None where every value is valid.
    :param random_start: Whether to start at a uniformly distributed point of the ball rather than at x.
    :param stop_when_broken: Whether a sample stays at the first point where it is misclassified and costs nothing more.
           Otherwise every sample makes all its steps.
    :param batch_size: Samples attacked at a time.
    :param seed: Seed of the random starts, one generator for all batches.
    :param verbose: Whether to show a progress bar.
    :return: As x: a tensor on the same device or an array, of the same dtype and shape.
    :raises ValueError: If a shape, label or number is out of range, or the network's gradients are not numbers.
    :raises TypeError: If the model, the samples or the labels are of another type.
    """
    model = network_of(model)
    points = samples(x)
    targets = labels(y, len(points))
    _check(eps, eps_step, max_iter, loss, norm, batch_size, seed)
    _check_box(points, clip_values)
    device, dtype = home(model)
    generator = torch.Generator(device).manual_seed(seed)
    progress = tqdm(total=len(points), desc=f"PGD {loss}", unit="sample", disable=not verbose)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model), progress:
        attacked = points.clone()
        for first in range(0, len(points), batch_size):
            rows = slice(first, first + batch_size)
            ball = _Ball.around(points[rows].to(device, dtype), eps, norm, clip_values)
            result = _attack(
                model,
                ball,
                ball.random(generator) if random_start else ball.centres,
                targets[rows].to(device),
                loss=_LOSSES[loss],
                eps_step=2.5 * eps / max_iter if eps_step is None else eps_step,
                max_iter=max_iter,
                stop_when_broken=stop_when_broken,
            )
            attacked[rows] = result.to(attacked.device, attacked.dtype)
            progress.update(len(result))
    return attacked.numpy() if isinstance(x, np.ndarray) else attacked


@dataclass(frozen=True, eq=False)
class _Ball:
    """
    The balls around a batch, each intersected with the box of valid inputs.

    The radii are smaller than eps by what rounding may add to the distance of a point computed as x plus an offset.
    """

    centres: Tensor
    radii: Tensor
    norm: float
    clip_values: tuple[float, float] | None

    @classmethod
    def around(cls, x: Tensor, eps: float, norm: float, clip_values: tuple[float, float] | None) -> _Ball:
        sizes = torch.linalg.vector_norm(x.flatten(1), norm, dim=1)
        radii = (eps - torch.finfo(x.dtype).eps * (sizes + 16 * eps)).clamp(min=0)
        return cls(x, radii, norm, clip_values)

    def random(self, generator: torch.Generator) -> Tensor:
        points = random_in_ball(self.centres, self.radii, self.norm, generator)
        return self.project(points, torch.arange(len(points), device=points.device))

    def project(self, points: Tensor, rows: Tensor) -> Tensor:
        points = to_ball(points, self.centres[rows], self.radii[rows], self.norm)
        return points if self.clip_values is None else points.clamp(*self.clip_values)


def _attack(
    model: nn.Module,
    ball: _Ball,
    start: Tensor,
    y: Tensor,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    eps_step: float,
    max_iter: int,
    stop_when_broken: bool,
) -> Tensor:
    """One batch, on the network's device and in its dtype, with gradients enabled."""
    attacked = start.clone()
    failed = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    active = torch.arange(len(y), device=y.device)
    for _ in range(max_iter):
        points = attacked[active].requires_grad_()
        logits = model(points)
        check_logits(logits, y[active])
        standing = logits.argmax(dim=1) == y[active] if stop_when_broken else torch.ones_like(active).bool()
        active = active[standing]
        if not len(active):
            break
        (gradients,) = torch.autograd.grad(loss(logits[standing], y[active]).sum(), points)
        gradients = gradients[standing]
        failed[active] |= gradients.flatten(1).isnan().any(dim=1)
        attacked[active] = ball.project(attacked[active] + eps_step * steepest(gradients, ball.norm), active)
    if failed.any():
        raise ValueError(f"model: the gradient is not a number for {int(failed.sum())} of {len(y)} samples")
    return attacked


def _check(
    eps: float, eps_step: float | None, max_iter: int, loss: str, norm: float, batch_size: int, seed: int
) -> None:
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps must be a finite number >= 0, got {eps}")
    if eps_step is not None and not (math.isfinite(eps_step) and eps_step > 0):
        raise ValueError(f"eps_step must be a finite number > 0, got {eps_step}")
    check_count("max_iter", max_iter)
    check_count("batch_size", batch_size)
    check_norm(norm)
    if loss not in _LOSSES:
        raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {loss!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")


def _check_box(points: Tensor, clip_values: tuple[float, float] | None) -> None:
    if clip_values is None:
        return
    low, high = clip_values
    if not low < high:
        raise ValueError(f"clip_values must be (low, high) with low < high, got {clip_values}")
    if (points < low).any() or (points > high).any():
        raise ValueError(
            f"x must lie within clip_values {clip_values}, got values in [{points.min():.4g}, {points.max():.4g}]"
        )
