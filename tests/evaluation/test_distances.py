from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from art_levelset.attacks.memo import Memo
from art_levelset.core.distances import nearest_in_half_space
from art_levelset.evaluation import classified_right, pgd
from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.distances import BoundaryDistances, attack_distances, boundary_distances, margin_curve
from art_levelset.evaluation.record import MarginCurve
from art_levelset.models import convnet_2a, load_released_weights

NORMS = (math.inf, 2)


def search(model: Any, x: Any, y: Any, **options: Any) -> BoundaryDistances:
    return boundary_distances(model, x, y, verbose=False, **options)


def affine(classes: int, size: int = 12, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, Tensor, Tensor]:
    """An affine classifier and samples with its own labels, two of them changed."""
    model = nn.Linear(size, classes).to(dtype)
    nn.init.normal_(model.weight)
    x = torch.rand(40, size, dtype=dtype)
    with torch.no_grad():
        model.bias -= model(x).mean(dim=0)  # so that every class has its part
        y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % classes
    return model, x, y


def exact(model: nn.Linear, x: Tensor, y: Tensor, norm: float, box: tuple[float, float] | None) -> Tensor:
    """The distances to the decision boundary of an affine classifier: the least over the other classes."""
    distances = torch.full((len(x),), math.inf, dtype=torch.float64)
    weights, bias, points = (part.detach().double() for part in (model.weight, model.bias, x))
    for other in range(len(bias)):
        slopes, gaps = weights[y] - weights[other], bias[y] - bias[other]
        gaps = gaps + (slopes * points).sum(dim=1)
        ends, reached = nearest_in_half_space(points, slopes, gaps, norm=norm, box=box)
        far = torch.linalg.vector_norm(ends - points, norm, dim=1)
        distances = torch.where(reached & (y != other) & (far < distances), far, distances)
    return distances


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5, 14])
@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_classifiers_exactly(
    norm: float, classes: int, box: tuple[float, float] | None, dtype: torch.dtype
) -> None:
    model, x, y = affine(classes, dtype=dtype)
    found = search(model, x, y, norm=norm, clip_values=box, max_iter=10)
    expected = exact(model, x, y, norm, box)
    if box is None:
        dual = {math.inf: 1, 2: 2}[norm]
        right = classified_right(model, x, y)
        logits = model(x).detach()
        gaps = (logits.gather(1, y[:, None]) - logits)[right]
        speeds = torch.linalg.vector_norm(model.weight[y[right]][:, None] - model.weight, dual, dim=2)
        formula = (gaps / speeds).detach().nan_to_num(math.inf).amin(dim=1)
        torch.testing.assert_close(expected[right], formula.double(), rtol=0, atol=1e-5)
    assert (found.distances[:2] == 0).all()
    np.testing.assert_allclose(found.distances, expected.numpy(), rtol=0, atol=1e-4)


def test_bfloat16_as_float16() -> None:
    """NumPy has no bfloat16."""
    model, x, y = affine(3, dtype=torch.bfloat16)
    other = nn.Linear(12, 3).to(torch.float16)
    other.load_state_dict(model.state_dict())
    right = classified_right(model, x, y).numpy()
    for found in (
        search(model, x, y, max_iter=10),
        attack_distances(model, x, y, lambda eps: partial(pgd, eps=eps, max_iter=3), largest=0.5, verbose=False),
    ):
        assert found.points.dtype == np.float32
        assert (found.distances[~right] == 0).all()
        broken = torch.from_numpy(np.isfinite(found.distances))
        assert broken.float().mean() > 0.8
        assert not classified_right(model, torch.from_numpy(found.points), y)[broken].any()
    expected = search(other, x.half(), y, max_iter=10).distances
    assert abs(np.median(search(model, x, y, max_iter=10).distances) - np.median(expected)) < 0.05


class Ball(nn.Module):
    """Class 1 within a distance of a centre, class 0 outside."""

    def __init__(self, size: int, radius: float) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.full((size,), 0.5))
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        inside = self.radius - torch.linalg.vector_norm(x - self.centre, dim=1)
        return torch.stack([torch.zeros_like(inside), inside], dim=1)


def test_a_ball_from_inside_and_outside() -> None:
    model = Ball(6, 0.8)
    x = 0.5 + 0.35 * torch.randn(60, 6)
    y = model(x).detach().argmax(dim=1)
    assert 10 < y.sum() < 50
    offsets = (x - model.centre).detach()
    expected = (torch.linalg.vector_norm(offsets, dim=1) - 0.8).abs()
    found = search(model, x, y, norm=2, clip_values=None)
    np.testing.assert_allclose(found.distances, expected.numpy(), rtol=0.01, atol=1e-4)
    # In L_inf from inside: along the diagonal of the orthant, by the root of |o + t s|_2 = 0.8 with s = sign(o).
    inner = y == 1
    o = offsets[inner].abs()
    b, c = o.sum(1) / 6, ((o**2).sum(1) - 0.64) / 6
    root = -b + (b**2 - c).sqrt()
    distances = search(model, x[inner], y[inner], norm=math.inf, clip_values=None).distances
    np.testing.assert_allclose(distances, root.numpy(), rtol=0.01, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(NORMS), boxed=st.booleans())
def test_every_distance_is_that_of_a_misclassified_point(seed: int, norm: float, boxed: bool) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
    x = torch.rand(20, 5)
    y = torch.randint(4, (20,))
    box = (0.0, 1.0) if boxed else None
    found = search(model, x, y, norm=norm, clip_values=box, max_iter=10)
    right = classified_right(model, x, y).numpy()
    assert (found.distances[~right] == 0).all()
    assert (found.distances[right] > 0).all()
    finite = np.isfinite(found.distances)
    points = torch.from_numpy(found.points)
    assert not classified_right(model, points, y)[torch.from_numpy(finite)].any()
    far = torch.linalg.vector_norm(points - x, norm, dim=1).numpy()
    np.testing.assert_allclose(found.distances[finite], far[finite], rtol=1e-6)
    np.testing.assert_array_equal(found.points[~finite], x[~finite])
    if boxed:
        assert ((points >= 0) & (points <= 1)).all()


def test_a_class_that_cannot_be_left_is_infinitely_far() -> None:
    model = nn.Linear(4, 2)
    model.load_state_dict({"weight": torch.tensor([[0.1] * 4, [0.0] * 4]), "bias": torch.tensor([1.0, 0.0])})
    found = search(model, torch.rand(7, 4), torch.zeros(7, dtype=torch.long))
    assert np.isinf(found.distances).all()
    flat = nn.Linear(4, 2)
    flat.load_state_dict({"weight": torch.zeros(2, 4), "bias": torch.tensor([1.0, 0.0])})
    for norm in NORMS:
        for box in (None, (0.0, 1.0)):
            y = torch.zeros(3, dtype=torch.long)
            assert np.isinf(search(flat, torch.rand(3, 4), y, norm=norm, clip_values=box).distances).all()


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network for digits, and test digits."""
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = digits()
    model = convnet_2a(10, (1, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    images, targets = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(6):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), targets[rows]).backward()
            optimizer.step()
    return model.eval(), torch.from_numpy(x_test[:40]), torch.from_numpy(y_test[:40])


FAMILY = {
    math.inf: (0.5, lambda eps: partial(pgd, eps=eps, max_iter=20, loss="margin", stop_when_broken=True)),
    2: (4.0, lambda eps: partial(pgd, eps=eps, max_iter=20, loss="margin", stop_when_broken=True, norm=2)),
}


@pytest.mark.parametrize("norm", NORMS)
def test_on_digits_it_is_tighter_than_bisection_with_pgd_and_cheaper(
    trained: tuple[nn.Module, Tensor, Tensor], norm: float
) -> None:
    model, x, y = trained
    largest, family = FAMILY[norm]
    ours = search(model, x, y, norm=norm)
    theirs = attack_distances(model, x, y, family, largest=largest, halvings=6, norm=norm, verbose=False)
    assert ours.distances.mean() < theirs.distances.mean()
    assert (ours.distances < 1.02 * theirs.distances + 1e-6).mean() > 0.9
    assert ours.effort.gradients < theirs.effort.gradients


def test_bisection_brackets_the_distances_of_an_affine_classifier() -> None:
    model, x, y = affine(2)
    expected = exact(model, x, y, math.inf, (0.0, 1.0)).numpy()
    attack = partial(pgd, max_iter=10, eps_step=0.2, random_start=False, loss="margin")
    for halvings in (3, 6):
        found = attack_distances(
            model, x, y, lambda eps: partial(attack, eps=eps), largest=0.4, halvings=halvings, verbose=False
        )
        reached = np.isfinite(found.distances)
        interval = 0.4 / 2**halvings
        assert (expected[~reached] > 0.4 - interval - 1e-6).all()
        assert (found.distances[reached] >= expected[reached] - 1e-5).all()
        assert (found.distances[reached] <= expected[reached] + interval + 1e-5).all()
        right = classified_right(model, x, y).numpy()
        points = torch.from_numpy(found.points)
        assert not classified_right(model, points, y).numpy()[reached].any()
        np.testing.assert_array_equal(found.points[~reached], x[~reached])
        assert 0 < found.effort.gradients <= 10 * halvings * right.sum()


def test_bisection_attacks_undecided_samples_only() -> None:
    calls: list[tuple[float, int]] = []

    def family(eps: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
        def shift(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            calls.append((eps, len(x)))
            return x - eps

        return shift

    model = nn.Linear(1, 2)
    model.load_state_dict({"weight": torch.tensor([[0.0], [1.0]]), "bias": torch.zeros(2)})
    x = torch.tensor([[0.1], [0.3], [0.6], [-0.2], [5.0]])
    found = attack_distances(model, x, torch.ones(5, dtype=torch.long), family, largest=1.0, halvings=3, verbose=False)
    assert found.distances.tolist() == [0.125, 0.375, 0.625, 0.0, math.inf]
    assert calls[0] == (0.5, 4)  # not the one that is misclassified
    assert sorted(calls[1:]) == [(0.125, 1), (0.25, 2), (0.375, 1), (0.625, 1), (0.75, 2), (0.875, 1)]


@contextmanager
def interrupted_after(samples: float) -> Iterator[None]:
    """Stop the process when so many samples have passed a network."""
    left = samples

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal left
        left -= len(inputs[0]) if isinstance(module, nn.Linear) else 0
        if left < 0:
            raise KeyboardInterrupt

    hook = register_module_forward_pre_hook(count)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("which", ["search", "attack"])
def test_a_killed_search_goes_on(tmp_path: Path, which: str) -> None:
    model = nn.Linear(6, 3)
    x = torch.rand(50, 6)
    y = model(x).detach().argmax(dim=1)
    attack = partial(pgd, max_iter=5)

    def run(memo: Memo | None = None, seed: int = 0) -> BoundaryDistances:
        options: dict[str, Any] = {"batch_size": 20, "memo": memo, "seed": seed, "verbose": False}
        if which == "search":
            return boundary_distances(model, x, y, max_iter=8, **options)
        return attack_distances(model, x, y, lambda eps: partial(attack, eps=eps), largest=0.5, halvings=3, **options)

    whole = run()
    passes = whole.effort.forwards + 50
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.8 * passes):
        run(Memo(tmp_path))
    kept = len(list(tmp_path.iterdir()))
    assert kept > 0
    with interrupted_after(0.6 * passes):
        found = run(Memo(tmp_path))
    np.testing.assert_array_equal(found.distances, whole.distances)
    np.testing.assert_array_equal(found.points, whole.points)
    assert found.effort.gradients == whole.effort.gradients
    assert len(list(tmp_path.iterdir())) > kept
    left = 100 if which == "attack" else 0  # what is known is not computed again; samples are classified
    with interrupted_after(left):
        np.testing.assert_array_equal(run(Memo(tmp_path)).distances, whole.distances)
    with pytest.raises(KeyboardInterrupt), interrupted_after(left):
        run(Memo(tmp_path), seed=1)


def test_networks_come_back_as_they_were_and_inputs_of_every_kind_go_in() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)).train()
    x = torch.rand(12, 6)
    y = torch.randint(3, (12,))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    global_state = torch.get_rng_state()
    expected = search(model, x, y)
    assert all(part.training for part in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert torch.equal(torch.get_rng_state(), global_state)
    classifier = PyTorchClassifier(
        model, loss=nn.CrossEntropyLoss(), input_shape=(6,), nb_classes=3, clip_values=(0, 1), device_type="cpu"
    )
    for other in (
        search(model, x.numpy(), nn.functional.one_hot(y, 3).numpy()),
        search(classifier, x.double(), y),
        search(model, x, y, batch_size=12),
    ):
        np.testing.assert_allclose(other.distances, expected.distances, rtol=1e-5)
    with torch.inference_mode():
        np.testing.assert_array_equal(search(model, x, y).distances, expected.distances)
    assert len(search(model, x[:1], y[:1]).distances) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": 1}, "norm must be inf or 2"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"clip_values": (1.0, 0.0)}, "clip_values must be"),
        ({"clip_values": (0.0, 0.1)}, "x must lie within clip_values"),
        ({"x": torch.zeros(0, 6), "y": torch.zeros(0, dtype=torch.long)}, "x holds no sample"),
        ({"y": torch.full((4,), 3)}, r"y must be in \[0, 3\)"),
        ({"model": nn.Linear(6, 1)}, "model must return"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"model": nn.Linear(6, 3), "x": torch.rand(4, 6), "y": torch.zeros(4, dtype=torch.long)}
    with pytest.raises(ValueError, match=message):
        search(**{**arguments, **changes})


def test_bad_families_are_refused() -> None:
    arguments: tuple[Any, ...] = (nn.Linear(6, 3), torch.rand(4, 6), torch.zeros(4, dtype=torch.long), FAMILY[2][1])
    with pytest.raises(ValueError, match="largest must be a finite number > 0"):
        attack_distances(*arguments, largest=0.0)
    with pytest.raises(ValueError, match="halvings must be an integer >= 1"):
        attack_distances(*arguments, largest=1.0, halvings=0)


def test_gradients_that_are_not_numbers_are_refused() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (x - x).sum(1, keepdim=True).sqrt() * torch.tensor([0.0, 1.0])

    model = Broken(3, 2)
    x = torch.rand(5, 3)
    with pytest.raises(ValueError, match="model: its gradients are not all finite numbers"):
        search(model, x, model(x).detach().argmax(1))


def test_a_margin_curve_counts_the_samples_that_are_farther() -> None:
    curve = margin_curve(np.array([0.0, 0.1, 0.2, math.inf]), [0.0, 0.05, 0.1, 0.15, 0.3], name="known")
    assert curve == MarginCurve(name="known", eps=(0.0, 0.05, 0.1, 0.15, 0.3), accuracy=(0.75, 0.75, 0.5, 0.5, 0.25))
    tensor = margin_curve(torch.tensor([0.0, 0.1, 0.2, math.inf]), name="grid")
    assert tensor.eps[0] == 0
    assert tensor.eps[-1] == pytest.approx(0.21)
    assert (tensor.accuracy[0], tensor.accuracy[-1]) == (0.75, 0.25)
    assert margin_curve(np.array([math.inf]), name="never").accuracy[-1] == 1.0
    for wrong in (np.array([-0.1]), np.array([0.1, math.nan]), np.array([]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="distances must be numbers >= 0"):
            margin_curve(wrong, name="wrong")
    with pytest.raises(ValueError, match="eps must be strictly increasing"):
        margin_curve(np.array([0.1]), [0.2, 0.1], name="wrong")


@given(st.lists(st.integers(0, 50).map(lambda i: i / 32) | st.just(math.inf), min_size=1, max_size=30))
def test_margin_curves_never_increase(distances: list[float]) -> None:
    curve = margin_curve(np.array(distances), name="any")
    for eps, accuracy in zip(curve.eps, curve.accuracy, strict=True):
        assert accuracy == pytest.approx(np.mean(np.array(distances) > eps))


def test_the_released_weights_at_their_radius(data_dir: Path, mnist_test: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:30] for part in mnist_test)
    model = load_released_weights(data_dir / "checkpoints" / "levelsets-mnist" / "madry_eps0.3.pth")
    found = search(model, x, y, max_iter=20)
    curve = margin_curve(found.distances, [0.0, 0.1, 0.3, 0.5], name="search")
    assert curve.accuracy[0] == 1.0
    assert curve.accuracy[1] >= 0.95
    assert 0.8 <= curve.accuracy[2] <= 0.97  # 94.8% under PGD on the margin
    assert curve.accuracy[3] == 0.0


def test_steps_along_the_boundary_come_closer(trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    one, few, many = (search(*trained, max_iter=steps).distances.mean() for steps in (1, 10, 40))
    assert many < few < 0.99 * one
