"""
Circuits of minima and maxima as networks of Linear and ReLU layers, of which Theorem 1 is made.

A *signal* is a function of x that some layer knows: a linear combination of its units, plus a constant. The first layer
has the coordinates, relu(x - o) and relu(o - x), and every other one hands them on, so an affine function of x is a
signal of every layer. All functions here have the form

    f = g + P - N        with an affine g, and P, N >= 0,

where P and N take one unit each to be handed on, and with sigma = relu

    min(f, f') = f - sigma(f - f'),        max(f, f') = f + sigma(f' - f)                        (one layer).

So the minimum of k affine functions takes ceil(log2 k) layers and less than 2 k units (P stays 0), and max(f, h) or
min(f, h) with an affine h = g takes a single unit: h + sigma(f - h), h - sigma(h - f). The *switch* of a, b and an
affine h is, as minimum and maximum are distributive,

    max(min(a, h), min(b, -h), min(a, b)) = max(min(a, max(b, h)), min(b, -h)),

seven units in three layers, the first of which need not know a yet:

    u = sigma(b - h), w = sigma(-h - b)        max(b, h) = h + u, min(b, -h) = -h - w
    v = sigma(h + u - a)                       min(a, max(b, h)) = h + u - v
    t = sigma(2 h + u - v + w)                 the switch: -h - w + t.

Each unit is made in the latest layer that allows it, so what is handed on for more than a layer are coordinates only.
Rounding is that of float64 at the size of |x - o|, once a layer, and minima and maxima do not enlarge it.

The units' kinks are where two functions are equal, and not where one is zero. So where f = 0 the gradient that autograd
computes is that of f, also at points that are on {f = 0} to the last bit; splitting f in relu(f) - relu(-f) would make
it 0 there. For the same reason o, where the coordinates have kinks, is kept away from the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from art_levelset.core.hypersurfaces import Planes

DENSE = 1 << 20
"""Up to so many weights, zeros among them, are kept in dense matrices."""

Side: TypeAlias = tuple[int, int]
"""A plane's index and a sign: the affine function sign * h."""


class Signal(NamedTuple):
    """
    A linear combination of a layer's units, plus a constant.

    :param weights: Coefficients by the unit's index.
    :param constant: A number.
    """

    weights: dict[int, float]
    constant: float = 0.0


NOTHING = Signal({})


class Value(NamedTuple):
    """
    A function g + P - N.

    :param base: g.
    :param plus: P, a signal of the layer that knows the function.
    :param minus: N, likewise.
    """

    base: Side
    plus: Signal = NOTHING
    minus: Signal = NOTHING


def combined(*terms: tuple[float, Signal]) -> Signal:
    """
    A linear combination of signals of one layer.

    :param terms: Factors and signals.
    :return: The sum of their products.
    """
    weights: dict[int, float] = {}
    for factor, signal in terms:
        for unit, weight in signal.weights.items():
            weights[unit] = weights.get(unit, 0.0) + factor * weight
    constant = sum(factor * signal.constant for factor, signal in terms)
    return Signal({unit: weight for unit, weight in weights.items() if weight}, constant)


def negative(value: Value) -> Value:
    """
    The function with the other sign.

    :param value: f.
    :return: -f.
    """
    return Value((value.base[0], -value.base[1]), value.minus, value.plus)


class Circuit:
    """
    A network that grows. Layers are counted from 1, the coordinates.

    :param planes: The affine functions h of x - o.
    :param origin: o, (d,).
    """

    def __init__(self, planes: Planes, origin: Tensor) -> None:
        self.normals, self.offsets, self.origin = planes.normals.tolist(), planes.offsets.tolist(), origin.tolist()
        self.layers: list[list[Signal]] = []
        self.coordinates: dict[tuple[int, int, int], Signal] = {}

    @property
    def units(self) -> int:
        """The number of ReLUs."""
        return sum(map(len, self.layers))

    def unit(self, layer: int, *terms: tuple[float, Signal]) -> Signal:
        """
        A new ReLU.

        :param layer: The layer that it is to be in.
        :param terms: Factors and signals of the layer before.
        :return: The ReLU of the sum of their products, as a signal of its layer; nothing if they are.
        """
        argument = combined(*terms)
        if argument == NOTHING:
            return NOTHING
        while len(self.layers) < layer:
            self.layers.append([])
        self.layers[layer - 1].append(argument)
        return Signal({len(self.layers[layer - 1]) - 1: 1.0})

    def coordinate(self, layer: int, i: int, sign: int) -> Signal:
        """
        The positive part of +-(x_i - o_i).

        :param layer: The layer that is to know it, >= 1.
        :param i: The coordinate.
        :param sign: 1 or -1.
        :return: The signal.
        """
        key = (layer, i, sign)
        if key not in self.coordinates:
            below = Signal({i: 1.0}, -self.origin[i]) if layer == 1 else self.coordinate(layer - 1, i, sign)
            self.coordinates[key] = self.unit(layer, (sign if layer == 1 else 1, below))
        return self.coordinates[key]

    def affine(self, layer: int, side: Side) -> Signal:
        """
        An affine function.

        :param layer: The layer that is to know it, >= 1.
        :param side: The function.
        :return: The signal.
        """
        plane, sign = side
        halves = [
            (sign * half * weight, self.coordinate(layer, i, half))
            for i, weight in enumerate(self.normals[plane])
            if weight
            for half in (1, -1)
        ]
        return combined(*halves, (sign, Signal({}, self.offsets[plane])))

    def signal(self, layer: int, value: Value) -> Signal:
        """
        A function as one signal.

        :param layer: The layer that knows it.
        :param value: The function.
        :return: g + P - N.
        """
        return combined((1, self.affine(layer, value.base)), (1, value.plus), (-1, value.minus))

    def minimum(self, layer: int, sides: Sequence[Side]) -> Value:
        """
        The minimum of affine functions.

        :param layer: The layer that is to know it, >= 1 + ceil(log2 k) for k functions.
        :param sides: The functions, at least one.
        :return: The minimum.
        """
        if len(sides) == 1:
            return Value(sides[0])
        half = (len(sides) + 1) // 2
        one, other = (self.minimum(layer - 1, part) for part in (sides[:half], sides[half:]))
        excess = self.unit(layer, (1, self.signal(layer - 1, one)), (-1, self.signal(layer - 1, other)))
        return one._replace(minus=combined((1, self.unit(layer, (1, one.minus))), (1, excess)))

    def larger(self, layer: int, value: Value, side: Side) -> Value:
        """
        The maximum of a function and an affine one.

        :param layer: The layer that is to know it.
        :param value: f, as the layer before knows it.
        :param side: h.
        :return: max(f, h).
        """
        f, h = self.signal(layer - 1, value), self.affine(layer - 1, side)
        return Value(side, plus=self.unit(layer, (1, f), (-1, h)))

    def switch(self, layer: int, a: Value, b: Value, side: Side) -> Value:
        """
        The function that has the sign of a where h > 0, that of b where h < 0, and where h = 0 the one they agree on.

        :param layer: The layer that is to know it.
        :param a: A function, as the second layer before knows it.
        :param b: A function, as the third layer before knows it.
        :param side: h.
        :return: max(min(a, h), min(b, -h), min(a, b)).
        """
        below, h = self.signal(layer - 3, b), self.affine(layer - 3, side)
        u, w = self.unit(layer - 2, (1, below), (-1, h)), self.unit(layer - 2, (-1, h), (-1, below))
        v = self.unit(layer - 1, (1, self.affine(layer - 2, side)), (1, u), (-1, self.signal(layer - 2, a)))
        u, w = self.unit(layer - 1, (1, u)), self.unit(layer - 1, (1, w))
        t = self.unit(layer, (2, self.affine(layer - 1, side)), (1, u), (-1, v), (1, w))
        return Value((side[0], -side[1]), plus=t, minus=self.unit(layer, (1, w)))

    def modules(self, output: Signal) -> list[nn.Module]:
        """
        The network's layers.

        :param output: A signal of the last layer.
        :return: Linear and ReLU in turn, from d numbers to one, in float64. If the weights are more than :data:`DENSE`
                 with the zeros, the Linear ones are :class:`SparseLinear`.
        """
        widths = [len(self.origin), *map(len, self.layers), 1]
        sparse = sum(n * m for n, m in pairwise(widths)) > DENSE
        rows = zip([*self.layers, [output]], widths, strict=False)
        linear = [linear_of(signals, width, sparse) for signals, width in rows]
        modules: list[nn.Module] = [module for layer in linear for module in (layer, nn.ReLU())]
        return modules[:-1]


class SparseLinear(nn.Linear):
    """
    A linear layer that keeps only the entries of its matrix that are not zero.

    :param positions: The rows and columns of the entries, in the order of the rows, (2, entries).
    :param values: The entries, (entries,).
    :param bias: (out_features,).
    :param in_features: The number of inputs.
    """

    def __init__(self, positions: Tensor, values: Tensor, bias: Tensor, in_features: int) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make the matrix
        self.in_features, self.out_features = in_features, len(bias)
        self.register_buffer("positions", positions)
        self.values, self.bias = nn.Parameter(values), nn.Parameter(bias)

    @property
    def matrix(self) -> Tensor:
        """The matrix, (out_features, in_features), as a sparse tensor."""
        positions = self.get_buffer("positions")
        size = (self.out_features, self.in_features)
        return torch.sparse_coo_tensor(positions, self.values, size, is_coalesced=True, check_invariants=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix, (out_features, in_features), with its zeros."""
        return self.matrix.to_dense()

    def dense(self) -> nn.Linear:
        """
        The same layer with the zeros.

        :return: A layer of PyTorch's.
        """
        layer = nn.Linear(self.in_features, self.out_features, device="meta")  # which draws no random numbers
        layer.weight, layer.bias = nn.Parameter(self.weight.detach()), nn.Parameter(self.bias.detach().clone())
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """
        Apply the layer.

        :param input: (batch, in_features).
        :return: (batch, out_features).
        """
        # Columns are samples in between; the next layer turns this back at no cost.
        columns: Tensor = torch.sparse.mm(self.matrix, input.T)
        return (columns + self.bias[:, None]).T


def linear_of(rows: Sequence[Signal], width: int, sparse: bool) -> nn.Linear:
    """
    A linear layer.

    :param rows: Its outputs, as signals of its inputs.
    :param width: The number of its inputs.
    :param sparse: Whether to keep the matrix's entries only.
    :return: The layer, in float64.
    """
    entries = [(i, column, value) for i, row in enumerate(rows) for column, value in sorted(row.weights.items())]
    positions = torch.tensor([(i, column) for i, column, _ in entries], dtype=torch.int64).reshape(-1, 2).T.contiguous()
    values = torch.tensor([value for _, _, value in entries], dtype=torch.float64)
    bias = torch.tensor([row.constant for row in rows], dtype=torch.float64)
    layer = SparseLinear(positions, values, bias, width)
    return layer if sparse else layer.dense()
