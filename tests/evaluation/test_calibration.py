from __future__ import annotations

import math
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

from art_levelset.evaluation.calibration import calibration
from art_levelset.evaluation.figures import plot_calibration
from art_levelset.evaluation.record import Bin, Calibration
from art_levelset.models import load_released_weights


class Logits(nn.Module):
    """Takes its logits as inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def measured(logits: Tensor, y: Tensor, bins: int = 15) -> Calibration:
    torch.set_default_dtype(torch.float64)
    try:
        return calibration(Logits(), logits.double(), y, bins)
    finally:
        torch.set_default_dtype(torch.float32)


def of_confidence(confidence: float, rights: int, wrongs: int) -> tuple[Tensor, Tensor]:
    """Two-class predictions of one confidence."""
    logits = torch.tensor([confidence, 1 - confidence], dtype=torch.float64).log().expand(rights + wrongs, 2)
    return logits, torch.tensor([0] * rights + [1] * wrongs)


def joined(*parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    logits, y = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(y)


def scores(n: int, classes: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of a classifier that is often, not always, right."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64) + 1.5 * functional.one_hot(y, classes)
    return scale * logits, y


def figures(found: Calibration, *others: str) -> dict[str, float]:
    """The numbers to compare; a temperature of infinity among them."""
    numbers = {name: value for name, value in found.model_dump().items() if name not in ("bins", *others)}
    return {**numbers, "temperature": math.inf if found.temperature is None else found.temperature}


def test_figures_by_hand() -> None:
    logits, y = joined(of_confidence(0.9, 6, 4), of_confidence(0.7, 6, 0))
    found = measured(logits, y, bins=10)
    assert found.accuracy == pytest.approx(12 / 16)
    assert found.confidence == pytest.approx((10 * 0.9 + 6 * 0.7) / 16)
    assert found.ece == pytest.approx((10 * 0.3 + 6 * 0.3) / 16)
    assert found.adaptive_ece == pytest.approx(found.ece), "two confidences, two bins"
    assert found.brier == pytest.approx((6 * 0.02 + 4 * 1.62 + 6 * 0.18) / 16)
    assert found.nll == pytest.approx(-(6 * math.log(0.9) + 4 * math.log(0.1) + 6 * math.log(0.7)) / 16)
    margins = [math.log(9)] * 6 + [-math.log(9)] * 4 + [math.log(7 / 3)] * 6
    assert found.margin == pytest.approx(np.median(margins))
    assert found.large_margin == pytest.approx(math.log(9))
    norms = [math.hypot(math.log(0.9), math.log(0.1))] * 10 + [math.hypot(math.log(0.7), math.log(0.3))] * 6
    assert found.logit_norm == pytest.approx(np.median(norms))
    assert [part.model_dump() for part in found.bins] == [
        pytest.approx({"above": 0.6, "up_to": 0.7, "count": 6, "confidence": 0.7, "accuracy": 1.0}),
        pytest.approx({"above": 0.8, "up_to": 0.9, "count": 10, "confidence": 0.9, "accuracy": 0.6}),
    ]


def test_equal_mass_differs_where_one_wide_bin_hides_errors_of_both_signs() -> None:
    logits, y = joined(of_confidence(0.94, 5, 5), of_confidence(0.98, 10, 0), of_confidence(0.91, 10, 0))
    found = measured(logits, y, bins=3)
    mean = (0.94 + 0.98 + 0.91) / 3
    assert found.ece == pytest.approx(abs(25 / 30 - mean))
    assert found.adaptive_ece == pytest.approx((0.44 + 0.02 + 0.09) / 3)


def test_a_network_that_is_right_as_often_as_it_says_has_no_error() -> None:
    found = measured(*joined(of_confidence(0.75, 3, 1), of_confidence(0.9, 9, 1), of_confidence(0.6, 3, 2)))
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert found.adaptive_ece == pytest.approx(0, abs=1e-12)
    assert found.temperature == pytest.approx(1, rel=1e-6)
    assert found.tempered_nll == pytest.approx(found.nll)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 60), st.integers(2, 5), st.floats(0.01, 1000), st.integers(0, 10**6), st.integers(1, 20))
def test_what_does_not_matter(n: int, classes: int, scale: float, seed: int, bins: int) -> None:
    logits, y = scores(n, classes, scale, seed)
    found = measured(logits, y, bins)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    relabelled = torch.randperm(classes, generator=generator)
    shift = scale * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    other = measured(logits[order][:, relabelled] + shift, relabelled.argsort()[y[order]], bins)
    assert figures(other, "logit_norm") == pytest.approx(figures(found, "logit_norm"), rel=1e-6, abs=1e-9)
    assert sum(part.count for part in found.bins) == n
    assert abs(found.accuracy - found.confidence) <= found.ece + 1e-12, "bins can only add errors"
    assert abs(found.accuracy - found.confidence) <= found.adaptive_ece + 1e-12
    one = measured(logits, y, 1)
    assert one.ece == pytest.approx(one.adaptive_ece)
    assert one.ece == pytest.approx(abs(found.accuracy - found.confidence), abs=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 60), st.integers(2, 5), st.floats(0.01, 100), st.integers(0, 10**6))
def test_no_temperature_is_better(n: int, classes: int, factor: float, seed: int) -> None:
    logits, y = scores(n, classes, 1.0, seed)
    found = measured(logits, y)
    for temperature in np.geomspace(1e-2, 1e2, 60):
        assert found.tempered_nll <= functional.cross_entropy(logits / temperature, y).item() + 1e-12
    assert found.tempered_nll <= min(found.nll, math.log(classes)) + 1e-12
    scaled = measured(factor * logits, y)
    if found.temperature is None:
        assert scaled.temperature is None
        assert found.tempered_nll == pytest.approx(math.log(classes))
    else:
        assert scaled.temperature == pytest.approx(factor * found.temperature, rel=1e-6)
        assert scaled.tempered_nll == pytest.approx(found.tempered_nll, abs=1e-9)


def test_the_limits_of_the_temperature() -> None:
    logits, _ = scores(30, 4, 1.0, 0)
    sure = measured(logits, logits.argmax(dim=1))
    assert (sure.temperature, sure.tempered_nll, sure.tempered_ece) == (0.0, 0.0, 0.0)
    contrary = measured(logits, logits.argmin(dim=1))
    assert contrary.temperature is None
    assert contrary.tempered_nll == pytest.approx(math.log(4))
    constant = measured(torch.full((8, 4), 3.0), torch.arange(8) % 4)
    assert constant.temperature == 1.0
    assert constant.tempered_nll == constant.nll == pytest.approx(math.log(4))
    tied = measured(torch.tensor([[1.0, 1.0, 0.0]] * 2), torch.tensor([0, 1]))
    assert tied.temperature == 0.0
    assert tied.tempered_nll == pytest.approx(math.log(2))


def test_logits_too_large_for_single_precision_are_measured() -> None:
    logits = torch.tensor([[2000.0, 0.0]] * 9 + [[0.0, 3000.0]])
    found = calibration(Logits(), logits, torch.zeros(10, dtype=torch.int64))
    assert found.confidence == 1.0
    assert found.ece == pytest.approx(0.1)
    assert found.nll == pytest.approx(300.0)
    assert found.temperature is not None
    assert found.temperature > 500


def test_a_classifier_and_arrays_give_what_its_network_gives() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 3))
    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (2, 3), 3, device_type="cpu", preprocessing=(0.5, 2.0)
    )
    x, y = np.random.default_rng(0).random((20, 2, 3), np.float32), np.arange(20) % 3
    found = calibration(classifier, x, np.eye(3)[y], batch_size=7)
    behind = calibration(module, (torch.from_numpy(x) - 0.5) / 2, torch.from_numpy(y))
    assert figures(behind) == pytest.approx(figures(found), rel=1e-5)
    assert module.training, "the mode is restored"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": 0}, "bins must be an integer >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"y": torch.tensor([0, 3])}, r"y must be in \[0, 3\)"),
        ({"y": torch.tensor([0])}, "y must have the shape"),
        ({"x": torch.zeros(0, 3), "y": torch.zeros(0, dtype=torch.int64)}, "x holds no sample"),
        ({"x": torch.zeros(2, 1)}, "model must return"),
        ({"model": nn.Threshold(0.5, math.nan)}, "the logits are not finite for 1 of 2 samples"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    given = {"model": Logits(), "x": torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]), "y": torch.tensor([0, 1])}
    with pytest.raises(ValueError, match=message):
        calibration(**{**given, **arguments})


def test_the_schema_refuses_what_cannot_be() -> None:
    fields = measured(*scores(20, 3, 1.0, 0)).model_dump()
    assert Calibration(**fields) == Calibration(**{**fields, "bins": list(fields["bins"])})
    for changes, message in (
        ({"ece": 1.5}, "^ece: Input should be less than or equal to 1"),
        ({"brier": 2.5}, "^brier: Input should be less than or equal to 2"),
        ({"temperature": -1.0}, "^temperature: Input should be greater than or equal to 0"),
        ({"nll": math.inf}, "^nll: Input should be a finite number"),
        ({"bins": [{"above": 0.1}]}, r"^bins\[0\]: up_to: Field required"),
    ):
        with pytest.raises(ValueError, match=message):
            Calibration(**{**fields, **changes})
    with pytest.raises(ValueError, match="^count: Input should be greater than or equal to 1"):
        Bin(above=0.1, up_to=0.2, count=0, confidence=0.15, accuracy=1.0)


def test_the_diagram(tmp_path: Path) -> None:
    found = {name: measured(*scores(200, 3, scale, 0)) for name, scale in (("timid", 0.3), ("bold", 30.0))}
    plot_calibration(found, tmp_path / "reliability.png", title="a title")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["reliability.png"]
    with pytest.raises(ValueError, match="calibrations must hold at least one"):
        plot_calibration({}, tmp_path / "none.png")


def test_the_released_weights(data_dir: Path, mnist_test: tuple[Tensor, Tensor]) -> None:
    x, y = mnist_test
    folder = data_dir / "checkpoints" / "levelsets-mnist"
    found = {
        name: calibration(load_released_weights(folder / f"{name}.pth"), x[:500], y[:500])
        for name in ("madry_eps0.3", "levelset_eps0.4")
    }
    madry, levelset = found.values()
    assert levelset.confidence == 1.0
    assert levelset.margin > 1000
    assert levelset.temperature is not None
    assert levelset.temperature > 50
    assert levelset.nll > 20 * madry.nll
    assert madry.temperature is not None
    assert 0.2 < madry.temperature < 3
    assert max(madry.tempered_ece, levelset.tempered_ece) < 0.01
