"""
The Moore-Penrose inverse of per-sample Jacobians, J^+ = J^T (J J^T)^-1, for any l << d.

l = 1 is eq. 5, J^T / |J|^2. For l > 1 the l x l Gram matrix of the *normalised* rows is factorised by Cholesky: for
full row rank (D J)^+ = J^+ D^-1, so rows of very different length (logits of different scale) cost no accuracy. Where
its determinant falls to rounding level the rank is deficient, and the inverse is the truncated one from the Gram
matrix' eigenvalues. An SVD of the l x d Jacobian is never formed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pseudo_inverse(jacobians: Tensor) -> tuple[Tensor, Tensor]:
    """
    J^+ of each sample's Jacobian, stored transposed, and whether the Jacobian has full rank.

    :param jacobians: J, (batch, l, ...), l <= d. Half precision is computed in float32.
    :return: (J^+)^T, (batch, l, ...), so that J^+ r is :func:`apply` of it and r; and full rank, (batch,), bool. A
             Jacobian that is zero, not finite or too small for the dtype to hold its inverse has the inverse zero and
             no full rank.
    """
    work = torch.float32 if jacobians.dtype in (torch.float16, torch.bfloat16) else jacobians.dtype
    rows = jacobians.flatten(2).to(work)
    # Scaled by its largest entry, a row's norm can neither overflow nor underflow.
    largest = rows.abs().amax(dim=2, keepdim=True)
    usable = torch.isfinite(largest) & (largest > 0)
    raw = torch.where(usable, rows, 0.0)
    rows = raw / torch.where(usable, largest, 1.0)
    norms = torch.where(usable, torch.linalg.vector_norm(rows, dim=2, keepdim=True), 1.0)
    rows = rows / norms
    scales = torch.where(usable, norms * largest, 1.0)
    full_rank = usable.flatten(1).all(dim=1)
    if rows.shape[1] > 1:
        inverse, independent = _from_gram(rows)
        inverse = inverse / scales
        full_rank = full_rank & independent
        if not bool(full_rank.all()):
            deficient = ~full_rank
            finite = torch.isfinite(jacobians[deficient].flatten(1)).all(dim=1)
            inverse[deficient] = torch.where(finite[:, None, None], _truncated(raw[deficient]), 0.0)
    else:
        inverse = rows / scales
    inverse = inverse.to(jacobians.dtype)
    representable = torch.isfinite(inverse).flatten(1).all(dim=1)
    inverse = torch.where(representable[:, None, None], inverse, 0.0)
    return inverse.reshape(jacobians.shape), full_rank & representable


def apply(inverse: Tensor, residuals: Tensor) -> Tensor:
    """
    J^+ r, differentiable in r.

    :param inverse: (J^+)^T from :func:`pseudo_inverse`, (batch, l, ...).
    :param residuals: r, (batch, l).
    :return: (batch, ...).
    """
    weights = residuals.reshape(*residuals.shape, *(1,) * (inverse.dim() - 2))
    return (inverse * weights).sum(dim=1)


def _from_gram(rows: Tensor) -> tuple[Tensor, Tensor]:
    gram = rows @ rows.mT
    factor, info = torch.linalg.cholesky_ex(gram)
    # The determinant is the squared volume that the rows span; rounding errors move it by a few eps for every row.
    determinant = factor.diagonal(dim1=1, dim2=2).square().prod(dim=1)
    independent = (info == 0) & (determinant > 32 * rows.shape[1] * torch.finfo(rows.dtype).eps)
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    factor = torch.where(independent[:, None, None], factor, identity)
    inverse: Tensor = torch.cholesky_solve(rows, factor)
    return inverse, independent


def _truncated(rows: Tensor) -> Tensor:
    scale = rows.abs().amax(dim=(1, 2), keepdim=True)
    rows = rows / torch.where(scale > 0, scale, 1.0)
    spectrum, basis = torch.linalg.eigh(rows @ rows.mT)
    cutoff = 32 * rows.shape[1] * torch.finfo(rows.dtype).eps * spectrum[:, -1:]
    kept = spectrum > cutoff
    reciprocal = torch.where(kept, 1.0 / torch.where(kept, spectrum, 1.0), 0.0)
    inverse = (basis * reciprocal.unsqueeze(1)) @ (basis.mT @ rows)
    return torch.div(inverse, torch.where(scale > 0, scale, 1.0))
