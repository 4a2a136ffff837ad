"""A network that is quick to attack, samples that it classifies right, and the means to see whether it was touched."""

from __future__ import annotations

import copy
import importlib.util
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

CLASSES = 10
SHAPE = (1, 6, 6)


def needs(*libraries: str) -> pytest.MarkDecorator:
    """Skip where a library is not installed. Unlike pytest.importorskip it does not import it, which needs help."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES)
        )
        model(torch.rand(200, *SHAPE))  # BatchNorm's statistics, which training mode would change again
    return model.eval()


def mlp() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, CLASSES)).eval()


def data(model: nn.Module, count: int = 6) -> tuple[Tensor, Tensor]:
    """Samples, some values at the ends of [0, 1], and what the network says."""
    generator = torch.Generator().manual_seed(4)
    x = (1.4 * torch.rand(count, *SHAPE, generator=generator) - 0.2).clamp(0, 1)
    with torch.no_grad():
        return x, model(x).argmax(dim=1)


def distances(attacked: Tensor, x: Tensor, norm: float) -> Tensor:
    return torch.linalg.vector_norm((attacked.double() - x.double()).flatten(1), norm, dim=1)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).double().mean().item()


def disturbed(model: nn.Module) -> nn.Module:
    """The network as a caller may hold it: mixed modes, gradients, a frozen parameter."""
    model.train()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, index)
    next(model.parameters()).requires_grad_(False)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """All that an attack must leave as it is."""
    return {
        "values": copy.deepcopy(dict(model.state_dict())),
        "modes": [part.training for part in model.modules()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "required": [p.requires_grad for p in model.parameters()],
        "strides": [p.stride() for p in model.parameters()],
        "hooks": sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()),
    }


def random_states() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  # what libraries draw from
    return torch.get_rng_state().tolist(), name, np.asarray(keys).tolist(), rest, random.getstate()


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
