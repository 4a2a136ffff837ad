"""Adversarial weight perturbation: how far the weights move and where to, and that they are as before afterwards."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from art_levelset.trainers import Execution, MadryAWPTrainer, MadryTrainer, TRADESAWPTrainer, TRADESTrainer
from art_levelset.trainers.weight_perturbation import perturbation

PAIRS = [(MadryAWPTrainer, MadryTrainer), (TRADESAWPTrainer, TRADESTrainer)]


def network(layer: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), layer or nn.Identity(), nn.Tanh(), nn.Linear(32, 10))


def step(trainer, digits):
    """The loss of a step and its gradients, as the loop asks for them."""
    x, y = (torch.as_tensor(part[:32]) for part in digits)
    trainer._union = len(x)
    trainer.randomness.manual_seed(0)
    trainer.begin_step(x, y, None)
    loss, metrics = trainer.batch_loss(x, y, None)
    return loss, metrics


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16), st.floats(1e-4, 1.0), st.floats(1e-6, 1e6))
def test_the_move_has_the_relative_length_and_the_direction_of_the_gradient(seed, gamma, scale):
    generator = torch.Generator().manual_seed(seed)
    weight, gradient = torch.randn(2, 3, 4, 2, dtype=torch.float64, generator=generator)
    moved = perturbation(weight, scale * gradient, gamma)
    assert (moved.norm() / weight.norm()).item() == pytest.approx(gamma, rel=1e-9)
    assert ((moved * gradient).sum() / (moved.norm() * gradient.norm())).item() == pytest.approx(1.0, rel=1e-9)


def test_without_a_gradient_nothing_moves():
    assert torch.equal(perturbation(torch.ones(3, 2), torch.zeros(3, 2), 0.1), torch.zeros(3, 2))


@pytest.mark.parametrize(("trainer_class", "plain_class"), PAIRS)
def test_gradient_and_loss_are_those_of_the_moved_weights(classifier, digits, trainer_class, plain_class):
    module = network()
    before = copy.deepcopy(module.state_dict())
    trainer = trainer_class(classifier(module), 0.1, max_iter=3, gamma=0.05)
    loss, metrics = step(trainer, digits)
    loss.backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), "the weights are as before, bit for bit"

    still = copy.deepcopy(module)
    plain = plain_class(classifier(still), 0.1, max_iter=3)
    first, _ = step(plain, digits)
    gradients = torch.autograd.grad(first, list(still.parameters()))
    plain.randomness.manual_seed(0)
    points = plain.find(torch.as_tensor(digits[0][:32]), torch.as_tensor(digits[1][:32]), None)
    with torch.no_grad():
        for parameter, gradient in zip(still.parameters(), gradients, strict=True):
            if parameter.dim() > 1:
                parameter += 0.05 * parameter.norm() * gradient / gradient.norm()
    changed = {name for name, value in still.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.weight", "4.weight"}
    x, y = (torch.as_tensor(part[:32]) for part in digits)
    expected, figures = plain.loss_at(still, x, y, points)
    still.zero_grad()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    assert expected > first, "moved against the loss"
    assert metrics == pytest.approx(figures)
    for gradient, parameter in zip(found, still.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("trainer_class", "plain_class"), PAIRS)
def test_a_tiny_move_is_none(classifier, digits, trainer_class, plain_class):
    weights = []
    for make, options in ((trainer_class, {"gamma": 1e-9}), (plain_class, {})):
        built = classifier(network())
        make(built, 0.1, max_iter=3, seed=0, **options).fit(digits[0][:64], digits[1][:64], nb_epochs=2, verbose=False)
        weights.append(nn.utils.parameters_to_vector(built.model.parameters()))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("trainer_class", "passes"), [(MadryAWPTrainer, 1), (TRADESAWPTrainer, 2)])
def test_running_statistics_follow_the_second_pass_alone(classifier, digits, trainer_class, passes):
    module = network(nn.BatchNorm1d(32))
    trainer = trainer_class(classifier(module), 0.1, max_iter=2, gamma=0.05)
    seen = []
    module[2].register_forward_hook(
        lambda layer, inputs, output: seen.append(inputs[0].detach().clone()) if layer.training else None
    )
    step(trainer, digits)
    assert len(seen) == 2 * passes
    assert module[2].num_batches_tracked.item() == passes
    mean = torch.zeros(32)
    for inputs in seen[passes:]:
        mean = 0.9 * mean + 0.1 * inputs.mean(dim=0)
    torch.testing.assert_close(module[2].running_mean, mean)


def test_the_average_is_that_of_weights_that_have_not_moved(classifier, digits):
    """After one step it is m a + (1 - m) w with m = 2/11."""
    found = []
    for decay in (None, 0.9):
        built = classifier(network(), optimizer=None)
        start = nn.utils.parameters_to_vector(built.model.parameters()).detach().clone()
        built = classifier(built.model, optimizer=torch.optim.SGD(built.model.parameters(), lr=0.5))
        trainer = TRADESAWPTrainer(built, 0.1, max_iter=2, seed=0, ema_decay=decay, gamma=0.1)
        trainer.fit(digits[0][:64], digits[1][:64], batch_size=64, nb_epochs=1, verbose=False)
        found.append(nn.utils.parameters_to_vector(built.model.parameters()).detach())
    assert (found[0] - start).norm() > 0.01
    torch.testing.assert_close(found[1], (2 * start + 9 * found[0]) / 11)


@pytest.mark.parametrize("execution", [Execution(bf16=True), Execution(channels_last=True)], ids=["bf16", "channels"])
def test_other_executions_move_the_same_weights(classifier, digits, execution):
    moved = []
    for one in (Execution(), execution):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 10))
        trainer = MadryAWPTrainer(classifier(module), 0.1, max_iter=2, gamma=0.1, execution=one)
        with one.laid_out(module, trainer.classifier.optimizer):
            step(trainer, digits)
            moved.append(list(trainer._moved.values()))
    for weight, other in zip(*moved, strict=True):
        assert (weight - other).norm() < 0.02 * weight.norm()


def test_layers_without_gradient_stay_out_of_it(classifier, digits):
    module = network()
    module[1].requires_grad_(False)
    trainer = MadryAWPTrainer(classifier(module), 0.1, max_iter=2)
    step(trainer, digits)[0].backward()
    assert [name.split("model.")[-1] for name in trainer._moved] == ["4.weight"]
    assert module[1].weight.grad is None
    assert module[4].weight.grad is not None


@pytest.mark.parametrize(("trainer_class", "_plain"), PAIRS)
@pytest.mark.parametrize("gamma", [0.0, -0.1, math.nan, "0.1"])
def test_bad_numbers(classifier, trainer_class, _plain, gamma):
    with pytest.raises(ValueError, match="^gamma must be a finite number > 0"):
        trainer_class(classifier(), 0.1, gamma=gamma)
