"""The training benchmark: what it compares is what it says, and what it counts is right."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from art_levelset.models import convnet_2a

UNCOMPILED = [
    *("level sets", "level sets, channels last", "level sets, bf16", "level sets, steps", "level sets, steps, bf16"),
    *("level sets, paper", "Madry", "TRADES", "authors", "ART Madry", "ART TRADES"),
]

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


class TestAuthorsProcedure:
    """Two classes and F = w.x + c for the second one."""

    weight = torch.linspace(0.2, 1.0, 16)

    @pytest.fixture
    def network(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        with torch.no_grad():
            network[1].weight.copy_(torch.stack([-self.weight / 2, self.weight / 2]))
            network[1].bias.copy_(torch.tensor([0.5, -0.5]) * (self.weight.sum() / 2 - 0.1))
        return network

    def moved(self, load, network, x, y, **options):
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        procedure = load("authors_procedure").AuthorsProcedure(network, optimizer, **options)
        before = network[1].bias.detach().clone()
        count = procedure.step(x, torch.tensor(y))
        return count, (network[1].bias.detach() - before).tolist()

    @pytest.mark.parametrize("label", [0, 1])
    def test_a_step_moves_the_bias_by_the_derivative_of_rho(self, load, network, label):
        """p_i(c) = p_i - w_i / |w|^2 (c - c_0): d rho / d c is w_i / |w|^2 for the right sample and minus it else."""
        count, (_, moved) = self.moved(load, network, torch.full((1, 4, 4), 0.5), [label])
        assert count == 1
        expected = self.weight.max() / self.weight.square().sum() * (1 if label else -1)
        assert moved == pytest.approx(expected.item(), rel=1e-4)

    def test_samples_without_boundary_point_count_as_zero(self, load, network):
        x = torch.stack([torch.full((4, 4), 0.5), torch.ones(4, 4)])
        count, (_, moved) = self.moved(load, network, x, [1, 1])
        assert count == 1, "the second one is farther than eps"
        assert moved == pytest.approx(0.5 * (self.weight.max() / self.weight.square().sum()).item(), rel=1e-4)
        assert self.moved(load, network, x[1:], [1]) == (0, [0.0, 0.0])

    def test_the_passes_are_all_made(self, load, network):
        """One pass for the signs, 40 of the search, the ends, three an iteration of false position, two at the end."""
        passes = []
        network.register_forward_hook(lambda *_: passes.append(1))
        self.moved(load, network, torch.full((1, 4, 4), 0.5), [1])
        assert len(passes) == 1 + 40 + 1 + 3 + 2, "an affine F has its zero after one iteration"


def test_operations_of_a_linear_layer_and_its_gradients(load):
    layer, x = nn.Linear(8, 4), torch.randn(16, 8, requires_grad=True)
    with load("measuring").Operations() as counted:
        layer(x).sum().backward()
    product = 2 * 16 * 8 * 4
    assert counted.count == 3 * product, "forward, weights and inputs"
    with load("measuring").Operations() as counted:
        torch.autograd.grad(layer(x).sum(), x)
    assert counted.count == 2 * product, "no gradient of the weights where none is asked for"


def test_runs_alternate_and_the_first_round_does_not_count(load):
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    found = load("measuring").alternating(runs, lambda name: order.append(f"prepare {name}"), rounds=2)
    assert order == ["prepare a", "a", "prepare b", "b"] * 3
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}


def test_contenders_start_from_given_weights_and_train(load):
    model = convnet_2a()
    random = np.random.default_rng(0)
    x, y = random.random((8, 1, 28, 28), np.float32), random.integers(10, size=8)
    found = load("contenders").contenders(model, (1, 28, 28), 10, eps=0.3, steps=1, names=UNCOMPILED)
    assert list(found) == UNCOMPILED
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, contender in found.items():
        contender.fit(x, y, 4)
        trained = contender.network.state_dict()
        assert any(not torch.equal(trained[key], weights[key]) for key in weights), name
        contender.restore(weights)
        assert all(torch.equal(contender.network.state_dict()[key], weights[key]) for key in weights), name
        assert not contender.optimizer.state, name


def test_the_tables(load, tmp_path, capsys):
    torch.save(convnet_2a().state_dict(), tmp_path / "weights.pth")
    options = ["--threads", "1", "--samples", "16", "--batch-size", "8", "--steps", "1", "--rounds", "1"]
    load("train_step").main([*options, "--weights", str(tmp_path / "weights.pth"), "--trainers", *UNCOMPILED])
    printed = capsys.readouterr().out
    assert printed.count("authors / level sets") == 6
    assert printed.count("ART TRADES / TRADES") == 2
    assert "compiled" not in printed
    assert "MFLOP a sample" in printed


def test_memory_counts_the_activations_of_an_image(load):
    memory = load("train_memory")
    case = memory.Case("convnet2a", 28, 4)
    convolutions, linear = 2 * (16 * 14 * 14 + 32 * 7 * 7), 32 * 7 * 7 + 2 * 100 + 10
    assert memory.activations(memory.network(case), case) == convolutions + linear


def test_costs_of_a_step(load):
    operations, passes, parameters = load("train_cost").step_costs("convnet2a", 2, 4, "Madry", rounds=1)[0]
    assert passes == 2 + 2  # steps, and looks at the network before the first one
    assert parameters == sum(part.numel() for part in convnet_2a().parameters())
    assert operations > passes * 2 * 4 * parameters
