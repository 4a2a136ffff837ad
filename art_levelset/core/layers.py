"""
Fields on intermediate layers: the level sets (eq. 3) of what a submodule of a network computes, in the space of its
inputs.

With h: (batch, ...) -> (batch, ...) the network up to and including the layer, and a readout r of its output, the
field is F = r o h. Its level sets {x : r(h(x; theta)) = c} are those of a hidden unit, of the mean over a channel, of a
direction among the activations (a linear probe, a concept), or of any function of them, and everything that takes a
field controls them. Parameters behind the layer are not part of F: they get no gradient.

How h is cut out of the network: a forward hook, registered for one evaluation and removed when it ends, in whatever way
it ends, stops the forward pass as soon as the layer has been called. So what comes behind the layer costs nothing, may
fail, and cannot overwrite the layer's output in place. Cutting the traced graph instead (torch.fx) needs no hook, but a
trace does not exist where control flow depends on the data, and it has the network's mode at the time of tracing for
ever. Of a layer that is called several times in one pass (shared weights, one ReLU for all) the *first* call counts.

Evaluations may be nested, and may run in several threads: a hook acts in its own evaluation only. Python must call the
layer: it does not in TorchScript, nor does this thread of Python in nn.DataParallel over several devices. What is
inside of such a wrapper can be given instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from art_levelset.core.fields import Field

Readout: TypeAlias = "int | Tensor | Callable[..., Tensor]"
"""What becomes of a layer's output: a unit or channel, directions, or a function."""


def layer_field(module: nn.Module, layer: str, readout: Readout, *, per_sample: tuple[Tensor, ...] = ()) -> Field:
    """
    F = a function of what one layer of a network computes: its level sets are those of an intermediate layer.

    :param module: The network, called with the points. Its modes are guarded, and its parameters up to the layer are
           theta.
    :param layer: The layer's name in `module.named_modules()`, such as "0" or "encoder.block2.conv".
    :param readout: What F is of the layer's output, (batch, channels, ...). A number: that unit, or the mean over that
           channel where a channel has several. A tensor of one sample's shape: the direction whose inner product with
           the output is F; one with a first axis more: l directions. A function: called as
           `readout(output, *per_sample)`, it returns (batch, l), or (batch,) for l = 1.
    :param per_sample: Tensors with one row a sample that follow the points, (batch, ...), for a function.
    :return: The field.
    :raises ValueError: If the network has no such layer, or `per_sample` is given without a function; when evaluated,
            if the layer is not called, or its output does not fit the readout.
    :raises TypeError: If an argument is of another type; when evaluated, if the layer's output is no tensor.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> import torch
    >>> from art_levelset import project
    >>> from art_levelset.core.layers import layer_field
    >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> unit = layer_field(network, "0", 5)
    >>> bends = project(unit, torch.randn(4, 2)).points  # where the ReLU of the hidden unit 5 has its bend
    >>> torch.allclose(network[0](bends)[:, 5], torch.zeros(4), atol=1e-5)
    True
    """
    if isinstance(readout, bool) or not (isinstance(readout, int | Tensor) or callable(readout)):
        raise TypeError(f"readout must be a number, a tensor or a function, got {type(readout).__name__}")
    if per_sample and not callable(readout):
        raise ValueError("per_sample: only a function takes it as readout")
    if isinstance(readout, Tensor) and not readout.is_floating_point():
        raise TypeError(f"readout: a direction must be floating point, got {readout.dtype}")
    _part(module, layer)

    def function(points: Tensor, *rows: Tensor) -> Tensor:
        return _read(layer_output(module, layer, points), readout, rows)

    return Field(function, module, per_sample)


def layer_output(module: nn.Module, layer: str, points: Tensor) -> Tensor:
    """
    What a layer computes, in the network's current mode, recording gradients as the caller has set them.

    The network is called with the points, and stopped when the layer has been called.

    :param module: The network.
    :param layer: The layer's name in `module.named_modules()`.
    :param points: What the network is called with.
    :return: The layer's output at its first call.
    :raises ValueError: If the network has no such layer, or did not call it.
    :raises TypeError: If the output is no tensor.

    >>> import torch
    >>> from art_levelset.core.layers import layer_output
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(1, 1))
    >>> layer_output(network, "0", torch.zeros(2, 1, 8, 8)).shape  # the Linear would not fit
    torch.Size([2, 4, 6, 6])
    """
    part, outputs, evaluation = _part(module, layer), list[Any](), object()

    def stop(part: nn.Module, inputs: object, output: object) -> None:
        if _evaluation.get() is evaluation:
            outputs.append(output)
            raise _Reached

    token = _evaluation.set(evaluation)
    hook = part.register_forward_hook(stop)
    try:
        module(points)
    except _Reached:
        pass
    finally:
        hook.remove()
        _evaluation.reset(token)
    if not outputs:
        raise ValueError(
            f"layer: the network's forward pass does not call {layer!r}, or not where Python sees it (TorchScript, "
            "nn.DataParallel: give the network that is inside)"
        )
    output = outputs[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"layer: the output of {layer!r} must be a tensor, got {type(output).__name__}")
    return output


class _Reached(BaseException):
    """The layer has been called. No `except Exception` of a network stands in its way."""


_evaluation: ContextVar[object] = ContextVar("the evaluation that this thread is in, the innermost one", default=None)


def _part(module: nn.Module, layer: str) -> nn.Module:
    """The submodule of a name."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module, got {type(module).__name__}")
    if not isinstance(layer, str):
        raise TypeError(f"layer must be a name, got {type(layer).__name__}")
    parts: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    if layer not in parts:
        close = difflib.get_close_matches(layer, parts, n=3) or [name for name in parts if name][:8]
        known = f"it has {', '.join(map(repr, close))}" if close else "it has no submodules"
        raise ValueError(f"layer: the network has no {layer!r}; {known}")
    return parts[layer]


def _read(output: Tensor, readout: Readout, rows: tuple[Tensor, ...]) -> Tensor:
    if callable(readout):
        return readout(output, *rows)
    if output.dim() < 2:
        raise ValueError(f"layer: its output must have the shape (batch, channels, ...), got {tuple(output.shape)}")
    if isinstance(readout, int):
        if not 0 <= readout < output.shape[1]:
            raise ValueError(f"readout must be in [0, {output.shape[1]}), the layer's channels, got {readout}")
        return output[:, readout : readout + 1].flatten(1).mean(dim=1)
    shape = output.shape[1:]
    if readout.shape not in (shape, (*readout.shape[:1], *shape)):
        raise ValueError(
            f"readout: directions must have the shape {tuple(shape)} or (l, *{tuple(shape)}) of the layer's output, "
            f"got {tuple(readout.shape)}"
        )
    directions = readout.to(output).reshape(-1, shape.numel())
    return torch.nn.functional.linear(output.flatten(1), directions)
