from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.distributed import World, world

from .processes import run

if TYPE_CHECKING:
    from .nursing import Nursery

SAMPLES = 5  # over three processes: shares of 2, 2 and 1


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, 3, dtype=torch.float64), torch.randint(2, (SAMPLES,))


def gradients(model: nn.Module) -> list[Tensor | None]:
    return [None if part.grad is None else part.grad.clone() for part in model.parameters()]


def backward(model: nn.Module, rows: slice, weight: float = 1.0) -> None:
    x, y = batch()
    if len(x[rows]):
        (weight * nn.functional.cross_entropy(model(x[rows]), y[rows])).backward()


@given(st.integers(0, 50), st.integers(1, 12))
def test_the_shares_are_the_batch(count: int, size: int) -> None:
    shares = [np.arange(count)[World(rank, size).share(count)] for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    assert torch.arange(count)[World(0, size).share(count)].tolist() == shares[0].tolist()


@pytest.mark.parametrize(("rank", "size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank: int, size: int) -> None:
    with pytest.raises(ValueError, match="rank must be in"):
        World(rank, size)


def test_alone_without_a_group_nothing_changes() -> None:
    alone = world()
    assert alone == World(0, 1)
    assert alone.main
    model = network()
    backward(model, slice(None))
    before = gradients(model)
    assert all(gradient is not None for gradient in before)
    alone.sum_gradients(model.parameters())
    torch.testing.assert_close(gradients(model), before, rtol=0, atol=0)
    assert alone.mean({"loss": 2.0}, 3) == {"loss": 2.0}
    assert (alone.any(True), alone.any(False)) == (True, False)
    assert alone.broadcast("thing") == "thing"
    assert alone.gather("thing") == ["thing"]
    values = torch.ones(2)
    assert alone.sum(values) is values
    alone.align(model)


def in_every_process() -> dict[str, Any]:
    here = world()
    found: dict[str, Any] = {"world": here}

    model = network(seed=here.rank)
    model.register_buffer("steps", torch.tensor(here.rank + 7))
    model[2].weight.data = model[2].weight.data.t().contiguous().t()  # a layout that messages do not take as it is
    here.align(model)
    found["aligned"] = model.state_dict()

    rows = here.share(SAMPLES)
    backward(model, rows, len(range(SAMPLES)[rows]) / SAMPLES)
    here.sum_gradients(model.parameters())
    found["gradients"] = gradients(model)

    # Shares of 1, 1 and 0; frozen and single-precision parameters; one parameter that no process uses.
    model = network()
    model[0].bias.requires_grad_(False)
    model.register_parameter("scale", nn.Parameter(torch.tensor(2.0)))
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    rows = here.share(2)
    if len(range(2)[rows]):
        x, y = batch()
        weight = len(range(2)[rows]) / 2
        (weight * nn.functional.cross_entropy(model(x[rows]), y[rows]) * model.scale.double()).backward()
    here.sum_gradients(model.parameters())
    found["partial gradients"] = gradients(model)

    figures = [{"loss": 1.0, "wide": 0.5}, {"loss": 4.0}, {"loss": float("nan")}]
    found["mean"] = here.mean(figures[here.rank], 2 - here.rank)
    found["any"] = (here.any(here.rank == 1), here.any(False))
    found["thing"] = here.broadcast({"epoch": 3} if here.main else None)
    found["things"] = here.gather({"rank": here.rank})

    values = torch.tensor([here.rank + 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    total = here.sum(values)
    ((here.rank + 1) * total.square().sum()).backward()
    found["sum"] = (total.detach(), values.grad)
    return found


def test_three_processes(nursery: Nursery) -> None:
    results = run(nursery, in_every_process, size=3)
    assert [found["world"] for found in results] == [World(rank, 3) for rank in range(3)]
    expected, partial = network(), network()
    backward(expected, slice(None))
    partial[0].bias.requires_grad_(False)
    backward(partial, slice(2))
    for found in results:
        state = found["aligned"]
        assert state.pop("steps") == 7
        assert all(torch.equal(state[name], value) for name, value in network().state_dict().items())
        for gradient, reference in zip(found["gradients"], gradients(expected), strict=True):
            torch.testing.assert_close(gradient, reference, rtol=1e-12, atol=1e-14)

        scale, unused, *shared = found["partial gradients"]
        assert shared[1] is None
        assert unused is None
        for gradient, reference in zip(shared, gradients(partial), strict=True):
            if reference is not None:
                torch.testing.assert_close(gradient, 2 * reference, rtol=1e-12, atol=1e-14)
        x, y = batch()
        loss = nn.functional.cross_entropy(network()(x[:2]), y[:2]).detach().float()
        torch.testing.assert_close(scale, loss)

        assert found["mean"] == {"loss": pytest.approx(2.0), "wide": 0.5}
        assert found["any"] == (True, False)
        assert found["thing"] == {"epoch": 3}
        assert found["things"] == [{"rank": rank} for rank in range(3)]
        total, gradient = found["sum"]
        assert total.tolist() == [6.0, 6.0]
        assert gradient.tolist() == [72.0, 72.0]  # d/dv_r of sum_k (k + 1) (sum_i v_i)^2
