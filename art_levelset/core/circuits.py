"""
Circuits of minima and maxima as networks of Linear and ReLU layers.

A *signal* is a function of x that some layer knows: a linear combination of its units, each of which is a ReLU and
hence >= 0. The first layer has the coordinates, relu(x - c) and relu(c - x), and every other one hands them on, so an
affine function of x is a signal of every layer. With sigma = relu, and for p, q >= 0,

    min(p, q) = p - sigma(p - q),        max(p, q) = q + sigma(p - q)                       (one layer).

The minimum of k affine functions takes ceil(log2 k) layers: all partial minima have the form g - R with an affine g and
R >= 0, and

    min(g - R, g' - R') = g - (R + sigma(g - R - g' + R'))                          (two units: R, and the new one).

A function f whose sign matters is a *pair* (f+, f-) = (sigma(f), sigma(-f)), two signals of which one is zero. Of a, b
and an affine h as pairs, the *switch* max(min(a, h), min(b, -h), min(a, b)) is the pair (two layers, ten units)

    f+ = min(max(a+, h-), max(b+, h+)),      f- = min(max(a-, h-), max(b-, h+)).

Proof: both formulas are unchanged when (a, h) and (b, -h) trade places, so let h >= 0, h- = 0. Then the formulas for f+
and f- read min(a+, max(b+, h)) and min(a-, max(b-, h)), and the switch max(min(a, max(b, h)), min(b, -h)), which for
a >= 0 is min(a, max(b, h)) = min(a+, max(b+, h)) >= 0, as min(b, -h) is no larger, and for a < 0 is max(a, min(b, -h)),
the negative of min(a-, max(b-, h)). Where b is +inf or -inf everywhere (or a, after trading places) the switch is

    max(a, -h)  or  min(a, h) = -max(-a, -h)                                              (one layer, four units).

Each unit is made in the latest layer that allows it, so only coordinates are handed on; units that two signals share
are made once. No coefficient of a signal exceeds 2 or the coordinates of a unit normal: values do not grow from layer
to layer, and rounding is that of float64 at the size of |x - c|.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from art_levelset.core.hypersurfaces import Planes

DENSE = 1 << 20
"""Up to so many weights are kept in dense matrices."""


class Signal(NamedTuple):
    """
    A linear combination of a layer's units, plus a constant.

    :param weights: Coefficients by the unit's index.
    :param constant: A number.
    """

    weights: dict[int, float]
    constant: float = 0.0


NOTHING = Signal({})

Pair: TypeAlias = tuple[Signal, Signal]
"""The positive and the negative part of a function."""

Side: TypeAlias = tuple[int, int]
"""A plane's index and a sign: the affine function sign * h."""


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
    return Signal(weights, sum(factor * signal.constant for factor, signal in terms))


def difference(p: Signal, q: Signal) -> Signal:
    """
    The difference of two signals of one layer.

    :param p: One signal.
    :param q: The other one.
    :return: p - q.
    """
    return combined((1, p), (-1, q))


def swapped(pair: Pair) -> Pair:
    """
    The pair of -f.

    :param pair: The pair of f.
    :return: The same signals, the other way round.
    """
    return pair[1], pair[0]


class Circuit:
    """
    A network that grows. Layers are counted from 1, the coordinates.

    :param planes: The affine functions h of x - c.
    :param centre: c, (d,).
    """

    def __init__(self, planes: Planes, centre: Tensor) -> None:
        self.normals, self.offsets, self.centre = planes.normals.tolist(), planes.offsets.tolist(), centre.tolist()
        self.layers: list[list[Signal]] = []
        self.shared: dict[tuple[object, ...], Signal] = {}

    @property
    def units(self) -> int:
        """The number of ReLUs."""
        return sum(map(len, self.layers))

    def unit(self, layer: int, argument: Signal) -> Signal:
        """
        A new ReLU.

        :param layer: The layer that it is to be in.
        :param argument: A signal of the layer before.
        :return: The ReLU of the signal, as a signal of its layer.
        """
        while len(self.layers) < layer:
            self.layers.append([])
        self.layers[layer - 1].append(argument)
        return Signal({len(self.layers[layer - 1]) - 1: 1.0})

    def coordinate(self, layer: int, i: int, sign: int) -> Signal:
        """
        The positive part of +-(x_i - c_i).

        :param layer: The layer that is to know it, >= 1.
        :param i: The coordinate.
        :param sign: 1 or -1.
        :return: The signal.
        """
        key = ("coordinate", layer, i, sign)
        if key not in self.shared:
            input_ = Signal({i: float(sign)}, -sign * self.centre[i])
            self.shared[key] = self.unit(layer, input_ if layer == 1 else self.coordinate(layer - 1, i, sign))
        return self.shared[key]

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
        return combined(*halves, (1, Signal({}, sign * self.offsets[plane])))

    def part(self, layer: int, side: Side) -> Signal:
        """
        The positive part of an affine function.

        :param layer: The layer that is to know it, >= 2.
        :param side: The function.
        :return: The signal.
        """
        key = ("part", layer, *side)
        if key not in self.shared:
            self.shared[key] = self.unit(layer, self.affine(layer - 1, side))
        return self.shared[key]

    def minimum(self, layer: int, sides: Sequence[Side]) -> Signal:
        """
        The minimum of affine functions.

        :param layer: The layer that is to know it, >= 1 + ceil(log2 k) for k functions.
        :param sides: The functions, at least one.
        :return: The signal.
        """
        return difference(self.affine(layer, sides[0]), self._excess(layer, sides))

    def _excess(self, layer: int, sides: Sequence[Side]) -> Signal:
        """By how much the first function exceeds the minimum: the R of g - R."""
        if len(sides) == 1:
            return NOTHING
        half = (len(sides) + 1) // 2
        one, other = sides[:half], sides[half:]
        of_one, of_other = self._excess(layer - 1, one), self._excess(layer - 1, other)
        p = difference(self.affine(layer - 1, one[0]), of_one)
        q = difference(self.affine(layer - 1, other[0]), of_other)
        new = self.unit(layer, difference(p, q))
        return combined((1, self.unit(layer, of_one)), (1, new)) if len(one) > 1 else new

    def pair(self, layer: int, signal: Signal) -> Pair:
        """
        A signal as a pair.

        :param layer: The layer that is to know it, that after the signal's.
        :param signal: The signal.
        :return: The pair.
        """
        return self.unit(layer, signal), self.unit(layer, combined((-1, signal)))

    def switch(self, layer: int, a: Pair, b: Pair, plane: int) -> Pair:
        """
        The function that has the sign of a where h > 0, that of b where h < 0, and where h = 0 the one they agree on.

        :param layer: The layer that is to know it.
        :param a: A pair of two layers before.
        :param b: Another one.
        :param plane: The index of h.
        :return: max(min(a, h), min(b, -h), min(a, b)), as a pair.
        """
        below, above = layer - 2, layer - 1
        h_plus, h_minus = (plane, 1), (plane, -1)
        found = []
        for of_a, of_b in zip(a, b, strict=True):
            over_a = self.unit(above, difference(of_a, self.part(below, h_minus)))
            over_b = self.unit(above, difference(of_b, self.part(below, h_plus)))
            p = combined((1, self.part(above, h_minus)), (1, over_a))
            q = combined((1, self.part(above, h_plus)), (1, over_b))
            found.append(difference(self.unit(layer, p), self.unit(layer, difference(p, q))))
        return found[0], found[1]

    def larger(self, layer: int, a: Pair, side: Side) -> Pair:
        """
        The maximum of a and an affine function h.

        :param layer: The layer that is to know it.
        :param a: A pair of the layer before.
        :param side: The function.
        :return: max(a, h), as a pair.
        """
        opposite = (side[0], -side[1])
        over = self.unit(layer, difference(a[0], self.part(layer - 1, side)))
        cut = self.unit(layer, difference(a[1], self.part(layer - 1, opposite)))
        return combined((1, self.part(layer, side)), (1, over)), difference(self.unit(layer, a[1]), cut)

    def modules(self, output: Signal) -> list[nn.Module]:
        """
        The network's layers.

        :param output: A signal of the last layer.
        :return: Linear and ReLU in turn, from d numbers to one, in float64. If the weights are more than :data:`DENSE`,
                 the matrices are sparse (compressed rows) and take no gradients.
        """
        widths = [len(self.centre), *map(len, self.layers), 1]
        sparse = sum(n * m for n, m in pairwise(widths)) > DENSE
        linear = [linear_of(rows, width, sparse) for rows, width in zip([*self.layers, [output]], widths, strict=False)]
        modules: list[nn.Module] = [module for layer in linear for module in (layer, nn.ReLU())]
        return modules[:-1]


def linear_of(rows: Sequence[Signal], width: int, sparse: bool) -> nn.Linear:
    """
    A linear layer.

    :param rows: Its outputs, as signals of its inputs.
    :param width: The number of its inputs.
    :param sparse: Whether the matrix has compressed rows.
    :return: The layer, in float64; a sparse one takes no gradients.
    """
    entries = [sorted(row.weights.items()) for row in rows]
    ends = torch.tensor([0, *map(len, entries)]).cumsum(0)
    columns = torch.tensor([column for row in entries for column, _ in row], dtype=torch.int64)
    values = torch.tensor([value for row in entries for _, value in row], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        weight = torch.sparse_csr_tensor(ends, columns, values, (len(rows), width), check_invariants=True)
    layer = nn.Linear(width, len(rows), dtype=torch.float64, device="meta")
    layer.weight = nn.Parameter(weight if sparse else weight.to_dense(), requires_grad=not sparse)
    bias = torch.tensor([row.constant for row in rows], dtype=torch.float64)
    layer.bias = nn.Parameter(bias, requires_grad=not sparse)
    return layer
