from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from art.defences.postprocessor import Rounded
from art.defences.preprocessor import JpegCompression
from art.defences.preprocessor.preprocessor import Preprocessor, PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.attacks import pgd
from art_levelset.attacks.inputs import (
    home,
    network_of,
)
from art_levelset.evaluation import classified_right
from art_levelset.identity import digest

from .tiny import CLASSES, SHAPE, data, network


def classifier(model: nn.Module, **changes: Any) -> PyTorchClassifier:
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=(0.0, 1.0), device_type="cpu", **changes
    )


class Squaring(Preprocessor):  # type: ignore[misc]
    """x^2 in numpy, in place, with the exact gradient as estimate."""

    def __call__(self, x: NDArray[Any], y: Any = None) -> tuple[NDArray[Any], Any]:
        x *= x
        return x, y

    def estimate_gradient(self, x: NDArray[Any], grad: NDArray[Any]) -> NDArray[Any]:
        return 2 * x * grad


class SquaringPyTorch(PreprocessorPyTorch):  # type: ignore[misc]
    """x^2 in PyTorch."""

    def __init__(self) -> None:
        super().__init__(device_type="cpu")

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        return x * x, y


class Square(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.model(x * x)
        return outputs


def gradient(network: nn.Module, x: Tensor) -> Tensor:
    points = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(network(points).square().sum(), points)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"preprocessing": (np.float32(0.3), np.float32(0.5))},
        {"preprocessing": (np.full(SHAPE, 0.2, np.float32), np.linspace(1, 2, 36, dtype=np.float32).reshape(SHAPE))},
        {"preprocessing_defences": [SquaringPyTorch()]},
        {"preprocessing_defences": [JpegCompression((0.0, 1.0), quality=60, channels_first=True)]},
        {"preprocessing_defences": [Squaring()], "preprocessing": (np.float32(0.1), np.float32(0.9))},
    ],
    ids=["none", "standardised", "arrays", "torch", "jpeg", "numpy"],
)
def test_a_classifier_becomes_its_network_behind_its_preprocessing(changes: dict[str, Any]) -> None:
    model = network()
    x, _ = data(model)
    known = classifier(model, **changes)
    faced = network_of(known)
    with torch.no_grad():
        outputs = faced(x)
    torch.testing.assert_close(outputs, torch.from_numpy(known.predict(x.numpy())), rtol=0, atol=1e-7)
    assert home(faced) == (torch.device("cpu"), torch.float32)
    assert gradient(faced, x).abs().amax(dim=(1, 2, 3)).min() > 0


def test_gradients_pass_torch_steps_exactly() -> None:
    model = network()
    x, _ = data(model)
    faced = network_of(classifier(model, preprocessing_defences=[SquaringPyTorch()]))
    torch.testing.assert_close(gradient(faced, x), gradient(Square(model), x), rtol=0, atol=0)


def test_gradients_pass_numpy_steps_as_they_are_estimated() -> None:
    model = network()
    x, _ = data(model)
    before = x.clone()
    squaring = network_of(classifier(model, preprocessing_defences=[Squaring()]))
    torch.testing.assert_close(gradient(squaring, x), gradient(Square(model), x))
    assert torch.equal(x, before)
    jpeg = JpegCompression((0.0, 1.0), quality=60, channels_first=True)
    compressed = torch.from_numpy(jpeg(x.numpy())[0])
    found = gradient(network_of(classifier(model, preprocessing_defences=[jpeg])), x)
    torch.testing.assert_close(found, gradient(model, compressed))


def test_the_native_attack_breaks_a_classifier_through_its_numpy_step() -> None:
    model = network()
    known = classifier(model, preprocessing_defences=[Squaring()])
    x, _ = data(model, 20)
    y = torch.from_numpy(known.predict(x.numpy())).argmax(dim=1)
    attacked = pgd(known, x, y, eps=0.2, max_iter=10)
    right = classified_right(known, attacked, y)
    assert right.double().mean() < 0.3
    predictions = known.predict(attacked.numpy()).argmax(axis=1)
    assert right.tolist() == (predictions == y.numpy()).tolist()


def test_steps_for_training_only_are_left_out() -> None:
    model = network()
    x, _ = data(model)
    step = JpegCompression((0.0, 1.0), quality=10, channels_first=True, apply_fit=True, apply_predict=False)
    torch.testing.assert_close(network_of(classifier(model, preprocessing_defences=[step]))(x), model(x))


def test_postprocessing_is_refused() -> None:
    with pytest.raises(ValueError, match="its postprocessing .Rounded. acts on the outputs"):
        network_of(classifier(network(), postprocessing_defences=[Rounded(decimals=1)]))


def test_finished_work_is_not_mixed_up_between_other_preprocessings() -> None:
    model = network()
    halves = np.full(SHAPE, 0.5, np.float32)
    other = halves.copy()
    other[0, 5, 5] = 0.25
    changes: list[dict[str, Any]] = [
        {},
        {"preprocessing": (halves, np.float32(1))},
        {"preprocessing": (other, np.float32(1))},
        {"preprocessing_defences": [JpegCompression((0.0, 1.0), quality=60, channels_first=True)]},
        {"preprocessing_defences": [JpegCompression((0.0, 1.0), quality=61, channels_first=True)]},
    ]
    assert len({digest(network_of(classifier(model, **each))) for each in changes}) == len(changes)
    assert digest(network_of(classifier(model, **changes[2]))) == digest(network_of(classifier(model, **changes[2])))
