"""
Fitting the implicit network to a cloud by eq. 13:

    loss(theta) = sum_t mean_{x in S_t} |d(x, X) - |t|| + lambda/N sum_j |F(x_j)|,

with the samples x = p(theta) of the level sets S_t attached to the parameters by the sample network (eq. 9).

T is {0} and the levels on which random points of space lie, near the surface and far from it, so the second set makes F
a signed distance. Eq. 13 sees |t| and d only, so it has no opinion about which side is inside, and alone it settles for
sheets with the wrong sign, pockets and domes. What decides is the cloud's indicator function chi
(:mod:`art_levelset.recon.cloud.orientation`). It turns the planes outwards to which d is measured, and it votes, by a
hinge on random points y whose side is beyond doubt,

    mean_y max(0, d(y, X) / 2 - s(y) F(y)),      s = 1 outside, -1 inside,

which is zero as soon as F has the right sign and half the right size. Where neither data nor votes say anything, a
small Dirichlet energy of the network's grids continues F smoothly; without it narrow gaps fill with tunnels. Penalties
may be added (:mod:`art_levelset.recon.fitting.penalties`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from art_levelset.core.fields import Field, as_field
from art_levelset.core.losses import reconstruction_loss
from art_levelset.core.projection import project
from art_levelset.core.sample_network import sample_network
from art_levelset.recon.cloud.clouds import check_cloud, unit_frame, without_strays
from art_levelset.recon.cloud.consistency import agreed, refined
from art_levelset.recon.cloud.normals import check_normals, votes_on_sides
from art_levelset.recon.cloud.orientation import indicator_of, orient
from art_levelset.recon.cloud.planes import fit_planes
from art_levelset.recon.cloud.twicing import twiced
from art_levelset.recon.fitting.attempts import Attempts, copied
from art_levelset.recon.fitting.checkpoint import Checkpoint, described
from art_levelset.recon.fitting.judgement import judge
from art_levelset.recon.fitting.penalties import Penalties
from art_levelset.recon.fitting.progress import Budget, FitProgress
from art_levelset.recon.fitting.samples import WALL, Samples, joined
from art_levelset.recon.meshing.surface import CORRECTION
from art_levelset.recon.network import GridNetwork
from art_levelset.recon.reconstruction import Reconstruction

logger = logging.getLogger(__name__)

STEPS = 800
"""Number of steps where nothing else is said."""

FEWEST_STEPS = 100
"""Fewer steps leave an unfinished surface, which is not judged."""

REPORTED = 20
"""Number of steps between two reports of the progress."""

ATTEMPTS = 2
"""A fit that has failed is made again with the next seed, until there have been so many: where the second fails as well
the data are to blame."""

LAMBDA = 1.0
VOTE_WEIGHT = 3.0

SMOOTHNESS = 1e-5, 300.0
"""Weight of the grids' Dirichlet energy: for exact planes, and by the squared error of the planes (unit frame)."""

FLATTEST = 0.1
"""Samples with |D_xF| below this do not count: p(theta) moves arbitrarily fast there."""


def reconstruct(
    points: object,
    *,
    normals: object = None,
    network: nn.Module | None = None,
    steps: int | None = None,
    time_budget: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    batch_size: int = 4096,
    learning_rate: float = 1e-3,
    eikonal: float = 0.0,
    curvature: float = 0.0,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[FitProgress], object] | None = None,
    verbose: bool = True,
) -> Reconstruction:
    """
    Reconstruct the surface that a raw cloud samples as the zero level set of a network (eq. 13). It needs no normals.

    A fit of at least :data:`FEWEST_STEPS` steps is judged by what its zero level set has in common with the cloud
    (:mod:`art_levelset.recon.fitting.judgement`). One that has failed is made again with the next seed, at most
    :data:`ATTEMPTS` times in all and within the time budget, and the best one is kept. The surface of
    one that has not failed gets the last corrections (:mod:`art_levelset.recon.cloud.twicing` and
    :mod:`art_levelset.recon.meshing.surface`) and loses the handles that no data speak for
    (:mod:`art_levelset.recon.meshing.handles`).

    | Paper link: https://arxiv.org/abs/1905.11911

    :param points: The cloud, (n, 3), in any units, n >= 10. Stray points are left out.
    :param normals: Normals of the points, (n, 3), of any length, if there are any that point outwards, as those of
           scanners do: they decide then which side is outside, instead of a guess from the points. The majority of
           neighbouring ones counts; zeros and NaN stand for missing ones. If all point inwards they are turned round.
    :param network: The network to fit in place, (batch, 3) -> (batch, 1), in the unit frame [-1, 1]^3. None for a
           :class:`GridNetwork`; FC-2 of the paper is `art_levelset.models.fc_2()`. Every attempt starts from its
           weights.
    :param steps: The most optimisation steps of an attempt, >= 1. None for :data:`STEPS`, or, with a time budget, for
           as many as it allows.
    :param time_budget: The most wall seconds of the fit, > 0, what is done before the first step included. It ends when
           they or `steps` are used up; the last corrections take some seconds more. It decides how many steps are made,
           so with it the seed does not determine the result.
    :param clock: What tells the seconds of the time budget: wall seconds, or `time.process_time`, which other
           processes disturb less.
    :param batch_size: Number of samples a step, >= 8.
    :param learning_rate: Of Adam, > 0; constant for half of the steps, or of the time for them, then a cosine to nearly
           zero.
    :param eikonal: Weight, >= 0, of the mean of (|D_xF| - 1)^2 over half of the samples of space: for a better
           :meth:`Reconstruction.sdf`, not for the mesh. On two scans 0.1 took 7 and 5% off the error of |F| near the
           surface, 12 and 4% off that elsewhere, and changed that of the mesh by +4 and -1%
           (`benchmarks/signed_distance.py`).
    :param curvature: Weight, >= 0, of the mean of |kappa_1 + kappa_2| (unit frame) over half of the samples of the zero
           level set, for clouds with much noise. In 1% of the diagonal 3e-4 took 10 and 5% off the distance of two
           meshes (`benchmarks/damaged.py`); with little noise 1e-4 added 1 and 14% (`benchmarks/signed_distance.py`).
    :param seed: Seed of the initialisation and of the samples, >= 0. On a CPU it determines the result.
    :param device: Where to compute; None for the network's device, or the CPU.
    :param checkpoint: A file for the state of the fit, which is written every few seconds. If it is there already, the
           fit goes on from it, and on a CPU ends as if it had not been interrupted. It stays after the end, so that the
           same call returns the same result: delete it when you have that.
    :param callback: Called every :data:`REPORTED` steps of an attempt and after its last one. What it raises ends the
           fit.
    :param verbose: Whether to show a progress bar.
    :return: The reconstruction, whose mesh is in the coordinates of the points.
    :raises ValueError: If the points cannot be a scan (see :func:`check_cloud`) or are of no surface, the normals
            contradict each other, a number is out of range, the time budget is too small for a single step, or the
            checkpoint is damaged or that of another fit.
    :raises OSError: If the checkpoint cannot be read or written.
    """
    _check(steps, time_budget, batch_size, learning_rate, seed)
    penalties = Penalties(eikonal, curvature)
    budget = Budget(STEPS if steps is None and time_budget is None else steps, time_budget, clock)
    cloud = check_cloud(points)
    directions = None if normals is None else check_normals(normals, len(np.asarray(points)))
    given = None if network is None else copied(network)
    network = GridNetwork(generator=torch.Generator()) if network is None else network
    file = state = None
    if checkpoint is not None:
        file = Checkpoint(
            checkpoint,
            {
                "points": described(cloud),
                "normals": None if directions is None else described(directions),
                "network": described(network),
                "steps": budget.steps,
                "time_budget": time_budget,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "eikonal": eikonal,
                "curvature": curvature,
                "seed": seed,
            },
        )
        state = file.read()
    cloud = without_strays(cloud)
    frame = unit_frame(cloud)
    cloud = frame.to_unit(cloud)
    place = next(network.parameters()).device if device is None else torch.device(device)
    network = network.to(place)
    planes = fit_planes(cloud)
    votes = None
    if directions is not None:
        votes = votes_on_sides(planes, frame.to_unit(np.asarray(points, dtype=np.float64)), directions)
    planes = orient(planes, place, votes)
    planes = refined(cloud, agreed(planes) if votes is None else planes)
    indicator = indicator_of(planes, place)
    logger.info("%d points, %d local planes of reach %.4f", len(cloud), len(planes), planes.reach)
    attempts = Attempts(network)
    if state is not None:
        attempts.load_state_dict(state["attempts"])
    while True:
        own_seed = seed + len(attempts.judgements)
        generator = torch.Generator().manual_seed(own_seed)
        network.load_state_dict(GridNetwork(generator=generator).state_dict() if given is None else given)
        samples = Samples(cloud, planes, indicator, batch_size // 4, generator, place)
        fit = _Fit(network, samples, learning_rate, penalties, budget, attempts)
        if state is not None:
            fit.load_state_dict(state)
            state = None
        finite = fit.run(file, callback, frame.scale, verbose)
        if finite and budget.step < FEWEST_STEPS and not attempts.judgements:
            break  # unfinished, no more and no less than was asked for
        judgement = judge(network, samples)
        attempts.add(judgement)
        if not judgement.failed:
            break
        last = len(attempts.judgements) == ATTEMPTS or budget.is_spent()
        end = "the best attempt is kept" if last else f"it is made again with seed {own_seed + 1}"
        logger.warning("the fit with seed %d is rejected, for %s: %s", own_seed, judgement, end)
        if last:
            break
        budget.begin_anew()
    attempts.restore_best()
    result = Reconstruction(network, frame, planes, attempts=attempts.judgements)
    if not attempts.judgements or attempts.judgements[-1].failed:
        return result
    result = replace(result, correction=CORRECTION * planes.reach)
    return replace(result, planes=twiced(cloud, planes, result.surface)).repaired()


class _Fit:
    """
    Minimises the loss of this module by Adam.

    :param network: F, (batch, 3) -> (batch, 1), trained in place.
    :param samples: The random points.
    :param learning_rate: The highest learning rate.
    :param penalties: What is added to the loss.
    :param budget: What the fit may use.
    :param attempts: The attempts before it.
    """

    def __init__(
        self,
        network: nn.Module,
        samples: Samples,
        learning_rate: float,
        penalties: Penalties,
        budget: Budget,
        attempts: Attempts,
    ) -> None:
        self.network, self.samples, self.budget, self.attempts = network, samples, budget, attempts
        self.learning_rate, self.penalties = learning_rate, penalties
        self.field = as_field(network)
        self.smoothness = SMOOTHNESS[0] + SMOOTHNESS[1] * samples.error**2
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True)

    def run(
        self,
        checkpoint: Checkpoint | None,
        callback: Callable[[FitProgress], object] | None,
        scale: float,
        verbose: bool,
    ) -> bool:
        """
        Make steps until the budget is used up; `scale` is the length of the frame's unit.

        :return: Whether the loss stayed finite; where it does not, there are no more steps.
        """
        budget, earlier = self.budget, len(self.attempts.judgements)
        gauge = self.samples.gauge(self.field)
        budget.begin()
        part = budget.part()
        desc = f"fit, attempt {earlier + 1}" if earlier else "fit"
        with tqdm(desc=desc, unit="step", total=budget.steps, initial=budget.step, disable=not verbose) as bar:
            while part < 1:
                loss = float(self._step(part))
                if not math.isfinite(loss):
                    return False
                budget.step += 1
                part = budget.part()
                if checkpoint is not None and (checkpoint.due() or part >= 1):
                    checkpoint.write(self.state_dict())
                if (verbose or callback is not None) and (part >= 1 or budget.step % REPORTED == 0):
                    distances = (scale * mean for mean in gauge())
                    progress = FitProgress(earlier + 1, budget.step, loss, budget.spent(), budget.left(), *distances)
                    bar.total = round(budget.step / part)
                    bar.set_postfix(loss=f"{progress.loss:.4f}", distance=f"{progress.chamfer:.3g}", refresh=False)
                    if callback is not None:
                        callback(progress)
                bar.update()
        if not earlier and budget.seconds is not None and budget.step < min(FEWEST_STEPS, budget.steps or FEWEST_STEPS):
            logger.warning("time_budget: %g s were enough for %d steps only", budget.seconds, budget.step)
        return True

    def _step(self, part: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * _rate(part)
        self.optimizer.zero_grad(set_to_none=True)
        loss = _loss(self.field, self.samples, self.penalties)
        torch.autograd.backward(loss)
        if isinstance(self.network, GridNetwork):
            self.network.add_smoothness_gradient(self.smoothness, self.samples.generator)
        self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {
            "attempts": self.attempts.state_dict(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.samples.generator.get_state(),
            "budget": self.budget.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.samples.generator.set_state(state["generator"])
        self.budget.load_state_dict(state["budget"])


def _loss(field: Field, samples: Samples, penalties: Penalties) -> Tensor:
    """The loss of this module on one batch of samples."""
    box = (-WALL, WALL)
    on_zero = project(field, samples.around_surface(), max_iter=1, tol=1e-4, box=box)
    drawn = samples.elsewhere()
    elsewhere = project(field, drawn.points, max_iter=0)
    split = len(on_zero.points)
    space = joined(samples.locate(on_zero.points), drawn)
    jacobians = torch.cat([on_zero.jacobians, elsewhere.jacobians])
    levels = torch.cat([on_zero.values, elsewhere.values]).squeeze(1)
    gradients = jacobians.squeeze(1)
    positions = sample_network(field, space.points, jacobians)
    distances, beside = samples.distance(positions, levels, space.reach, space.found)

    certain = samples.certain(space)
    wrong = certain & (space.inside * levels > 0)
    counts = (torch.linalg.vector_norm(gradients, dim=1) > FLATTEST) & ~wrong
    # Over a hole of the data nothing is known about where the zero set should be: its samples there do not count.
    counts[:split] &= beside[:split]
    rows = torch.arange(len(counts), device=counts.device)
    sets = [part for part in (rows[:split][counts[:split]], rows[split:][counts[split:]]) if len(part)]

    voters = split + torch.nonzero(certain[split:]).squeeze(1)
    cloud = samples.of_cloud()
    values = field(torch.cat([cloud, space.points[voters]])).squeeze(1)
    missing = torch.relu(space.reach[voters, 0] / 2 + space.inside[voters].sign() * values[len(cloud) :])
    loss = VOTE_WEIGHT * missing.sum() / (len(counts) - split)
    if sets:
        attached = [distances[part] for part in sets], [levels[part] for part in sets]
        loss = reconstruction_loss(*attached, values[: len(cloud)], LAMBDA) + loss
    return penalties.added(loss, field, space.points, gradients, split)


def _rate(time: float) -> float:
    """The learning rate's factor after a part of the fit: a short rise, constant, then a cosine."""
    rise = min(1.0, 0.05 + 20 * time)
    return rise * (1.0 if time < 0.5 else 0.02 + 0.98 * 0.5 * (1 + math.cos(2 * math.pi * (time - 0.5))))


def _check(steps: int | None, time_budget: float | None, batch_size: int, learning_rate: float, seed: int) -> None:
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if time_budget is not None and not 0 < time_budget < math.inf:
        raise ValueError(f"time_budget must be a positive number of seconds, got {time_budget}")
    if batch_size < 8:
        raise ValueError(f"batch_size must be at least 8, got {batch_size}")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
