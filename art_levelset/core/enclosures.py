"""
Enclosures: bounds of F over whole cells, from which it follows that a cell has no point of a level set.

A cell is the box {m + r * xi : xi in [-1, 1]^d} with the centre m and the half edges r; an enclosure returns numbers
low <= F(x) <= high for all x of it. Two are here:

* From a Lipschitz constant, |F(x) - F(y)| <= K |x - y|: low, high = F(m) -+ K |r|. For a network the product of its
  layers' spectral norms is one (:func:`lipschitz_bound`), but usually a hundred times too large.
* From the layers of a network. Every layer's value is kept as z = A xi + b +- e, with A (width, d) and b, e (width,).
  A linear layer makes A <- W A, b <- W b + bias, e <- |W| e. An activation s whose slope is in [alpha, beta] for
  the values b -+ (sum |A| + e) =: b -+ w that a unit can have makes, with t = (alpha + beta) / 2,

      |s(z) - s(b) - t (z - b)| <= (beta - alpha) / 2 * w,  so  A <- t A,  b <- s(b),  e <- t e + (beta - alpha) / 2 w.

  Units of a ReLU that are on or off in all of the cell have alpha = beta, and add no error: the smaller a cell, the
  closer the bounds are to F's own range there, as the square of its size. A cell costs d + 2 forward passes.

The bounds hold in exact arithmetic. Rounding errors are not enclosed: in float64 they are some 1e-15 of the numbers in
the network.

| Paper link: https://arxiv.org/abs/1811.00866 (bounds by linear functions, layer by layer)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from art_levelset.checks import check_not_negative
from art_levelset.core.fields import FieldLike, as_field
from art_levelset.core.modes import evaluating

Enclosure: TypeAlias = "Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]"
"""Of centres, (n, d), and half edges, (d,): low and high, (n,) each."""

CHUNK = 2048


def lipschitz_enclosure(field: FieldLike, constant: float) -> Enclosure:
    """
    The enclosure F(m) -+ constant |r|: it is one if the constant is a Lipschitz constant of F, which nobody checks.

    :param field: F, scalar (l = 1).
    :param constant: K with |F(x) - F(y)| <= K |x - y| (L_2) in all cells, >= 0.
    :return: The enclosure.
    :raises ValueError: If the constant is out of range or (when evaluated) F is not scalar.

    >>> import torch
    >>> circle = lipschitz_enclosure(lambda x: torch.linalg.vector_norm(x, dim=1) - 1, 1.0)
    >>> circle(torch.tensor([[3.0, 4.0]]), torch.tensor([0.3, 0.4]))
    (tensor([3.5000]), tensor([4.5000]))
    """
    field = as_field(field)
    check_not_negative("constant", constant)

    def bounds(centres: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), evaluating(field.module):
            values = field(centres)
        if values.shape[1] != 1:
            raise ValueError(f"field must be scalar (l = 1) to be enclosed, got l = {values.shape[1]}")
        reach = constant * torch.linalg.vector_norm(half)
        return values.squeeze(1) - reach, values.squeeze(1) + reach

    return bounds


def network_enclosure(module: nn.Module) -> Enclosure:
    """
    The enclosure of a network of linear layers, ReLU, Softplus and Tanh, one after the other, with one output.

    :param module: The network, (batch, d) -> (batch, 1): a Linear, or a Sequential of these (and of Sequentials).
    :return: The enclosure.
    :raises ValueError: If the network has another layer, or not one output.

    >>> import torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> low, high = network_enclosure(module)(torch.zeros(1, 2), torch.tensor([0.5, 0.5]))
    >>> inside = module(torch.rand(100, 2) - 0.5)
    >>> bool((low <= inside).all() and (inside <= high).all())
    True
    """
    layers = list(_layers(module))
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if not linear or linear[-1] is not layers[-1] or linear[-1].out_features != 1:
        raise ValueError("module must end with a linear layer with one output to be enclosed")

    def bounds(centres: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            parts = [_bounds(layers, chunk, half) for chunk in torch.split(centres, CHUNK)] or [(centres[:, 0],) * 2]
        return torch.cat([low for low, _ in parts]), torch.cat([high for _, high in parts])

    return bounds


def lipschitz_bound(module: nn.Module) -> float:
    """
    A Lipschitz constant (L_2) of a network that :func:`network_enclosure` takes: the product of the spectral norms.

    :param module: The network.
    :return: The constant; no activation there is steeper than 1.
    :raises ValueError: If the network has another layer.

    >>> import torch
    >>> lipschitz_bound(torch.nn.Sequential(torch.nn.Identity()))
    1.0
    """
    with torch.no_grad():
        norms = [torch.linalg.matrix_norm(part.weight, 2) for part in _layers(module) if isinstance(part, nn.Linear)]
    return math.prod((float(norm) for norm in norms), start=1.0)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers in their order, Sequentials opened."""
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _layers(part)
    elif isinstance(module, (nn.Linear, nn.ReLU, nn.Softplus, nn.Tanh)):
        yield module
    elif not isinstance(module, nn.Identity):
        raise ValueError(f"module: a {type(module).__name__} is no layer that can be enclosed")


def _bounds(layers: list[nn.Module], centres: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    slopes, middle = torch.diag_embed(half).expand(len(centres), -1, -1), centres
    errors = torch.zeros_like(middle)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            slopes, middle, errors = layer.weight @ slopes, layer(middle), errors @ layer.weight.abs().T
        else:
            width = slopes.abs().sum(dim=2) + errors
            alpha, beta = _slopes(layer, middle - width, middle + width)
            mean = (alpha + beta) / 2
            slopes, errors = mean.unsqueeze(2) * slopes, mean * errors + (beta - alpha) / 2 * width
            middle = layer(middle)
            if isinstance(layer, nn.Softplus):  # beyond its threshold it is the identity, which is a little less
                errors = errors + math.log1p(math.exp(-layer.threshold)) / layer.beta
    width = (slopes.abs().sum(dim=2) + errors).squeeze(1)
    return middle.squeeze(1) - width, middle.squeeze(1) + width


def _slopes(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest slope of an activation on [low, high]."""
    if isinstance(layer, nn.ReLU):
        return (low > 0).to(low.dtype), (high > 0).to(low.dtype)
    if isinstance(layer, nn.Softplus):
        return torch.sigmoid(layer.beta * low), torch.sigmoid(layer.beta * high)
    ends = torch.stack([1 - torch.tanh(end).square() for end in (low, high)])
    flattest, steepest = ends.amin(dim=0), ends.amax(dim=0)
    return flattest, torch.where((low < 0) & (high > 0), 1.0, steepest)
