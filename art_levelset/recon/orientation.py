"""
Inside and outside of an unoriented cloud, decided for the whole cloud at once.

Let mu_j = a_j n_j, area times outward normal, be the surface elements at the points y_j of a closed surface. Gauss's
formula gives the indicator function of the solid (the winding number), 1 inside, 0 outside and 1/2 on the surface:

    chi(x) = sum_j mu_j . grad_y G(x, y_j),        Laplace chi = -div sum_j mu_j delta(y_j).

The unknowns are the mu_j. Two steps alternate, with a kernel whose width decreases: a step of steepest descent on
sum_i (chi(y_i) - 1/2)^2, the equations of the parametric Gauss reconstruction; and turning every mu_j into the
direction -grad chi(y_j), for the normals of a surface are those of its indicator's level set. The second half of the
iterations allows only the normals of the fitted planes, so that what remains to be found is their signs. Then all
planes are turned outwards. For the indicator itself, on a finer grid, the areas start as those of the neighbourhoods
and take some steps of descent. All sums are convolutions, done by fast Fourier transforms on periodic grids: seconds,
and nothing is propagated from point to point, where one wrong step would turn everything behind it.
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

from art_levelset.recon.clouds import neighbours, thin
from art_levelset.recon.planes import COARSEST_SPACING, Planes

logger = logging.getLogger(__name__)

REACH = 1.3
"""The periodic grids cover [-REACH, REACH)^3."""

COARSE, FINE = (2.5, 128), (4.0, 224)
"""Nodes per reach of the planes and the largest number of nodes along an axis, of the two grids."""

ITERATIONS = 30
WIDEST = 2.0
"""Width of the first kernel in grid cells; that of the last ones is one cell."""

VOTERS = 3

CLEAR = 0.5
"""A vote of at least this size decides on the side of a plane."""

INWARDS = 0.1

AREA_NEIGHBOURS = 8
AREA_ITERATIONS = 5


@dataclass(frozen=True, eq=False)
class Indicator:
    """
    The indicator function of the solid that a cloud encloses: about 1 inside, 0 outside, 1/2 on its surface.

    :param nodes: Its values on the grid, (n, n, n).
    """

    nodes: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """
        Interpolate between the nodes.

        :param points: (n, 3) in the unit frame.
        :return: (n,).
        """
        count = len(self.nodes)
        places = (points + REACH) * (count / REACH / (count - 1)) - 1
        volume = self.nodes[None, None]
        places = places.flip(1)[None, None, None]
        return functional.grid_sample(volume, places, align_corners=True, padding_mode="border")[0, 0, 0, 0]


def orient(planes: Planes, device: torch.device, votes: NDArray[np.float64] | None = None) -> Planes:
    """
    Turn the normals of planes outwards.

    :param planes: The planes, in the unit frame, with normals of any sign.
    :param device: Where to compute.
    :param votes: What is known beforehand, for each plane, in [-1, 1]: positive if its normal points outwards. None if
           nothing is known.
    :return: The planes with outward normals.
    """
    nodes = _grid_size(planes, *COARSE)
    return _guessed(planes, nodes, device) if votes is None else _agreeing(planes, votes, nodes, device)


def indicator_of(planes: Planes, device: torch.device) -> Indicator:
    """
    Tell inside from outside.

    The areas of the surface elements follow from the distances between the planes, and take some steps of descent.

    :param planes: The planes, in the unit frame, with outward normals.
    :param device: Where to compute, and where the indicator lives.
    :return: The indicator function of their solid.
    """
    centres, normals, areas = _elements(planes, device)
    grid = _PeriodicGrid(centres, _grid_size(planes, *FINE))
    for _ in range(AREA_ITERATIONS):
        residuals = 0.5 - grid.read(grid.indicator(areas * normals))
        descent = areas * (grid.read_gradient(-grid.smooth(residuals)) * normals).sum(dim=1, keepdim=True)
        change = grid.read(grid.indicator(descent * normals))
        areas = (areas + descent * (residuals @ change) / (change @ change).clamp_min(1e-30)).clamp_min(0)
    chi = grid.indicator(areas * normals)
    return Indicator(chi / (2 * grid.read(chi).median().clamp_min(1e-6)))


def _grid_size(planes: Planes, rate: float, most: int) -> int:
    return min(next_fast_len(math.ceil(2 * REACH / planes.reach * rate)), most)


def _guessed(planes: Planes, nodes: int, device: torch.device) -> Planes:
    """The planes turned outwards, by the alternation that this module describes."""
    # Some planes of evenly spread places stand for all: surface elements of about equal area.
    chosen = np.unique(neighbours(cKDTree(planes.centres), thin(planes.centres, COARSEST_SPACING), 1)[1])
    centres = torch.as_tensor(planes.centres[chosen], dtype=torch.float32, device=device)
    normals = torch.as_tensor(planes.normals[chosen], dtype=torch.float32, device=device)
    elements = _surface_elements(centres, normals, nodes)
    outward = planes.normals[chosen] * _signs((elements * normals).sum(dim=1).cpu().numpy())[:, None]
    _, voters = neighbours(cKDTree(planes.centres[chosen]), planes.centres, min(VOTERS, len(chosen)))
    votes = np.einsum("nki,ni->n", outward[voters], planes.normals)
    return planes.flipped(votes < 0)


def _agreeing(planes: Planes, votes: NDArray[np.float64], nodes: int, device: torch.device) -> Planes:
    """The planes turned outwards: those with a clear vote by it, the others by the indicator function of those."""
    planes = planes.flipped(votes < 0)
    clear = np.abs(votes) >= CLEAR
    centres, normals, areas = _elements(planes, device)
    elements = areas * normals * torch.as_tensor(clear[:, None], device=device)
    grid = _PeriodicGrid(centres, nodes)
    descent = -(grid.read_gradient(grid.transformed_indicator(elements)) * normals).sum(dim=1)
    # About 1/2 on a closed surface, and -1/2 if its normals point inwards; nearly 0 on an open sheet, whose sides are
    # what they are said to be.
    disc = math.pi / AREA_NEIGHBOURS  # the area of a plane, in squares of the distance to its last neighbour
    inwards = bool(disc * grid.read(grid.indicator(elements)).median() < -INWARDS)
    if inwards:
        logger.warning("normals: they point inwards, all are turned round")
    return planes.flipped(np.where(clear, inwards, (descent.cpu().numpy() < 0) ^ inwards))


def _surface_elements(centres: Tensor, normals: Tensor, nodes: int) -> Tensor:
    """Area times outward normal, up to a common factor, (n, 3)."""
    grid = _PeriodicGrid(centres, nodes)
    elements = torch.zeros_like(centres)
    for iteration in range(ITERATIONS):
        width = max(WIDEST ** (1 - iteration / (0.8 * ITERATIONS)), 1.0)
        grid.widen(width)
        residuals = 0.5 - grid.read(grid.indicator(elements))
        descent = grid.read_gradient(-grid.smooth(residuals))
        change = grid.read(grid.indicator(descent))
        elements = elements + descent * (residuals @ change) / (change @ change).clamp_min(1e-30)
        directions = -grid.read_gradient(grid.transformed_indicator(elements))
        if 2 * iteration >= ITERATIONS:
            directions = normals * torch.where((directions * normals).sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
        lengths = torch.linalg.vector_norm(elements, dim=1, keepdim=True)
        elements = functional.normalize(directions, dim=1) * lengths
    return elements


def _elements(planes: Planes, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The centres and normals of all planes, and areas in proportion to the squares of their neighbours' distances."""
    reach, _ = neighbours(cKDTree(planes.centres), planes.centres, min(AREA_NEIGHBOURS + 1, len(planes)))
    columns = planes.centres, planes.normals, reach[:, -1:] ** 2
    centres, normals, areas = (torch.as_tensor(column, dtype=torch.float32, device=device) for column in columns)
    return centres, normals, areas


class _PeriodicGrid:
    """Linear maps between values at fixed points and functions on the grid, by trilinear weights and Fourier series."""

    def __init__(self, points: Tensor, nodes: int) -> None:
        self.shape = (nodes, nodes, nodes)
        self.cell = 2 * REACH / nodes
        places = (points + REACH) / self.cell
        corner = places.floor()
        inner = places - corner
        self.index, self.weights = [], []
        for bits in range(8):
            shift = torch.tensor([bits >> 2 & 1, bits >> 1 & 1, bits & 1], device=points.device)
            node = (corner.long() + shift) % nodes
            self.index.append((node[:, 0] * nodes + node[:, 1]) * nodes + node[:, 2])
            self.weights.append(torch.where(shift == 1, inner, 1 - inner).prod(dim=1))
        wave = torch.fft.fftfreq(nodes, d=1 / nodes, device=points.device) * (math.pi / REACH)
        half = wave[: nodes // 2 + 1].abs()
        self.waves = (wave[:, None, None], wave[None, :, None], half[None, None, :])
        self.squares = wave[:, None, None] ** 2 + wave[None, :, None] ** 2 + half[None, None, :] ** 2
        self.widen(1.0)

    def widen(self, width: float) -> None:
        """Set the width of the smoothed Green's function, in cells."""
        kernel = torch.exp(-0.5 * self.squares * (width * self.cell) ** 2) / self.squares.clamp_min(1e-12)
        kernel[0, 0, 0] = 0
        self.kernel = kernel / self.cell**3

    def smooth(self, values: Tensor) -> Tensor:
        """The Fourier series of sum_j v_j G(., y_j)."""
        nodes = torch.zeros(math.prod(self.shape), dtype=values.dtype, device=values.device)
        for index, weights in zip(self.index, self.weights, strict=True):
            nodes.index_add_(0, index, weights * values)
        series: Tensor = torch.fft.rfftn(nodes.reshape(self.shape)).mul_(self.kernel)
        return series

    def transformed_indicator(self, elements: Tensor) -> Tensor:
        """The Fourier series of chi."""
        series = self.smooth(elements[:, 0]).mul_(1j * self.waves[0])
        for axis in (1, 2):
            series += self.smooth(elements[:, axis]).mul_(1j * self.waves[axis])
        return series

    def indicator(self, elements: Tensor) -> Tensor:
        """Chi on the grid; zero in its corner, which is far outside."""
        nodes: Tensor = torch.fft.irfftn(self.transformed_indicator(elements), s=self.shape)
        return nodes.sub_(nodes[0, 0, 0].clone())

    def read(self, nodes: Tensor) -> Tensor:
        """The values of a function at the points."""
        flat = nodes.reshape(-1)
        total = torch.zeros_like(self.weights[0])
        for index, weights in zip(self.index, self.weights, strict=True):
            total += flat[index] * weights
        return total

    def read_gradient(self, series: Tensor) -> Tensor:
        """The gradients at the points of a function given by its Fourier series."""
        columns, product = [], torch.empty_like(series)  # large tensors take longer to allocate than to multiply
        for wave in self.waves:
            torch.mul(series, 1j * wave, out=product)
            columns.append(self.read(torch.fft.irfftn(product, s=self.shape)))
        return torch.stack(columns, dim=1)


def _signs(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.where(values < 0, -1.0, 1.0)
