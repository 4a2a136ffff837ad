from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from art_levelset.recon.adam import BETAS, Adam


def parameters(*values: float) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([value, 2 * value])) for value in values]


def test_it_goes_the_way_of_the_library() -> None:
    own, theirs = parameters(1.0, -3.0), parameters(1.0, -3.0)
    one, other = Adam(own), torch.optim.Adam(theirs, betas=BETAS, fused=True)
    for step in range(5):
        other.param_groups[0]["lr"] = 0.1 * (step + 1)
        for optimizer, values in ((one, own), (other, theirs)):
            optimizer.forget_gradients() if isinstance(optimizer, Adam) else optimizer.zero_grad()
            sum((value**4).sum() for value in values).backward()
        one.step(0.1 * (step + 1))
        other.step()
    for value, expected in zip(own, theirs, strict=True):
        assert torch.equal(value, expected)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    first, second = parameters(1.0, 2.0)
    optimizer = Adam([first, second])
    first.sum().backward()
    optimizer.step(0.5)
    torch.testing.assert_close(first.detach(), torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(second.detach(), torch.tensor([2.0, 4.0]))
    optimizer.forget_gradients()
    assert first.grad is None


def test_it_goes_on_from_its_state() -> None:
    whole, parts = parameters(1.0), parameters(1.0)
    one, other = Adam(whole), Adam(parts)
    for step in range(4):
        if step == 2:
            state, other = other.state_dict(), Adam(parts)
            other.load_state_dict(state)
        for optimizer, values in ((one, whole), (other, parts)):
            optimizer.forget_gradients()
            (values[0] ** 2).sum().backward()
            optimizer.step(0.1)
    assert torch.equal(whole[0], parts[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "its state is damaged"),
        (lambda state: {"means": state["means"]}, "its state is damaged"),
        (lambda state: {**state, "means": []}, "its state is that of another one"),
        (lambda state: {**state, "means": "many"}, "its state is that of another one"),
        (lambda state: {**state, "means": [torch.zeros(3)]}, "its state is that of another one"),
        (lambda state: {**state, "steps": [7]}, "its state is that of another one"),
        (lambda state: {**state, "squares": [torch.zeros(2, dtype=torch.long)]}, "its state is that of another one"),
    ],
)
def test_the_state_of_another_one(change: object, message: str) -> None:
    optimizer = Adam(parameters(1.0))
    assert callable(change)
    with pytest.raises(ValueError, match=f"optimizer: {message}"):
        optimizer.load_state_dict(change(optimizer.state_dict()))


def test_it_does_without_the_compiler() -> None:
    code = (
        "import sys, torch; from art_levelset.recon.adam import Adam; p = torch.nn.Parameter(torch.ones(2)); "
        "o = Adam([p]); p.sum().backward(); o.step(0.1); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
