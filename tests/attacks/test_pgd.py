from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.attacks import pgd
from art_levelset.attacks.losses import RANKS
from art_levelset.attacks.pgd import decaying_steps
from art_levelset.evaluation import accuracy, classified_right, robust_accuracy
from art_levelset.models import convnet_2a, load_released_weights


def affine(weights: Tensor, bias: Tensor) -> nn.Linear:
    model = nn.Linear(weights.shape[1], weights.shape[0]).to(weights.dtype)
    model.load_state_dict({"weight": weights, "bias": bias})
    return model


def two_class_problem(dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, Tensor, Tensor]:
    model = affine(torch.randn(2, 6, dtype=dtype), torch.randn(2, dtype=dtype))
    x = torch.rand(40, 6, dtype=dtype)
    return model, x, torch.arange(40) % 2


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize(("norm", "dual"), [(math.inf, 1), (2, 2), (1, math.inf)])
@pytest.mark.parametrize("random_start", [False, True])
def test_reaches_the_optimum_on_affine_models(loss: str, norm: float, dual: float, random_start: bool) -> None:
    model, x, y = two_class_problem()
    attacked = pgd(
        model, x, y, eps=0.2, eps_step=0.1, loss=loss, norm=norm, clip_values=None, random_start=random_start
    )
    slope = model.weight[y] - model.weight[1 - y]
    lowest = (slope * x).sum(1) + model.bias[y] - model.bias[1 - y] - 0.2 * torch.linalg.vector_norm(slope, dual, dim=1)
    reached = (slope * attacked).sum(1) + model.bias[y] - model.bias[1 - y]
    torch.testing.assert_close(reached, lowest, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "dual"), [(math.inf, 1), (2, 2), (1, math.inf)])
def test_the_ratio_attack_reaches_the_optimum_on_affine_models(norm: float, dual: float) -> None:
    # With the logits m, -m and -9 for the label, the other and the last class, the ratio -2m / (m + 9) falls with m.
    slope = torch.randn(6, dtype=torch.float64)
    model = affine(
        torch.stack([slope, -slope, torch.zeros_like(slope)]), torch.tensor([4.0, -4.0, -9.0], dtype=torch.float64)
    )
    x = torch.rand(20, 6, dtype=torch.float64)
    y = torch.zeros(20, dtype=torch.long)
    attacked = pgd(model, x, y, eps=0.2, eps_step=0.1, loss="dlr", norm=norm, clip_values=None)
    lowest = x @ slope - 0.2 * torch.linalg.vector_norm(slope, dual)
    torch.testing.assert_close(attacked @ slope, lowest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_targeted_attacks_reach_the_class_they_are_told(loss: str, norm: float) -> None:
    # Class i is that of the corner i of the square's four; every corner is within reach, the last class never.
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    weights, bias = torch.cat([corners, torch.zeros(1, 2)]), torch.cat([-corners.square().sum(1) / 2, -torch.ones(1)])
    model = affine(weights, bias)
    x = torch.tensor([[0.1, 0.2], [0.6, 0.3], [0.8, 0.9]]).repeat_interleave(4, dim=0)
    y = torch.arange(4).repeat(3)
    attack = partial(pgd, model, x, eps=1.6, norm=norm, loss=loss, targeted=True)
    assert classified_right(model, attack(y), y).all()
    stopped = attack(y, stop_when_broken=True)
    assert classified_right(model, stopped, y).all()
    there = classified_right(model, x, y)
    torch.testing.assert_close(attack(y, stop_when_broken=True, random_start=False)[there], x[there])
    assert not classified_right(model, attack(torch.full_like(y, 4)), torch.full_like(y, 4)).any()


def test_the_margin_attack_follows_the_strongest_other_class() -> None:
    weights = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 3.0]])
    model = affine(weights, torch.tensor([1.0, 0.75, -0.6]))
    attacked = pgd(
        model,
        torch.full((1, 2), 0.5),
        torch.tensor([0]),
        eps=0.25,
        loss="margin",
        norm=2,
        random_start=False,
        max_iter=20,
    )
    torch.testing.assert_close(attacked, torch.tensor([[0.5, 0.75]]), rtol=0, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    eps=st.floats(0, 3),
    norm=st.sampled_from([1, 2, math.inf]),
    low=st.floats(-300, 300),
    width=st.floats(0.5, 600),
    random_start=st.booleans(),
    double=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_never_leaves_the_ball_or_the_box(
    eps: float, norm: float, low: float, width: float, random_start: bool, double: bool, seed: int
) -> None:
    dtype = torch.float64 if double else torch.float32
    generator = torch.Generator().manual_seed(seed)
    box = torch.tensor([low, low + width], dtype=dtype)
    x = (box[0] + (box[1] - box[0]) * torch.rand(8, 30, generator=generator, dtype=dtype)).clamp(*box.tolist())
    model = affine(
        torch.randn(3, 30, generator=generator, dtype=dtype), torch.randn(3, generator=generator, dtype=dtype)
    )
    y = torch.randint(3, (8,), generator=generator)
    attacked = pgd(
        model,
        x,
        y,
        eps=eps,
        norm=norm,
        clip_values=(box[0].item(), box[1].item()),
        random_start=random_start,
        max_iter=5,
        seed=seed,
    )
    assert (attacked >= box[0]).all()
    assert (attacked <= box[1]).all()
    offsets = attacked.numpy().astype(np.longdouble) - x.numpy().astype(np.longdouble)
    sizes = {1: np.abs(offsets).sum(axis=1), 2: np.linalg.norm(offsets, axis=1), math.inf: np.abs(offsets).max(axis=1)}
    assert sizes[norm].max() <= eps


def test_the_random_start_is_uniform_in_the_ball() -> None:
    model = affine(torch.zeros(2, 4), torch.zeros(2))
    x = torch.zeros(4000, 4)
    y = torch.zeros(4000, dtype=torch.long)
    moved = pgd(model, x, y, eps=0.5, clip_values=None, max_iter=1)
    assert moved.abs().mean().item() == pytest.approx(0.25, rel=0.03)
    assert moved.mean().abs().item() < 0.01
    radii = torch.linalg.vector_norm(pgd(model, x, y, eps=0.5, norm=2, clip_values=None, max_iter=1), dim=1)
    assert radii.mean().item() == pytest.approx(0.5 * 4 / 5, rel=0.03)


def test_a_sample_whose_gradient_is_zero_stays() -> None:
    model = nn.Sequential(affine(torch.zeros(2, 3), torch.zeros(2)))
    x = torch.rand(5, 3)
    for norm in (1, 2, math.inf):
        attacked = pgd(model, x, torch.zeros(5, dtype=torch.long), eps=0.1, norm=norm, random_start=False)
        torch.testing.assert_close(attacked, x, rtol=0, atol=1e-6)


class Counting(nn.Module):
    """A classifier that counts the samples it sees."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen = 0

    def forward(self, points: Tensor) -> Tensor:
        self.seen += len(points)
        logits: Tensor = self.inner(points)
        return logits


def test_broken_samples_cost_nothing_more() -> None:
    model, x, y = two_class_problem()
    broken_early = Counting(model)
    settings = {"eps": 0.3, "max_iter": 30, "loss": "margin"}
    stopped = pgd(broken_early, x, y, stop_when_broken=True, **settings)
    full = pgd(model, x, y, **settings)
    assert broken_early.seen < 30 * len(x)
    torch.testing.assert_close(classified_right(model, stopped, y), classified_right(model, full, y))
    still_right = classified_right(model, full, y)
    assert 0 < int(still_right.sum()) < len(x)
    torch.testing.assert_close(stopped[still_right], full[still_right])
    margins = model(stopped)[torch.arange(40), y] - model(stopped)[torch.arange(40), 1 - y]
    assert margins.min() >= (model(full)[torch.arange(40), y] - model(full)[torch.arange(40), 1 - y]).min()


def wavy_problem() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small network with many local optima, which one start seldom gets the better of."""
    generator = torch.Generator().manual_seed(3)
    first = affine(6 * torch.randn(12, 3, generator=generator), 6 * torch.randn(12, generator=generator))
    model = nn.Sequential(first, Sine(), affine(torch.randn(4, 12, generator=generator), torch.zeros(4)))
    x = torch.rand(60, 3, generator=generator)
    return model, x, model(x).argmax(dim=1)


class Sine(nn.Module):
    def forward(self, points: Tensor) -> Tensor:
        return points.sin()


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
@pytest.mark.parametrize("stop_when_broken", [False, True])
def test_restarts_never_weaken(loss: str, stop_when_broken: bool) -> None:
    model, x, y = wavy_problem()
    attack = partial(
        pgd, model, x, y, eps=0.05, max_iter=8, loss=loss, stop_when_broken=stop_when_broken, batch_size=13
    )
    results = [attack(num_random_init=count) for count in (1, 2, 4)]
    left = [classified_right(model, found, y) for found in results]
    assert 0 < int(left[2].sum()) < int(left[0].sum()) < len(x)
    rank = RANKS[loss]
    for fewer, more, standing, still in zip(results, results[1:], left, left[1:], strict=False):
        assert (standing | ~still).all(), "what fewer starts break, more break too"
        assert torch.equal(fewer[~standing], more[~standing]), "by the same example"
        before, after = (rank(model(found), y, False) for found in (fewer, more))
        assert (after >= before)[still].all()
    assert not torch.equal(results[0][left[2]], results[2][left[2]])


def test_restarts_leave_broken_samples_alone() -> None:
    model, x, y = wavy_problem()
    counting = Counting(model)
    once = pgd(model, x, y, eps=0.05, max_iter=8)
    standing = int(classified_right(model, once, y).sum())
    pgd(counting, x, y, eps=0.05, max_iter=8, num_random_init=2)
    assert counting.seen == 9 * len(x) + 9 * standing


def test_steps_of_given_lengths() -> None:
    model = affine(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(2))
    x, y = torch.zeros(1, 2), torch.tensor([1])
    attack = partial(pgd, model, x, y, eps=1.0, max_iter=3, random_start=False, clip_values=None)
    torch.testing.assert_close(attack(eps_step=[0.4, 0.2, 0.1]), torch.tensor([[0.7, 0.0]]))
    assert torch.equal(attack(eps_step=(0.25, 0.25, 0.25)), attack(eps_step=0.25))
    assert torch.equal(attack(eps_step=np.float32(0.25)), attack(eps_step=0.25))
    assert torch.equal(attack(eps_step=np.array([0.1, 0.2, 0.3])), attack(eps_step=[0.1, 0.2, 0.3]))


def test_the_decaying_steps_end_finer_than_even_ones() -> None:
    lengths = decaying_steps(0.3, 40)
    assert len(lengths) == 40
    assert lengths[0] == pytest.approx(0.15)
    assert all(shorter < longer for longer, shorter in pairwise(lengths))
    assert 0 < lengths[-1] < 0.001
    assert sum(lengths) > 2 * 0.3, "from any point of the ball to any other"
    # One minimum in the ball, off the grid of even steps, with all gradients of one size.
    model, x, y = Valley(), torch.full((8, 3), 0.5), torch.zeros(8, dtype=torch.long)
    attack = partial(pgd, model, x, y, eps=0.3, max_iter=40, loss="margin")
    decaying, even = (model(attack(eps_step=steps))[:, 0].max().item() for steps in (lengths, None))
    assert decaying < 0.1 * even
    for arguments, message in [((0.0, 4), "eps must be a finite number > 0"), ((0.1, 0), "max_iter must be")]:
        with pytest.raises(ValueError, match=message):
            decaying_steps(*arguments)


class Valley(nn.Module):
    """The logits |x - c|_1 and 0."""

    def forward(self, points: Tensor) -> Tensor:
        return nn.functional.pad((points - 0.4321).abs().sum(dim=1, keepdim=True), (0, 1))


class Scaled(nn.Module):
    def __init__(self, inner: nn.Module, scale: float) -> None:
        super().__init__()
        self.inner = inner
        self.scale = scale

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.inner(points) * self.scale
        return logits


def test_cross_entropy_breaks_a_network_whatever_the_scale_of_its_logits(caplog: pytest.LogCaptureFixture) -> None:
    model, x, y = wavy_problem()
    attack = partial(pgd, x=x, y=y, eps=0.05, num_random_init=2)
    left = classified_right(model, attack(model), y).float().mean()
    assert not caplog.records, "logits of this size are taken as they are"
    loud = Scaled(model, 1e4)
    assert classified_right(loud, attack(loud), y).float().mean() == pytest.approx(left.item(), abs=0.05)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "scaled down the logits of" in record.getMessage()
    assert 50 < record.args[0] <= record.args[1] == 60
    caplog.clear()
    masked = classified_right(loud, attack(loud, rescale=False), y).float().mean()
    assert masked > left + 0.2, "float32 hides the gradients"
    assert not caplog.records


@pytest.mark.parametrize("loss", ["margin", "dlr"])
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_the_other_losses_do_not_know_the_scale(loss: str, scale: float, caplog: pytest.LogCaptureFixture) -> None:
    model, x, y = wavy_problem()
    attack = partial(pgd, x=x, y=y, eps=0.05, max_iter=8, loss=loss)
    same = (attack(Scaled(model, scale)) == attack(model)).flatten(1).all(dim=1)
    assert same.float().mean() > 0.9, "up to rounding"
    assert not caplog.records


def test_deterministic_by_seed_and_independent_of_the_global_one() -> None:
    model = convnet_2a()
    x, y = torch.rand(6, 1, 28, 28), torch.arange(6)
    attack = partial(pgd, model, x, y, eps=0.1, max_iter=3)
    torch.manual_seed(1)
    first = attack(seed=3)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    torch.testing.assert_close(attack(seed=3), first, rtol=0, atol=0)
    assert not torch.equal(attack(seed=4), first)
    torch.manual_seed(1)
    attack()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_only_bound_the_memory() -> None:
    model, x, y = two_class_problem()
    attack = partial(pgd, model, x, y, eps=0.1, random_start=False)
    torch.testing.assert_close(attack(batch_size=7), attack(batch_size=100))
    moved = pgd(model, x, y, eps=0.1, batch_size=20, max_iter=1, eps_step=1e-9)
    assert not torch.allclose((moved - x)[:20], (moved - x)[20:]), "each batch has random starts of its own"


def test_arrays_and_one_hot_labels() -> None:
    model, x, y = two_class_problem(torch.float32)
    expected = pgd(model, x, y, eps=0.1)
    before = x.numpy().copy()
    attacked = pgd(model, x.numpy(), functional.one_hot(y, 2).numpy(), eps=0.1)
    assert isinstance(attacked, np.ndarray)
    np.testing.assert_array_equal(attacked, expected.numpy())
    np.testing.assert_array_equal(x.numpy(), before)
    frozen = x.numpy().copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(
        pgd(model, frozen[::-1], y.flip(0).numpy(), eps=0.1, random_start=False)[::-1],
        pgd(model, x, y, eps=0.1, random_start=False).numpy(),
    )
    double = pgd(model, x.double().numpy(), y.numpy().astype(np.int32), eps=0.1)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_a_batch_of_one_is_attacked_as_among_others(loss: str) -> None:
    model, x, y = wavy_problem()
    attack = partial(pgd, model, eps=0.05, max_iter=8, loss=loss, random_start=False)
    torch.testing.assert_close(attack(x[:1], y[:1]), attack(x, y)[:1])


def test_empty_batch() -> None:
    model, x, y = two_class_problem()
    assert pgd(model, x[:0], y[:0], eps=0.1).shape == (0, 6)


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_a_box_may_be_given_for_each_feature_or_channel(norm: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    x, y = torch.rand(20, 3, 2, 2), torch.zeros(20, dtype=torch.long)
    attack = partial(pgd, model, x, y, eps=0.4, norm=norm, max_iter=5)
    uniform = attack(clip_values=(0.0, 1.0))
    for zeros in (np.zeros(12), torch.zeros(3), np.zeros((3, 1, 1))):
        assert torch.equal(attack(clip_values=(zeros, np.float32(1))), uniform)
    low, high = np.array([-1.0, 0, 0]), np.array([1.0, 1, 3])
    attacked = attack(clip_values=(low, high))
    assert torch.equal(attack(clip_values=(low.repeat(4), high.repeat(4))), attacked)
    assert ((attacked >= torch.tensor(low).reshape(3, 1, 1)) & (attacked <= torch.tensor(high).reshape(3, 1, 1))).all()
    assert attacked[:, 0].min() < 0 <= attacked[:, 1].min()
    assert attacked[:, 1].max() <= 1
    assert norm == 1 or attacked[:, 2].max() > 1
    with pytest.raises(ValueError, match="x must lie within clip_values of their features"):
        attack(clip_values=(np.array([0.0, 0.5, 0.0]), 1))


class Failing(nn.Module):
    def forward(self, points: Tensor) -> Tensor:
        raise RuntimeError("out of order")


def network_in_mixed_modes(*extra: nn.Module) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3), *extra)
    model.train()
    model[2].eval()
    model[1].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize("extra", [(), (Failing(),)])
def test_the_network_comes_back_as_it_was(extra: tuple[nn.Module, ...]) -> None:
    model = network_in_mixed_modes(*extra)
    modes = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = torch.rand(5, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    if extra:
        with pytest.raises(RuntimeError, match="out of order"):
            pgd(model, x, y, eps=0.1)
        with pytest.raises(RuntimeError, match="out of order"):
            accuracy(model, x, y)
    else:
        with torch.no_grad():
            pgd(model, x, y, eps=0.1)
        with torch.inference_mode():
            assert pgd(model, torch.rand(5, 2, 2), y, eps=0.1).shape == (5, 2, 2)
        accuracy(model, x, y)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 5
    assert not x.requires_grad


class Viewing(nn.Module):
    """A network that, as many do, takes its activations to be contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4 * 6 * 6, 5)

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.conv(points).relu().view(len(points), -1))
        return logits


def test_a_network_that_needs_contiguous_activations() -> None:
    model = Viewing()
    free = nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.linear)
    x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    layouts = []
    for network in (model, free):
        network.register_forward_pre_hook(
            lambda _, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        network.attacked = pgd(network, x, y, eps=0.1, max_iter=3)
    assert layouts == [True] + [False] * 3 + [True] * 4, "the first pass of each asks what it takes"
    assert model.attacked.is_contiguous()
    torch.testing.assert_close(model.attacked, free.attacked)


def test_convolutions_keep_their_layout_and_hooks_run() -> None:
    model = convnet_2a()
    strides = [parameter.stride() for parameter in model.parameters()]
    seen = []
    model.conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    attacked = pgd(model, torch.rand(4, 1, 28, 28), torch.arange(4), eps=0.1, max_iter=3)
    assert attacked.stride() == (784, 784, 28, 1)
    assert [parameter.stride() for parameter in model.parameters()] == strides
    assert seen[-3:] == [(4, 32, 7, 7)] * 3


def test_an_art_classifier_is_attacked_behind_its_preprocessing() -> None:
    model = wavy_problem()[0]
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        (3,),
        4,
        clip_values=(0.0, 1.0),
        preprocessing=(np.float32(0.4), np.float32(0.8)),
        device_type="cpu",
    )
    composed = nn.Sequential(Standardised(0.4, 0.8), model)
    _, x, _ = wavy_problem()
    y = composed(x).argmax(dim=1)
    attack = partial(pgd, x=x, y=y, eps=0.05, max_iter=8)
    attacked = attack(classifier)
    torch.testing.assert_close(attacked, attack(composed))
    assert 0 < int((torch.from_numpy(classifier.predict(attacked.numpy())).argmax(dim=1) == y).sum()) < len(y)


class Standardised(nn.Module):
    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.mean = mean
        self.deviation = deviation

    def forward(self, points: Tensor) -> Tensor:
        return (points - self.mean) / self.deviation


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "net"}, TypeError, "model must be an nn.Module or an ART PyTorchClassifier, got str"),
        ({"x": [[0.5]]}, TypeError, "x must be a torch tensor or a numpy array"),
        ({"x": torch.zeros(4, 6, dtype=torch.int64)}, TypeError, "x must hold floating-point numbers"),
        ({"x": torch.zeros(4)}, ValueError, r"x must be of shape \(batch, ...\)"),
        ({"x": torch.full((4, 6), math.nan)}, ValueError, "x holds values that are not finite"),
        ({"x": torch.full((4, 6), 1.5)}, ValueError, r"x must lie within clip_values \(0.0, 1.0\)"),
        ({"y": torch.zeros(3, dtype=torch.long)}, ValueError, r"y must have the shape \(4,\)"),
        ({"y": torch.full((4,), 0.5)}, ValueError, "y must hold whole numbers"),
        ({"y": torch.tensor([0, 1, 2, 0])}, ValueError, r"y must be in \[0, 2\), got 2"),
        ({"y": torch.tensor([0, 1, -1, 0])}, ValueError, "y must not be negative, got -1"),
        ({"y": torch.full((4, 2), 0.5)}, ValueError, "must be one-hot"),
        ({"y": ["a"] * 4}, TypeError, "y must be a torch tensor or a numpy array"),
        ({"eps": -0.1}, ValueError, "eps must be a finite number >= 0"),
        ({"eps": math.inf}, ValueError, "eps must be a finite number >= 0"),
        ({"eps_step": 0.0}, ValueError, "eps_step must be a finite number > 0"),
        ({"eps_step": [0.1, -0.1], "max_iter": 2}, ValueError, "eps_step must be a finite number > 0"),
        ({"eps_step": [0.1, 0.1]}, ValueError, "eps_step must be a number or hold max_iter = 40 numbers, got 2"),
        ({"num_random_init": 0}, ValueError, "num_random_init must be an integer >= 1"),
        ({"num_random_init": 2, "random_start": False}, ValueError, "num_random_init must be 1 where random_start"),
        ({"loss": "dlr"}, ValueError, "loss: dlr needs at least 3 classes, the model has 2"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer >= 1"),
        ({"max_iter": 2.5}, ValueError, "max_iter must be an integer >= 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1"),
        ({"norm": 3}, ValueError, "norm must be inf, 2 or 1, got 3"),
        ({"loss": "hinge"}, ValueError, "loss must be one of cross_entropy, margin, dlr, got 'hinge'"),
        ({"clip_values": (1.0, 0.0)}, ValueError, r"clip_values must be \(low, high\)"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0"),
        ({"model": nn.Linear(6, 1)}, ValueError, r"model must return \(4, classes >= 2\)"),
        ({"model": nn.Flatten(0)}, ValueError, r"model must return \(4, classes >= 2\)"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "model": nn.Linear(6, 2),
        "x": torch.rand(4, 6),
        "y": torch.tensor([0, 1, 1, 0]),
        "eps": 0.1,
        **change,
    }
    with pytest.raises(error, match=message):
        pgd(arguments.pop("model"), arguments.pop("x"), arguments.pop("y"), **arguments)


class RootOfZero(nn.Module):
    """Finite logits whose gradient is 0 * inf."""

    def forward(self, points: Tensor) -> Tensor:
        return (points[:, :2] * 0).sqrt() * 0


class Constant(nn.Module):
    def forward(self, points: Tensor) -> Tensor:
        return torch.zeros(len(points), 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (affine(torch.full((2, 6), math.nan), torch.zeros(2)), "the logits are not finite for 4 of 4 samples"),
        (affine(torch.full((2, 6), 3e38), torch.zeros(2)), "the logits are not finite for 4 of 4 samples"),
        (RootOfZero(), "the gradient is not finite for 4 of 4 samples"),
        (Constant(), "no gradient flows from the logits to the samples"),
    ],
)
def test_numbers_that_are_not_finite_are_reported(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pgd(model, torch.rand(4, 6) + 1, torch.tensor([0, 1, 1, 0]), eps=0.1, clip_values=None)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    model = convnet_2a().cuda()
    x, y = torch.rand(8, 1, 28, 28), torch.arange(8)
    attacked = pgd(model, x, y, eps=0.1, max_iter=3)
    assert attacked.device == x.device
    assert 0 < (attacked - x).abs().max() <= 0.1
    assert accuracy(model, x.cuda(), y.cuda()) == accuracy(model, x, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "loss", "rescale", "published", "noise"),
    [
        ("madry_eps0.3", "cross_entropy", False, 0.9606, 0.03),
        ("madry_eps0.3", "margin", False, 0.9615, 0.03),
        ("levelset_eps0.4", "cross_entropy", False, 0.9924, 0.015),
        ("levelset_eps0.4", "margin", False, 0.9736, 0.03),
        ("levelset_eps0.4", "cross_entropy", True, 0.9736, 0.03),  # no more than by the margin, once it has a gradient
    ],
)
def test_agrees_with_the_authors_logs(
    data_dir: Path,
    mnist_test: tuple[Tensor, Tensor],
    weights: str,
    loss: str,
    rescale: bool,
    published: float,
    noise: float,
) -> None:
    images, labels = (rows[-150:] for rows in mnist_test)
    model = load_released_weights(data_dir / "checkpoints" / "levelsets-mnist" / f"{weights}.pth")
    attack = partial(pgd, eps=0.3, eps_step=0.01, max_iter=40, loss=loss, rescale=rescale, stop_when_broken=True)
    assert robust_accuracy(model, images, labels, attack) == pytest.approx(published, abs=noise)
