"""
From points to a surface: the cloud is prepared, a network is fitted to it, and the fit is finished.

1. :mod:`art_levelset.recon.cloud`: outliers are left out, local planes are fitted, their normals are turned outwards.
2. :mod:`art_levelset.recon.fitting`: a network is fitted by eq. 13 and judged. One that has failed is fitted again.
3. :mod:`art_levelset.recon.meshing`: the surface gets its last corrections and loses the handles that no data speak
   for. What is left to do is :meth:`art_levelset.recon.reconstruction.Reconstruction.mesh`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.recon.cloud.cells import MOST_POINTS, condense, condense_noise
from art_levelset.recon.cloud.clouds import (
    BATCH,
    Points,
    bytes_of_points,
    check_counts,
    check_normals,
    check_points,
    distinct_points,
)
from art_levelset.recon.cloud.faces import enough_points
from art_levelset.recon.cloud.scan import Scan, prepare
from art_levelset.recon.cloud.sensors import check_sensors
from art_levelset.recon.fitting.attempts import Options, fit_scan
from art_levelset.recon.fitting.blocks import Block, block_file, fit_blocks
from art_levelset.recon.fitting.checkpoint import Checkpoint, describe_input
from art_levelset.recon.fitting.judgement import Judgement, copy_weights
from art_levelset.recon.fitting.loss import Penalties
from art_levelset.recon.fitting.progress import Budget, FitProgress
from art_levelset.recon.fitting.quality import QUALITIES, Quality
from art_levelset.recon.fitting.ranks import from_first
from art_levelset.recon.meshing.surface import CORRECTION
from art_levelset.recon.meshing.twicing import apply_twicing
from art_levelset.recon.network import GridNetwork
from art_levelset.recon.reconstruction import Reconstruction

SURFACE, MANY = 600e6, 70_000
"""Bytes that planes, the indicator function and the default network take, of so many points or more."""

COPIED = 64.0
"""Bytes that a point takes beyond those that are kept, of which there are only means."""


@torch.inference_mode(False)
@torch.enable_grad()
def reconstruct(
    points: object,
    *,
    normals: object = None,
    sensors: object = None,
    counts: object = None,
    network: nn.Module | None = None,
    quality: str | None = None,
    steps: int | None = None,
    time_budget: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    batch_size: int = 4096,
    learning_rate: float | None = None,
    eikonal: float = 0.0,
    curvature: float = 0.0,
    blocks: int = 1,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    callback: Callable[[FitProgress], object] | None = None,
    verbose: bool = True,
) -> Reconstruction:
    """
    Reconstruct the surface that a raw cloud samples as the zero level set of a network (eq. 13). It needs no normals.

    A fit of at least :data:`~art_levelset.recon.fitting.attempts.FEWEST_STEPS` steps is judged by what its zero level
    set has in common with the cloud (:mod:`art_levelset.recon.fitting.judgement`). One that has failed is made again
    with the next seed, at most :data:`~art_levelset.recon.fitting.attempts.MOST_ATTEMPTS` times in all and within the
    time budget, and the best one is kept. The surface of one that has not failed gets the last corrections
    (:mod:`art_levelset.recon.meshing.twicing` and :mod:`art_levelset.recon.meshing.surface`) and loses the handles
    that no data speak for (:mod:`art_levelset.recon.meshing.handles`).

    >>> import numpy as np
    >>> from art_levelset import reconstruct
    >>> directions = np.random.default_rng(0).standard_normal((300, 3))
    >>> sphere = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    >>> reconstruction = reconstruct(sphere, steps=5, batch_size=64, verbose=False)  # 200 steps for use
    >>> reconstruction.sdf([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]]) < 0
    array([ True, False])

    | Paper link: https://arxiv.org/abs/1905.11911

    :param points: The cloud, (n, 3), in any units, n >= 10. Outliers are left out. Means stand for more than a million
           points, and for noisy ones (:mod:`art_levelset.recon.cloud.cells`).
    :param normals: Normals of the points, (n, 3), of any length, if there are any that point outwards, as those of
           scanners do: they decide then which side is outside, instead of a guess from the points. The majority of
           neighbouring ones counts; zeros and NaN stand for missing ones. If all point inwards they are turned round.
    :param sensors: Where the points were seen from, in their units: one position for all, (3,), or one for each,
           (n, 3), with NaN where it is not known. Nothing is between a sensor and its point, which decides on sides,
           unless normals do, and opens what the view goes through (:mod:`art_levelset.recon.cloud.sensors`).
    :param counts: How many points each one stands for, (n,), > 0: those of a cloud that was too large to be read as it
           is (:func:`art_levelset.recon.io.reading.read_cloud`). None for one each.
    :param network: The network to fit in place, (batch, 3) -> (batch, 1), in the unit frame [-1, 1]^3. None for a
           :class:`GridNetwork`; FC-2 of the paper is `art_levelset.models.fc_2()`. Every attempt starts from its
           weights.
    :param quality: How much work it is: "draft", "standard" or "fine"
           (:data:`~art_levelset.recon.fitting.quality.QUALITIES`). The first two start where the planes are, and take
           about a half of the time of the last. None for "standard" or, with a network of one's own, "fine", the only
           one for it.
    :param steps: The most optimisation steps of an attempt, >= 1. None for those of the quality or, with a time budget,
           for as many as it allows.
    :param time_budget: The most wall seconds of the fit, > 0, what is done before the first step included. It ends when
           they or `steps` are used up; the last corrections take some seconds more. It decides how many steps are made,
           so with it the seed does not determine the result.
    :param clock: What tells the seconds of the time budget: wall seconds, or `time.process_time`, which other
           processes disturb less.
    :param batch_size: Number of samples a step, >= 8.
    :param learning_rate: Of Adam, > 0; constant for half of the steps of "fine", or of the time for them, then a cosine
           to nearly zero. None for that of the quality.
    :param eikonal: Weight, >= 0, of the mean of (|D_xF| - 1)^2 over half of the samples of space: for a better
           :meth:`Reconstruction.sdf`, not for the mesh. On two scans 0.1 took 7 and 5% off the error of |F| near the
           surface, 12 and 4% off that elsewhere, and changed that of the mesh by +4 and -1%
           (`benchmarks/signed_distance.py`).
    :param curvature: Weight, >= 0, of the mean of |kappa_1 + kappa_2| (unit frame) over half of the samples of the zero
           level set, for clouds with much noise. In 1% of the diagonal 3e-4 took 10 and 5% off the distance of two
           meshes (`benchmarks/damaged.py`); with little noise 1e-4 added 1 and 14% (`benchmarks/signed_distance.py`).
    :param blocks: How many parts to fit a network to each, >= 1, for large scenes with fine detail: with as many steps
           each as one network, and with as many local planes, which are nearer to each other, and so are the means that
           stand for points: there may be a million of them for each block. The parts are blended into one function
           (:mod:`art_levelset.recon.patchwork`). The processes of `torch.distributed`, where it is initialised, share
           the fits, and all return the same reconstruction.
    :param seed: Seed of the initialisation and of the samples, >= 0. On a CPU it determines the result.
    :param device: Where to compute; None for the network's device, or the CPU.
    :param checkpoint: A file for the state of the fit, which is written every few seconds. If it is there already, the
           fit goes on from it, and on a CPU ends as if it had not been interrupted. It stays after the end, so that the
           same call returns the same result: delete it when you have that. Of several blocks each has a file beside it
           (:func:`art_levelset.recon.fitting.blocks.block_file`), and there is no other.
    :param callback: Called every :data:`art_levelset.recon.fitting.fit.REPORTED` steps of an attempt and after its last
           one. What it raises ends the fit.
    :param verbose: Whether to show a progress bar.
    :return: The reconstruction, whose mesh is in the coordinates of the points.
    :raises ValueError: If the points cannot be a scan (see :func:`art_levelset.recon.cloud.clouds.check_cloud`), are
            too many for the memory or of no surface, the normals contradict each other, no sensor's position is finite,
            a count is not positive, a number is out of range, the time budget is too small for a single step, the
            checkpoint is damaged or that of another fit, there are too many blocks, or a network of one's own or a time
            budget is given for several.
    :raises OSError: If the checkpoint cannot be read or written.
    """
    if quality is None:
        quality = "standard" if network is None else "fine"
    if quality not in QUALITIES:
        raise ValueError(f"quality must be one of {', '.join(QUALITIES)}, got {quality!r}")
    kind = QUALITIES[quality]
    if network is not None and kind.at_planes:
        raise ValueError(f"quality must be fine for a network of one's own, got {quality}")
    budget = _budget(steps, time_budget, clock, kind)
    check_count("batch_size", batch_size, least=8)
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
        kind = replace(kind, learning_rate=learning_rate)
    check_seed(seed)
    check_count("blocks", blocks)
    for name, value in (("network", network), ("time_budget", time_budget)):
        if blocks > 1 and value is not None:
            raise ValueError(f"{name} cannot be given for several blocks")
    penalties = Penalties(eikonal, curvature)
    given = check_points(points, needed=partial(_bytes_of_surface, blocks=blocks))
    directions = None if normals is None else check_normals(normals, len(given))
    seen_from = None if sensors is None else check_sensors(sensors, len(given))
    if counts is None:
        given, directions, seen_from, counts = _condensed(given, directions, seen_from, MOST_POINTS * blocks)
    cloud = distinct_points(given)
    standing = None if counts is None else check_counts(counts, given)
    weights = None if network is None else copy_weights(network)
    network = GridNetwork(generator=torch.Generator()) if network is None else network
    told = {
        "points": describe_input(cloud),
        "normals": None if directions is None else describe_input(directions),
        **({} if seen_from is None else {"sensors": describe_input(seen_from)}),
        **({} if standing is None else {"counts": describe_input(standing)}),
        "network": describe_input(network),
        "quality": quality,
        "steps": budget.steps,
        "time_budget": time_budget,
        "batch_size": batch_size,
        "learning_rate": kind.learning_rate,
        "eikonal": eikonal,
        "curvature": curvature,
        "seed": seed,
    }
    place = next(network.parameters()).device if device is None else torch.device(device)
    options = Options(batch_size, kind, penalties, seed, callback, verbose)
    prepared = partial(prepare, cloud, standing, given, directions, seen_from, place, 1 / math.sqrt(blocks))
    if blocks > 1:
        steps = budget.steps if budget.steps is not None else kind.steps
        return _in_blocks(prepared, blocks, options, steps, place, checkpoint, told)
    file = None if checkpoint is None else Checkpoint(checkpoint, told)
    state = None if file is None else file.read()
    network = network.to(place)
    scan = prepared()
    return _finish(network, scan, fit_scan(network, weights, scan, options, budget, file, state))


def _in_blocks(
    prepared: Callable[[], Scan],
    number: int,
    options: Options,
    steps: int,
    device: torch.device,
    checkpoint: str | Path | None,
    told: dict[str, Any],
) -> Reconstruction:
    """The same by networks of blocks; the first of several processes does what they cannot share."""
    files = None
    if checkpoint is not None:
        blocks = range(number)
        files = [Checkpoint(block_file(checkpoint, i), {**told, "block": f"{i + 1} of {number}"}) for i in blocks]
        from_first(partial(_check_readable, files))
    scan = from_first(prepared)
    network, parts = fit_blocks(scan, number, options, steps, device, files)
    attempts = max(parts, key=lambda part: part.rank).attempts
    finished: list[Reconstruction] = []

    def finish() -> dict[str, Any]:
        finished.append(_finish(network, scan, attempts, parts))
        names = "planes", "correction", "handle_removal", "handles", "points"
        return {name: getattr(finished[0], name) for name in names}

    found = from_first(finish)
    return finished[0] if finished else Reconstruction(network, scan.frame, attempts=attempts, blocks=parts, **found)


def _check_readable(files: Sequence[Checkpoint]) -> None:
    """Tell of a damaged one before anything is done; when its block begins each is read again, to save memory."""
    for file in files:
        file.read()


def _bytes_of_surface(count: int, blocks: int) -> float:
    """The memory that the reconstruction of so many points takes: first they themselves, then what stands for them."""
    kept = min(count, MOST_POINTS * blocks)
    return max(bytes_of_points(kept), SURFACE * min(kept / MANY, blocks)) + COPIED * (count - kept)


def _condensed(
    points: Points, directions: Points | None, sensors: Points | None, most: int
) -> tuple[Points, Points | None, Points | None, NDArray[np.int64] | None]:
    """Means of too many or too noisy points, and of what belongs to them, and how many points each stands for."""
    columns = {"points": points, "normals": directions, "sensors": sensors}
    given = {name: column for name, column in columns.items() if column is not None}
    if len(points) > most:
        starts = range(0, len(points), BATCH)
        batches = ({name: column[i : i + BATCH] for name, column in given.items()} for i in starts)
        means, counts = condense(batches, most)
    else:
        means, counts = condense_noise(given)
    if counts is None:
        return points, directions, sensors, None
    normals = None if directions is None else check_normals(means["normals"], len(means["normals"]))
    return means["points"], normals, means.get("sensors"), counts


def _budget(steps: int | None, time_budget: float | None, clock: Callable[[], float], quality: Quality) -> Budget:
    """What the fit may use."""
    if steps is not None:
        check_count("steps", steps)
    if time_budget is not None:
        check_positive("time_budget", time_budget)
    return Budget(quality.steps if steps is None and time_budget is None else steps, time_budget, clock)


def _finish(
    network: nn.Module, scan: Scan, attempts: tuple[Judgement, ...], blocks: tuple[Block, ...] = ()
) -> Reconstruction:
    """The fitted network, with the last corrections if the best attempt has not failed."""
    points = enough_points(scan.points, scan.planes.reach)
    result = Reconstruction(network, scan.frame, scan.planes, points=points, attempts=attempts, blocks=blocks)
    if not attempts or result.rejected is not None:
        return result
    result = replace(result, correction=CORRECTION * scan.planes.reach)
    planes = apply_twicing(scan.points, scan.planes, result.surface, scan.means)
    return replace(result, planes=planes).without_handles()
