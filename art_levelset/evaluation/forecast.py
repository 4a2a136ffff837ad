"""
What an evaluation will cost, before it starts: the samples that pass the network, and the minutes on this machine.

The passes of an attack are known from its settings: PGD makes `max_iter` forward and backward passes a start;
AutoAttack's and the guided ensemble's are counted ones. They are those of samples that stand, so the forecast is what
the evaluation costs at most, up to the machine's moods: a sample that breaks costs nothing more. What a pass takes is
tried on a few samples.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.attacks.guided import Guided
from art_levelset.attacks.network import DetachedNetwork
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Attack, LibraryAttack
from art_levelset.attacks.subject import Subject
from art_levelset.core.modes import evaluating

MEMBERS = {
    "apgd-ce": (112, 101),
    "apgd-t": (929, 909),
    "fab-t": (1838, 900),
    "square": (5013, 0),
}
"""Forward and backward passes of AutoAttack's standard attacks for a sample of ten classes that stands."""

GUIDED = (225, 70)
"""Those of the guided ensemble, the mean over samples that stand."""

SEARCH = (55, 36)
"""Those of a search for the boundary with 25 steps, of which each step more costs one of both."""

DRAWN = 2.5
"""Samples that an estimate gives to AutoAttack, times half the length of its interval."""

TRIAL, TRIES = 100, 3
"""Samples of a trial, and how often it is made."""


@dataclass(frozen=True)
class Forecast:
    """
    What an evaluation costs at most.

    :param passes: Forward and backward passes by what needs them; None where that is not known.
    :param seconds: What those that are known take.
    """

    passes: Mapping[str, tuple[float, float] | None]
    seconds: float

    @property
    def total(self) -> float:
        """All passes that are known."""
        return sum(sum(passes) for passes in self.passes.values() if passes is not None)

    def text(self) -> str:
        """
        The forecast in a sentence.

        :return: One line.

        >>> Forecast({"pgd": (4e4, 4e4), "mine": None}, 95.0).text()
        'this takes at most 80,000 passes, about 1.6 minutes on this machine; not known: mine'
        """
        unknown = [name for name, passes in self.passes.items() if passes is None]
        doubt = f"; not known: {', '.join(unknown)}" if unknown else ""
        if len(unknown) == len(self.passes):
            return f"what this takes is not known: {', '.join(unknown)}"
        return (
            f"this takes at most {_rounded(self.total)} passes, about {_duration(self.seconds)} on this machine{doubt}"
        )


def forecast(
    subject: Subject,
    attacks: Mapping[str, Attack],
    *,
    repeats: int = 1,
    max_iter: int = 40,
    margins: bool = False,
    masking: bool = False,
    estimate: float | None = None,
) -> Forecast:
    """
    Forecast an evaluation.

    :param subject: The network and the samples, at least one.
    :param attacks: Attacks by name.
    :param repeats: How often each is run, >= 1.
    :param max_iter: Steps of the checks' PGD and of searches, >= 1.
    :param margins: Whether margin curves are measured.
    :param masking: Whether the checks for masked gradients are made.
    :param estimate: Half the length of the interval of an estimate of AutoAttack; None without one.
    :return: The forecast.
    """
    n = len(subject)
    each: dict[str, tuple[float, float] | None] = {}
    for name, attack in attacks.items():
        one = passes_of(attack)
        each[name] = None if one is None else (repeats * one[0], repeats * one[1])
    if margins:
        bisected = 8 * max_iter
        each["margins"] = (bisected + SEARCH[0] + max_iter - 25, bisected + SEARCH[1] + max_iter - 25)
    if masking:  # nine attacks of PGD, its iterations, noise
        steps = 9 * max_iter + 8 * max_iter + 1
        each["checks"] = (steps + 100, steps)
    if estimate is not None:
        share = min(1.0, DRAWN / estimate / n)
        each["estimate of AutoAttack"] = (
            share * sum(forward for forward, _ in MEMBERS.values()),
            share * sum(backward for _, backward in MEMBERS.values()),
        )
    forward, both = _trial(subject)
    passes = {name: None if one is None else (n * one[0], n * one[1]) for name, one in each.items()}
    known = [one for one in passes.values() if one is not None]
    seconds = sum(backwards * both + max(forwards - backwards, 0) * forward for forwards, backwards in known)
    return Forecast(passes, seconds)


def passes_of(attack: Attack) -> tuple[float, float] | None:
    """
    Forward and backward passes of an attack for a sample that stands.

    :param attack: The attack.
    :return: The passes; None where they are not known.
    """
    if isinstance(attack, Guided):
        return GUIDED
    if isinstance(attack, AutoAttack):
        if attack.version != "standard":
            return None
        return (
            float(sum(forward for forward, _ in MEMBERS.values())),
            float(sum(backward for _, backward in MEMBERS.values())),
        )
    if isinstance(attack, functools.partial) and attack.func is pgd:
        steps = attack.keywords.get("max_iter", 40) * attack.keywords.get("num_random_init", 1)
        return steps, steps
    if isinstance(attack, LibraryAttack):
        steps = next(
            (attack.parameters[name] for name in ("max_iter", "nb_iter", "steps") if name in attack.parameters), 0
        )
        return (steps, steps) if isinstance(steps, int) and steps > 0 else None
    return None


def _trial(subject: Subject) -> tuple[float, float]:
    """Seconds of a sample's forward pass, and of both passes."""
    few = subject.select(slice(0, TRIAL))
    network, points = DetachedNetwork(subject.network), few.inputs()

    def forward() -> None:
        with torch.no_grad():
            network(points)

    def both() -> None:
        with torch.enable_grad():
            leaves = points.clone().requires_grad_()
            logits = network(leaves)
            if logits.requires_grad:  # else attacks will say that it does not
                torch.autograd.grad(logits.sum(), leaves, allow_unused=True)

    with torch.inference_mode(False), evaluating(network):
        return _seconds(forward) / len(few), _seconds(both) / len(few)


def _seconds(run: Callable[[], None]) -> float:
    """The median of some runs, after one that warms up."""
    run()
    taken = []
    for _ in range(TRIES):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _rounded(count: float) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:,.0f}"


def _duration(seconds: float) -> str:
    for unit, name in ((3600.0, "hour"), (60.0, "minute")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}s" if seconds >= 10 * unit else f"{seconds / unit:.2g} {name}s"
    return f"{max(seconds, 1):.0f} s"
