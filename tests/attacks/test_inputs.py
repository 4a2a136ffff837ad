from __future__ import annotations

from functools import partial
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

from art_levelset.attacks.inputs import (
    box_of,
    check_classes,
    check_inside,
    clamped,
    class_logits,
    home,
    labels,
    network_of,
    samples,
)
from art_levelset.evaluation import classified_right, pgd
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


def test_a_network_stands_for_itself() -> None:
    model = network()
    assert network_of(model) is model
    for other in (None, "model", network, object()):
        with pytest.raises(TypeError, match="model must be an nn.Module or an ART PyTorchClassifier, got"):
            network_of(other)


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


def test_samples() -> None:
    for given in (torch.rand(2, 3), torch.rand(2, 3, dtype=torch.float16), np.random.default_rng(0).random((2, 3))):
        assert samples(given).tolist() == given.tolist()
    assert not samples(torch.rand(2, 3, requires_grad=True)).requires_grad
    frozen = np.zeros((2, 3))
    frozen.flags.writeable = False
    assert samples(frozen).shape == (2, 3)
    assert samples(np.arange(6.0).reshape(2, 3)[:, ::-1]).tolist() == [[2, 1, 0], [5, 4, 3]]
    with pytest.raises(TypeError, match="x must be a torch tensor or a numpy array of numbers, got list"):
        samples([[0.5]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x must be .*, got an array of object"):
        samples(np.array([[None]]))
    with pytest.raises(TypeError, match="x must hold floating-point numbers, got torch.int64"):
        samples(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"x must be of shape \(batch, ...\), got \(3,\)"):
        samples(torch.zeros(3))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="x holds values that are not finite"):
            samples(np.full((2, 2), value))


def test_labels() -> None:
    for given in (
        [2, 0, 1],
        [2.0, 0.0, 1.0],
        [[2], [0], [1]],
        np.eye(3)[[2, 0, 1]],
        np.eye(3, dtype=bool)[[2, 0, 1]],
        np.array([2, 0, 1], np.uint8),
    ):
        for classes in (None, 3):
            found = labels(np.asarray(given), 3, classes=classes)
            assert found.dtype == torch.int64
            assert found.tolist() == [2, 0, 1]
    for wrong, message in [
        (np.zeros(2, int), r"y must have the shape \(3,\), \(3, 1\) or \(3, classes\), one label a sample, got \(2,\)"),
        (np.zeros((2, 1)), r"y must have the shape \(3,\).*, got \(2, 1\)"),
        (np.full((3, 2), 0.5), "y: each row of two-dimensional labels must be one-hot"),
        (np.ones((3, 2)), "y: each row of two-dimensional labels must be one-hot"),
        (np.zeros((3, 2, 2)), r"y must have the shape \(3,\)"),
        (np.array([0.5, 1, 2]), "y must hold whole numbers, got others of torch.float64"),
        (np.array([0.0, np.nan, 2]), "y must hold whole numbers"),
        (np.array([0.0, np.inf, 2]), "y must hold whole numbers"),
        (np.array([True, False, True]), "y must hold whole numbers, got torch.bool"),
        (torch.ones(3, dtype=torch.complex64), "y must hold whole numbers, got torch.complex64"),
        (np.array([0, -1, 2]), "y must not be negative, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            labels(wrong, 3)
    with pytest.raises(TypeError, match="y must be a torch tensor or a numpy array of numbers, got list"):
        labels([0, 1, 2], 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"validation_data: y must be in \[0, 3\), got 3"):
        labels(np.array([0, 3]), 2, "validation_data: y", classes=3)
    with pytest.raises(ValueError, match=r"y must have the shape \(2,\), \(2, 1\) or \(2, 3\), .* got \(2, 2\)"):
        labels(np.eye(2), 2, classes=3)


def test_what_a_network_may_return() -> None:
    logits = torch.tensor([[0.2, 0.8], [0.5, -0.5]])
    assert class_logits(logits, 2) is logits
    assert class_logits(logits, 2, classes=2) is logits
    check_classes(torch.tensor([0, 1]), 2)
    with pytest.raises(ValueError, match=r"y must be in \[0, 3\), got 3"):
        check_classes(torch.tensor([0, 3]), 3)
    for shape in [(2,), (3, 3), (2, 1), (2, 3, 1)]:
        with pytest.raises(ValueError, match=r"model must return \(2, classes >= 2\) for 2 samples"):
            class_logits(torch.zeros(shape), 2)
    with pytest.raises(ValueError, match=r"model must return \(2, 3\) for 2 samples, got \(2, 2\)$"):
        class_logits(logits, 2, classes=3)
    for wrong, kind in [((logits, logits), "tuple"), ({"logits": logits}, "dict"), (None, "NoneType")]:
        with pytest.raises(TypeError, match=f"model must return one tensor of logits, .*, got {kind}: "):
            class_logits(wrong, 2)
    with pytest.raises(TypeError, match="model must return floating-point logits, got torch.int64"):
        class_logits(torch.zeros(2, 3, dtype=torch.long), 2)


def test_one_logit_is_refused_with_what_makes_two_of_it() -> None:
    z = torch.tensor([[0.3], [-2.0]])
    for single in (z, z.squeeze(1)):
        with pytest.raises(ValueError, match=r"torch.cat\(\[torch.zeros_like\(z\), z\], dim=1\)"):
            class_logits(single, 2)
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(two.softmax(dim=1)[:, 1:], z.sigmoid())
    assert class_logits(two, 2) is two


def test_probabilities_are_not_taken_for_logits() -> None:
    logits = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="model must return logits, got probabilities .*: leave out its softmax"):
            class_logits(logits.to(dtype).softmax(dim=1), 20)
    probabilities = logits.softmax(dim=1)
    assert class_logits(probabilities.log(), 20).isfinite().all()
    probabilities[3] *= 1.001  # one sample with another sum
    class_logits(probabilities, 20)
    class_logits(torch.zeros(0, 3), 0)
    class_logits(torch.eye(3), 3)
    model = nn.Sequential(network(), nn.Softmax(dim=1))
    x, y = data(network())
    for use in (partial(pgd, eps=0.1), classified_right):
        with pytest.raises(ValueError, match="model must return logits, got probabilities"):
            use(model, x, y)


def test_boxes_have_one_form() -> None:
    assert box_of(None) is None
    assert box_of((0, 1), (3, 4, 4)) == (0.0, 1.0)
    assert box_of((np.zeros(48), torch.ones(3)), (3, 4, 4)) == (0.0, 1.0)
    channels = np.array([0.1, 0.2, 0.3])
    low, high = box_of((channels, 1), (3, 4, 4)) or ()
    assert isinstance(low, Tensor)
    assert low.shape == (3, 1, 1)
    assert low.flatten().tolist() == channels.tolist()
    assert high == 1.0
    features = np.linspace(0, 0.5, 48)
    for given in (features, features.reshape(3, 4, 4)):
        low, high = box_of((given, np.ones((1, 4, 1))), (3, 4, 4)) or ()
        assert isinstance(low, Tensor)
        assert low.shape == (3, 4, 4)
        assert low.flatten().tolist() == features.tolist()
    for wrong, message in [
        ((1, 0), r"clip_values must be \(low, high\) with low < high, got \(1, 0\)"),
        ((np.array([0, 1, 0]), 1), "with low < high, got arrays"),
        ((0, np.nan), "with low < high"),
        ((0, np.ones(2) * [1, 2]), r"for each feature of a sample, \(3, 4, 4\), or for each channel, got .* \(2,\)"),
        ((0, 1, 2), r"clip_values must be a pair \(low, high\)"),
        (0.5, r"clip_values must be a pair \(low, high\)"),
        (("a", "b"), "clip_values must hold numbers or arrays, got 'a'"),
    ]:
        with pytest.raises(ValueError, match=message):
            box_of(wrong, (3, 4, 4))  # type: ignore[arg-type]


def test_points_in_boxes() -> None:
    points = torch.rand(5, 3, 4, 4)
    check_inside(points, None)
    check_inside(points, (0.0, 1.0))
    box = box_of((np.array([0.0, -1.0, 0.0]), 1), (3, 4, 4))
    check_inside(points, box)
    points[0, 1] = -0.5
    check_inside(points, box)
    with pytest.raises(ValueError, match=r"x must lie within clip_values \(0.0, 1.0\), got values in \[-0.5, "):
        check_inside(points, (0.0, 1.0))
    points[0, 0, 0, 0] = -0.1
    with pytest.raises(ValueError, match="x must lie within clip_values of their features"):
        check_inside(points, box)
    check_inside(clamped(points, box), box)
    assert clamped(points, None) is points


def test_home() -> None:
    assert home(nn.Linear(2, 2).double()) == (torch.device("cpu"), torch.float64)
    assert home(nn.Identity()) == (torch.device("cpu"), torch.float32)
