from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks import pgd
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
from art_levelset.evaluation import classified_right

from .tiny import data, network


def test_a_network_stands_for_itself() -> None:
    model = network()
    assert network_of(model) is model
    for other in (None, "model", network, object()):
        with pytest.raises(TypeError, match="model must be an nn.Module or an ART PyTorchClassifier, got"):
            network_of(other)


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
