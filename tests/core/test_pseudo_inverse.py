"""J^+ against the dense singular value decomposition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.core.pseudo_inverse import apply, pseudo_inverse

from .networks import properties


def dense(jacobians: Tensor, rtol: float = 1e-9) -> Tensor:
    """(J^+)^T by torch.linalg.pinv in float64."""
    inverse = torch.linalg.pinv(jacobians.double().flatten(2), rtol=rtol).mT
    return inverse.reshape(jacobians.shape)


def relative_error(got: Tensor, want: Tensor) -> float:
    """The largest error of a row of (J^+)^T relative to the length of that row."""
    error = (got.double() - want).flatten(2).norm(dim=2)
    return float((error / want.flatten(2).norm(dim=2)).max())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (2, 7), (3, 2, 3), (4, 2, 4, 4)])
def test_full_rank(shape: tuple[int, ...], dtype: torch.dtype, bound: float) -> None:
    jacobians = torch.randn(50, *shape, dtype=torch.float64)
    singular = torch.linalg.svdvals(jacobians.flatten(2))
    jacobians = jacobians[singular[:, -1] > 0.05 * singular[:, 0]].to(dtype)
    inverse, full_rank = pseudo_inverse(jacobians)
    assert len(jacobians) > 10
    assert full_rank.all()
    assert inverse.shape == jacobians.shape
    assert inverse.dtype == dtype
    assert relative_error(inverse, dense(jacobians)) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_row_is_eq_5(dtype: torch.dtype) -> None:
    jacobians = torch.randn(20, 1, 3, 4, dtype=dtype)
    inverse, _ = pseudo_inverse(jacobians)
    torch.testing.assert_close(inverse, jacobians / jacobians.square().sum(dim=(2, 3), keepdim=True))


@properties
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([torch.float32, torch.float64]))
def test_rows_of_any_scale(seed: int, count: int, dtype: torch.dtype) -> None:
    # (D J)^+ = J^+ D^-1 for full row rank.
    generator = torch.Generator().manual_seed(seed)
    jacobians = torch.linalg.qr(torch.randn(6, 8, count, generator=generator, dtype=torch.float64)).Q.mT
    jacobians = jacobians + 0.1 * torch.randn(6, count, 8, generator=generator, dtype=torch.float64)
    scales = 10 ** torch.empty(6, count, 1, dtype=torch.float64).uniform_(-20, 20, generator=generator)
    inverse, full_rank = pseudo_inverse((scales * jacobians).to(dtype))
    assert full_rank.all()
    assert relative_error(inverse, dense(jacobians) / scales) < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_deficient_rank_gives_the_truncated_inverse(dtype: torch.dtype, scale: float) -> None:
    factors = torch.randn(20, 3, 2, dtype=torch.float64), torch.randn(20, 2, 6, dtype=torch.float64)
    exact = (factors[0] @ factors[1]) * scale
    singular = torch.linalg.svdvals(exact)
    exact = exact[singular[:, 1] > 0.1 * singular[:, 0]]
    inverse, full_rank = pseudo_inverse(exact.to(dtype))
    assert not full_rank.any()
    difference = (inverse.double() - dense(exact)).flatten(1).norm(dim=1) / dense(exact).flatten(1).norm(dim=1)
    assert float(difference.max()) < (1e-10 if dtype == torch.float64 else 1e-3)


@pytest.mark.parametrize("rows", [[[3.0, 4.0], [0.0, 0.0]], [[3.0, 4.0], [3.0, 4.0]], [[3.0, 4.0], [-6.0, -8.0]]])
def test_dependent_rows_by_hand(rows: list[list[float]]) -> None:
    jacobian = torch.tensor([rows], dtype=torch.float64)
    inverse, full_rank = pseudo_inverse(jacobian)
    assert not full_rank.any()
    torch.testing.assert_close(inverse, dense(jacobian))


def test_one_deficient_sample_leaves_the_others_as_they_are() -> None:
    jacobians = torch.randn(4, 2, 5, dtype=torch.float64)
    alone, _ = pseudo_inverse(jacobians)
    mixed = torch.cat([jacobians, jacobians[:1, :1].expand(1, 2, 5), torch.full((1, 2, 5), math.nan).double()])
    inverse, full_rank = pseudo_inverse(mixed)
    assert full_rank.tolist() == [True] * 4 + [False] * 2
    assert torch.equal(inverse[:4], alone)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_zero_and_not_finite_have_the_inverse_zero(count: int, value: float) -> None:
    jacobians = torch.full((2, count, 4), value)
    jacobians[1] = torch.randn(count, 4)
    jacobians[1, 0, 0] = math.nan
    inverse, full_rank = pseudo_inverse(jacobians)
    assert not full_rank.any()
    assert torch.equal(inverse, torch.zeros_like(jacobians))


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float32, 1e-40), (torch.float16, 1e-6), (torch.bfloat16, 1e-40), (torch.float64, 1e-310)]
)
@pytest.mark.parametrize("count", [1, 2])
def test_an_inverse_too_large_for_the_dtype_is_zero(count: int, dtype: torch.dtype, size: float) -> None:
    inverse, full_rank = pseudo_inverse((size * torch.eye(count, 3, dtype=torch.float64)).unsqueeze(0).to(dtype))
    assert not full_rank.any()
    assert torch.equal(inverse, torch.zeros_like(inverse))


@pytest.mark.parametrize("count", [1, 2])
def test_huge_jacobians_do_not_overflow(count: int) -> None:
    inverse, _ = pseudo_inverse(torch.full((1, count, 2), 3e38))
    # Equal rows of l entries: each shares the inverse, 1 / (2 l 3e38), which is next to nothing in float32.
    torch.testing.assert_close(inverse, torch.full((1, count, 2), 1 / (2 * count) / 3e38), atol=2e-39, rtol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    jacobians = torch.randn(20, 2, 6).to(dtype)
    inverse, _ = pseudo_inverse(jacobians)
    assert inverse.dtype == dtype
    assert torch.equal(inverse, pseudo_inverse(jacobians.float())[0].to(dtype))


def test_empty_batch() -> None:
    for count in (1, 2):
        inverse, full_rank = pseudo_inverse(torch.zeros(0, count, 3))
        assert inverse.shape == (0, count, 3)
        assert full_rank.shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_apply_is_the_product_and_differentiable(count: int) -> None:
    jacobians = torch.randn(4, count, 2, 3, dtype=torch.float64)
    residuals = torch.randn(4, count, dtype=torch.float64, requires_grad=True)
    inverse, _ = pseudo_inverse(jacobians)
    product = torch.einsum("ndl,nl->nd", torch.linalg.pinv(jacobians.flatten(2)), residuals).reshape(4, 2, 3)
    torch.testing.assert_close(apply(inverse, residuals), product)
    assert torch.autograd.gradcheck(lambda r: apply(inverse, r), (residuals,))
