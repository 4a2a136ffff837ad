"""
Attacks of the Adversarial Robustness Toolbox (ART).

| Paper link: https://arxiv.org/abs/1807.01069
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.adapters.libraries import accepted_parameters, loss_named, step_length, walls_as_samples
from art_levelset.attacks.inputs import ClipValues
from art_levelset.attacks.protocol import LibraryAttack


def from_art(
    attack_class: type[EvasionAttack],
    *,
    eps: float,
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    loss: str = "cross_entropy",
    batch_size: int = 500,
    seed: int = 0,
    **parameters: Any,
) -> LibraryAttack:
    """
    An evasion attack of ART.

    An attack that has no radius of its own, as DeepFool or HopSkipJump, looks for the nearest
    misclassified point; where that is outside the ball the result is the nearest point inside.

    :param attack_class: A subclass of ART's EvasionAttack.
    :param eps: Radius of the ball, >= 0; given to the attack if it has such a parameter, as `norm` is.
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input.
    :param loss: What attacks by gradients raise, "cross_entropy" or "margin".
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param parameters: The attack's further parameters, by ART's names.
    :return: The attack.
    :raises TypeError: If it is no evasion attack, or has no parameter of a given name.
    :raises ValueError: If a number is out of range or the loss unknown.
    """
    if not (isinstance(attack_class, type) and issubclass(attack_class, EvasionAttack)):
        raise TypeError(f"attack_class must be a subclass of art's EvasionAttack, got {attack_class!r}")
    loss_named(loss)
    accepted = accepted_parameters(attack_class, parameters)
    shared = {"eps": float(eps), "norm": norm, "verbose": False}
    given = {name: value for name, value in shared.items() if name in accepted} | parameters
    sized = "batch_size" in accepted
    run = partial(_run, attack_class=attack_class, loss=loss, given=given, sized=sized, clip_values=clip_values)
    return LibraryAttack(
        f"art.{attack_class.__name__}",
        run,
        {"loss": loss, **parameters},
        eps,
        norm,
        clip_values=clip_values,
        batch_size=batch_size,
        seed=seed,
    )


def art_pgd(
    *,
    eps: float,
    eps_step: float | None = None,
    max_iter: int = 40,
    loss: str = "cross_entropy",
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    random_start: bool = True,
    batch_size: int = 500,
    seed: int = 0,
) -> LibraryAttack:
    """
    ART's ProjectedGradientDescentPyTorch.

    :param eps: Radius of the ball, > 0.
    :param eps_step: Length of a step, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Number of steps, >= 1.
    :param loss: "cross_entropy" or "margin".
    :param norm: `math.inf`, 2 or 1.
    :param clip_values: Smallest and largest valid input.
    :param random_start: Whether to start at a random point of the ball rather than at the sample.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of the random starts, >= 0.
    :return: The attack.
    :raises ValueError: If a number is out of range or the loss unknown.
    """
    return from_art(
        ProjectedGradientDescentPyTorch,
        eps=eps,
        eps_step=step_length(eps, eps_step, max_iter),
        max_iter=max_iter,
        loss=loss,
        norm=norm,
        clip_values=clip_values,
        num_random_init=int(random_start),
        batch_size=batch_size,
        seed=seed,
    )


def _run(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    *,
    attack_class: type[EvasionAttack],
    loss: str,
    given: Mapping[str, Any],
    sized: bool,
    clip_values: ClipValues,
) -> Tensor:
    """The library's part of an attack, which is told the batch size if `sized`."""
    with torch.no_grad():
        classes = network(x[:1]).shape[1]
    walls = (wall.cpu().numpy() if isinstance(wall, Tensor) else wall for wall in walls_as_samples(clip_values, x))
    on_gpu = x.device.type == "cuda"
    with torch.cuda.device(x.device) if on_gpu else nullcontext(), _seeded_generators():
        classifier = PyTorchClassifier(
            network,
            loss=loss_named(loss),
            input_shape=tuple(x.shape[1:]),
            nb_classes=classes,
            clip_values=tuple(walls),
            device_type="gpu" if on_gpu else "cpu",
        )
        attack = attack_class(classifier, **({"batch_size": len(x)} if sized else {}), **given)
        labels = functional.one_hot(y, classes)
        attacked = attack.generate(x=x.cpu().numpy(), y=labels.float().cpu().numpy())
    return torch.as_tensor(attacked, device=x.device)


class _SeededState(np.random.RandomState):
    """A random state that takes its seed, when it is given none, from numpy's global state."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002


@contextmanager
def _seeded_generators() -> Iterator[None]:
    """
    Let numpy's generators made without a seed take it from numpy's global state.

    HopSkipJump and others make `np.random.RandomState()`, which the operating system would seed.
    """
    own = np.random.RandomState
    np.random.RandomState = _SeededState  # type: ignore[misc]
    try:
        yield
    finally:
        np.random.RandomState = own  # type: ignore[misc]
