"""
Adam, by PyTorch's function of that name.

Its class `torch.optim.Adam` imports PyTorch's compiler when the first one is made, which takes more than a second.

| Paper link: https://arxiv.org/abs/1412.6980
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETAS = 0.9, 0.99
EPSILON = 1e-8


class Adam:
    """
    Adam with the momenta :data:`BETAS`, in one pass over the parameters.

    >>> import torch
    >>> from art_levelset.recon.adam import Adam
    >>> parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = Adam([parameter])
    >>> parameter.square().sum().backward()
    >>> optimizer.step(0.5)
    >>> parameter.detach()
    tensor([0.5000, 1.5000])

    :param parameters: What is optimised, by the gradients that it has then; what has none stays as it is.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._state: dict[str, list[Tensor]] = {
            "means": [torch.zeros_like(parameter) for parameter in self.parameters],
            "squares": [torch.zeros_like(parameter) for parameter in self.parameters],
            "steps": [torch.zeros((), device=parameter.device) for parameter in self.parameters],
        }

    def forget_gradients(self) -> None:
        """Begin a step: the gradients of the last one do not count."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """
        Move the parameters.

        :param learning_rate: How far, about, each at most.
        """
        chosen = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        means, squares, steps = ([values[i] for i in chosen] for values in self._state.values())
        adam(
            [self.parameters[i] for i in chosen],
            [gradient for i in chosen if (gradient := self.parameters[i].grad) is not None],
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """
        All that changes from step to step.

        :return: Tensors by name, in the order of the parameters.
        """
        return {name: list(values) for name, values in self._state.items()}

    def load_state_dict(self, state: Any) -> None:
        """
        Go on from the state in a file, which may say anything.

        :param state: From :meth:`state_dict`.
        :raises ValueError: If it is that of another one.
        """
        if not isinstance(state, dict) or state.keys() != self._state.keys():
            raise ValueError("optimizer: its state is damaged")
        for name, own in self._state.items():
            if not isinstance(state[name], list) or [_form(value) for value in state[name]] != [*map(_form, own)]:
                raise ValueError("optimizer: its state is that of another one")
        for name, own in self._state.items():
            for value, read in zip(own, state[name], strict=True):
                value.copy_(read)


def _form(value: Any) -> tuple[Any, ...]:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else (type(value),)
