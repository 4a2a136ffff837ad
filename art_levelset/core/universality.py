"""
Theorem 1 as code: a given watertight piecewise linear hypersurface M as the zero level set of a ReLU network.

The network F has Linear and ReLU layers only, and in exact arithmetic F > 0 inside of M, F < 0 outside, F = 0 on M.

The paper's proof (Appendix C) takes F = max over Lambda of min over i of lambda_i h_i, where h_1, ..., h_k are the
planes of the faces and Lambda those of the 3^k sign vectors in {-1, 0, 1}^k whose cell is inside. The zeros among the
lambda_i are needed: maxima over the cells of the arrangement alone vanish on the walls between two inner cells. Here
another construction does the same without enumerating anything. It walks a binary space partition
(:mod:`art_levelset.core.partition`), which has only cells that exist, and joins them by a switch
(:mod:`art_levelset.core.circuits`) that does not vanish on the walls between them.

**Construction.** For a closed convex cell C with an interior, say that a function F_C has *the sign of M in C* when
for each x in C it is positive if all of int C near x is inside of M, negative if all of it is outside, and zero
otherwise. For C = R^d this is what is claimed of F: each point of M is next to points inside and outside, by the
even-odd rule that defines these. F_C is built from the leaves of the partition to its root:

- *A leaf* with facets. Q = {x : s_j h_j(x) >= 0 for all j} is convex and, in C, what is inside (or else, outside) of M:
  F_C = min_j s_j h_j (or else, minus that). Proof: where the minimum is positive, a neighbourhood is in Q; where it is
  negative, one is outside of Q. Where it is zero, x is in Q, which is the closure of its interior; and some h_j(x) = 0.
  Plane j has facets in int C, so there is a y in int C with s_j h_j(y) < 0, and but for x the segment from x to y lies
  in int C and outside of Q: F_C(x) = 0 is right.
- *A leaf without facets* is all inside or all outside: F_C = +inf or -inf.
- *A split* of C by {h = 0} into C+ and C-:

      F_C = max(min(F_C+, h), min(F_C-, -h), min(F_C+, F_C-)).

  Proof: where h(x) > 0, C is C+ near x. The second term is negative, the third at most F_C+(x), and the first has the
  sign of F_C+(x): so F_C has this sign. For h(x) < 0 likewise. Where h(x) = 0, x is in both C+ and C-. All of int C
  near x is inside if and only if this holds for int C+ and int C-, that is if both functions are positive: then the
  third term is positive. It is all outside if and only if both are negative: then the third term is negative, and so
  are the others. Else one function is >= 0 and one is <= 0: one of the first two terms is 0, and no term is positive.

The first two terms alone are what one writes down at first; they vanish on every wall, and the third, Boolean algebra's
*consensus* term, is what mends that. F is a lattice polynomial of the functions +-h with unit normals, so it is
1-Lipschitz with a gradient of length 1 almost everywhere, and |F(x)| is at most the distance from x to M. For convex
bodies there is one leaf, F = min_i -h_i, and inside this is the distance to M.

**Size.** A leaf with k planes takes less than 2 k units, one with a single plane none; a split takes 7 and three
layers, of which the deeper part needs but two, or one unit and one layer beside a leaf without facets; and the
coordinates take 2 d units a layer. Convex bodies with k faces have fewer than 2 k units in 1 + ceil(log2 k) hidden
layers, besides the coordinates. Other bodies can need O(k^2) leaves in space, but those that one scans or constructs
need fewer leaves than faces: they have about 5.5 units a face, in 25 to 36 layers for 100 to 1000 faces, as
docs/results/universality.md measures. What would be larger than `max_units` is refused.

Rounding: the tolerance of the geometry is 10^-12 of M's diagonal, within which |F| on M stays, and a point that near to
M may get the wrong sign. Measured: 2.5 * 10^-15.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.checks import check_count
from art_levelset.core.circuits import Circuit, Signal, Value, negative
from art_levelset.core.hypersurfaces import Planes, hypersurface
from art_levelset.core.partition import Cell, Leaf, Partition, Split, partition

MAX_UNITS = 200_000

_BATCH = 1024


@dataclass(frozen=True)
class Size:
    """
    The size of an exact network and of what it was made of.

    :param faces: The facets.
    :param planes: Their planes; coplanar facets have one.
    :param pieces: The cells of the partition.
    :param units: The hidden units, all of them ReLUs.
    :param depth: The hidden layers.
    :param weights: The parameters that are not zero.
    """

    faces: int
    planes: int
    pieces: int
    units: int
    depth: int
    weights: int


class ExactNetwork(nn.Sequential):
    """
    Linear and ReLU layers whose zero level set is a given hypersurface; made by :func:`exact_network`.

    Its attribute `size` is a :class:`Size`.
    """

    size: Size

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F, a part of the batch at a time: what the layers pass on fits a processor's cache then.

        :param points: (batch, d), float64.
        :return: (batch, 1).
        """
        run: Callable[[Tensor], Tensor] = super().forward
        return torch.cat([run(part) for part in torch.split(points, _BATCH)])


def exact_network(mesh: Any, *, max_units: int = MAX_UNITS) -> ExactNetwork:
    """
    A network whose zero level set is a given watertight mesh: F > 0 inside, F < 0 outside, F = 0 on it.

    Inside is what the even-odd rule says, so the mesh may have several components, handles, and shells in shells, and
    its faces may be oriented in any way. Works in every dimension d >= 2: faces are simplices.

    :param mesh: Something with `vertices` and `faces`, such as a trimesh.Trimesh, or the pair of them: (n, d) numbers
           and (m, d) indices of vertices. In the plane the faces are the edges of polygons, (m, 2).
    :param max_units: The largest number of hidden units.
    :return: F, (batch, d) -> (batch, 1), float64, on the CPU, with a `size`. Large ones
             keep their matrices sparse (:class:`art_levelset.core.circuits.SparseLinear`).
    :raises ValueError: If the mesh is none, is not watertight, overlaps itself in a plane, or needs more units.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> ell = [[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]]
    >>> network = exact_network(ell)
    >>> points = torch.tensor([[0.5, 1.0], [1.0, 0.5], [1.5, 1.5], [1.0, 1.5]], dtype=torch.float64)
    >>> network(points)[:, 0].tolist()
    [0.5, 0.5, -0.5, 0.0]
    """
    check_count("max_units", max_units)
    surface = hypersurface(mesh)
    found = partition(surface, max_units)
    circuit = Circuit(found.planes, surface.origin)
    depth = _depth(found.root)
    output = circuit.signal(depth, _built(circuit, found, found.root, depth))
    return _finished(circuit, output, (len(surface.simplices), found.facet_planes, found.pieces), max_units)


def exact_polytope(normals: Tensor, offsets: Tensor, *, max_units: int = MAX_UNITS) -> ExactNetwork:
    """
    A network whose zero level set is the boundary of a convex polyhedron in R^d: F = min_i -(a_i . x + b_i) / |a_i|.

    :param normals: The outward normals a_i, (k, d), not zero.
    :param offsets: The numbers b_i, (k,): the polyhedron is {x : a_i . x + b_i <= 0 for all i}. It may be unbounded.
           Half-spaces that hold all the others' intersection change nothing.
    :param max_units: The largest number of hidden units.
    :return: F, as for :func:`exact_network`; it is negative everywhere if no point is in all half-spaces.
    :raises ValueError: If the half-spaces are none, or need more units.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> octant = exact_polytope(-torch.eye(4), torch.zeros(4))
    >>> octant(torch.tensor([[1.0, 2.0, 3.0, 0.5], [1.0, -2.0, 3.0, 0.5]], dtype=torch.float64))[:, 0].tolist()
    [0.5, -2.0]
    """
    check_count("max_units", max_units)
    if normals.dim() != 2 or not normals.numel() or not (normals.isfinite().all() and (normals != 0).any(dim=1).all()):
        raise ValueError(f"normals must be (k, d) finite numbers without zero rows, got {tuple(normals.shape)}")
    if offsets.shape != normals.shape[:1] or not offsets.isfinite().all():
        raise ValueError(f"offsets must be ({len(normals)},) finite numbers, got {tuple(offsets.shape)}")
    count = len(normals)
    if 2 * count > max_units:
        raise ValueError(f"normals: {count} half-spaces need about {2 * count} units, more than {max_units}")
    normals, offsets = normals.detach().double().cpu(), offsets.detach().double().cpu()
    lengths = normals.norm(dim=1)
    planes = Planes(-normals / lengths[:, None], -offsets / lengths)
    origin = torch.full_like(normals[0], -2 * (float(planes.offsets.abs().max()) or 1))
    circuit = Circuit(planes._replace(offsets=planes(origin)), origin)
    depth = 1 + (count - 1).bit_length()
    output = circuit.signal(depth, circuit.minimum(depth, [(i, 1) for i in range(count)]))
    return _finished(circuit, output, (count, count, 1), max_units)


def _finished(circuit: Circuit, output: Signal, counts: tuple[int, int, int], max_units: int) -> ExactNetwork:
    """The network of a circuit."""
    if circuit.units > max_units:
        raise ValueError(f"mesh: the network has {circuit.units} units, more than max_units = {max_units}")
    network = ExactNetwork(*circuit.modules(output))
    rows = [*(row for layer in circuit.layers for row in layer), output]
    weights = sum(len(row.weights) + (row.constant != 0) for row in rows)
    network.size = Size(*counts, circuit.units, len(circuit.layers), weights)
    return network


def _depth(cell: Cell) -> int:
    """The first layer that can know a cell's function."""
    if isinstance(cell, Leaf):
        return 1 + (len(cell.sides) - 1).bit_length()
    if (open_ := _open(cell)) is not None:
        return 1 + _depth(open_[1])
    less, more = sorted((_depth(cell.front), _depth(cell.back)))
    return max(3 + less, 2 + more)


def _open(cell: Split) -> tuple[Leaf, Cell, int] | None:
    """Of a split with a leaf without facets: that leaf, the other part, and the sign of h in the leaf."""
    for part, other, sign in ((cell.front, cell.back, 1), (cell.back, cell.front, -1)):
        if isinstance(part, Leaf) and not part.sides:
            return part, other, sign
    return None


def _built(circuit: Circuit, found: Partition, cell: Cell, layer: int) -> Value:
    """A cell's function, as a layer knows it."""
    if isinstance(cell, Leaf):
        value = circuit.minimum(layer, cell.sides)
        return value if found.inside[cell.probe] else negative(value)
    if (open_ := _open(cell)) is not None:
        leaf, other, sign = open_
        value = _built(circuit, found, other, layer - 1)
        if found.inside[leaf.probe]:  # +inf where sign * h > 0
            return circuit.larger(layer, value, (cell.plane, sign))
        return negative(circuit.larger(layer, negative(value), (cell.plane, sign)))
    late, soon, sign = cell.front, cell.back, 1
    if _depth(late) < _depth(soon):
        late, soon, sign = soon, late, -1
    a, b = _built(circuit, found, late, layer - 2), _built(circuit, found, soon, layer - 3)
    return circuit.switch(layer, a, b, (cell.plane, sign))
