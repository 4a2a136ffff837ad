"""
Inside and outside of an unoriented cloud, decided for the whole cloud at once.

Let mu_j = a_j n_j, area times outward normal, be the surface elements at the points y_j of a closed surface. Gauss's
formula gives the indicator function of the solid (the winding number), 1 inside, 0 outside and 1/2 on the surface:

    chi(x) = sum_j mu_j . grad_y G(x, y_j),        Laplace chi = -div sum_j mu_j delta(y_j).

The unknowns are the mu_j. Two steps alternate, with a kernel whose width decreases: a step of steepest descent on
sum_i (chi(y_i) - 1/2)^2, the equations of the parametric Gauss reconstruction; and turning every mu_j into the
direction -grad chi(y_j), for the normals of a surface are those of its indicator's level set. The second half of the
iterations allows only the normals of the fitted planes, so that what remains to be found is their signs. Then all
planes are turned outwards. All sums are convolutions, done by fast Fourier transforms on periodic grids: seconds, and
nothing is propagated from point to point, where one wrong step would turn everything behind it.

For the indicator itself, on a finer grid, the areas a_j are those of the neighbourhoods, or these after some conjugate
gradient steps towards chi = 1/2 on all planes. Where the surface was seen it does not matter much. Where it was not,
the first chi is too large in pockets, for the walls that they lack would say that they are outside, and too small in
thin parts; and the steps make too much of a bare underside or a shallow pit: an open sheet has less than 1/2 on it, so
its areas grow until it bulges. So chi is the mean of both where that is above 1/2, and the smaller of both elsewhere.

Where the points have normals, they decide instead (:func:`votes_of_normals`), and the indicator of the planes with a
clear vote turns the others.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.spatial import cKDTree
from torch import Tensor

from art_levelset.recon.cloud.clouds import Frame, Points, neighbours, thin
from art_levelset.recon.cloud.planes import COARSEST_SPACING, Planes
from art_levelset.recon.trilinear import between_nodes

logger = logging.getLogger(__name__)

REACH, FAR = 1.3, 1.6
"""The periodic grids reach from -REACH to REACH along an axis along which the cloud does from -1 to 1, and elsewhere as
far beyond it. While the sides are not known yet it is FAR: flat faces along the axes, as a cube's, are so near to those
of the next period otherwise that the gap between them could be the solid."""

COARSE, FINE = (2.5, 160, FAR), (4.0, 224, REACH)
"""Nodes per reach of the planes, the largest number of nodes along the longest axis, and how far they reach, of the two
grids."""

MOST_NODES = 320
"""The largest number where networks are fitted to parts of the cloud."""

ITERATIONS = 20
WIDEST = 2.0
"""Width of the first kernel in grid cells; that of the last ones is one cell."""

VOTERS = 3

CLEAR = 0.5
"""A vote of at least this size decides on the side of a plane."""

CLEAR_PART = 0.25
"""Given normals must make at least this part of the votes clear."""

NORMAL_VOTERS = 32
"""Number of points whose given normals vote on the side of a plane."""

INWARDS = 0.1

AREA_NEIGHBOURS = 8
AREA_ITERATIONS = 5


def orient(planes: Planes, device: torch.device, votes: NDArray[np.float64] | None = None, unit: float = 1.0) -> Planes:
    """
    Turn the normals of planes outwards.

    :param planes: The planes, in the unit frame, with normals of any sign.
    :param device: Where to compute.
    :param votes: What is known beforehand, for each plane, in [-1, 1]: positive if its normal points outwards. None if
           nothing is known.
    :param unit: The length of which the distances of the planes are parts, in (0, 1].
    :return: The planes with outward normals.
    """
    cell = _cell(planes, COARSE, unit)
    if votes is not None:
        return _turn_by_votes(planes, votes, cell, device)
    return _turn_by_guess(planes, cell, device, COARSEST_SPACING * unit)


def votes_of_normals(planes: Planes, points: Points, normals: Points) -> NDArray[np.float64]:
    """
    How clearly the normals of the points near each plane agree with its own, or with the opposite.

    :param planes: The planes.
    :param points: (n, 3) in their frame.
    :param normals: Their unit normals, some of them wrong; zero vectors are left out.
    :return: (m,) in [-1, 1]; zero where there are none.
    :raises ValueError: If they are so often contradictory or missing that they do not tell the sides.
    """
    usable = normals.any(axis=1)
    points, normals = points[usable], normals[usable]
    reach, found = neighbours(cKDTree(points), planes.centres, min(NORMAL_VOTERS, len(points)))
    weights = np.exp(-2 * (reach / np.maximum(reach[:, -1:], 1e-300)) ** 2) * (reach <= planes.reach)
    agreement = np.einsum("mki,mi->mk", normals[found], planes.normals)
    votes: NDArray[np.float64] = (weights * agreement).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-300)
    clear = float((np.abs(votes) >= CLEAR).mean())
    if clear < CLEAR_PART:
        raise ValueError(
            f"normals: neighbouring ones agree with each other and with the points on {clear:.0%} of the surface only; "
            "without them the sides are found from the points"
        )
    return votes


def indicator_of(planes: Planes, device: torch.device, unit: float = 1.0) -> Indicator:
    """
    Tell inside from outside, by two estimates of the areas of the surface elements.

    :param planes: The planes, in the unit frame, with outward normals.
    :param device: Where to compute, and where the indicator lives.
    :param unit: The length of which the distances of the planes are parts, in (0, 1].
    :return: The indicator function of their solid.
    """
    centres, normals, areas = _elements(planes, device)
    grid = _PeriodicGrid(centres, _cell(planes, FINE, unit), REACH)
    chi = grid.indicator(areas * normals)
    plain, change, slope = _normalised(chi, grid), torch.zeros_like(areas), math.inf
    for _ in range(AREA_ITERATIONS):  # conjugate gradients for the normal equations, scaled by the areas
        residuals = 0.5 - grid.read(chi)
        gradient = -(grid.read_gradient(grid.smooth(residuals)) * normals).sum(dim=1, keepdim=True)
        last, slope = slope, float((gradient**2 * areas).sum())
        change = areas * gradient + slope / max(last, 1e-30) * change
        added = grid.indicator(change * normals)
        chi += _step(residuals, grid.read(added)) * added
    chi = _normalised(chi, grid)
    mean = (plain + chi) / 2
    return Indicator(torch.where(mean > 0.5, mean, torch.minimum(plain, chi)), grid.cell)


def _normalised(chi: Tensor, grid: _PeriodicGrid) -> Tensor:
    """Chi in other units: 1/2 on the planes, in the median."""
    return chi / (2 * grid.read(chi).median().clamp_min(1e-6))


def _cell(planes: Planes, kind: tuple[float, int, float], unit: float) -> float:
    rate, most, reach = kind
    most = min(next_fast_len(math.ceil(most / unit)), max(most, MOST_NODES))
    return 2 * reach / min(next_fast_len(math.ceil(2 * reach / planes.reach * rate)), most)


def _turn_by_guess(planes: Planes, cell: float, device: torch.device, spacing: float) -> Planes:
    """The planes turned outwards, by the alternation that this module describes."""
    # Some planes of evenly spread points stand for all: surface elements of about equal area.
    chosen = np.unique(neighbours(cKDTree(planes.centres), thin(planes.centres, spacing), 1)[1])
    centres = torch.as_tensor(planes.centres[chosen], dtype=torch.float32, device=device)
    normals = torch.as_tensor(planes.normals[chosen], dtype=torch.float32, device=device)
    elements = _surface_elements(centres, normals, cell)
    outward = planes.normals[chosen] * _signs((elements * normals).sum(dim=1).cpu().numpy())[:, None]
    _, voters = neighbours(cKDTree(planes.centres[chosen]), planes.centres, min(VOTERS, len(chosen)))
    votes = np.einsum("nki,ni->n", outward[voters], planes.normals)
    return planes.flipped(votes < 0)


def _turn_by_votes(planes: Planes, votes: NDArray[np.float64], cell: float, device: torch.device) -> Planes:
    """The planes turned outwards: those with a clear vote by it, the others by the indicator function of those."""
    planes = planes.flipped(votes < 0)
    clear = np.abs(votes) >= CLEAR
    centres, normals, areas = _elements(planes, device)
    elements = areas * normals * torch.as_tensor(clear[:, None], device=device)
    grid = _PeriodicGrid(centres, cell, FAR)
    chi = grid.indicator(elements)
    descent = -(grid.read_gradient(chi) * normals).sum(dim=1)
    # About 1/2 on a closed surface, and -1/2 if its normals point inwards; nearly 0 on an open sheet, whose sides are
    # what they are said to be.
    disc = math.pi / AREA_NEIGHBOURS  # the area of a plane, in squares of the distance to its last neighbour
    inwards = bool(disc * grid.read(chi).median() < -INWARDS)
    if inwards:
        logger.warning("normals: they point inwards, all are turned round")
    return planes.flipped(np.where(clear, inwards, (descent.cpu().numpy() < 0) ^ inwards))


def _surface_elements(centres: Tensor, normals: Tensor, cell: float) -> Tensor:
    """Area times outward normal, up to a common factor, (n, 3)."""
    grid = _PeriodicGrid(centres, cell, FAR)
    elements = torch.zeros_like(centres)
    for iteration in range(ITERATIONS):
        width = max(WIDEST ** (1 - iteration / (0.8 * ITERATIONS)), 1.0)
        grid.widen(width)
        chi = grid.indicator(elements)
        residuals = 0.5 - grid.read(chi)
        descent = -grid.read_gradient(grid.smooth(residuals))
        change = grid.indicator(descent)
        step = _step(residuals, grid.read(change))
        elements = elements + step * descent
        directions = -grid.read_gradient(chi.add_(step * change))
        if 2 * iteration >= ITERATIONS:
            directions = normals * torch.where((directions * normals).sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
        lengths = torch.linalg.vector_norm(elements, dim=1, keepdim=True)
        elements = functional.normalize(directions, dim=1) * lengths
    return elements


def _step(residuals: Tensor, changes: Tensor) -> Tensor:
    """The factor of the changes that takes the most off the sum of the squared residuals."""
    return (residuals @ changes) / (changes @ changes).clamp_min(1e-30)


def _elements(planes: Planes, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The centres and normals of all planes, and areas in proportion to the squares of their neighbours' distances."""
    reach, _ = neighbours(cKDTree(planes.centres), planes.centres, min(AREA_NEIGHBOURS + 1, len(planes)))
    columns = planes.centres, planes.normals, reach[:, -1:] ** 2
    centres, normals, areas = (torch.as_tensor(column, dtype=torch.float32, device=device) for column in columns)
    return centres, normals, areas


@dataclass(frozen=True, eq=False)
class Indicator:
    """
    The indicator function of the solid that a cloud encloses: about 1 inside, 0 outside, 1/2 on its surface.

    :param nodes: Its values on a grid, (a, b, c), whose node (a / 2, b / 2, c / 2) is the middle.
    :param cell: The distance between nodes, in the frame of the points.
    :param middle: The middle, in that frame.
    """

    nodes: Tensor
    cell: float
    middle: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def seen_from(self, frame: Frame) -> Indicator:
        """
        The same function of points in another frame.

        :param frame: The map between the frame of the points and that one.
        :return: The function.
        """
        x, y, z = frame.to_unit(np.array(self.middle)).tolist()
        return Indicator(self.nodes, self.cell / frame.scale, (x, y, z))

    def __call__(self, points: Tensor) -> Tensor:
        """
        Interpolate between the nodes, and go on level beyond them.

        :param points: (n, 3) in its frame.
        :return: (n,).
        """
        counts = points.new_tensor(self.nodes.shape)
        scaled = (2 * (points - points.new_tensor(self.middle)) / self.cell + counts) / (counts - 1) - 1
        return between_nodes([self.nodes[None, None]], scaled.flip(1))[:, 0]


class _PeriodicGrid:
    """
    Linear maps between values at fixed points and functions on the grid: trilinear weights, central differences between
    nodes, and the Green's function by Fourier transforms.

    :param points: (n, 3), in the unit frame.
    :param cell: The distance between nodes.
    :param reach: How far the grid reaches along an axis along which the points reach from -1 to 1.
    """

    def __init__(self, points: Tensor, cell: float, reach: float) -> None:
        self.cell = cell
        sides = 2 * (points.abs().amax(dim=0) + reach - 1) / cell
        self.shape = tuple(next_fast_len(math.ceil(side - 1e-6)) for side in sides.tolist())
        counts = torch.tensor(self.shape, device=points.device)
        scaled = points / self.cell + counts / 2
        corners = (torch.arange(8, device=points.device)[:, None] >> torch.arange(3, device=points.device)) & 1
        lowest = scaled.floor()
        inner = (scaled - lowest)[:, None]
        near = lowest.long()[:, None] + corners
        weights = torch.where(corners == 1, inner, 1 - inner).prod(dim=2)
        self.stencil = _Stencil(_flat(near, counts), weights)
        self.differences = [
            _Stencil(
                torch.cat([_flat(near + step, counts), _flat(near - step, counts)], dim=1),
                torch.cat([weights, -weights], dim=1) / (2 * self.cell),
            )
            for step in torch.eye(3, dtype=torch.long, device=points.device)
        ]
        x, y = (torch.fft.fftfreq(count, self.cell, device=points.device) for count in self.shape[:2])
        z = torch.fft.rfftfreq(self.shape[2], self.cell, device=points.device)
        self.squares = (2 * math.pi) ** 2 * (x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
        self.widen(1.0)

    def widen(self, width: float) -> None:
        """Set the width of the smoothed Green's function, in cells; central differences add 1/3 to its square."""
        kernel = torch.exp(-0.5 * self.squares * (width**2 - 1 / 3) * self.cell**2) / self.squares.clamp_min(1e-12)
        kernel[0, 0, 0] = 0
        self.kernel = kernel / self.cell**3

    def smooth(self, values: Tensor) -> Tensor:
        """Sum_j v_j G(., y_j)."""
        return self._convolved(self.stencil.spread(values, self._zeros()))

    def indicator(self, elements: Tensor) -> Tensor:
        """Chi; zero in the corner of the grid, which is far outside."""
        sources = self._zeros()
        for difference, column in zip(self.differences, elements.T, strict=True):
            difference.spread(-column, sources)
        nodes = self._convolved(sources)
        return nodes.sub_(nodes[0, 0, 0].clone())

    def read(self, nodes: Tensor) -> Tensor:
        """The values of a function at the points."""
        return self.stencil.read(nodes)

    def read_gradient(self, nodes: Tensor) -> Tensor:
        """The gradients of a function at the points."""
        return torch.stack([difference.read(nodes) for difference in self.differences], dim=1)

    def _zeros(self) -> Tensor:
        return torch.zeros(self.shape, device=self.squares.device)

    def _convolved(self, sources: Tensor) -> Tensor:
        nodes: Tensor = torch.fft.irfftn(torch.fft.rfftn(sources).mul_(self.kernel), s=self.shape)
        return nodes


@dataclass(frozen=True, eq=False)
class _Stencil:
    """
    A weighted sum of nodes for each point.

    :param index: The nodes, (n, k).
    :param weights: Their weights, (n, k).
    """

    index: Tensor
    weights: Tensor

    def read(self, nodes: Tensor) -> Tensor:
        """The sums, (n,)."""
        return (nodes.reshape(-1)[self.index] * self.weights).sum(dim=1)

    def spread(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Add values at the points to the nodes: the adjoint of :meth:`read`."""
        nodes.reshape(-1).index_add_(0, self.index.reshape(-1), (self.weights * values[:, None]).reshape(-1))
        return nodes


def _flat(coordinates: Tensor, counts: Tensor) -> Tensor:
    """The indices of nodes in the flattened grid of so many nodes, (3,): (n, k) from (n, k, 3)."""
    x, y, z = (coordinates % counts).unbind(dim=2)
    return (x * counts[1] + y) * counts[2] + z


def _signs(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.where(values < 0, -1.0, 1.0)
