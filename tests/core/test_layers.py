"""Fields on intermediate layers: the network cut by hand, eqs. 4 to 12 on hidden units, and nothing left behind."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import SampleNetwork, margin_field, project
from art_levelset.core.distances import linearised_distance, lp_distance
from art_levelset.core.fields import label_margin, values_and_jacobians
from art_levelset.core.layers import layer_field, layer_output
from art_levelset.core.losses import geometric_svm_loss, margin_loss, svm_loss

from .networks import KINDS, mlp, parameter_jacobians, properties, smooth

DOUBLE = torch.float64


def flat(output: Tensor) -> Tensor:
    return output.flatten(1)


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def below(module: nn.Module, layer: int) -> list[nn.Parameter]:
    """The parameters of a Sequential up to a layer."""
    return [parameter for part in list(module.children())[: layer + 1] for parameter in part.parameters()]


# The field


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_network_that_is_cut_by_hand(kind: str, layer: int) -> None:
    module, points = smooth(kind, 3, batch=3)
    cut = module[: layer + 1]
    got = values_and_jacobians(layer_field(module, str(layer), flat), points)
    torch.testing.assert_close(got, values_and_jacobians(lambda x: cut(x).flatten(1), points))
    assert torch.equal(layer_output(module, str(layer), points), cut(points))
    assert hooks(module) == 0


def test_readouts() -> None:
    module, points = smooth("convnet", 3)
    maps = module[0](points)
    assert maps.shape == (5, 3, 4, 4)
    directions = torch.randn(2, 3, 4, 4, dtype=DOUBLE)
    torch.testing.assert_close(layer_field(module, "0", 1)(points), maps[:, 1].mean(dim=(1, 2)).unsqueeze(1))
    torch.testing.assert_close(
        layer_field(module, "0", directions)(points), torch.einsum("lcij,ncij->nl", directions, maps)
    )
    torch.testing.assert_close(
        layer_field(module, "0", directions[0].float())(points),
        (directions[0].float().double() * maps).sum(dim=(1, 2, 3)).unsqueeze(1),
    )
    assert torch.equal(layer_field(module, "4", 2)(points), module(points)[:, 2:])
    assert torch.equal(layer_field(module, "", 2)(points), module(points)[:, 2:])
    assert torch.equal(layer_field(module, "0", lambda a: a[:, 0, 1, 1])(points), maps[:, 0, 1, 1].unsqueeze(1))
    labels = torch.arange(5) % 3
    margins = layer_field(module, "4", label_margin, per_sample=(labels,))
    assert torch.equal(margins(points), margin_field(module, labels)(points))
    some = torch.tensor([4, 1])
    torch.testing.assert_close(margins.select(some)(points[some]), margins(points)[some])
    for readout in (1, directions[0]):
        assert layer_field(module, "0", readout)(points[:0]).shape == (0, 1)


def test_the_modes_of_all_layers_are_guarded() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Tanh(), nn.Linear(8, 2)).double()
    module(torch.randn(50, 3, dtype=DOUBLE))
    module[2].eval()
    modes = [part.training for part in module.modules()]
    field, points = layer_field(module, "3", flat), torch.randn(5, 3, dtype=DOUBLE)
    values, _ = values_and_jacobians(field, points)
    assert [part.training for part in module.modules()] == modes
    torch.testing.assert_close(values, module.eval()[:4](points).detach())
    with pytest.raises(ValueError, match="'bad' keeps no running statistics"):
        layer_field(nn.ModuleDict({"bad": nn.BatchNorm1d(3, track_running_stats=False)}), "bad", 0)


class Block(nn.Module):
    """One activation that is called twice, a layer of two names, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.activation = nn.ReLU(inplace=True)
        self.unused = nn.Linear(3, 3)
        self.calls: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        if float(x.detach().sum()) > -1e9:  # what depends on the data cannot be traced
            x = self.activation(self.first(x))
        self.calls.append("between")
        return self.activation(-self.again(x) - 1)


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(2 * x) + 1
        return output


def test_the_first_of_several_calls_counts_and_nothing_is_computed_behind_it() -> None:
    block = Block()
    module, points = Wrapped(Wrapped(block)), torch.randn(4, 3)
    inside = block.first(4 * points)
    for name, expected in (("first", inside), ("again", inside), ("activation", torch.relu(inside))):
        # The ReLU behind works in place; it never gets to overwrite what was read.
        assert torch.equal(layer_output(module, f"inner.inner.{name}", points), expected)
    assert block.calls == []
    assert layer_output(module, "inner", points).shape == (4, 3)
    assert block.calls == ["between"]


def test_what_is_behind_the_layer_may_fail() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(7, 1))
    assert project(layer_field(module, "0", 2), torch.randn(5, 3)).converged.all()


# Hooks


class Failing(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("lost"), KeyboardInterrupt("lost")], ids=["error", "interrupt"])
def test_no_hook_is_left_behind_whatever_passes_through(error: BaseException) -> None:
    module = Failing(error)
    with pytest.raises(type(error), match="lost"):
        layer_output(module, "layer", torch.zeros(1, 2))
    assert hooks(module) == 0

    def fails(output: Tensor) -> Tensor:
        raise error

    linear = nn.Sequential(nn.Linear(2, 2)).train()
    with pytest.raises(type(error), match="lost"):
        values_and_jacobians(layer_field(linear, "0", fails), torch.zeros(1, 2))
    assert hooks(linear) == 0
    assert linear.training
    assert linear(torch.zeros(1, 2)).shape == (1, 2)


class Careless(nn.Module):
    """A network that goes on when a part of it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.layer(x) + 1
        except Exception:
            return x - 1


def test_a_network_that_handles_its_errors_is_stopped_too() -> None:
    assert torch.equal(layer_output(Careless(), "layer", torch.ones(2, 1)), torch.ones(2, 1))


def test_evaluations_may_be_nested() -> None:
    module, points = mlp(3, 2), torch.randn(4, 3, dtype=DOUBLE)
    seen = []

    def look(part: nn.Module, inputs: object, output: Tensor) -> None:
        if not seen:
            seen.append(None)  # before it calls itself
            seen[0] = layer_output(module, "3", points)

    handle = module[1].register_forward_hook(look)
    torch.testing.assert_close(layer_output(module, "1", points), module[:2](points))
    torch.testing.assert_close(seen[0], module[:4](points))
    handle.remove()
    assert hooks(module) == 0


def test_threads_do_not_stop_each_other() -> None:
    entered, leave = threading.Event(), threading.Event()
    module, points = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)), torch.randn(3, 2)

    def wait(output: Tensor) -> None:
        if threading.current_thread() is thread:
            entered.set()
            assert leave.wait(600)

    # The thread waits inside of its evaluation, so that its hook on the last layer is there all the time.
    handle = module[0].register_forward_hook(lambda part, inputs, output: wait(output))
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(layer_output(module, "2", points)))
    thread.start()
    assert entered.wait(600)
    try:
        assert hooks(module) == 2
        got = module(points), layer_output(module, "2", points), layer_output(module, "1", points)
    finally:
        leave.set()
        thread.join()
        handle.remove()
    torch.testing.assert_close(got[0], found[0])
    torch.testing.assert_close(got[1], found[0])
    assert hooks(module) == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore:.*torch.jit.trace:DeprecationWarning")
def test_wrappers_that_hide_the_layer() -> None:
    module, points = nn.Sequential(nn.Linear(2, 3), nn.Tanh()), torch.randn(4, 2)
    traced = torch.jit.trace(module, points)
    with pytest.raises(ValueError, match="give the network that is inside"):
        layer_field(traced, "0", 0)(points)
    parallel = nn.DataParallel(module)
    got = layer_field(parallel.module, "0", 1)(points)
    assert torch.equal(got, module[0](points)[:, 1:2])


# Level sets


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_projection_moves_inputs_to_the_level_set_of_a_hidden_unit(layer: str) -> None:
    module, points = mlp(6, 2, nn.Softplus), torch.randn(40, 6, dtype=DOUBLE)
    level = layer_output(module, layer, points)[:, 3].median().item()
    samples = project(layer_field(module, layer, 3), points, level, tol=1e-10, backtracking=True)
    assert samples.converged.float().mean() > 0.9
    there = layer_output(module, layer, samples.points[samples.converged])
    torch.testing.assert_close(there[:, 3], torch.full_like(there[:, 3], level), atol=1e-9, rtol=0.0)


@properties
@given(st.integers(0, 10**6))
def test_a_unit_of_the_first_layer_has_hyperplanes_for_level_sets(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = mlp(5, 2, nn.ReLU)
    points = torch.randn(4, 5, dtype=DOUBLE, generator=generator)
    weight, bias = module[0].weight[2].detach(), module[0].bias[2].detach()
    samples = project(layer_field(module, "0", 2), points, 0.25)
    offset = (points @ weight + bias - 0.25) / weight.norm()
    torch.testing.assert_close(samples.points, points - offset[:, None] * weight / weight.norm())
    torch.testing.assert_close(
        linearised_distance(*values_and_jacobians(layer_field(module, "0", lambda a: a[:, 2] - 0.25), points)),
        offset.abs(),
    )


def test_the_derivative_of_the_samples_is_that_of_projection_after_a_step_of_the_parameters_below() -> None:
    module, points = mlp(4, 2, nn.Softplus), torch.randn(5, 4, dtype=DOUBLE)
    field = layer_field(module, "2", torch.randn(16, dtype=DOUBLE))
    samples = project(field, points, field(points).mean().item(), tol=1e-13)
    assert samples.converged.all()
    moving = SampleNetwork(field)(samples)
    assert torch.equal(moving, samples.points)
    own, behind = below(module, 2), list(module[4].parameters())
    assert torch.autograd.grad(moving.sum(), behind, retain_graph=True, allow_unused=True) == (None, None)
    direction = [torch.randn_like(parameter) for parameter in own]
    rows = [torch.autograd.grad(entry, own, retain_graph=True) for entry in moving.flatten()]
    movement = torch.stack([sum((g * v).sum() for g, v in zip(row, direction, strict=True)) for row in rows])

    def reprojected(step: float) -> Tensor:
        with torch.no_grad():
            for parameter, v in zip(own, direction, strict=True):
                parameter += step * v
        again = project(field, samples.points, samples.values, tol=1e-14)
        with torch.no_grad():
            for parameter, v in zip(own, direction, strict=True):
                parameter -= step * v
        return again.points.flatten()

    h = 1e-5
    differences = (reprojected(h) - reprojected(-h)) / (2 * h)
    assert movement.norm() > 1e-2
    torch.testing.assert_close(movement.detach(), differences, atol=1e-7, rtol=1e-6)


def test_gradcheck_through_the_layer() -> None:
    module, points = mlp(3, 2, nn.Softplus), torch.randn(2, 3, dtype=DOUBLE)
    field = layer_field(module, "2", torch.randn(2, 16, dtype=DOUBLE))
    samples = project(field, points, max_iter=0)
    moving = SampleNetwork(field)
    names = [name for name, _ in moving.named_parameters()][:4]

    def p(*theta: Tensor) -> Tensor:
        new = dict(zip(names, theta, strict=True))
        output: Tensor = torch.func.functional_call(moving, new, (samples, samples.values))
        return output

    theta = tuple(parameter.detach().clone().requires_grad_() for parameter in below(module, 2))
    assert torch.autograd.gradcheck(p, theta, fast_mode=True)


# The losses


def test_eq_12_pushes_the_level_set_of_a_hidden_unit_out_of_the_balls() -> None:
    torch.manual_seed(0)
    module, points, eps = mlp(2, 2, nn.Tanh, width=8), torch.randn(12, 2, dtype=DOUBLE), 0.3
    centre = layer_output(module, "2", points)[:, 4].mean().item()
    field = layer_field(module, "2", lambda output: output[:, 4] - centre)
    optimizer = torch.optim.Adam(below(module, 2), lr=0.02)

    def distances() -> Tensor:
        samples = project(field, points, backtracking=True)
        near = samples.converged
        return lp_distance(points[near], SampleNetwork(field)(samples.select(near)))

    before = distances().detach().min()
    for _ in range(200):
        distance = distances()
        loss = margin_loss(torch.ones_like(distance), distance, 1.2 * eps, total=len(points))
        if loss == 0:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = distances().detach()
    assert before < eps / 2
    assert after.min() > eps


def test_eq_11_of_a_unit_of_the_first_layer_is_eq_10() -> None:
    module, x = mlp(3, 2), torch.randn(9, 3, dtype=DOUBLE)
    labels, lam = torch.where(torch.arange(9) % 2 == 0, 1.0, -1.0).double(), 0.3
    field = layer_field(module, "0", 5)

    def moved(points: Tensor, level: float) -> Tensor:
        return SampleNetwork(field)(project(field, points, level, tol=1e-12))

    p = moved(x, 0.0)
    margins = torch.minimum(*(lp_distance(p, moved(p.detach(), level)) for level in (-1.0, 1.0)))
    values = field(x).squeeze(1)
    weight, bias = module[0].weight, module[0].bias
    losses = (
        geometric_svm_loss(values, labels, lp_distance(x, p), margins, lam),
        svm_loss(x @ weight[5] + bias[5], labels, weight[5], lam),
    )
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, (weight, bias), retain_graph=True) for loss in losses]
    torch.testing.assert_close(*gradients)
    assert parameter_jacobians(p, module[0]).abs().sum() > 0


# Bad input


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no module": ((torch.relu, "0", 0), TypeError, "module must be an nn.Module, got builtin"),
    "no name": ((mlp(3, 2), 0, 0), TypeError, "layer must be a name, got int"),
    "unknown": ((Wrapped(Block()), "inner.frist", 0), ValueError, "no 'inner.frist'; .*'inner.first'"),
    "nothing like it": ((mlp(3, 2), "conv", 0), ValueError, "no 'conv'; it has '0', '1', '2', '3', '4'"),
    "no parts": ((nn.ReLU(), "0", 0), ValueError, "no '0'; it has no submodules"),
    "readout": ((mlp(3, 2), "0", "unit"), TypeError, "readout must be a number, .* got str"),
    "a truth value": ((mlp(3, 2), "0", True), TypeError, "readout must be a number, .* got bool"),
    "integers": ((mlp(3, 2), "0", torch.arange(3)), TypeError, "readout: a direction must be floating point"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer_field(*arguments)


def test_only_functions_take_rows() -> None:
    with pytest.raises(ValueError, match="per_sample: only a function takes it"):
        layer_field(mlp(3, 2), "0", 0, per_sample=(torch.ones(2),))


def test_outputs_that_do_not_fit() -> None:
    module, points = smooth("convnet", 3)
    for readout, message in (
        (3, r"readout must be in \[0, 3\), the layer's channels, got 3"),
        (-1, r"readout must be in \[0, 3\)"),
        (torch.ones(3, dtype=DOUBLE), r"directions must have the shape \(3, 4, 4\) or \(l, \*\(3, 4, 4\)\)"),
        (torch.ones(2, 2, 3, 4, 4), "directions must have the shape"),
        (torch.tensor(1.0), "directions must have the shape"),
        (lambda a: a, r"the function must return \(batch,\) or \(batch, l\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layer_field(module, "0", readout)(points)
    with pytest.raises(ValueError, match="does not call 'inner.unused'"):
        layer_field(Wrapped(Block()), "inner.unused", 0)(torch.ones(2, 3))
    recurrent = nn.Sequential(nn.LSTM(3, 4))
    with pytest.raises(TypeError, match="the output of '0' must be a tensor, got tuple"):
        layer_field(recurrent, "0", 0)(torch.ones(2, 5, 3))
    with pytest.raises(ValueError, match=r"its output must have the shape \(batch, channels, ...\), got \(15,\)"):
        layer_field(nn.Sequential(nn.Flatten(0)), "0", 0)(torch.ones(5, 3))
