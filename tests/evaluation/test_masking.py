from __future__ import annotations

import copy
import functools
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from sklearn.datasets import load_digits
from torch import Tensor, nn

from art_levelset import progress
from art_levelset.attacks.memo import Memo
from art_levelset.evaluation import classified_right, pgd
from art_levelset.evaluation.masking import Diagnosis, _tail, diagnose
from art_levelset.models import load_released_weights

SETTINGS: dict[str, Any] = {"eps": 0.08, "max_iter": 6, "verbose": False}
OF_CROSS_ENTROPY = {"zero gradients", "rounding", "logit scale", "cross-entropy gap"}


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small trained network and 300 test samples, half of which fall to PGD with eps 0.08."""
    torch.manual_seed(0)
    data = load_digits()
    x, y = torch.from_numpy(data.data / 16).float(), torch.from_numpy(data.target).long()
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[300:]), y[300:]).backward()
        optimizer.step()
    return network.eval(), x[:300], y[:300]


@pytest.fixture(scope="module")
def scaled(digits: tuple[nn.Module, Tensor, Tensor]) -> Diagnosis:
    """The diagnosis of the network with logits times 1e4, the network itself being a source."""
    network, x, y = digits
    return diagnose(Scaled(network), x, y, **SETTINGS, sources={"itself": network})


def failures(diagnosis: Diagnosis) -> set[str]:
    return {check.check for check in diagnosis.checks if check.verdict == "fail"}


def value(diagnosis: Diagnosis, name: str) -> float:
    (found,) = (check.value for check in diagnosis.checks if check.check == name)
    assert found is not None
    return found


class Changed(nn.Module):
    """A network whose input is changed on the way in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def change(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(self.change(x))
        return logits


class Scaled(Changed):
    """Logits times 1e4, all of them or only where the fourth pixel is bright."""

    def __init__(self, network: nn.Module, above: float = -1.0) -> None:
        super().__init__(network)
        self.above = above

    def forward(self, x: Tensor) -> Tensor:
        factor = torch.where(x[:, 2] > self.above, 1e4, 1.0)
        return super().forward(x) * factor.unsqueeze(1)


class Staircase(Changed):
    """Flat steps: no gradient anywhere."""

    def change(self, x: Tensor) -> Tensor:
        return (x * 32).round() / 32


class Ripples(Changed):
    """Fine waves, which do not change the values much but all the gradients."""

    def change(self, x: Tensor) -> Tensor:
        return x + 0.01 * (1500 * x).sin()


class Noisy(Changed):
    def change(self, x: Tensor) -> Tensor:
        return x + 0.05 * torch.randn_like(x)


class Turned(torch.autograd.Function):
    """The identity, with the gradient turned round where it is told to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turned: Tensor) -> Tensor:
        ctx.save_for_backward(turned)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (turned,) = ctx.saved_tensors
        return torch.where(turned.unsqueeze(1), -gradients[0], gradients[0]), None


class HonestOnTheGrid(Changed):
    """Gradients point the right way at the images themselves, whose values are multiples of 1/16, and nowhere else."""

    def change(self, x: Tensor) -> Tensor:
        moved: Tensor = Turned.apply(x, ((x * 16) != (x * 16).round()).any(dim=1))
        return moved


class HonestInside(Changed):
    """Gradients point the right way in the middle of the box only."""

    def change(self, x: Tensor) -> Tensor:
        moved: Tensor = Turned.apply(x, ((x - 0.5).abs() > 0.2001).any(dim=1))
        return moved


class Deaf(Changed):
    """Gives one answer to everything."""

    def change(self, x: Tensor) -> Tensor:
        return 0 * x


def affine() -> tuple[nn.Linear, Tensor, Tensor]:
    """Samples in [0.4, 0.6]^20 and an affine classifier that is right on all of them."""
    network = nn.Linear(20, 4)
    network.bias.data = -network.weight.data.sum(dim=1) / 2
    x = 0.4 + 0.2 * torch.randint(2, (300, 20)).float()
    return network, x, network(x).argmax(dim=1)


def test_the_progress_bar_ends_at_its_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "shown", lambda verbose: verbose)  # as on a terminal
    network, x, y = affine()
    settings: dict[str, Any] = {"eps": 0.05, "max_iter": 2, "sources": {"twin": network}, "gradient_free": uninformed}
    diagnose(network, x, y, **settings)
    assert f"{18 * len(x)}/{18 * len(x)}" in capsys.readouterr().err
    diagnose(network, x, y, **settings, verbose=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("norm", "eps"), [(np.inf, 0.05), (2, 0.2), (1, 0.5)])
def test_an_affine_network_passes(norm: float, eps: float) -> None:
    network, x, y = affine()
    diagnosis = diagnose(network, x, y, eps=eps, norm=norm, max_iter=10, sources={"twin": network}, verbose=False)
    assert failures(diagnosis) == set()
    assert not diagnosis.masked
    assert {check.check for check in diagnosis.checks if check.verdict == "not judged"} == {"gradient-free"}
    assert value(diagnosis, "unbounded attack") == 0
    assert value(diagnosis, "cross-entropy gap") == pytest.approx(0, abs=0.02)
    assert "No sign of masked gradients." in diagnosis.report()


def test_too_few_samples_are_no_sign_of_anything() -> None:
    network, x, y = affine()
    diagnosis = diagnose(network, x[:8], y[:8], eps=0.05, max_iter=2, verbose=False)
    assert {check.verdict for check in diagnosis.checks} == {"not judged"}
    assert not diagnosis.judged
    assert diagnosis.report().endswith("\nNothing could be judged.")


def test_a_trained_network_passes(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    other = nn.Sequential(nn.Linear(64, 10))
    other[0].weight.data = network[2].weight.data @ network[0].weight.data  # type: ignore[index, union-attr, operator]
    diagnosis = diagnose(network, x, y, **SETTINGS, sources={"other": other}, gradient_free=uninformed)
    assert failures(diagnosis) == set()
    assert all(check.verdict == "pass" for check in diagnosis.checks)
    left = 1 - float(
        classified_right(network, pgd(network, x, y, eps=0.08, max_iter=10, loss="margin"), y).double().mean()
    )
    assert 0.2 < left < 0.8, "neither robust nor broken: checks could fail on either side"


def uninformed(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return x


def test_huge_logits_blind_the_cross_entropy_only(scaled: Diagnosis, digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    assert failures(scaled) == OF_CROSS_ENTROPY
    assert scaled.masked
    assert value(scaled, "zero gradients") > 0.9
    assert value(scaled, "logit scale") == pytest.approx(1e4 * median_margin(*digits), rel=1e-3)
    assert value(scaled, "cross-entropy gap") > 0.2
    (gap,) = (check.statement for check in scaled.checks if check.check == "cross-entropy gap")
    with_margin, with_rescaled = re.findall(r"the margin ([\d.]+)%.*cross-entropy to ([\d.]+)%", gap)[0]
    assert float(with_rescaled) == pytest.approx(float(with_margin), abs=3)


def median_margin(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        logits = network(x).double()
    own = logits.gather(1, y[:, None])[:, 0]
    margins = own - logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    return float(np.median(margins[margins > 0].numpy()))


def test_a_few_blind_samples_are_no_gap(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    above = float(x[:, 2].quantile(0.9))
    diagnosis = diagnose(Scaled(network, above), x, y, **SETTINGS)
    assert failures(diagnosis) == {"zero gradients"}
    assert 0.03 < value(diagnosis, "zero gradients") < 0.2


def test_flat_steps_are_found_out(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    through = functools.partial(on_another, source=network)
    diagnosis = diagnose(Staircase(network), x, y, **SETTINGS, sources={"smooth": network}, gradient_free=through)
    assert failures(diagnosis) >= {"zero gradients", "zero margin slopes", "transfer", "gradient-free"}
    assert value(diagnosis, "zero margin slopes") == 1
    assert value(diagnosis, "transfer") > 0.2
    assert value(diagnosis, "gradient-free") > 0.2
    assert "Gradients mislead" in diagnosis.report()


def on_another(model: nn.Module, x: Tensor, y: Tensor, source: nn.Module, seed: int = 0) -> Tensor:
    """An attack that asks nothing of the model."""
    return pgd(source, x, y, eps=SETTINGS["eps"], loss="margin", seed=seed)


def test_random_points_beat_gradients_that_are_zero(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    diagnosis = diagnose(Staircase(network), x, y, eps=0.5, max_iter=10, verbose=False)
    assert {"random noise"} <= failures(diagnosis)
    assert value(diagnosis, "random noise") > 0.05


def test_shattered_gradients_are_found_out(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    diagnosis = diagnose(Ripples(network), x, y, **SETTINGS, sources={"smooth": network})
    assert "transfer" in failures(diagnosis)
    assert not {"zero gradients", "zero margin slopes"} & failures(diagnosis)


def test_a_network_that_draws_is_found_out_and_diagnosed_reproducibly(
    digits: tuple[nn.Module, Tensor, Tensor],
) -> None:
    network, x, y = digits
    state = torch.get_rng_state()
    first, second = (diagnose(Noisy(network), x, y, **SETTINGS) for _ in range(2))
    assert "randomness" in failures(first)
    assert value(first, "randomness") == 1
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_one_step_must_not_beat_many(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    assert "iterations" in failures(diagnose(HonestOnTheGrid(network), x, y, **SETTINGS))


def test_a_larger_ball_must_not_protect() -> None:
    network, x, y = affine()
    diagnosis = diagnose(HonestInside(network), x, y, eps=0.1, max_iter=10, verbose=False)
    assert "larger eps" in failures(diagnosis)
    assert value(diagnosis, "larger eps") > 0.1


def test_the_whole_box_must_not_protect() -> None:
    network, x, y = affine()
    assert "unbounded attack" not in failures(diagnose(network, x, y, eps=0.1, max_iter=10, verbose=False))
    deaf = Deaf(network)
    diagnosis = diagnose(deaf, x, deaf(x).argmax(dim=1), eps=0.1, max_iter=10, verbose=False)
    assert "unbounded attack" in failures(diagnosis)
    assert value(diagnosis, "unbounded attack") == 1


def test_too_few_samples_are_not_judged(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    right = classified_right(network, x, y)
    diagnosis = diagnose(Scaled(network), x[right][:99], y[right][:99], **SETTINGS)
    assert not diagnosis.masked
    assert {check.verdict for check in diagnosis.checks} == {"not judged"}
    assert value(diagnosis, "zero gradients") > 0.9
    assert "100 samples classified right are needed to judge, there are 99." in diagnosis.checks[0].statement
    assert diagnose(Scaled(network), x[right][:100], y[right][:100], **SETTINGS).masked


def test_misclassified_samples_count_as_broken_and_judge_nothing(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    right = classified_right(network, x, y)
    x, y = x[right], y[right]
    wrong = torch.cat([y, (y[:200] + 1) % 10])
    alone, mixed = diagnose(network, x, y, **SETTINGS), diagnose(network, torch.cat([x, x[:200]]), wrong, **SETTINGS)
    assert [check.verdict for check in mixed.checks] == [check.verdict for check in alone.checks]
    assert value(mixed, "logit scale") == value(alone, "logit scale")
    share = len(x) / (len(x) + 200)
    assert value(mixed, "cross-entropy gap") == pytest.approx(share * value(alone, "cross-entropy gap"))


def test_a_killed_diagnosis_goes_on(digits: tuple[nn.Module, Tensor, Tensor], tmp_path: Path) -> None:
    network, x, y = digits
    counter = Counter(network)
    x, y = x[:200], y[:200]
    whole = diagnose(counter, x, y, **SETTINGS, batch_size=100)
    needed = counter.passes

    counter.end[0] = needed + needed // 2
    with pytest.raises(KeyboardInterrupt):
        diagnose(counter, x, y, **SETTINGS, batch_size=100, memo=Memo(tmp_path))
    counter.end[0] = 10**9
    counter.seen.clear()
    assert diagnose(counter, x, y, **SETTINGS, batch_size=100, memo=Memo(tmp_path)) == whole
    assert counter.passes < 0.7 * needed

    counter.seen.clear()
    assert diagnose(counter, x, y, **SETTINGS, batch_size=100, memo=Memo(tmp_path)) == whole
    assert counter.passes < 0.2 * needed


class Counter(Changed):
    """A network that counts its passes, and is interrupted when it has made as many as were left."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.seen, self.end = deque[int](), deque([10**9])  # a network's key does not depend on what is in them

    @property
    def passes(self) -> int:
        return len(self.seen)

    def change(self, x: Tensor) -> Tensor:
        if self.passes == self.end[0]:
            raise KeyboardInterrupt
        self.seen.append(len(x))
        return x


def test_arrays_and_one_hot_labels_and_the_network_left_as_it_was(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    network = copy.deepcopy(network).train()
    before = copy.deepcopy(network.state_dict())
    expected = diagnose(network, x, y, **SETTINGS)
    assert diagnose(network, x.numpy(), nn.functional.one_hot(y).numpy(), **SETTINGS) == expected
    classifier = PyTorchClassifier(network, nn.CrossEntropyLoss(), input_shape=(64,), nb_classes=10, device_type="cpu")
    assert diagnose(classifier, x, y, **SETTINGS) == expected
    assert all(part.training for part in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(before[name], entry) for name, entry in network.state_dict().items())


def test_the_report_is_readable(scaled: Diagnosis) -> None:
    lines = scaled.report().splitlines()
    assert lines[0] == "Gradient masking, 300 samples: 4 fail, 7 pass, 1 not judged"
    assert all(len(line) <= 100 for line in lines)
    heads = [line[:6].strip() for line in lines[1:-1] if line[:6].strip()]
    assert sorted(heads) == 1 * ["-"] + 4 * ["FAIL"] + 7 * ["pass"]
    assert "Cross-entropy is blinded" in lines[-1]


def bad_calls() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"eps": 0}, "eps must be a finite number > 0"
    yield {"eps": float("nan")}, "eps must be a finite number > 0"
    yield {"norm": 3}, "norm must be"
    yield {"clip_values": (1, 0)}, "clip_values must be"
    yield {"clip_values": (0.5, 1)}, "x must lie within clip_values"
    yield {"max_iter": 1}, "max_iter must be at least 2"
    yield {"eps_step": 0.001}, "eps_step must be at least eps / max_iter = 0.01333"
    yield {"seed": -1}, "seed must be"
    yield {"batch_size": 0}, "batch_size must be"
    yield {"gradient_free": lambda model, x, y: (x + 0.2).clamp(0, 1)}, "must stay within eps = 0.08"
    yield {"gradient_free": lambda model, x, y: x - 0.05}, "must stay within clip_values"
    yield {"gradient_free": lambda model, x, y: x[:, 1:]}, "must return the shape"
    yield {"gradient_free": lambda model, x, y: x * torch.nan}, "must stay within eps"


@pytest.mark.parametrize(("changes", "message"), list(bad_calls()))
def test_bad_arguments(changes: dict[str, Any], message: str, digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    with pytest.raises(ValueError, match=message):
        diagnose(network, x[:10], y[:10], **{**SETTINGS, **changes})


def test_what_cannot_be_diagnosed(digits: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = digits
    wrong = (network(x).argmax(dim=1) + 1) % 10
    with pytest.raises(ValueError, match="x holds no sample that model classifies right"):
        diagnose(network, x, wrong, **SETTINGS)
    with pytest.raises(ValueError, match="no gradient flows"):
        diagnose(Severed(network), x, y, **SETTINGS)
    with pytest.raises(TypeError, match="model must be"):
        diagnose("network", x, y, **SETTINGS)
    with pytest.raises(TypeError, match="model must be"):
        diagnose(network, x, y, **SETTINGS, sources={"none": None})


class Severed(Changed):
    def change(self, x: Tensor) -> Tensor:
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        return x.detach()


def test_known_tails() -> None:
    assert _tail(0, 0) == 1, "without a trial nothing is known"
    assert _tail(0, 50, 0.01) == pytest.approx(1)
    assert _tail(50, 50, 0.01) == pytest.approx(1e-100)
    assert _tail(10, 10) == pytest.approx(2**-10)
    assert _tail(3, 4) == pytest.approx(5 / 16)
    assert _tail(20_000, 40_000) == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "expected"),
    [("madry_eps0.3", set()), ("levelset_eps0.4", {"zero gradients", "rounding", "logit scale"})],
)
def test_the_released_weights(
    weights: str, expected: set[str], data_dir: Path, mnist_test: tuple[Tensor, Tensor]
) -> None:
    images, classes = mnist_test
    network = load_released_weights(data_dir / "checkpoints" / "levelsets-mnist" / f"{weights}.pth")
    diagnosis = diagnose(network, images[:100], classes[:100], eps=0.3, max_iter=5, verbose=False)
    assert failures(diagnosis) == expected
    assert value(diagnosis, "unbounded attack") == 0
    if weights == "levelset_eps0.4":
        assert value(diagnosis, "zero gradients") > 0.98
        assert 2000 < value(diagnosis, "logit scale") < 2500
