"""Attempts at the fit of a network to a scan: each is judged, and one that has failed is followed by another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.core.balls import Box
from art_levelset.recon.cloud.scan import Scan
from art_levelset.recon.fitting.checkpoint import Checkpoint
from art_levelset.recon.fitting.fit import Fit
from art_levelset.recon.fitting.judgement import Attempts, Judgement, judge
from art_levelset.recon.fitting.loss import Penalties
from art_levelset.recon.fitting.progress import Budget, FitProgress
from art_levelset.recon.fitting.quality import Quality
from art_levelset.recon.fitting.samples import Samples
from art_levelset.recon.network import GridNetwork

logger = logging.getLogger(__name__)

FEWEST_STEPS = 100
"""Fewer steps leave an unfinished surface, which is not judged."""

MOST_ATTEMPTS = 2
"""A fit that has failed is made again with the next seed, until there have been so many: where the second fails as well
the data are to blame."""


@dataclass(frozen=True, eq=False)
class Options:
    """
    What is the same in all attempts.

    :param batch_size: Number of samples a step, >= 8.
    :param quality: How much work an attempt is.
    :param penalties: What is added to the loss.
    :param seed: Of the first attempt, >= 0; the next one has the next.
    :param callback: Called with the progress.
    :param verbose: Whether to show a progress bar.
    """

    batch_size: int
    quality: Quality
    penalties: Penalties
    seed: int
    callback: Callable[[FitProgress], object] | None
    verbose: bool


def fit_scan(
    network: nn.Module,
    weights: Mapping[str, Tensor] | None,
    scan: Scan,
    options: Options,
    budget: Budget,
    checkpoint: Checkpoint | None = None,
    state: Mapping[str, Any] | None = None,
    box: Box | None = None,
    name: str = "fit",
) -> tuple[Judgement, ...]:
    """
    Fit a network to a scan, or go on from a checkpoint, until an attempt does not fail or none is left.

    :param network: F, (batch, 3) -> (batch, 1), trained in place; it gets the weights of the best attempt.
    :param weights: What every attempt starts from; None for those of a new :class:`GridNetwork`, or the planes.
    :param scan: What to fit it to.
    :param options: What is the same in all attempts.
    :param budget: What they may use.
    :param checkpoint: Where their state is kept, if anywhere.
    :param state: What was there already.
    :param box: Two corners, (3,) each, of the box in which points are drawn; None for that of
           :class:`art_levelset.recon.fitting.samples.Samples`.
    :param name: Of the fit, for messages.
    :return: How the attempts were judged, in their order; empty where there was nothing to judge.
    :raises ValueError: If the budget is too small for a single step, or the state is damaged.
    """
    attempts = Attempts(network)
    if state is not None:
        with _restoring(checkpoint):
            attempts.load_state_dict(state["attempts"])
    while True:
        seed = options.seed + len(attempts.judgements)
        generator = torch.Generator().manual_seed(seed)
        network.load_state_dict(GridNetwork(generator=generator).state_dict() if weights is None else weights)
        device = next(network.parameters()).device
        quarter = options.batch_size // 4
        samples = Samples(scan.points, scan.planes, scan.indicator, quarter, generator, device, scan.means, box)
        quality = options.quality
        if quality.at_planes and state is None and isinstance(network, GridNetwork):
            network.interpolate(samples.signed_distance)
        fit = Fit(network, samples, quality.learning_rate, quality.held, options.penalties, budget, attempts)
        if state is not None:
            with _restoring(checkpoint):
                fit.load_state_dict(state)
        finite = fit.run(checkpoint, options.callback, scan.frame.scale, options.verbose, name)
        if finite and _is_unfinished(budget, attempts):
            break  # no more and no less than was asked for
        judgement = judge(network, samples)
        attempts.add(judgement)
        if not judgement.failed:
            break
        last = len(attempts.judgements) == MOST_ATTEMPTS or budget.is_spent()
        end = "the best attempt is kept" if last else f"it is made again with seed {seed + 1}"
        logger.warning("the %s with seed %d is rejected, for %s: %s", name, seed, judgement, end)
        if last:
            break
        budget.begin_anew()
        state = None
    attempts.restore_best()
    return attempts.judgements


def _is_unfinished(budget: Budget, attempts: Attempts) -> bool:
    """Whether so few steps were made that there is nothing to judge."""
    unfinished = budget.step < FEWEST_STEPS and not attempts.judgements
    if unfinished and budget.seconds is not None and budget.step < (budget.steps or FEWEST_STEPS):
        logger.warning("time_budget: %g s were enough for %d steps only", budget.seconds, budget.step)
    return unfinished


@contextmanager
def _restoring(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Whatever goes wrong here is in the file, which may say anything."""
    try:
        yield
    except Exception as error:
        what = f"{type(error).__name__}: {error!s:.200}"
        path = None if checkpoint is None else checkpoint.path
        raise ValueError(f"checkpoint: {path} has no state of this fit ({what})") from error
