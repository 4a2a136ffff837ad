"""BatchNorm's statistics as functions of the parameters: values, total derivatives, invariance, and all put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.core.fields import network_field, values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.core.sample_network import attach
from art_levelset.core.statistics import Moments, batch_statistics, carried, frozen_layers, normalising
from tests.core.networks import full_jacobians, properties

DOUBLE = torch.float64


def normalised_network(outputs: int = 3, eps: float = 1e-5) -> nn.Sequential:
    """Every kind of layer: with and without affine parameters, with a momentum and with a cumulative average."""
    module = nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4, eps=eps), nn.Softplus(),
        nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3, eps=eps, affine=False, momentum=0.3), nn.Tanh(), nn.Flatten(),
        nn.Linear(27, 6), nn.BatchNorm1d(6, eps=eps, momentum=None), nn.Softplus(), nn.Linear(6, outputs),
    ).double()  # fmt: skip
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
            nn.init.normal_(part.weight, 1.0, 0.3)
            nn.init.normal_(part.bias)
    return module


def batch(count: int = 12) -> Tensor:
    return torch.randn(count, 2, 5, 5, dtype=DOUBLE)


def trained_a_little(outputs: int = 3, eps: float = 1e-5) -> nn.Sequential:
    """One whose running statistics differ from those of any batch."""
    module = normalised_network(outputs, eps)
    with torch.no_grad():
        for _ in range(3):
            module.train()(1.5 * batch() + 0.3)
    return module


class Shared(nn.Module):
    """A layer that is called twice, by position and by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5, dtype=DOUBLE), nn.Linear(5, 5, dtype=DOUBLE)
        self.norm = nn.BatchNorm1d(5, dtype=DOUBLE)
        self.unused = nn.BatchNorm1d(7, dtype=DOUBLE)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=self.second(torch.tanh(self.norm(self.first(x)))))


# What is measured


@pytest.mark.parametrize("make", [normalised_network, Shared])
def test_the_pass_is_torchs_own_in_training_mode(make: Callable[[], nn.Module]) -> None:
    module = make()
    twin = deepcopy(module).train()
    outputs: list[Tensor] = []
    module.register_forward_hook(lambda part, inputs, output: outputs.append(output))
    for _ in range(3):
        x = batch() if make is normalised_network else torch.randn(9, 4, dtype=DOUBLE)
        batch_statistics(module.eval(), x)
        expected = twin(x)
        torch.testing.assert_close(outputs[-1], expected)
        for output, part in ((outputs[-1], module), (expected, twin)):
            part.zero_grad()
            output.square().sum().backward()
        torch.testing.assert_close(
            {name: p.grad for name, p in module.named_parameters()},
            {name: p.grad for name, p in twin.named_parameters()},
            atol=1e-9,
            rtol=1e-9,
        )
    torch.testing.assert_close(dict(module.state_dict()), dict(twin.state_dict()))


def test_normalising_by_the_batch_gives_the_outputs_of_training_mode() -> None:
    module, x = trained_a_little(), batch()
    expected = deepcopy(module).train()(x)
    statistics = batch_statistics(module, x)
    with normalising(statistics), evaluating(module):
        torch.testing.assert_close(module(x), expected)


def test_moments_of_a_layer_called_twice_are_the_means_of_its_calls() -> None:
    module, x = Shared(), torch.randn(9, 4, dtype=DOUBLE)
    statistics = batch_statistics(module, x)
    first = module.first(x)
    scale = (first.var(0, correction=0) + module.norm.eps).sqrt()
    second = module.second(torch.tanh((first - first.mean(0)) / scale))
    assert list(statistics) == [module.norm]
    torch.testing.assert_close(statistics[module.norm].mean, (first.mean(0) + second.mean(0)) / 2)
    variance = (first.var(0, correction=0) + second.var(0, correction=0)) / 2
    torch.testing.assert_close(statistics[module.norm].variance, variance)


class Counted(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.calls = nn.Sequential(*layers), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = self.layers(x)
        return result


@pytest.mark.parametrize("count", [0, 1, 8])
def test_where_there_is_nothing_to_measure_no_pass_is_made(count: int) -> None:
    plain = Counted(nn.Linear(3, 2), nn.GroupNorm(1, 2), nn.BatchNorm1d(2, track_running_stats=False))
    normalised = Counted(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = deepcopy(normalised.state_dict())
    assert batch_statistics(plain, torch.randn(count, 3)) == {}
    assert plain.calls == 0
    found = batch_statistics(normalised, torch.randn(count, 3))
    assert normalised.calls == (count == 8)
    assert bool(found) == (count == 8)
    same = all(torch.equal(before[key], value) for key, value in normalised.state_dict().items())
    assert same == (count != 8)


def test_dropout_is_off_and_statistics_keep_their_precision_in_mixed_precision() -> None:
    module = nn.Sequential(nn.Dropout(0.9), nn.Linear(6, 4), nn.BatchNorm1d(4)).train()
    x = 100 + torch.randn(64, 6)
    exact = batch_statistics(module, x)[module[2]]
    torch.testing.assert_close(exact.mean, module[1](x).mean(0))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = batch_statistics(module, x)[module[2]]
        with normalising({module[2]: mixed}), evaluating(module):
            output = module(x)
    assert mixed.mean.dtype == mixed.variance.dtype == torch.float32
    assert (mixed.mean - exact.mean).abs().max() < 1e-2 * exact.mean.abs().max()
    output.float().square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


# Total derivatives

Treatment = Callable[[nn.Module, Tensor], AbstractContextManager[None]]


@contextmanager
def by_batch(module: nn.Module, x: Tensor) -> Iterator[None]:
    with normalising(batch_statistics(module, x)):
        yield


@contextmanager
def by_carried(module: nn.Module, x: Tensor) -> Iterator[None]:
    with normalising(carried(batch_statistics(module, x))):
        yield


@contextmanager
def by_constants(module: nn.Module, x: Tensor) -> Iterator[None]:
    with torch.no_grad():
        statistics = batch_statistics(module, x)
    with normalising(statistics):
        yield


def gradient(module: nn.Module, treatment: Treatment, x: Tensor, points: Tensor, weights: Tensor) -> list[Tensor]:
    """Of a weighted sum of values at the points, by all parameters."""
    with treatment(module, x), evaluating(module):
        total = (module(points) * weights).sum()
    return list(torch.autograd.grad(total, list(module.parameters()), materialize_grads=True))


def moved(module: nn.Module, directions: list[Tensor], length: float) -> nn.Module:
    twin = deepcopy(module)
    with torch.no_grad():
        for parameter, direction in zip(twin.parameters(), directions, strict=True):
            parameter.add_(direction, alpha=length)
    return twin


def along(gradients: list[Tensor], directions: list[Tensor]) -> Tensor:
    return torch.stack([(g * v).sum() for g, v in zip(gradients, directions, strict=True)]).sum()


def test_closed_form_of_a_linear_layer() -> None:
    """F(p) = g (w.p - w.m) / sqrt(w'Cw + e) + b has the derivative g ((p - m) / d - w.(p - m) Cw / d^3) by w."""
    module = nn.Sequential(nn.Linear(4, 1, bias=False), nn.BatchNorm1d(1)).double()
    nn.init.constant_(module[1].weight, 1.7)
    x, point = torch.randn(20, 4, dtype=DOUBLE), torch.randn(1, 4, dtype=DOUBLE)
    w, away = module[0].weight.detach()[0], (point - x.mean(0))[0]
    covariance = torch.cov(x.T, correction=0)
    d = (w @ covariance @ w + module[1].eps).sqrt()
    found, scale, shift = gradient(module, by_batch, x, point, torch.ones(1, dtype=DOUBLE))
    torch.testing.assert_close(found[0], 1.7 * (away / d - (w @ away) * (covariance @ w) / d**3))
    torch.testing.assert_close((scale.item(), shift.item()), ((w @ away / d).item(), 1.0))
    partial, *_ = gradient(module, by_constants, x, point, torch.ones(1, dtype=DOUBLE))
    torch.testing.assert_close(partial, 1.7 * point / d)


@pytest.mark.parametrize("make", [normalised_network, Shared])
def test_the_derivative_by_the_batch_is_the_total_one(make: Callable[[], nn.Module]) -> None:
    module = make()
    shape = (2, 5, 5) if make is normalised_network else (4,)
    x, points = torch.randn(12, *shape, dtype=DOUBLE), torch.randn(5, *shape, dtype=DOUBLE)
    weights = torch.randn(5, 3 if make is normalised_network else 5, dtype=DOUBLE)
    directions = [torch.randn_like(p) for p in module.parameters()]

    def total(length: float) -> Tensor:
        twin = moved(module, directions, length)
        with torch.no_grad(), by_batch(twin, x), evaluating(twin):
            return (twin(points) * weights).sum()

    slopes = {
        treatment: along(gradient(module, treatment, x, points, weights), directions)
        for treatment in (by_batch, by_constants)
    }
    difference = (total(1e-5) - total(-1e-5)) / 2e-5
    torch.testing.assert_close(slopes[by_batch], difference, rtol=1e-6, atol=1e-6)
    assert (slopes[by_constants] - difference).abs() > 1e-2


def test_carried_statistics_are_the_running_ones_and_move_as_they_say() -> None:
    module, x, points, weights = trained_a_little(), batch(), batch(5), torch.randn(5, 3, dtype=DOUBLE)
    directions = [torch.randn_like(p) for p in module.parameters()]
    found = gradient(module, by_carried, x, points, weights)  # after which the running statistics have followed
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        start = batch_statistics(deepcopy(module), x)

    def total(length: float) -> Tensor:
        twin = moved(module, directions, length)
        with torch.no_grad():
            statistics = {}
            now = batch_statistics(deepcopy(twin), x)
            layers = [part for part in twin.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
            for norm, layer, (m0, v0), (m, v) in zip(norms, layers, start.values(), now.values(), strict=True):
                d0, d = (v0 + norm.eps).sqrt(), (v + norm.eps).sqrt()
                offset, ratio = (norm.running_mean - m0) / d0, (norm.running_var + norm.eps).sqrt() / d0
                statistics[layer] = Moments(m + offset * d, (ratio * d) ** 2 - norm.eps)
            with normalising(statistics), evaluating(twin):
                return (twin(points) * weights).sum()

    with evaluating(module):
        torch.testing.assert_close(total(0.0), (module(points) * weights).sum())
    torch.testing.assert_close(along(found, directions), (total(1e-5) - total(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-6)


def test_carried_values_are_those_of_evaluation_mode_bit_for_bit() -> None:
    module, x, points = trained_a_little().float(), batch().float(), batch(6).float()
    with by_carried(module, x), evaluating(module):
        found = module(points)
    with evaluating(module):
        assert torch.equal(found, module(points))


@properties
@given(seed=st.integers(0, 2**31), treatment=st.sampled_from([by_batch, by_carried]))
def test_the_gradient_is_orthogonal_to_weights_before_a_layer(seed: int, treatment: Treatment) -> None:
    torch.manual_seed(seed)
    module, x, points = trained_a_little(eps=1e-14), batch(), batch(5)
    weights = torch.randn(5, 3, dtype=DOUBLE)
    for name in (treatment, by_constants):
        gradients = dict(
            zip(
                (name for name, _ in module.named_parameters()), gradient(module, name, x, points, weights), strict=True
            )
        )
        for layer in ("0", "3", "7"):
            along = (gradients[f"{layer}.weight"] * module.get_parameter(f"{layer}.weight")).sum().abs()
            size = gradients[f"{layer}.weight"].norm() * module.get_parameter(f"{layer}.weight").norm()
            assert (along < 1e-9 * size) == (name is not by_constants)
            # An offset before the layer has no effect at all.
            bias = gradients[f"{layer}.bias"].norm() / gradients[f"{layer}.weight"].norm()
            assert (bias < 1e-9) == (name is not by_constants)


def test_the_sample_network_moves_with_the_level_set_of_the_moved_statistics() -> None:
    """F(p + h D_theta p v; theta + h v, s(theta + h v)) = F(p) + O(h^2): eq. 8 with the total derivative."""
    module, x, points = normalised_network(outputs=1), batch(), batch(4)
    directions = [torch.randn_like(p) for p in module.parameters()]
    errors = {}
    for treatment in (by_batch, by_constants):
        with treatment(module, x):
            moving, _ = attach(network_field(module), points)
            with evaluating(module):
                level = module(points).detach()
        basis = torch.eye(moving.numel(), dtype=DOUBLE)
        rows = torch.autograd.grad(moving.flatten(), list(module.parameters()), basis, is_grads_batched=True)
        velocity = sum(row.flatten(1) @ v.flatten() for row, v in zip(rows, directions, strict=True))
        for h in (1e-3, 1e-4):
            twin = moved(module, directions, h)
            with torch.no_grad(), by_batch(twin, x), evaluating(twin):
                errors[treatment, h] = (twin(points + h * velocity.reshape(points.shape)) - level).abs().max()
    assert errors[by_batch, 1e-4] < 0.02 * errors[by_batch, 1e-3]
    assert errors[by_constants, 1e-4] > 0.05 * errors[by_constants, 1e-3]
    assert errors[by_batch, 1e-4] < 0.1 * errors[by_constants, 1e-4]


# Passes with given statistics


@pytest.mark.parametrize("treatment", [by_batch, by_carried])
def test_samples_do_not_depend_on_their_neighbours(treatment: Treatment) -> None:
    module, x, points = trained_a_little(), batch(), batch(6)
    with treatment(module, x):
        values, jacobians = values_and_jacobians(network_field(module), points)
        for row in range(6):
            alone, jacobian = values_and_jacobians(network_field(module), points[row : row + 1])
            torch.testing.assert_close(alone, values[row : row + 1])
            torch.testing.assert_close(jacobian, jacobians[row : row + 1])
        with evaluating(module):
            torch.testing.assert_close(full_jacobians(module, points), jacobians)


def test_a_search_leaves_the_graph_of_the_statistics_for_the_loss() -> None:
    module, x, points = trained_a_little(), batch(), batch(4)
    with by_batch(module, x):
        for _ in range(3):
            values_and_jacobians(network_field(module), points)
        moving, _ = attach(network_field(module), points)
    moving.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


# Put back


def registered(module: nn.Module) -> list[tuple[str, int, bool]]:
    """Every tensor by its name, its identity and the order it is registered in, every mode and every hook."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    modes = [(name, len(part._forward_pre_hooks), part.training) for name, part in module.named_modules()]
    return [(name, id(tensor), tensor.requires_grad) for name, tensor in tensors] + modes


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fails:
            raise KeyError("the network fails")
        return x


@pytest.mark.parametrize("place", [0, 2, 4, 7, 11])
@pytest.mark.parametrize("treatment", [by_batch, by_carried])
def test_the_layers_are_put_back_when_a_pass_fails(treatment: Treatment, place: int) -> None:
    layers = list(trained_a_little())
    failing = Failing()
    layers.insert(place, failing)
    module = nn.Sequential(*layers).train()
    module[1].eval()
    x, before = batch(), registered(module)
    with treatment(module, x), evaluating(module):
        module(x)
    assert registered(module) == before
    failing.fails = True
    with pytest.raises(KeyError), treatment(module, x):
        raise AssertionError("not reached")
    assert registered(module) == before


@pytest.mark.parametrize("treatment", [by_batch, by_carried])
def test_the_layers_are_put_back_when_the_body_fails(treatment: Treatment) -> None:
    module = trained_a_little().train()
    before = registered(module)

    def fail() -> None:
        with treatment(module, batch()):
            assert registered(module) != before
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert registered(module) == before


def test_optimizers_see_the_parameters_after_the_step() -> None:
    module, x = trained_a_little(), batch()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    before = {name: p.clone() for name, p in module.named_parameters()}
    with by_carried(module, x), evaluating(module):
        loss = module(x).square().sum()
    loss.backward()
    optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters() if name.endswith("weight"))


# Processes that share a batch


@pytest.mark.parametrize("sizes", [(7, 5), (12, 0)])
def test_a_batch_in_two_parts_has_the_statistics_and_gradients_of_the_whole(sizes: tuple[int, int]) -> None:
    """Two threads stand for two processes; their networks share the parameters, but not the running statistics."""
    whole, x, points = trained_a_little(), batch(12), batch(4)
    parts = [deepcopy(whole), deepcopy(whole)]
    for name, parameter in parts[0].named_parameters():
        layer, _, kind = name.rpartition(".")
        parts[1].get_submodule(layer).register_parameter(kind, parameter)
    barrier, slots = threading.Barrier(2, timeout=600), [torch.empty(0)] * 2
    outputs: dict[int, Tensor] = {}

    def work(rank: int) -> None:
        def total(values: Tensor) -> Tensor:
            slots[rank] = values
            barrier.wait()
            both = slots[0] + slots[1]
            barrier.wait()
            return both

        statistics = batch_statistics(parts[rank], x.split(sizes)[rank], total)
        with normalising(carried(statistics)), evaluating(parts[rank]):
            outputs[rank] = parts[rank](points.chunk(2)[rank])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = torch.cat([outputs[0], outputs[1]])
    with by_carried(whole, x), evaluating(whole):
        expected = whole(points)
    torch.testing.assert_close(found, expected)
    for part in parts:
        torch.testing.assert_close(dict(part.named_buffers()), dict(whole.named_buffers()))
    found.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parts[0].get_parameter(name).grad, parameter.grad)


def test_frozen_are_the_layers_that_do_not_train_while_others_do() -> None:
    """What the network itself is said to be does not matter: its mode can be set without that of its parts."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    for whole in (True, False):
        module.train()
        module[1].eval()
        module.training = whole
        assert frozen_layers(module) == {module[1]}
        module.eval()
        module.training = whole
        assert frozen_layers(module) == frozenset()
        module.train()
        module[2].requires_grad_(False)
        assert frozen_layers(module) == {module[2]}
        module[2].requires_grad_(True)
