"""
Gradient masking: whether a network's robustness is real, or only hidden from the gradients that attacks follow.

The symptoms are those of Athalye et al. (2018) and Carlini et al. (2019). Each becomes a check with a verdict, which is
"fail" only beyond sampling noise: attacks are compared on the same samples by McNemar's exact test, shares are judged
by the exact binomial test.

The *white box* is gradients at their best: margin PGD, with equal steps and with decaying ones, together with
cross-entropy PGD on rescaled logits. (On robust networks equal steps of the usual length stop short, which says nothing
about the gradients.) What plain cross-entropy sees is judged apart. So a network that only has huge logits fails the
checks of its cross-entropy, and one whose gradients mislead any loss fails the others.

| Paper link: https://arxiv.org/abs/1802.00420
| Paper link: https://arxiv.org/abs/1902.06705
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from art_levelset.attacks.inputs import Array, ClipValues, network_of
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import seeded
from art_levelset.attacks.pgd import decaying_steps
from art_levelset.attacks.protocol import Attack, parameters_of
from art_levelset.attacks.subject import Subject
from art_levelset.attacks.work import check_complete
from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import NAMES, check_norm
from art_levelset.evaluation.accuracy import correct
from art_levelset.evaluation.record import MaskingCheck
from art_levelset.evaluation.suite import RobustMask
from art_levelset.evaluation.survivors import Ball, Examination
from art_levelset.evaluation.underflow import gradient_underflow
from art_levelset.progress import progress_bar

SIGNIFICANCE = 0.001
"""Probability that an honest network fails a check by chance: about one in a hundred for all of them together."""

MIN_SAMPLES = 100
"""Samples needed to judge: with fewer, even ten points lost to one attack only may be noise (2^-10 = 0.001)."""

MAX_ZERO = 0.01
"""Share of samples that may have no gradient. Each counts as robust unseen, and papers argue about single points."""

MAX_ROUNDED = 0.5
"""
Share of samples that may have 1 - p_y = 0. Their cross-entropy still lifts the other logits and only spares the
label's own: weaker, not blind. Networks trained long on easy data get there with part of the samples.
"""

MAX_SURVIVORS = 0.01
"""Share of samples that may withstand an attack without bounds: steps are finite, and a few samples get stuck."""

MAX_MISSED = 0.25
"""
What cross-entropy may miss, as a share of the samples that the margin breaks, or of those that survive
cross-entropy where they are fewer. Adversarially trained networks lose a few points where tens of points fall and
survive, about 0.1; for what only looks robust it is near 1.
"""

ITERATIONS = (2, 5)
"""How many times more steps must not hurt the attacker."""

LARGER_EPS = 2.0
"""How many times larger a ball must not hurt the attacker."""

_SIGNS = {"fail": "FAIL", "pass": "pass", "not judged": "-"}

_OF_CROSS_ENTROPY = {"zero gradients", "rounding", "logit scale", "cross-entropy gap"}
"""Checks that judge cross-entropy on the logits as they are, which the white box does not use."""


@dataclass(frozen=True)
class Diagnosis:
    """
    What the checks found.

    :param checks: The checks.
    :param n_examples: Samples given.
    """

    checks: tuple[MaskingCheck, ...]
    n_examples: int

    @property
    def masked(self) -> bool:
        """Whether a check fails."""
        return bool(self._failed)

    @property
    def judged(self) -> bool:
        """Whether a check has a verdict."""
        return any(check.judged for check in self.checks)

    @property
    def _failed(self) -> set[str]:
        return {check.check for check in self.checks if check.verdict == "fail"}

    def report(self) -> str:
        """
        The checks as text.

        :return: Lines of at most 100 characters.
        """
        verdicts = [check.verdict for check in self.checks]
        counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in _SIGNS if verdict in verdicts]
        lines = [f"Gradient masking, {self.n_examples} samples: {', '.join(counts)}"]
        for check in self.checks:
            head = f"{_SIGNS[check.verdict]:<6}{check.check:<19}"
            lines += textwrap.wrap(check.statement, 100, initial_indent=head, subsequent_indent=" " * len(head))
        if not self.judged:
            lines.append("Nothing could be judged.")
        elif not self._failed:
            lines.append("No sign of masked gradients.")
        elif self._failed <= _OF_CROSS_ENTROPY:
            lines.append("Cross-entropy is blinded by the logits' size; the margin and rescaled logits see through it.")
        else:
            lines.append("Gradients mislead, whatever the loss: PGD overestimates the robustness.")
        return "\n".join(lines)


def diagnose(
    model: Any,
    x: Array,
    y: Array,
    *,
    eps: float,
    norm: float = math.inf,
    clip_values: ClipValues = (0.0, 1.0),
    eps_step: float | None = None,
    max_iter: int = 40,
    sources: Mapping[str, Any] | None = None,
    gradient_free: Attack | None = None,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> Diagnosis:
    """
    Look for masked gradients.

    On a robust network this costs about sixteen PGD attacks of `max_iter` steps, and two more for each source.

    :param model: A classifier (batch, ...) -> (batch, classes) of logits, or an ART PyTorchClassifier.
    :param x: Samples, (batch, ...), floating point, within `clip_values`.
    :param y: Labels, (batch,) integers or (batch, classes) one-hot.
    :param eps: Radius of the ball, > 0.
    :param norm: The norm of the ball, one that :func:`art_levelset.attacks.pgd.pgd` knows.
    :param clip_values: Smallest and largest valid input.
    :param eps_step: Length of a step, at least eps / max_iter; 2.5 * eps / max_iter by default.
    :param max_iter: Steps of the attacks, >= 2.
    :param sources: Other models of the same task, by name: attacks on them are transferred.
    :param gradient_free: An attack in the same ball that uses no gradients, for instance AutoAttack's square.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished attacks are kept, so that a killed diagnosis goes on; nowhere by default.
    :param verbose: Whether to show a progress bar.
    :return: The diagnosis.
    :raises ValueError: If a shape, label or number is out of range, no sample is classified right, or `gradient_free`
            leaves the ball.
    :raises MissingPieces: If the memo has a fixed share of the work, and that of others is not there.
    :raises TypeError: If an argument is of another type.

    >>> import torch
    >>> from art_levelset import diagnose
    >>> model = torch.nn.Linear(1, 2)
    >>> _ = model.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.tensor([0.5, -0.5])})
    >>> x = torch.linspace(0, 1, 200)[:, None]
    >>> found = diagnose(model, x, model(x).argmax(dim=1), eps=0.1, max_iter=10, verbose=False)
    >>> found.masked
    False
    """
    settings = DiagnosisSettings(eps, norm, eps_step, max_iter, sources or {}, gradient_free)
    check_count("batch_size", batch_size)
    check_seed(seed)
    subject = Subject.of(model, x, y, clip_values=clip_values)
    memo = memo or Memo()
    found = diagnosis_of(subject, settings, batch_size=batch_size, seed=seed, memo=memo, verbose=verbose)
    check_complete(memo)
    return found


@dataclass(frozen=True, eq=False)
class DiagnosisSettings:
    """
    What :func:`diagnose` is asked for, checked.

    :param eps: Radius of the ball, > 0.
    :param norm: The norm of the ball.
    :param eps_step: Length of a step, at least eps / max_iter; None for 2.5 * eps / max_iter.
    :param max_iter: Steps of the attacks, >= 2.
    :param sources: Other models of the same task, by name.
    :param gradient_free: An attack that uses no gradients.
    :raises ValueError: If a number is out of range.
    :raises TypeError: If a source is no model.
    """

    eps: float
    norm: float
    eps_step: float | None
    max_iter: int
    sources: Mapping[str, Any]
    gradient_free: Attack | None

    def __post_init__(self) -> None:
        check_positive("eps", self.eps)
        check_norm(self.norm, tuple(NAMES))
        check_count("max_iter", self.max_iter)
        if self.max_iter < 2:
            raise ValueError(
                f"max_iter must be at least 2, since a single step is compared with it, got {self.max_iter}"
            )
        if self.eps_step is not None and not (
            math.isfinite(self.eps_step) and self.eps_step * self.max_iter >= self.eps * (1 - 1e-9)
        ):
            least = self.eps / self.max_iter
            raise ValueError(f"eps_step must be at least eps / max_iter = {least:.4g}, got {self.eps_step}")
        for source in self.sources.values():
            network_of(source)
        if self.gradient_free is not None and not callable(self.gradient_free):
            raise TypeError(f"gradient_free must be callable, got {type(self.gradient_free).__name__}")


def diagnosis_of(
    subject: Subject, settings: DiagnosisSettings, *, batch_size: int, seed: int, memo: Memo, verbose: bool
) -> Diagnosis:
    """
    :func:`diagnose` of a checked subject.

    :param subject: The network, samples, labels and box.
    :param settings: What is asked for.
    :param batch_size: Samples attacked at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished attacks are kept.
    :param verbose: Whether to show a progress bar.
    :return: The diagnosis.
    :raises ValueError: If no sample is classified right, or `gradient_free` leaves the ball.
    """
    others = {name: network_of(source) for name, source in settings.sources.items()}
    with seeded(seed, subject.device):
        right = correct(subject, batch_size=batch_size).numpy()
    count = int(right.sum())
    if not count:
        raise ValueError("x holds no sample that model classifies right, hence none to attack")
    if subject.clip_values is None:
        raise ValueError("clip_values must be given: one of the checks attacks within the whole box")
    attacks = 15 + 2 * len(others) + (settings.gradient_free is not None)
    with progress_bar(total=attacks * count, desc="masking", unit="sample", verbose=verbose) as progress:
        examined = Examination(
            subject,
            right,
            Ball(settings.eps, settings.norm, subject.clip_values),
            settings.eps_step,
            settings.max_iter,
            batch_size,
            seed,
            memo,
            progress,
        )
        checks = tuple(_checks(examined, others, settings.gradient_free))
    return Diagnosis(checks if count >= MIN_SAMPLES else tuple(_not_judged(*checks, count=count)), len(subject))


def _checks(
    examined: Examination, sources: Mapping[str, nn.Module], gradient_free: Attack | None
) -> Iterator[MaskingCheck]:
    yield from _gradients(examined)
    margin = examined.survivors(examined.pgd("margin"))
    rescaled = examined.survivors(examined.pgd("cross_entropy"))
    plain = examined.survivors(examined.pgd("cross_entropy", rescale=False))
    decaying = {"eps_step": decaying_steps(examined.ball.eps, examined.max_iter)}
    white = examined.survivors(examined.pgd("margin", **decaying), margin & rescaled)
    yield _gap(examined.right, margin, rescaled, plain)
    yield _iterations(examined)
    yield _larger_eps(examined, white)
    yield _unbounded(examined)
    draws = 3 * examined.max_iter  # as many points as the white box visits
    yield _blind("random noise", white, {f"{draws} random points of the ball": examined.noise(draws)})
    transfers = {f"examples made on {name}": examined.transferred(source) for name, source in sources.items()}
    yield _blind("transfer", white, transfers, "No source models were given.")
    given = {parameters_of(attack)["name"]: examined.given(attack) for attack in (gradient_free,) if attack is not None}
    yield _blind("gradient-free", white, given, "No gradient-free attack was given.")


def _gradients(examined: Examination) -> Iterator[MaskingCheck]:
    """What rounding leaves of the gradients at the samples themselves."""
    right = examined.subject.select(torch.from_numpy(examined.right))
    seen = gradient_underflow(right, batch_size=examined.batch_size, seed=examined.seed)
    yield _check(
        "zero gradients",
        _exceeds(seen.no_cross_entropy, MAX_ZERO),
        f"The gradient of cross-entropy is exactly zero for {_percent(seen.no_cross_entropy)} of the samples.",
        seen.no_cross_entropy.mean(),
    )
    yield _check(
        "zero margin slopes",
        _exceeds(seen.no_margin, MAX_ZERO),
        f"The gradient of the margin is exactly zero for {_percent(seen.no_margin)} of the samples.",
        seen.no_margin.mean(),
    )
    yield _check(
        "rounding",
        _exceeds(seen.rounded, MAX_ROUNDED),
        f"1 - p_y rounds to 0 for {_percent(seen.rounded)} of the samples: cross-entropy has lost the gradient of the "
        "label's own logit there.",
        seen.rounded.mean(),
    )
    median = float(np.median(seen.margins))
    yield _check(
        "logit scale",
        median > seen.lost_beyond,
        f"The median margin is {median:.4g}; beyond {seen.lost_beyond:.0f} cross-entropy's gradient underflows.",
        median,
    )
    yield _check(
        "randomness",
        _exceeds(seen.random, MAX_ZERO),
        f"A second pass gives other logits for {_percent(seen.random)} of the samples.",
        seen.random.mean(),
    )


def _gap(right: RobustMask, margin: RobustMask, rescaled: RobustMask, plain: RobustMask) -> MaskingCheck:
    """What cross-entropy as it is misses."""
    missed, extra = int((plain & ~margin).sum()), int((margin & ~plain).sum())
    fewer = min(int((right & ~margin).sum()), int(plain.sum()))
    chance = _tail(missed, missed + extra)
    return _check(
        "cross-entropy gap",
        missed - extra > MAX_MISSED * fewer and chance < SIGNIFICANCE,
        f"PGD with cross-entropy leaves {_percent(plain)}, with the margin {_percent(margin)}: {missed} samples fall "
        f"to the margin only, {extra} to cross-entropy only (p = {chance:.1g}). Rescaling the logits brings "
        f"cross-entropy to {_percent(rescaled)}.",
        plain.mean() - margin.mean(),
    )


def _iterations(examined: Examination) -> MaskingCheck:
    """
    One step from the sample itself, the usual number, and more. All make their steps to the end: an attack that keeps
    its first success could not lose by going on.
    """
    step = 2.5 * examined.ball.eps / examined.max_iter if examined.eps_step is None else examined.eps_step
    last = partial(examined.pgd, "margin", stop_when_broken=False, eps_step=step)
    usual = examined.max_iter
    left = {1: examined.survivors(last(max_iter=1, eps_step=examined.ball.eps, random_start=False))}
    left |= {
        steps: examined.survivors(last(max_iter=steps)) for steps in (usual, *(usual * more for more in ITERATIONS))
    }
    pairs = [(1, usual), *((usual, usual * more) for more in ITERATIONS)]
    return _check(
        "iterations",
        any(_beats(left[fewer], left[more], len(pairs)) for fewer, more in pairs),
        f"Margin PGD leaves {', '.join(f'{_percent(survivors)} after {steps}' for steps, survivors in left.items())} "
        "steps.",
        max(left[more].mean() - left[fewer].mean() for fewer, more in pairs),
    )


def _larger_eps(examined: Examination, white: RobustMask) -> MaskingCheck:
    eps = LARGER_EPS * examined.ball.eps
    larger = examined.white_box(Ball(eps, examined.ball.norm, examined.ball.clip_values))
    return _check(
        "larger eps",
        _beats(white, larger),
        f"PGD leaves {_percent(white)} at eps {examined.ball.eps:g} and {_percent(larger)} at {eps:g}.",
        larger.mean() - white.mean(),
    )


def _unbounded(examined: Examination) -> MaskingCheck:
    survivors = examined.white_box(examined.ball.whole_box(examined.subject.x[0].numel()))
    return _check(
        "unbounded attack",
        _exceeds(survivors[examined.right], MAX_SURVIVORS),
        f"PGD in the whole box leaves {_percent(survivors)}.",
        survivors.mean(),
    )


def _blind(name: str, white: RobustMask, others: Mapping[str, RobustMask], missing: str = "") -> MaskingCheck:
    """Attacks that see less than the white box should not beat it."""
    if not others:
        return MaskingCheck(check=name, verdict="not judged", statement=missing)
    left = ", ".join(
        f"{other} {_percent(survivors)} ({int((white & ~survivors).sum())} samples fall to these only)"
        for other, survivors in others.items()
    )
    return _check(
        name,
        any(_beats(survivors, white, len(others)) for survivors in others.values()),
        f"PGD leaves {_percent(white)}; {left}.",
        white.mean() - min(survivors.mean() for survivors in others.values()),
    )


def _check(name: str, failed: bool, statement: str, value: float) -> MaskingCheck:
    return MaskingCheck(check=name, verdict="fail" if failed else "pass", statement=statement, value=float(value))


def _not_judged(*checks: MaskingCheck, count: int) -> Iterator[MaskingCheck]:
    for check in checks:
        few = f"{check.statement} {MIN_SAMPLES} samples classified right are needed to judge, there are {count}."
        statement = check.statement if check.value is None else few
        yield check.model_copy(update={"verdict": "not judged", "statement": statement})


def _exceeds(found: RobustMask, share: float) -> bool:
    """Whether more than a share of the samples is found, beyond noise."""
    return _tail(int(found.sum()), len(found), share) < SIGNIFICANCE


def _beats(first: RobustMask, second: RobustMask, comparisons: int = 1) -> bool:
    """Whether the attack that leaves the first breaks more than the other, beyond noise, in one of some comparisons."""
    return _tail(int((second & ~first).sum()), int((first ^ second).sum())) < SIGNIFICANCE / comparisons


def _tail(successes: int, n: int, share: float = 0.5) -> float:
    """
    The exact probability of at least so many successes in n trials.

    With the samples that only one of two attacks breaks as trials, it is McNemar's test.
    """
    from scipy.stats import binomtest

    return float(binomtest(successes, n, share, alternative="greater").pvalue) if n else 1.0


def _percent(found: RobustMask) -> str:
    return f"{100 * found.mean():.1f}%"
