"""Closed hypersurfaces that are known in every point: polygons, unions of unit cubes, and the simplex."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import product

import torch
from torch import Tensor

from art_levelset.experiments import universality

Mesh = tuple[Tensor, Tensor]
Cell = tuple[int, ...]


def polygon(*rings: Sequence[Sequence[float]]) -> Mesh:
    """Closed polygons as vertices and edges."""
    vertices = torch.tensor([corner for ring in rings for corner in ring], dtype=torch.float64)
    edges, first = [], 0
    for ring in rings:
        edges += [(first + i, first + (i + 1) % len(ring)) for i in range(len(ring))]
        first += len(ring)
    return vertices, torch.tensor(edges)


def star(tips: int = 5, inner: float = 0.4) -> Mesh:
    """A star with its centre at 0."""
    radii = [1.0, inner] * tips
    angles = [math.pi * (0.5 + i / tips) for i in range(2 * tips)]
    return polygon([(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)])


def blocks(cells: Collection[Cell]) -> Mesh:
    """The boundary of a union of unit cubes in R^d."""
    vertices, facets = universality.blocks(cells)
    return torch.tensor(vertices), torch.tensor(facets)


def lattice(cells: Collection[Cell]) -> tuple[Tensor, Tensor]:
    """All points with half-integer coordinates around a union of cubes, and there the sign that F must have."""
    d = len(next(iter(cells)))
    most = max(max(cell) for cell in cells) + 2
    points, signs = [], []
    for twice in product(range(-2, 2 * most + 1), repeat=d):
        around = product(*([x // 2] if x % 2 else [x // 2 - 1, x // 2] for x in twice))
        found = {cell in cells for cell in around}
        points.append([x / 2 for x in twice])
        signs.append(0 if len(found) == 2 else 1 if found.pop() else -1)
    return torch.tensor(points, dtype=torch.float64), torch.tensor(signs)


def cube(d: int, *, side: int = 1, at: int = 0) -> set[Cell]:
    return set(product(range(at, at + side), repeat=d))


ELL = {(0, 0), (1, 0), (0, 1)}
TORUS = {(x, y, 0) for x, y in product(range(3), repeat=2)} - {(1, 1, 0)}
NESTED = (cube(3, side=5) - cube(3, side=3, at=1)) | {(2, 2, 2)}
APART = {(0, 0, 0), (2, 0, 0)}
TOUCHING = {(0, 0, 0), (1, 1, 0), (2, 2, 1)}
SOLIDS = {"cube": cube(3), "block torus": TORUS, "nested cubes": NESTED, "two cubes": APART, "touching": TOUCHING}


def simplex(d: int) -> Mesh:
    """The boundary of the simplex with corners 0, e_1, ..., e_d."""
    corners = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
    return corners, torch.tensor([[j for j in range(d + 1) if j != i] for i in range(d + 1)])


def on_facets(mesh: Mesh, count: int, seed: int = 0) -> Tensor:
    """Random points on the facets, on their ridges, and their vertices."""
    vertices, facets = mesh
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(facets), (count,), generator=generator)
    weights = -torch.rand(count, facets.shape[1], generator=generator, dtype=torch.float64).log()
    weights[::3, 0] = 0
    weights /= weights.sum(dim=1, keepdim=True)
    return torch.cat([(weights[..., None] * vertices[facets[chosen]]).sum(dim=1), vertices[facets.unique()]])


def winding_number(points: Tensor, mesh: Mesh) -> Tensor:
    """How often oriented polygons or triangles go around points: the sum of the signed angles."""
    vertices, facets = mesh
    corners = vertices[facets][None] - points[:, None, None]
    if facets.shape[1] == 2:
        a, b = corners.unbind(dim=2)
        angles = torch.atan2(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(dim=-1))
        return (angles.sum(dim=1) / (2 * math.pi)).round()
    a, b, c = corners.unbind(dim=2)
    x, y, z = (side.norm(dim=-1) for side in (a, b, c))
    volume = (a * torch.linalg.cross(b, c)).sum(dim=-1)
    below = x * y * z + (a * b).sum(-1) * z + (b * c).sum(-1) * x + (c * a).sum(-1) * y
    return (2 * torch.atan2(volume, below).sum(dim=1) / (4 * math.pi)).round()


def around(mesh: Mesh, count: int, seed: int = 0) -> Tensor:
    """Points in a box around a mesh, and points near to it."""
    vertices, _ = mesh
    low, high = vertices.amin(dim=0), vertices.amax(dim=0)
    generator = torch.Generator().manual_seed(seed)
    box = low + (high - low) * (1.4 * torch.rand(count, len(low), generator=generator, dtype=torch.float64) - 0.2)
    near = on_facets(mesh, count, seed)
    offsets = torch.randn(near.shape, generator=generator, dtype=torch.float64)
    scale = 10.0 ** -(1 + 6 * torch.rand(len(near), 1, generator=generator, dtype=torch.float64))
    return torch.cat([box, near + scale * offsets * (high - low).norm()])
