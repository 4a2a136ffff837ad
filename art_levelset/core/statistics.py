"""
BatchNorm in level-set training: the statistics s of a clean batch as functions of the parameters.

The function that is deployed, and whose level sets count, is the network in evaluation mode, F(x; theta, s): a layer
normalises by statistics s = (mean, variance), and a sample's value does not depend on its neighbours. But s follows
the parameters, because training lets it follow the batches, and the level set moves with theta through s as well:

    d_theta F(x; theta, s(theta)) = D_theta F + D_s F D_theta s.

:func:`batch_statistics` measures s(theta) on a clean batch, with its graph, and :func:`normalising` has every pass
normalise by given statistics: constants for the points of a batch, so that each sample has its own Jacobian, and
functions of theta in a backward pass. The values are those of the layers' own kernels, bit for bit.

:func:`carried` gives statistics with the values of the running ones, so that F is the deployed function, and with the
derivative of the batch's, so that the scale of the weights before a layer has none: batch renormalisation.

| Paper link: https://arxiv.org/abs/1502.03167 (BatchNorm)
| Paper link: https://arxiv.org/abs/1702.03275 (batch renormalisation)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from art_levelset.core.modes import evaluating


class Moments(NamedTuple):
    """
    What a BatchNorm layer normalises by, x -> weight (x - mean) / sqrt(variance + eps) + bias.

    :param mean: One number a channel, (channels,).
    :param variance: The same, >= 0; of a batch the biased one, as BatchNorm normalises by.
    """

    mean: Tensor
    variance: Tensor


Statistics: TypeAlias = Mapping[_BatchNorm, Moments]

_RUNNING = ("running_mean", "running_var")


def frozen_layers(module: nn.Module) -> frozenset[nn.Module]:
    """
    The layers with running statistics (BatchNorm, InstanceNorm) whose statistics training must leave as they are.

    These are the layers that are in evaluation mode while other layers of the network are in training mode, and those
    that have parameters of which none has a gradient.

    :param module: The network.
    :return: The layers.
    """
    in_training = any(part.training for part in module.modules() if part is not module)
    return frozenset(
        part
        for part in module.modules()
        if isinstance(getattr(part, "running_mean", None), Tensor)
        and ((in_training and not part.training) or _is_without_gradient(part))
    )


def batch_statistics(
    module: nn.Module,
    points: Tensor,
    total: Callable[[Tensor], Tensor] | None = None,
    frozen: Collection[nn.Module] | None = None,
) -> Statistics:
    """
    Pass a batch through the network in evaluation mode, but each BatchNorm layer normalises by the batch.

    The layers' running statistics follow, as in a forward pass in training mode. A layer that is called more than once
    has the mean of its calls' moments: in evaluation mode, too, it has one set for all of them.

    :param module: The network, not compiled.
    :param points: The batch, (batch, ...).
    :param total: Where processes share the batch: the sum of a tensor over them, differentiable. Each passes its part,
           and all get the statistics of the whole.
    :param frozen: Layers that normalise by their running statistics, which stay as they are; None for those of
           :func:`frozen_layers`.
    :return: The moments of each layer's inputs, differentiable in the parameters where gradients are enabled, in the
             dtype of its running statistics. Empty for a network without BatchNorm, or with fewer than two points.
    """
    kept = frozen_layers(module) if frozen is None else frozen
    found = (part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None)
    norms = [part for part in found if part not in kept]
    count = len(points) if total is None else int(total(torch.tensor(len(points), device=points.device)))
    if not norms or count < 2:
        return {}
    calls: dict[_BatchNorm, list[Moments]] = {}

    def normalise(norm: Any, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        (values,) = (*inputs, *named.values())
        current[norm].close()
        moments, rows = _moments(values.to(norm.running_mean.dtype), total)
        _follow(norm, moments, rows)
        calls.setdefault(norm, []).append(moments)
        current[norm].enter_context(normalising({norm: moments}))

    with evaluating(module), ExitStack() as stack:
        current = {norm: stack.enter_context(ExitStack()) for norm in norms}
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(normalise, with_kwargs=True).remove)
        module(points.detach())
    return {
        norm: Moments(*(torch.stack(rows).mean(dim=0) for rows in zip(*each, strict=True)))
        for norm, each in calls.items()
    }


@contextmanager
def normalising(statistics: Statistics) -> Iterator[None]:
    """
    Have BatchNorm layers in evaluation mode normalise by given statistics; their own are back on the way out.

    Derivatives reach whatever the statistics are functions of: a layer is given their values in place of its running
    statistics, and in place of its weight and bias tensors of the same values that carry the derivative,

        weight' = weight sqrt((v_0 + eps) / (v + eps)),   bias' = bias + weight' (m_0 - m) / sqrt(v_0 + eps),

    with (m, v) the statistics and (m_0, v_0) their values. Meanwhile `parameters()` and `state_dict()` of the network
    show these; backward passes are made inside or afterwards, optimizer steps afterwards.

    :param statistics: Moments by layer; layers that are not in it keep their running statistics.
    """
    with ExitStack() as restored:
        for norm, (mean, variance) in statistics.items():
            values = Moments(mean.detach().clone(), variance.detach().clone())
            ratio = ((values.variance + norm.eps) / (variance + norm.eps)).sqrt()
            weight = ratio if norm.weight is None else norm.weight * ratio
            shift = weight * (values.mean - mean) / (values.variance + norm.eps).sqrt()
            bias = shift if norm.bias is None else norm.bias + shift
            _swap(norm._parameters, {"weight": weight, "bias": bias}, restored)
            _swap(norm._buffers, dict(zip(_RUNNING, values, strict=True)), restored)
        yield


def carried(statistics: Statistics) -> Statistics:
    """
    The layers' running statistics, carried along by the batch's as the parameters move.

    With the batch's mean m and deviation d = sqrt(v + eps), the running mean is M = m + a d and the running deviation
    D = b d. Here a and b are constants, so that M' = m' + a d' and D' = b d'. When the weights before a layer are
    scaled, m and d are scaled with its inputs, and now so are M and D: its outputs stay what they are.

    :param statistics: Those of a batch, from :func:`batch_statistics`.
    :return: Moments that have the values of the running statistics.
    """
    moments = {}
    for norm, (mean, variance) in statistics.items():
        deviation = (variance + norm.eps).sqrt()
        running = Moments(*(getattr(norm, name).clone() for name in _RUNNING))
        offset = (running.mean - mean.detach()) / deviation.detach()
        scale = (running.variance + norm.eps) / (variance.detach() + norm.eps)
        moments[norm] = Moments(
            running.mean + _change(mean) + offset * _change(deviation),
            running.variance + scale * _change(variance),
        )
    return moments


def _is_without_gradient(part: nn.Module) -> bool:
    own = list(part.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _moments(values: Tensor, total: Callable[[Tensor], Tensor] | None) -> tuple[Moments, float]:
    """The mean and variance of each channel, (batch, channels, ...), and of how many values they are."""
    dims = [0, *range(2, values.dim())]
    count = values.numel() / max(values.shape[1], 1)
    if total is None:
        variance, mean = torch.var_mean(values, dims, correction=0)
        return Moments(mean, variance), count
    count = float(total(values.new_tensor(count)))
    mean = total(values.sum(dims)) / count
    deviations = values - mean.reshape(-1, *(1,) * (values.dim() - 2))
    return Moments(mean, total(deviations.square().sum(dims)) / count), count


def _follow(norm: Any, moments: Moments, count: float) -> None:
    """What a forward pass in training mode does to the running statistics."""
    norm.num_batches_tracked.add_(1)
    part = norm.momentum
    if part is None:
        part = (1 / norm.num_batches_tracked).to(norm.running_mean.dtype)  # lerp_ of older torch takes no other
    norm.running_mean.lerp_(moments.mean.detach(), part)
    norm.running_var.lerp_(moments.variance.detach() * (count / (count - 1)), part)


def _change(tensor: Tensor) -> Tensor:
    """Zero, with the tensor's derivative."""
    return tensor - tensor.detach()


def _swap(registry: dict[str, Any], tensors: Mapping[str, Tensor], restored: ExitStack) -> None:
    for name, tensor in tensors.items():
        restored.callback(registry.__setitem__, name, registry[name])
        registry[name] = tensor
