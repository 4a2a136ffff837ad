"""
Fitting a network F: R^3 -> R^2 whose zero level set is the curve, by eq. 13 with T = {0}:

    loss(theta) = mean_{x in S_0} d(x, X) + lambda/N sum_j |F(x_j)|,

with the samples x = p(theta) of the zero set attached to the parameters by the sample network (eq. 9, with the 2 x 2
inverse of D_xF D_xF^T).

A network that does not wind once around the curve cannot vanish on all of it, and eq. 13 does not teach it to. So the
cloud is ordered first, and the network learns the field that winds around the ordered curve by its solid angle
(:mod:`art_levelset.recon.curves.samples`); eq. 13 goes on from there. Away from the curve it stays with that field,
so no further components of the zero set appear. The package's own network is linear in its weights, which are solved
for (:mod:`art_levelset.recon.curves.solve`); any other is descended to, as here.

The distance to the nearest point follows the noise. d(x, X) is measured to averaged targets instead: to the tangent of
the cloud's principal curve at its nearest point (:mod:`art_levelset.recon.curves.spline`).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.fields import as_field
from art_levelset.core.losses import reconstruction_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import sample_network
from art_levelset.progress import progress_bar
from art_levelset.recon.adam import Adam
from art_levelset.recon.cloud.clouds import FEWEST_POINTS, Frame, Points, check_cloud, unit_frame, without_outliers
from art_levelset.recon.curves.loops import WALL, close_pieces, match_loops, trim_to_data
from art_levelset.recon.curves.ordering import linear_radius, order_points
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.result import CurveReconstruction
from art_levelset.recon.curves.samples import Samples
from art_levelset.recon.curves.solve import network_around, solve
from art_levelset.recon.curves.spline import PrincipalCurve, principal_curve
from art_levelset.recon.curves.trace import trace

logger = logging.getLogger(__name__)

BATCH = 1024
LAMBDA = 0.1
SPACE_WEIGHT = 0.1
BELONGS = 3.0
"""Points further than this many radii from every piece are left to themselves."""

SPACING = 0.01
"""Distance of the vertices of the traced curve, in the unit frame."""

STEPS = 1000
FEWEST_STEPS = 3
PRETRAINING = 0.8
LEARNING_RATE = 2e-3
DETAILS = (1.0, 1.5)
"""Of the networks that are tried, one after the other until the zero set is that of the ordered cloud."""

FARTHEST = 1.1
"""A curve that is closed over a wide gap may leave the box of its points. One that goes further than this is fitted in
the frame of its own box: nothing is traced beyond :data:`~art_levelset.recon.curves.loops.WALL`."""

SEEDS = 500
"""Number of points of space from which further components of the zero set are looked for."""


@torch.inference_mode(False)
@torch.enable_grad()
def reconstruct_curve(
    points: object,
    *,
    network: nn.Module | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    closed: bool | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    verbose: bool = True,
) -> CurveReconstruction:
    """
    Reconstruct the curves that a raw cloud samples, as the zero level set of a network with two outputs (eq. 13).

    | Paper link: https://arxiv.org/abs/1905.11911

    :param points: The cloud, (n, 3), unordered, in any units, n >= 10; noise and gaps are expected, outliers are
           left out.
    :param network: The network to fit in place, (batch, 3) -> (batch, 2), in the unit frame [-1, 1]^3. None for a
           :class:`art_levelset.recon.curves.result.CurveNetwork`, which is solved for, with more and narrower units
           where the first does not hold the curve; FC-1 of the paper is `art_levelset.models.fc_1(3, 2)`.
    :param steps: Number of steps of Adam for the given network, >= 3: four fifths learn the winding field, the others
           minimise eq. 13. None for :data:`STEPS`.
    :param learning_rate: Its highest learning rate, > 0. None for :data:`LEARNING_RATE`.
    :param closed: True: all pieces are closed, over gaps of any width. False: all are open. None: a piece is closed if
           its ends look at each other and the gap is not too wide.
    :param seed: Seed of the initialisation and of the samples, >= 0. On a CPU it determines the result.
    :param device: Where to compute; None for the network's device, or the CPU.
    :param verbose: Whether to show a progress bar.
    :return: The reconstruction, whose lines are in the coordinates of the points.
    :raises ValueError: If the points cannot be a curve (see :func:`check_cloud`), a number is out of range, or
            there are `steps` or a `learning_rate` without a network.

    >>> import numpy as np
    >>> from art_levelset import reconstruct_curve
    >>> angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    >>> circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    >>> curves = reconstruct_curve(circle, verbose=False)
    >>> [(piece.closed, round(piece.length)) for piece in curves.pieces]
    [(True, 6)]
    """
    for name, option in (("steps", steps), ("learning_rate", learning_rate)):
        if option is not None and network is None:
            raise ValueError(f"{name}: is that of a given network's fit, and there is no network")
    steps, learning_rate = STEPS if steps is None else steps, LEARNING_RATE if learning_rate is None else learning_rate
    check_count("steps", steps, FEWEST_STEPS)
    check_positive("learning_rate", learning_rate)
    check_seed(seed)
    if closed not in (True, False, None):
        raise ValueError(f"closed must be True, False or None, got {closed!r}")
    if network is not None:
        _check_network(network)
    cloud = without_outliers(check_cloud(points))
    frame = unit_frame(cloud)
    cloud = frame.to_unit(cloud)
    generator = np.random.default_rng(seed)
    lines, radius = order_points(cloud, linear_radius(cloud, generator), closed, generator)
    cloud, curves = _principal_curves(cloud, lines, radius)
    outline = np.concatenate([curve.line.points for curve in curves])
    if np.abs(outline).max() > FARTHEST:
        inner = unit_frame(outline)
        frame = Frame(frame.from_unit(inner.centre), frame.scale * inner.scale)
        cloud, radius = inner.to_unit(cloud), radius / inner.scale
        curves = [_seen_from(inner, curve) for curve in curves]
    loops = close_pieces([curve.line for curve in curves], radius)
    noise = max(curve.noise for curve in curves)
    target = torch.device("cpu" if network is None else next(network.parameters()).device) if device is None else device
    target = torch.device(target)
    for detail in DETAILS if network is None else [1.0]:
        samples = Samples(cloud, loops, 4 * noise, _torch(seed), target)
        candidate: nn.Module
        if network is None:
            candidate = around = network_around(loops, detail, _torch(seed)).to(target)
            solve(around, samples)
        else:
            candidate = network.to(target)
            _fit(candidate, samples, steps, learning_rate, verbose)
        seeds = np.concatenate([*(loop.line.resampled(SPACING).points for loop in loops), samples.anywhere(SEEDS)])
        traced = trace(candidate, torch.as_tensor(seeds, dtype=torch.float32, device=target), step=SPACING, wall=WALL)
        pieces, spurious = trim_to_data(traced.lines, loops, cloud, radius)
        if found := match_loops(pieces, loops, radius):
            break
        logger.info("%d pieces were expected, the zero level set has %d", len(loops), len(pieces))
    if not found:
        logger.warning("the zero level set is not that of the ordered cloud: try another seed or network")
    found_pieces = [Polyline(frame.from_unit(piece.points), piece.closed) for piece in pieces]
    junctions = frame.from_unit(traced.junctions)
    return CurveReconstruction(
        candidate, frame, found_pieces, junctions, spurious, float(noise * frame.scale), not found
    )


def _seen_from(frame: Frame, curve: PrincipalCurve) -> PrincipalCurve:
    """The same curve in another frame."""
    line = Polyline(frame.to_unit(curve.line.points), curve.line.closed)
    return PrincipalCurve(line, curve.noise / frame.scale)


def _check_network(network: nn.Module) -> None:
    like = next(network.parameters(), None)
    if like is None:
        raise ValueError("network: has no parameters")
    try:
        with torch.no_grad(), evaluating(network):
            shape = tuple(network(like.new_zeros(2, 3)).shape)
    except RuntimeError as error:
        raise ValueError(f"network: must map (batch, 3) to (batch, 2), but {str(error).splitlines()[0]}") from error
    if shape != (2, 2):
        raise ValueError(f"network: must map (batch, 3) to (batch, 2), two points gave {shape}")


def _torch(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _principal_curves(cloud: Points, lines: list[Polyline], radius: float) -> tuple[Points, list[PrincipalCurve]]:
    """The points that belong to a piece, and the principal curve of each."""
    distances = np.stack([line.project(cloud)[1] for line in lines])
    owner = np.where(distances.min(axis=0) <= BELONGS * radius, distances.argmin(axis=0), -1)
    owned = [np.count_nonzero(owner == index) for index in range(len(lines))]
    if max(owned) < FEWEST_POINTS:
        raise ValueError("points: no curve can be seen in them, they are too few for the noise")
    owner[np.isin(owner, [index for index, count in enumerate(owned) if count < FEWEST_POINTS])] = -1
    curves = [
        principal_curve(cloud[owner == index], line, radius)
        for index, line in enumerate(lines)
        if owned[index] >= FEWEST_POINTS
    ]
    for curve in curves:
        logger.info("a %s curve, noise %.5f", "closed" if curve.line.closed else "open", curve.noise)
    return cloud[owner >= 0], curves


def _fit(network: nn.Module, samples: Samples, steps: int, learning_rate: float, verbose: bool) -> None:
    """Learn the winding field, then minimise eq. 13."""
    imitated = int(PRETRAINING * steps)
    with progress_bar(total=steps, desc="fit", unit="step", verbose=verbose) as progress:
        for count, rate, loss in (
            (imitated, learning_rate, _imitation),
            (steps - imitated, learning_rate / 2, _reconstruction),
        ):
            optimizer = Adam(network.parameters())
            for step in range(count):
                optimizer.forget_gradients()
                value = loss(network, samples)
                torch.autograd.backward(value)
                optimizer.step(rate * _rate((step + 1) / count))
                progress.update()
                progress.set_postfix(loss=f"{float(value.detach()):.4f}", refresh=False)


def _imitation(network: nn.Module, samples: Samples) -> Tensor:
    """How far F is from the winding field, relative to the distance to the curves."""
    queries, values, weights = samples.winding(BATCH, far=False)
    errors: Tensor = (network(queries) - values).abs() * weights
    return errors.mean()


def _reconstruction(network: nn.Module, samples: Samples) -> Tensor:
    """Eq. 13 with T = {0}, and the winding field away from the curves."""
    half = BATCH // 2
    found = project(as_field(network), samples.around_curve(half), max_iter=2, box=(-WALL, WALL))
    positions = sample_network(network, found.points, found.jacobians)
    queries, wanted, weights = samples.winding(half, far=True)
    values = network(torch.cat([samples.of_cloud(half), queries]))
    errors: Tensor = (values[half:] - wanted).abs() * weights
    eq13 = reconstruction_loss([samples.distances(positions)], [0.0], values[:half], LAMBDA)
    return eq13 + SPACE_WEIGHT * errors.mean()


def _rate(time: float) -> float:
    """The learning rate's factor after a part of the steps: a short rise, then a cosine to nearly zero."""
    return min(1.0, 10 * time) * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * time))))
