"""Mode safety: whatever is computed, and however it ends, the network is left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from art_levelset import Field, SampleNetwork, descend, false_position, margin_field, project, sample_network
from art_levelset.core.ascent import seek_crossing
from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.modes import evaluating, training
from art_levelset.core.sample_network import attach

DOUBLE = torch.float64
LABELS = torch.arange(8) % 3


class Guarded(nn.Module):
    """BatchNorm and dropout, in a mixture of modes, with a frozen parameter and gradients already there."""

    def __init__(self, modes: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3),
        )  # fmt: skip
        self.double()
        self(torch.randn(16, 1, 5, 5, dtype=DOUBLE)).square().sum().backward()
        self.layers[0].weight.requires_grad_(False)
        self.layers[5].bias.grad = None
        self.train(modes != "eval")
        if modes == "mixed":
            self.layers[1].eval()
            self.layers[3].eval()
        self.calls = 0
        self.fails_at: int | None = None
        self.seen: set[bool] = set()

    def train(self, mode: bool = True) -> Guarded:
        self.trained = getattr(self, "trained", 0) + 1
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "calls"):
            self.calls += 1
            self.seen |= {part.training for part in self.modules()}
            if self.calls == self.fails_at:
                raise RuntimeError("the network fails in the middle")
        return self.layers(x)

    def snapshot(self) -> dict[str, object]:
        state: dict[str, object] = {f"mode {name}": part.training for name, part in self.named_modules()}
        state |= {f"requires_grad {name}": p.requires_grad for name, p in self.named_parameters()}
        state |= {f"grad {name}": None if p.grad is None else p.grad.tolist() for name, p in self.named_parameters()}
        state |= {f"state {name}": tensor.tolist() for name, tensor in self.state_dict().items()}
        return state | {"calls of train()": self.trained}


def _sample_network(field: Field, x: Tensor) -> object:
    return sample_network(field, x, torch.ones(8, 1, 1, 5, 5, dtype=DOUBLE))


def _project_and_follow(field: Field, x: Tensor) -> object:
    return SampleNetwork(field)(project(field, x, max_iter=3))


COMPUTATIONS: dict[str, Callable[[Field, Tensor], object]] = {
    "values_and_jacobians": values_and_jacobians,
    "project": lambda field, x: project(field, x, tol=0.0, max_iter=4),
    "backtracking": lambda field, x: project(field, x, tol=0.0, max_iter=4, backtracking=True),
    "descend": lambda field, x: descend(field, x, step=0.1, tol=0.0, max_iter=4),
    "false_position": lambda field, x: false_position(field, x, -2 * x, tol=0.0, max_iter=6),
    "seek_crossing": lambda field, x: seek_crossing(field, x, eps=1e-3, step=1e-4, max_iter=4),
    "sample_network": _sample_network,
    "attach": attach,
    "SampleNetwork": _project_and_follow,
}


@pytest.mark.parametrize("modes", ["train", "eval", "mixed"])
@pytest.mark.parametrize("compute", COMPUTATIONS.values(), ids=COMPUTATIONS)
def test_the_network_is_left_as_it_was(compute: Callable[[Field, Tensor], object], modes: str) -> None:
    module, x = Guarded(modes), torch.randn(8, 1, 5, 5, dtype=DOUBLE)
    before = module.snapshot()
    assert any(key.endswith("num_batches_tracked") for key in before)
    compute(margin_field(module, LABELS), x)
    assert module.calls > 0
    assert module.seen == {False}
    assert module.snapshot() == before


@pytest.mark.parametrize("modes", ["train", "mixed"])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0], ids=["at first", "in the middle", "at last"])
@pytest.mark.parametrize("compute", COMPUTATIONS.values(), ids=COMPUTATIONS)
def test_the_network_is_left_as_it_was_when_it_fails(
    compute: Callable[[Field, Tensor], object], part: float, modes: str
) -> None:
    module, x = Guarded(modes), torch.randn(8, 1, 5, 5, dtype=DOUBLE)
    compute(margin_field(module, LABELS), x)
    module.calls, module.fails_at = 0, 1 + round(part * (module.calls - 1))
    before = module.snapshot()
    with pytest.raises(RuntimeError, match="the network fails in the middle"):
        compute(margin_field(module, LABELS), x)
    assert module.snapshot() == before


def test_only_the_backward_pass_of_the_sample_network_writes_gradients() -> None:
    module, x = Guarded("train"), torch.randn(8, 1, 5, 5, dtype=DOUBLE)
    module.zero_grad()
    moving, _ = attach(margin_field(module, LABELS), x)
    assert all(parameter.grad is None for parameter in module.parameters())
    moving.sum().backward()
    assert {name for name, p in module.named_parameters() if p.grad is None} == {"layers.0.weight"}


def test_evaluating_restores_after_an_exception_and_when_nested() -> None:
    module = Guarded("mixed")
    before = module.snapshot()

    def fail() -> None:
        with evaluating(module), evaluating(module.layers):
            assert not any(part.training for part in module.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.snapshot() == before
    with evaluating(None):
        pass


def test_a_module_used_twice_is_restored_once() -> None:
    shared = nn.Dropout()
    module = nn.Sequential(shared, nn.Linear(2, 2), shared)
    shared.eval()
    with evaluating(module):
        assert not module.training
    assert [part.training for part in module] == [False, True, False]
    assert module.training


def test_modes_are_written_only_where_they_change() -> None:
    written: list[bool] = []

    class Watched(nn.Linear):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "training":
                written.append(bool(value))
            super().__setattr__(name, value)

    layer = Watched(1, 1).eval()
    written.clear()
    with evaluating(layer):
        assert written == []
    with training(layer):
        assert written == [True]
    assert written == [True, False]
