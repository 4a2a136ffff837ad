"""
Cheap probes of what every evaluation takes for granted: that the network is a function, of one sample, with gradients.

A network that draws noise in each pass is another function each time, and its worst case over attacks is one over
functions that no attack saw. One whose logits depend on the other samples of the batch, as with BatchNorm that keeps
no running statistics, has no logits of a sample. One that rounds its activations has gradients of exactly zero, and
attacks by gradients do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from art_levelset.attacks.inputs import check_classes, class_logits
from art_levelset.attacks.network import seeded
from art_levelset.attacks.subject import Subject
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.underflow import SAME_LOGITS

SAMPLES = 64
"""Samples that are probed, the first ones."""

PAIRS = 4
"""How many of them two by two as well: BatchNorm takes no single sample."""

MAX_ZERO = 0.05
"""Share of the probed samples that may have a gradient of exactly zero."""


@dataclass(frozen=True)
class Probes:
    """
    What the probes found.

    :param random: Share of the samples for which a second pass gives other logits, in [0, 1].
    :param zero_gradients: Share of the samples for which the gradient of the margin is exactly zero, in [0, 1].
    """

    random: float
    zero_gradients: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the robustness doubtful, a sentence each."""
        notes = []
        if self.random:
            notes.append(
                f"the network is random: a second pass gives other logits for {self.random:.0%} of the samples, and "
                "attacks saw other functions than were scored; average over passes (EOT) to attack it"
            )
        if self.zero_gradients > MAX_ZERO:
            notes.append(
                f"the gradient of the margin is exactly zero for {self.zero_gradients:.0%} of the samples: attacks by "
                "gradients do nothing there"
            )
        return tuple(notes)


def probe(subject: Subject, *, seed: int = 0) -> Probes:
    """
    Probe a network on the first of its samples: two passes of a batch, and one of each of a few pairs.

    :param subject: The network, samples and labels, checked.
    :param seed: Seed of what a network draws that is random itself.
    :return: What was found.
    :raises ValueError: If the logits of a sample depend on the other samples of its batch, or the network returns no
            logits for the labels, or passes no gradient to the samples.
    """
    batch = subject.select(slice(0, SAMPLES))
    network, y = subject.network, batch.y.to(subject.device)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(network), seeded(seed, subject.device):
        points = batch.inputs().requires_grad_()
        logits = class_logits(network(points.clone()), len(batch))
        check_classes(y, logits.shape[1])
        if not logits.requires_grad:
            raise ValueError("model: no gradient flows from the logits to the samples")
        (gradients,) = torch.autograd.grad(label_margin(logits, y).sum(), points, materialize_grads=True)
        with torch.no_grad():
            again = network(batch.inputs())
            random = _differ(logits, again)
            if not random.any():
                firsts = range(0, min(2 * PAIRS, len(batch) - 1), 2)
                pairs = [network(batch.select(slice(first, first + 2)).inputs()) for first in firsts]
                if pairs:
                    _check_independence(network, logits[: 2 * len(pairs)], torch.cat(pairs))
    zero = (gradients == 0).flatten(1).all(dim=1)
    return Probes(random.double().mean().item(), zero.double().mean().item())


def _differ(logits: Tensor, others: Tensor) -> Tensor:
    """For which samples two passes give other logits, beyond rounding."""
    return (logits - others).abs().amax(dim=1) > SAME_LOGITS * logits.abs().amax(dim=1)


def _check_independence(network: nn.Module, together: Tensor, apart: Tensor) -> None:
    if not _differ(together, apart).any():
        return
    layers = [
        name for name, part in network.named_modules() if isinstance(part, _BatchNorm) and part.running_mean is None
    ]
    cause = f" (layer {layers[0]!r} keeps no running statistics)" if layers else ""
    raise ValueError(f"model: the logits of a sample depend on the other samples of its batch{cause}")
