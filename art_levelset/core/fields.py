"""
Fields: what a level-set function F is, its values and its per-sample Jacobians.

A field maps points, (batch, ...), to values, (batch, l), one row a sample: sample i's value depends on point i alone.
Its level sets are {x : F(x) = c} (eq. 3), manifolds of dimension d - l where D_xF has full rank l (d: the number of
entries of one point). The constructors below cover the paper; a function of your own is `Field(function, module)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from art_levelset.core.modes import evaluating


@dataclass(frozen=True, eq=False)
class Field:
    """
    A level-set function F, (batch, ...) -> (batch, l).

    :param function: Called as `function(points, *per_sample)`; returns (batch, l), or (batch,) for l = 1.
    :param module: The network behind the function, whose modes are guarded and whose parameters are theta. None when
           there is none.
    :param per_sample: Tensors with one row a sample, such as labels, (batch, ...). They follow the points when a
           computation goes on with a part of the batch.
    :raises ValueError: If `module` has a normalisation layer that uses batch statistics even in evaluation mode: then
            a sample's value depends on its neighbours in the batch and a per-sample Jacobian does not exist.

    >>> import torch
    >>> from art_levelset import Field
    >>> sphere = Field(lambda x: torch.linalg.vector_norm(x, dim=1) - 1)
    >>> sphere(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[4.],
            [0.]])
    """

    function: Callable[..., Tensor]
    module: nn.Module | None = None
    per_sample: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function must be callable, got {type(self.function).__name__}")
        for name, part in self.module.named_modules() if self.module is not None else ():
            if isinstance(part, _BatchNorm) and part.running_mean is None:
                raise ValueError(
                    f"module: the normalisation layer {name!r} keeps no running statistics "
                    "(track_running_stats=False), so samples of a batch are not independent of each other"
                )

    def __call__(self, points: Tensor) -> Tensor:
        """
        Evaluate F in the network's current mode, recording gradients as the caller has set them.

        :param points: The points, (batch, ...).
        :return: The values, (batch, l).
        :raises TypeError: If the function returns something else than a floating-point tensor.
        :raises ValueError: If a per-sample tensor or the returned values do not have one row a point.
        """
        for rows in self.per_sample:
            if len(rows) != len(points):
                raise ValueError(f"points: {len(points)} points, but the field's labels have {len(rows)} rows")
        values = self.function(points, *self.per_sample)
        if not isinstance(values, Tensor) or not values.is_floating_point():
            got = str(values.dtype) if isinstance(values, Tensor) else type(values).__name__
            raise TypeError(f"field: the function must return a floating-point tensor, got {got}")
        if values.dim() == 1:
            values = values.unsqueeze(1)
        if values.dim() != 2 or len(values) != len(points) or values.shape[1] == 0:
            raise ValueError(
                f"field: the function must return (batch,) or (batch, l) with l >= 1; "
                f"for points of shape {tuple(points.shape)} it returned {tuple(values.shape)}"
            )
        return values

    def select(self, rows: Tensor) -> Field:
        """
        The same field on a part of the batch.

        :param rows: Indices or a boolean mask, as one indexes points.
        :return: The field whose per-sample tensors are those of the rows.
        """
        if not self.per_sample:
            return self
        return replace(self, per_sample=tuple(tensor[rows.to(tensor.device)] for tensor in self.per_sample))


FieldLike: TypeAlias = "Field | nn.Module | Callable[[Tensor], Tensor]"


def network_field(module: nn.Module) -> Field:
    """
    F = the network, all its outputs: the 0 level set is eq. 2 (l = 1) or an intersection of l hypersurfaces.

    :param module: A network (batch, ...) -> (batch, l) or (batch,).
    :return: The field.

    >>> import torch
    >>> from art_levelset import network_field
    >>> network_field(torch.nn.Linear(3, 2))(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """
    return Field(module, module)


def logit_field(module: nn.Module, index: int | Tensor) -> Field:
    """
    F = f_index, one logit.

    :param module: A classifier (batch, ...) -> (batch, classes).
    :param index: The logit's number, or one number a sample, (batch,).
    :return: The field, l = 1.

    >>> import torch
    >>> from art_levelset import logit_field
    >>> logit_field(torch.nn.Identity(), 2)(torch.tensor([[1.0, 2.0, 4.0]]))
    tensor([[4.]])
    """
    if isinstance(index, Tensor):
        return Field(lambda points, column: _pick(module(points), column, "index"), module, (_labels(index, "index"),))

    return Field(lambda points: _pick(module(points), torch.full((len(points),), index), "index"), module)


def margin_field(module: nn.Module, labels: Tensor) -> Field:
    """
    F^j = f_j - max_{i != j} f_i (eq. 1): positive where the classifier says j, zero on the decision boundary of j.

    :param module: A classifier (batch, ...) -> (batch, classes), at least two classes.
    :param labels: The label j of each sample, (batch,), integers in [0, classes).
    :return: The field, l = 1.
    :raises ValueError: If the labels are not a vector of integers, or (when evaluated) are out of range.

    >>> import torch
    >>> from art_levelset import margin_field
    >>> logits = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    >>> margin_field(torch.nn.Identity(), torch.tensor([0, 2]))(logits)
    tensor([[-3.],
            [ 2.]])
    """
    return Field(
        lambda points, column: label_margin(module(points), column),
        module,
        (_labels(labels, "labels"),),
    )


def label_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """
    The margin f_j - max_{i != j} f_i of given logits (eq. 1).

    :param logits: (batch, classes), at least two classes.
    :param labels: (batch,), integers in [0, classes).
    :return: (batch,).
    :raises ValueError: If there are fewer than two classes or a label is out of range.
    """
    own, others = _own_and_others(logits, labels)
    return own - others.amax(dim=1)


def soft_margin_field(module: nn.Module, labels: Tensor) -> Field:
    """
    F^j = f_j - log sum_{i != j} exp f_i: :func:`margin_field` with a smooth maximum, at most as large.

    It is the log-odds of the label, log p_j / (1 - p_j), for the softmax p of the logits: its zero level set is the
    soft decision boundary p_j = 1/2, which has no edges and lies on the label's side of the hard one.

    :param module: A classifier (batch, ...) -> (batch, classes), at least two classes.
    :param labels: The label j of each sample, (batch,), integers in [0, classes).
    :return: The field, l = 1.
    :raises ValueError: If the labels are not a vector of integers, or (when evaluated) are out of range.

    | Paper link: https://arxiv.org/abs/2302.03015

    >>> import torch
    >>> from art_levelset import soft_margin_field
    >>> logits = torch.tensor([[1.0, 2.0, 4.0]])
    >>> log_odds = soft_margin_field(torch.nn.Identity(), torch.tensor([2]))(logits)
    >>> torch.allclose(torch.sigmoid(log_odds), logits.softmax(dim=1)[:, 2:])
    True
    """
    return Field(
        lambda points, column: soft_label_margin(module(points), column),
        module,
        (_labels(labels, "labels"),),
    )


def soft_label_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """
    The margin f_j - log sum_{i != j} exp f_i of given logits.

    :param logits: (batch, classes), at least two classes.
    :param labels: (batch,), integers in [0, classes).
    :return: (batch,).
    :raises ValueError: If there are fewer than two classes or a label is out of range.
    """
    own, others = _own_and_others(logits, labels)
    return own - others.logsumexp(dim=1)


def as_field(field: FieldLike) -> Field:
    """
    A field from whatever the caller has: a Field, a network (:func:`network_field`) or a function of the points.

    :param field: A Field, an nn.Module or a callable. A function that calls a network should be given as
           `Field(function, module)`: only then can the network's mode be guarded.
    :return: The field.
    :raises TypeError: If it is none of them.
    """
    if isinstance(field, Field):
        return field
    if isinstance(field, nn.Module):
        return network_field(field)
    if callable(field):
        return Field(field)
    raise TypeError(f"field must be a Field, an nn.Module or a callable, got {type(field).__name__}")


def values_and_jacobians(field: FieldLike, points: Tensor) -> tuple[Tensor, Tensor]:
    """
    F and D_xF at each point, in evaluation mode: one forward and l backward passes, each over the whole batch.

    The passes go to the points only; no parameter's gradient is computed or stored. A value that does not depend on
    the points at all has the Jacobian zero.

    :param field: The level-set function.
    :param points: The points, (batch, ...).
    :return: Values, (batch, l), and Jacobians, (batch, l, ...), both detached.
    """
    field = as_field(field)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(field.module):
        leaves = recordable(points).requires_grad_()
        if any(tensor.is_inference() or tensor.requires_grad for tensor in field.per_sample):
            field = replace(field, per_sample=tuple(recordable(tensor) for tensor in field.per_sample))
        values = field(leaves)
        return values.detach(), jacobians_of(values, leaves)


def jacobians_of(values: Tensor, points: Tensor, retain_graph: bool = False) -> Tensor:
    """
    D_xF from values already computed: l batched backward passes through their graph.

    :param values: F(points), (batch, l), with its graph.
    :param points: The points, (batch, ...), that the values were computed from.
    :param retain_graph: Whether the graph is needed once more afterwards.
    :return: Jacobians, (batch, l, ...), detached.
    """
    count = values.shape[1]
    if not values.requires_grad:
        return points.new_zeros(len(points), count, *points.shape[1:])
    rows = []
    for column in range(count):
        (row,) = torch.autograd.grad(
            values[:, column].sum(), points, retain_graph=retain_graph or column < count - 1, materialize_grads=True
        )
        rows.append(row)
    return torch.stack(rows, dim=1)


def recordable(tensor: Tensor) -> Tensor:
    """
    The tensor without history, such that autograd may record what is done with it.

    :param tensor: Any tensor, also one made in inference mode (which autograd refuses: that one is copied).
    :return: The same numbers. To be called outside of inference mode.
    """
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _own_and_others(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's logit, (batch,), and the logits with -inf in its place, (batch, classes)."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"the margin of a label needs logits (batch, classes >= 2), got {tuple(logits.shape)}")
    own = _pick(logits, labels, "labels")
    return own, logits.scatter(1, labels.to(logits.device).unsqueeze(1), -torch.inf)


def _labels(labels: Tensor, name: str) -> Tensor:
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        what = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"{name} must be a vector (batch,) of integers, got {what}")
    return labels.long()


def _pick(logits: Tensor, column: Tensor, name: str) -> Tensor:
    if logits.dim() != 2:
        raise ValueError(f"{name} needs logits (batch, classes), got the shape {tuple(logits.shape)}")
    if column.numel() and not (int(column.min()) >= 0 and int(column.max()) < logits.shape[1]):
        raise ValueError(
            f"{name} must be in [0, {logits.shape[1]}), got values from {int(column.min())} to {int(column.max())}"
        )
    return logits.gather(1, column.to(logits.device).unsqueeze(1)).squeeze(1)
