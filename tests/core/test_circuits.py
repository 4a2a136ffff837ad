"""Circuits compute the minima, maxima and switches that they are to compute, with the gradients of these."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from art_levelset.core.circuits import Circuit, Signal, SparseLinear, Value, combined, linear_of, negative
from art_levelset.core.hypersurfaces import Planes

ORIGIN = torch.tensor([-9.0, -8.0])


def planes(count: int) -> Planes:
    generator = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(count, 2, generator=generator, dtype=torch.float64), dim=1)
    return Planes(normals, torch.randn(count, generator=generator, dtype=torch.float64))


def circuit(count: int) -> tuple[Circuit, Tensor, Tensor]:
    """A circuit, points, and the affine functions there."""
    functions = planes(count)
    points = 3 * torch.randn(400, 2, dtype=torch.float64)
    return (
        Circuit(functions._replace(offsets=functions(ORIGIN.double())), ORIGIN),
        points,
        functions(points),
    )


def evaluated(made: Circuit, layer: int, value: Value, points: Tensor) -> Tensor:
    found: Tensor = nn.Sequential(*made.modules(made.signal(layer, value)))(points)
    return found[:, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 17])
def test_minima(count: int) -> None:
    made, points, h = circuit(count)
    layer = 1 + (count - 1).bit_length()
    value = made.minimum(layer, [(i, 1) for i in range(count)])
    torch.testing.assert_close(evaluated(made, layer, value, points), h.amin(dim=1), rtol=0, atol=1e-13)
    assert len(made.layers) == layer
    assert made.units - 4 * layer < 2 * count


def test_larger_and_its_opposite() -> None:
    for sign in (1, -1):
        made, points, h = circuit(4)
        value = made.minimum(3, [(0, 1), (1, -1), (2, 1)])
        before = made.units
        f = torch.stack([h[:, 0], -h[:, 1], h[:, 2]]).amin(dim=0)
        if sign == 1:
            found, expected = made.larger(4, value, (3, -1)), torch.maximum(f, -h[:, 3])
        else:
            found, expected = negative(made.larger(4, negative(value), (3, 1))), torch.minimum(f, -h[:, 3])
        assert made.units == before + 1 + 4  # the maximum, and the coordinates that are handed on
        torch.testing.assert_close(evaluated(made, 4, found, points), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_switch(sign: int) -> None:
    made, points, h = circuit(3)
    a, b = Value((0, 1)), Value((1, 1))
    points[:100] -= h[:100, 2:] * planes(3).normals[2]  # on {h = 0}
    h = planes(3)(points)
    found = evaluated(made, 4, made.switch(4, a, b, (2, sign)), points)
    fa, fb, fh = h[:, 0], h[:, 1], sign * h[:, 2]
    terms = [torch.minimum(fa, fh), torch.minimum(fb, -fh), torch.minimum(fa, fb)]
    torch.testing.assert_close(found, torch.stack(terms).amax(dim=0), rtol=0, atol=1e-13)
    away = fh.abs() > 1e-12
    assert (found.sign() == torch.where(fh > 0, fa, fb).sign())[away].all()
    agree = (fa.sign() == fb.sign()) & ~away
    assert agree.sum() > 20
    assert (found.sign() == fa.sign())[agree].all()
    assert (found.abs()[~agree & ~away] < 1e-12).all()


def test_the_gradient_where_the_function_is_zero() -> None:
    """x = min(x, 5) at x = 0: also there the gradient is that of x."""
    made = Circuit(Planes(torch.tensor([[1.0], [-1.0]]), torch.tensor([-2.0, 7.0])), torch.tensor([-2.0]))
    value = made.minimum(2, [(0, 1), (1, 1)])
    zero = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    found = evaluated(made, 2, value, zero)
    assert found.item() == 0
    assert torch.autograd.grad(found.sum(), zero)[0].item() == 1


def test_combinations_leave_out_what_cancels() -> None:
    one, other = Signal({0: 1.0, 3: 2.0}, 1.0), Signal({3: 1.0, 5: 1.0}, 4.0)
    assert combined((1, one), (-2, other)) == Signal({0: 1.0, 5: -2.0}, -7.0)


def test_sparse_layers() -> None:
    rows = [Signal({0: 2.0, 2: -1.0}, 0.5), Signal({}), Signal({1: 3.0}, -1.0)]
    sparse, dense = linear_of(rows, 4, sparse=True), linear_of(rows, 4, sparse=False)
    assert isinstance(sparse, SparseLinear)
    assert type(dense) is nn.Linear
    expected = torch.tensor([[2, 0, -1, 0], [0, 0, 0, 0], [0, 3, 0, 0]], dtype=torch.float64)
    assert torch.equal(dense.weight, expected)
    assert torch.equal(sparse.weight, expected)
    points = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(sparse(points), dense(points))
    assert torch.autograd.gradcheck(sparse, (points,))
    assert repr(sparse) == repr(dense).replace("Linear", "SparseLinear")
    again = linear_of([Signal({0: 1.0, 2: 1.0}), Signal({}), Signal({1: 1.0})], 4, sparse=True)
    again.load_state_dict(sparse.state_dict())
    torch.testing.assert_close(again(points), dense(points))
