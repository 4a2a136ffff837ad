"""
Binary space partition of a hypersurface: cells so small that in each of them the inside is convex, or the outside.

A *split* divides a convex cell by a hyperplane {h = 0} into {h > 0} and {h < 0}, and the facets with it. A *leaf* is a
cell in which every facet has all others on one side of its plane: then Q = {s_j h_j >= 0 for all j}, with the signs
s_j of those sides, is convex, and within the cell either Q is the inside and the rest is outside, or the other way
round. (The interior of Q has no facets in it, so it is all inside or all outside. M has no boundary, so facets cover
each of Q's walls in the cell wholly: where they ended, another facet would lead on, into Q or to both sides of a plane.
And what is beyond a wall reaches no other facet, as all of them are on Q.) A leaf without facets is all inside or all
outside. Which, is told by rays from the facets (:func:`art_levelset.core.hypersurfaces.parity_beyond`).

Only cells that exist are walked. There are partitions of n facets with O(n log n) pieces in the plane and O(n^2) in
space (Paterson and Yao), which some bodies need; for those that one scans or constructs, the splits chosen here give
fewer leaves than facets, as they cut few facets and balance the tree. Candidates are planes of facets and planes across
the axes.

A facet is cut by cutting edges: the simplex (..., u, v) whose edge from u to v crosses the plane in w becomes
(..., w, v) and (..., u, w), until no edge crosses. So this works in every dimension. Facets that share an edge find the
same w, to the last bit, and vertices are in front of a plane, behind it or, up to a tolerance, on it for all facets
alike. So the parts are watertight as the whole is, also where planes are parallel but for rounding.

| Paper link: https://doi.org/10.1007/BF02187806
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from art_levelset.core.hypersurfaces import Hypersurface, Planes, facet_planes, parity_beyond

UNITS = 6
"""About how many ReLUs a plane costs in the network of a body that is not convex."""

_CANDIDATES = 256
_QUANTILES = 7
_GROWTH = 1.6
"""A cell with k planes counts k to this power: little for 1 would cut fewer facets, much balances the tree."""


@dataclass(frozen=True)
class Leaf:
    """
    A cell in which one of inside and outside is convex.

    :param sides: The planes j with their signs s_j; the convex part is where all s_j h_j >= 0. Empty for a cell without
           facets.
    :param probe: The number of the probe that tells what the convex part is.
    """

    sides: tuple[tuple[int, int], ...]
    probe: int


@dataclass(frozen=True)
class Split:
    """
    A cell that is divided.

    :param plane: The index of the plane h.
    :param front: What is where h >= 0.
    :param back: What is where h <= 0.
    """

    plane: int
    front: Cell
    back: Cell


Cell: TypeAlias = "Leaf | Split"


class Partition(NamedTuple):
    """
    A partition of R^d.

    :param root: The cell that is all of it.
    :param planes: The planes, those of facets first; the coordinates are relative to the hypersurface's origin.
    :param facet_planes: How many of the planes are those of facets.
    :param inside: For each probe, whether it is inside.
    :param pieces: The number of leaves.
    """

    root: Cell
    planes: Planes
    facet_planes: int
    inside: list[bool]
    pieces: int


class _Facets(NamedTuple):
    """Facets in a cell, (m, d, d), and the indices of their planes, (m,)."""

    simplices: Tensor
    owners: Tensor

    def select(self, rows: Tensor) -> _Facets:
        return _Facets(self.simplices[rows], self.owners[rows])


def partition(surface: Hypersurface, max_units: int) -> Partition:
    """
    Divide space until each cell is a leaf.

    :param surface: The hypersurface.
    :param max_units: The size of the largest network to make of it, in ReLUs.
    :return: The partition.
    :raises ValueError: If the network would be larger, as far as one can tell, or the facets overlap.
    """
    planes, simplices, owners = facet_planes(surface)
    builder = _Builder(planes, surface.tolerance, max_units)
    root = builder.cell(_Facets(simplices, owners))
    return Partition(root, builder.planes, len(planes.normals), builder.told(simplices), builder.pieces)


class _Builder:
    """Keeps the planes, the probes and the number of leaves while the tree grows."""

    def __init__(self, planes: Planes, tolerance: float, max_units: int) -> None:
        self.planes, self.tolerance, self.max_units = planes, tolerance, max_units
        self.pieces = 0
        self.points: list[Tensor] = []
        self.normals: list[Tensor] = []
        self.claims: list[tuple[int, int]] = []

    def cell(self, facets: _Facets) -> Cell:
        """The subtree of a cell with facets."""
        owners = torch.unique(facets.owners)
        some = owners[torch.linspace(0, len(owners) - 1, min(_CANDIDATES, len(owners))).long()]
        reach = self.reach(facets, some)
        if self.one_sided(reach) and (len(some) == len(owners) or self.one_sided(self.reach(facets, owners))):
            return self.leaf(facets, owners)
        if UNITS * len(owners) > self.max_units:
            raise ValueError(
                f"mesh: a network for {len(owners)} planes has about {UNITS * len(owners)} units, which are more than "
                f"max_units = {self.max_units}"
            )
        plane = self.chosen(facets, some, reach)
        front, back, coplanar = self.divided(facets, plane)
        if not len(front.owners) and not len(back.owners):  # what is left is flat but for rounding
            return self.leaf(facets._replace(owners=torch.full_like(facets.owners, plane)), torch.tensor([plane]))
        return Split(
            plane,
            self.cell(front) if len(front.owners) else self.empty(coplanar, plane, 1),
            self.cell(back) if len(back.owners) else self.empty(coplanar, plane, -1),
        )

    def reach(self, facets: _Facets, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest signed distance of each facet from each of these planes, (m, k) each."""
        distances = Planes(self.planes.normals[indices], self.planes.offsets[indices])(facets.simplices)
        return distances.amin(dim=1), distances.amax(dim=1)

    def one_sided(self, reach: tuple[Tensor, Tensor]) -> bool:
        """Whether each plane has all facets on one side."""
        low, high = reach
        ahead, behind = (low >= -self.tolerance).all(dim=0), (high <= self.tolerance).all(dim=0)
        return bool((ahead | behind).all())

    def leaf(self, facets: _Facets, owners: Tensor) -> Leaf:
        """A cell in which one of inside and outside is convex, and a probe on each side of each of its planes."""
        self.count()
        first = len(self.points)
        low, high = self.reach(facets, owners)
        ahead, behind = (low >= -self.tolerance).all(dim=0), (high <= self.tolerance).all(dim=0)
        signs = ahead.double() - behind.double()
        flat = ahead & behind
        if flat.any():  # these planes are all the same but for rounding: the others, or one of them, tell the side
            normals = self.planes.normals[owners]
            known = signs[:, None] * normals if not flat.all() else normals[:1]
            along = normals[flat] @ known.T
            nearest = along.abs().argmax(dim=1, keepdim=True)
            signs[flat] = torch.where(along.gather(1, nearest)[:, 0] >= 0, 1.0, -1.0).double()
        sides = [(j, int(sign)) for j, sign in zip(owners.tolist(), signs.tolist(), strict=True)]
        for j, sign in sides:
            own = facets.select(facets.owners == j)
            self.claims.append((self.probe(own, j, sign), first))
            self.claims.append((self.probe(own, j, -sign), ~first))
        return Leaf(tuple(sides), first)

    def empty(self, coplanar: _Facets, plane: int, sign: int) -> Leaf:
        """A cell without facets, on one side of some."""
        self.count()
        return Leaf((), self.probe(coplanar, plane, sign))

    def count(self) -> None:
        """One leaf more."""
        self.pieces += 1
        if self.pieces - 1 > self.max_units:  # a split is a unit at least
            raise ValueError(f"mesh: the network has more than max_units = {self.max_units} units")

    def probe(self, facets: _Facets, plane: int, sign: int) -> int:
        """A point on the largest of some coplanar facets, and one of its sides."""
        edges = facets.simplices[:, 1:] - facets.simplices[:, :1]
        largest = torch.linalg.svdvals(edges).prod(dim=1).argmax()
        self.points.append(facets.simplices[largest].mean(dim=0))
        self.normals.append(sign * self.planes.normals[plane])
        return len(self.points) - 1

    def told(self, simplices: Tensor) -> list[bool]:
        """For each probe, whether it is inside; both sides of a facet must not be the same."""
        found = parity_beyond(torch.stack(self.points), torch.stack(self.normals), simplices, self.tolerance).tolist()
        for one, other in self.claims:
            if found[one] != (found[other] if other >= 0 else not found[~other]):
                raise ValueError("mesh has faces that overlap, or that are too thin for float64")
        return found

    def chosen(self, facets: _Facets, some: Tensor, reach: tuple[Tensor, Tensor]) -> int:
        """The plane that divides a cell best: the fewer planes have facets on either side, the better."""
        corners = facets.simplices.flatten(0, 1)
        levels = torch.linspace(0, 1, _QUANTILES + 2, dtype=torch.float64)[1:-1]
        cuts = torch.quantile(corners, levels, dim=0, interpolation="nearest").T  # (d, quantiles)
        low = facets.simplices.amin(dim=1)[:, :, None] - cuts
        high = facets.simplices.amax(dim=1)[:, :, None] - cuts
        low, high = torch.cat([reach[0], low.flatten(1)], dim=1), torch.cat([reach[1], high.flatten(1)], dim=1)
        kinds, groups = torch.unique(facets.owners, return_inverse=True)
        total = len(kinds)
        front, back = (
            (torch.zeros(total, low.shape[1]).index_add_(0, groups, beyond.float()) > 0).sum(dim=0)
            for beyond in (high > self.tolerance, low < -self.tolerance)
        )
        cost = front.double() ** _GROWTH + back.double() ** _GROWTH
        cost[len(some) :][((front == total) | (back == total))[len(some) :]] = torch.inf
        best = int(cost.argmin())
        if best < len(some):
            return int(some[best])
        axis, level = divmod(best - len(some), _QUANTILES)
        normal = torch.eye(corners.shape[1], dtype=torch.float64)[[axis]]
        self.planes = Planes(
            torch.cat([self.planes.normals, normal]), torch.cat([self.planes.offsets, -cuts[axis, level : level + 1]])
        )
        return len(self.planes.offsets) - 1

    def divided(self, facets: _Facets, plane: int) -> tuple[_Facets, _Facets, _Facets]:
        """The facets in front of a plane, behind it and on it; those on both sides are cut."""
        h = Planes(self.planes.normals[[plane]], self.planes.offsets[[plane]])
        while True:
            values = h(facets.simplices)[..., 0]
            low, high = values.min(dim=1), values.max(dim=1)
            crossing = (low.values < -self.tolerance) & (high.values > self.tolerance)
            if not crossing.any():
                break
            cut, u, v = facets.select(crossing), high.indices[crossing], low.indices[crossing]
            rows = torch.arange(len(u))
            at_u, at_v = high.values[crossing, None], low.values[crossing, None]
            w = (cut.simplices[rows, v] * at_u - cut.simplices[rows, u] * at_v) / (at_u - at_v)
            without_u, without_v = cut.simplices.clone(), cut.simplices.clone()
            without_u[rows, u], without_v[rows, v] = w, w
            facets = _Facets(
                torch.cat([facets.simplices[~crossing], without_u, without_v]),
                torch.cat([facets.owners[~crossing], cut.owners, cut.owners]),
            )
        front, back = high.values > self.tolerance, low.values < -self.tolerance
        return facets.select(front), facets.select(back), facets.select(~front & ~back)
