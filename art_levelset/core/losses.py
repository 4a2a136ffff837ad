"""
The losses of the paper, eqs. 10 to 13, as pure functions of values and distances.

They know nothing of networks: the distances come from p(theta) (:mod:`art_levelset.core.sample_network`), which makes
the losses differentiable in theta. Where samples have no usable boundary point they are left out and contribute
nothing; `total` then gives the N of the equations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def svm_loss(scores: Tensor, labels: Tensor, weight: Tensor, lam: float) -> Tensor:
    """
    The soft-margin SVM objective (eq. 10): 1/N sum_j max(0, 1 - y_j l(x_j)) + lam |w|_2^2.

    :param scores: l(x_j; w, b) = w^T x_j + b, (N,).
    :param labels: y_j in {-1, +1}, (N,).
    :param weight: w, any shape.
    :param lam: lambda, >= 0.
    :return: A scalar.
    :raises ValueError: If the shapes differ, the labels are others, or `lam` is negative.
    """
    _check_rows("scores", scores, "labels", labels)
    _check_signs(labels)
    _check_not_negative("lam", lam)
    return torch.relu(1 - labels * scores).sum() / _count(scores, None) + lam * weight.square().sum()


def geometric_svm_loss(
    values: Tensor,
    labels: Tensor,
    distances: Tensor,
    margins: Tensor,
    lam: float,
    alpha: float = -2.0,
    total: int | None = None,
) -> Tensor:
    """
    The geometric SVM loss (eq. 11), with Delta_j = min(d(p_j, S_1), d(p_j, S_-1)):

        1/N sum_j max(0, 1 - sign(y_j F(x_j)) d(x_j, p_j) / Delta_j) + lam/N sum_j Delta_j^alpha.

    For an affine F, alpha = -2 and d = L_2 it is eq. 10, in value and in gradient.

    :param values: F(x_j), (n,); only the sign is used.
    :param labels: y_j in {-1, +1}, (n,).
    :param distances: d(x_j, p_j(theta)), (n,).
    :param margins: Delta(x_j; theta) > 0, (n,).
    :param lam: lambda, >= 0.
    :param alpha: The exponent, negative to favour wide margins.
    :param total: N, when some samples were left out; None for n.
    :return: A scalar.
    :raises ValueError: If the shapes differ, the labels are others, or a number is out of range.
    """
    _check_rows("values", values, "labels", labels)
    _check_rows("distances", distances, "margins", margins)
    _check_rows("values", values, "distances", distances)
    _check_signs(labels)
    _check_not_negative("lam", lam)
    signed = torch.sign(labels * values.detach()) * distances
    return (torch.relu(1 - signed / margins) + lam * margins**alpha).sum() / _count(values, total)


def margin_loss(
    values: Tensor,
    distances: Tensor,
    eps: float | Tensor,
    weights: float | Tensor = 1.0,
    total: int | None = None,
) -> Tensor:
    """
    The robust margin loss (eq. 12): 1/N sum_j lambda_j max(0, eps_j - sign(F^{y_j}(x_j)) d(x_j, S^{y_j})).

    It pushes the boundary of the label at least eps_j away from a correctly classified sample and pulls it toward,
    and eps_j beyond, a wrongly classified one.

    :param values: F^{y_j}(x_j), (n,); only the sign is used.
    :param distances: d(x_j, p_j(theta)), (n,).
    :param eps: eps_j >= 0, a number or (n,).
    :param weights: lambda_j >= 0, a number or (n,).
    :param total: N, when some samples were left out; None for n.
    :return: A scalar.
    :raises ValueError: If the shapes differ or a number is out of range.
    """
    _check_rows("values", values, "distances", distances)
    for name, number in (("eps", eps), ("weights", weights)):
        _check_not_negative(name, number)
        _check_one_a_sample(name, number, values)
    return (weights * torch.relu(eps - values.detach().sign() * distances)).sum() / _count(values, total)


def smooth_margin_loss(
    distances: Tensor,
    eps: float | Tensor,
    sharpness: float,
    weights: float | Tensor = 1.0,
    total: int | None = None,
) -> Tensor:
    """
    Eq. 12 with a smooth hinge: 1/N sum_j lambda_j log(1 + exp(kappa (eps_j - d_j))), d_j = sign(F_j) d(x_j, p_j).

    Divided by kappa it tends to :func:`margin_loss` as kappa grows. Where eq. 12 has the gradient 1 within eps_j and 0
    beyond, here it falls as a sigmoid over lengths of 1 / kappa, so samples that are just far enough count too.

    :param distances: d_j, signed: negative for wrongly classified samples, (n,).
    :param eps: eps_j >= 0, a number or (n,).
    :param sharpness: kappa, > 0, in units of one over a distance.
    :param weights: lambda_j >= 0, a number or (n,).
    :param total: N, when some samples were left out; None for n.
    :return: A scalar.
    :raises ValueError: If a shape differs or a number is out of range.
    """
    _check_rows("distances", distances, "distances", distances)
    for name, number in (("eps", eps), ("weights", weights)):
        _check_not_negative(name, number)
        _check_one_a_sample(name, number, distances)
    if not sharpness > 0:
        raise ValueError(f"sharpness must be > 0, got {sharpness}")
    terms = torch.nn.functional.softplus(sharpness * (eps - distances))
    return (weights * terms).sum() / _count(distances, total)


def logistic_margin_loss(values: Tensor, weights: float | Tensor = 1.0, total: int | None = None) -> Tensor:
    """
    The logistic loss of margins at level-set points: 1/N sum_j lambda_j log(1 + exp(-F^{y_j}(p_j; theta))).

    The derivative of p_j(theta), eq. 8, makes d F(p_j) = |D_xF(p_j)|_q times the change of p_j's distance, so each term
    is a smooth hinge on the distance of the level set through p_j, in units of 1 / |D_xF|_q. Weighting distances by
    that speed is what keeps steep places from being neglected (Ding et al.). For F the soft margin it is the
    cross-entropy at p_j.

    :param values: F^{y_j}(p_j; theta), (n,).
    :param weights: lambda_j >= 0, a number or (n,).
    :param total: N, when some samples were left out; None for n.
    :return: A scalar.
    :raises ValueError: If a shape differs or a number is out of range.

    | Paper link: https://arxiv.org/abs/1812.02637
    """
    _check_rows("values", values, "values", values)
    _check_not_negative("weights", weights)
    _check_one_a_sample("weights", weights, values)
    return (weights * torch.nn.functional.softplus(-values)).sum() / _count(values, total)


def reconstruction_loss(
    distances: Sequence[Tensor],
    levels: Sequence[float | Tensor],
    cloud_values: Tensor,
    lam: float,
    p: float = 1.0,
) -> Tensor:
    """
    The reconstruction loss (eq. 13): sum_t (mean |d(x, X) - |t||^p)^(1/p) + lam/N sum_j |F(x_j)|.

    The mean over samples of the level set S_t stands for its normalised volume integral. For curves and other
    manifolds of higher codimension: one set, t = 0, and |F(x_j)| the sum over the l values.

    :param distances: For each t in T, the distances d(x, X) of the samples x(theta) of S_t to the cloud, (n_t,).
    :param levels: For each t in T, t, or the level of each sample, (n_t,).
    :param cloud_values: F(x_j; theta) at the points of the cloud, (N,) or (N, l).
    :param lam: lambda, > 0 in the paper; 0 drops the second part.
    :param p: The exponent, >= 1.
    :return: A scalar.
    :raises ValueError: If there is not one level a set of distances, a set is empty, or a number is out of range.
    """
    if len(distances) != len(levels) or not distances:
        raise ValueError(f"levels: need one for each set of distances, got {len(levels)} for {len(distances)}")
    if not p >= 1:
        raise ValueError(f"p must be >= 1, got {p}")
    _check_not_negative("lam", lam)
    if cloud_values.dim() not in (1, 2):
        raise ValueError(f"cloud_values must have the shape (N,) or (N, l), got {tuple(cloud_values.shape)}")
    total = lam * cloud_values.abs().sum() / max(len(cloud_values), 1)
    for distance, level in zip(distances, levels, strict=True):
        if distance.dim() != 1 or not len(distance):
            raise ValueError(f"distances must have the shape (n_t,) with n_t >= 1, got {tuple(distance.shape)}")
        _check_one_a_sample("levels", level, distance)
        deviation = distance - torch.as_tensor(level, dtype=distance.dtype, device=distance.device).abs()
        total = total + torch.linalg.vector_norm(deviation, ord=p) / len(distance) ** (1 / p)
    return total


def _count(rows: Tensor, total: int | None) -> int:
    if total is not None and total < len(rows):
        raise ValueError(f"total must be at least the number of samples {len(rows)}, got {total}")
    return max(len(rows) if total is None else total, 1)


def _check_rows(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.dim() != 1 or tensor.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have one shape (batch,), got {tuple(tensor.shape)} and {tuple(other.shape)}"
        )


def _check_one_a_sample(name: str, number: float | Tensor, rows: Tensor) -> None:
    if isinstance(number, Tensor) and number.dim() and number.shape != rows.shape:
        raise ValueError(f"{name} must be a number or have the shape {tuple(rows.shape)}, got {tuple(number.shape)}")


def _check_signs(labels: Tensor) -> None:
    if not bool((labels.abs() == 1).all()):
        raise ValueError("labels must be -1 or +1")


def _check_not_negative(name: str, value: float | Tensor) -> None:
    if not bool((torch.as_tensor(value) >= 0).all()):
        raise ValueError(f"{name} must be >= 0")
