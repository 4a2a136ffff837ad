"""
Every trainer does in the toolbox what its own trainers do: one table, the same tests for all.

Fitting raises the accuracy, labels may be numbers or one-hot, data may come from generators, validation data changes
nothing, schedulers are accepted and what is none is refused, the caller's arrays stay as they were, and the
classifier's preprocessing and clip values hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.defences.trainer import Trainer
from torch import nn

from art_levelset import GeometricSVMTrainer, LevelSetMarginTrainer
from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.curvature import CurvatureTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.weight_perturbation import MadryAWPTrainer, TRADESAWPTrainer


@dataclass(frozen=True)
class Case:
    """A trainer: made for a classifier whose inputs are in [0, scale]."""

    name: str
    make: Callable[..., LoopTrainer]
    nb_classes: int = 10
    bounded: bool = True


CASES = [
    Case("level set", lambda built, scale, **options: LevelSetMarginTrainer(built, eps=0.1 * scale, **options)),
    Case(
        "level set, rho",
        lambda built, scale, **options: LevelSetMarginTrainer(
            built, eps=0.1 * scale, distance="rho", max_iter=4, **options
        ),
    ),
    Case(
        "level set, linearised",
        lambda built, scale, **options: LevelSetMarginTrainer(built, eps=0.1 * scale, distance="linearised", **options),
    ),
    Case(
        "level set, l2",
        lambda built, scale, **options: LevelSetMarginTrainer(
            built, eps=0.3 * scale, norm=2, distance="lp", max_iter=4, **options
        ),
    ),
    Case(
        "geometric svm",
        lambda built, scale, **options: GeometricSVMTrainer(built, lam=0.01 * scale**2, **options),
        nb_classes=2,
        bounded=False,
    ),
    Case(
        "geometric svm, ten classes",
        lambda built, scale, **options: GeometricSVMTrainer(
            built, lam=0.01 * scale, alpha=-1, norm=math.inf, projection="boundary", max_iter=6, **options
        ),
        bounded=False,
    ),
    Case(
        "large margin",
        lambda built, scale, **options: GeometricSVMTrainer(built, gamma=0.2 * scale, norm=2, **options),
        bounded=False,
    ),
    Case("madry", lambda built, scale, **options: MadryTrainer(built, eps=0.1 * scale, max_iter=4, **options)),
    Case(
        "curvature",
        lambda built, scale, **options: CurvatureTrainer(
            built, 1e-3 * scale**2, scale=0.5 * scale, max_iter=2, **options
        ),
        bounded=False,
    ),
    Case("trades", lambda built, scale, **options: TRADESTrainer(built, eps=0.1 * scale, max_iter=4, **options)),
    Case("fgsm-pgi", lambda built, scale, **options: FGSMPGITrainer(built, eps=0.1 * scale, **options)),
    Case("madry-awp", lambda built, scale, **options: MadryAWPTrainer(built, eps=0.1 * scale, max_iter=4, **options)),
    Case("trades-awp", lambda built, scale, **options: TRADESAWPTrainer(built, eps=0.1 * scale, max_iter=4, **options)),
    Case("mma", lambda built, scale, **options: MMATrainer(built, eps=0.15 * scale, max_iter=4, **options)),
    Case("nuat", lambda built, scale, **options: NuATTrainer(built, eps=0.1 * scale, **options)),
    Case("n-fgsm", lambda built, scale, **options: NFGSMTrainer(built, eps=0.1 * scale, **options)),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.fixture
def make(case, classifier):
    def build(module: nn.Module | None = None, scale: float = 1.0, options: dict | None = None, **classifier_options):
        torch.manual_seed(0)
        module = module or network(case.nb_classes)
        optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
        built = classifier(module, case.nb_classes, optimizer=optimizer, **classifier_options)
        return case.make(built, scale, **{"seed": 0, **(options or {})})

    return build


def network(nb_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, nb_classes))


@pytest.fixture
def data(case, digits):
    """Training and test data, which nobody can write to."""
    x, y = digits
    arrays = (x[:240], y[:240] % case.nb_classes, x[400:600], y[400:600] % case.nb_classes)
    copies = [array.copy() for array in arrays]
    for array in copies:
        array.flags.writeable = False
    return copies


def one_hot(labels, case):
    return np.eye(case.nb_classes, dtype=np.float32)[labels]


def accuracy(trainer, x, y) -> float:
    return float((trainer.predict(x).argmax(axis=1) == y).mean())


def test_it_is_one_of_the_toolboxs_trainers(make):
    trainer = make()
    assert isinstance(trainer, Trainer)
    assert trainer.get_classifier() is trainer.classifier
    assert trainer.predict(np.zeros((3, 1, 8, 8))).shape == (3, trainer.classifier.nb_classes)


def test_fitting_raises_the_accuracy_and_changes_no_array(make, data):
    x, y, x_test, y_test = data
    before = [array.copy() for array in data]
    trainer = make()
    untrained = accuracy(trainer, x_test, y_test)
    trainer.fit(x, y, batch_size=32, nb_epochs=5, verbose=False)
    assert accuracy(trainer, x_test, y_test) > max(untrained + 0.2, 0.6)
    for array, copy in zip(data, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_fit_takes_the_toolboxs_positional_arguments(make, data):
    x, y, x_test, y_test = data
    trainer = make()
    scheduler = torch.optim.lr_scheduler.StepLR(trainer.classifier.optimizer, 1)
    trainer.fit(x, y, (x_test, y_test), 64, 1, scheduler, verbose=False)
    assert 0 <= trainer.history[0]["validation_accuracy"] <= 1


def test_integer_and_one_hot_labels_train_alike(make, case, data):
    x, y, *_ = data
    outputs = []
    for labels in (y, one_hot(y, case)):
        trainer = make()
        trainer.fit(x[:100], labels[:100], batch_size=32, nb_epochs=1, verbose=False)
        outputs.append(trainer.predict(x))
    np.testing.assert_array_equal(*outputs)


def test_a_generator_trains_as_well(make, case, data):
    x, y, x_test, y_test = data
    trainer = make()
    untrained = accuracy(trainer, x_test, y_test)
    np.random.seed(0)  # noqa: NPY002  # the toolbox shuffles with it
    generator = NumpyDataGenerator(x, one_hot(y, case), batch_size=32, drop_remainder=False, shuffle=True)
    trainer.fit_generator(generator, nb_epochs=5, validation_data=(x_test, y_test), verbose=False)
    assert accuracy(trainer, x_test, y_test) > max(untrained + 0.2, 0.6)
    assert trainer.history[-1]["validation_accuracy"] == pytest.approx(accuracy(trainer, x_test, y_test))


def test_validation_data_changes_nothing(make, data):
    x, y, x_test, y_test = data
    outputs = []
    for validation in (None, (x_test[:50], y_test[:50])):
        trainer = make()
        trainer.fit(x[:100], y[:100], validation, batch_size=32, nb_epochs=2, verbose=False)
        outputs.append(trainer.predict(x_test))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("wrong", [object(), 0.1, "cosine"])
def test_what_is_no_scheduler_is_refused(make, data, wrong):
    trainer = make()
    with pytest.raises(ValueError, match="scheduler"):
        trainer.fit(data[0], data[1], nb_epochs=1, scheduler=wrong, verbose=False)
    assert trainer.history == []


def test_stock_schedulers_step_once_an_epoch(make, data):
    trainer = make()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(trainer.classifier.optimizer, gamma=0.5)
    trainer.fit(data[0][:64], data[1][:64], batch_size=32, nb_epochs=2, scheduler=scheduler, verbose=False)
    assert [row["learning_rate"] for row in trainer.history] == pytest.approx([5e-3, 2.5e-3])


def test_raw_units_behind_the_preprocessing(make, data):
    """Inputs, radii and clip values times 256 with the preprocessing (0, 256): the same training."""
    x, y, *_ = data
    outputs = []
    for scale in (1.0, 256.0):
        trainer = make(scale=scale, clip_values=(0.0, scale), preprocessing=(0.0, scale))
        trainer.fit(x[:100] * scale, y[:100], batch_size=50, nb_epochs=1, verbose=False)
        outputs.append(trainer.predict(x * scale))
    np.testing.assert_allclose(*outputs, rtol=1e-2, atol=1e-2)


def test_points_stay_inside_the_clip_values(make, case, data):
    if not case.bounded:
        pytest.skip("projects on to level sets wherever they are")
    seen = []

    class Watched(nn.Sequential):
        def forward(self, x):
            seen.append((x.min().item(), x.max().item()))
            return super().forward(x)

    trainer = make(Watched(*network(case.nb_classes)))
    trainer.fit(data[0][:64], data[1][:64], batch_size=32, nb_epochs=2, verbose=False)
    assert min(low for low, _ in seen) >= -1e-6
    assert max(high for _, high in seen) <= 1 + 1e-6


def test_modes_and_gradient_flags_are_left_as_they_were(make, case, data):
    for training in (True, False):
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, case.nb_classes)
        )
        module.train(training)
        module[1].bias.requires_grad_(False)
        trainer = make(module)
        trainer.fit(data[0][:64], data[1][:64], (data[2], data[3]), batch_size=32, nb_epochs=1, verbose=False)
        assert all(part.training == training for part in module.modules())
        assert [part.requires_grad for part in module[1].parameters()] == [True, False]
        assert module[2].num_batches_tracked > 0


def test_the_same_seed_gives_the_same_weights(make, data):
    outputs = []
    for seed in (1, 1, 2):
        trainer = make(options={"seed": seed})
        trainer.fit(data[0][:100], data[1][:100], batch_size=32, nb_epochs=1, verbose=False)
        outputs.append(trainer.predict(data[2]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_every_option_of_the_loop(make, data, tmp_path):
    x, y, x_test, y_test = data
    trainer = make(options={"ema_decay": 0.9, "max_grad_norm": 1.0})
    trainer.fit(
        x[:64],
        y[:64],
        (x_test[:20], y_test[:20]),
        batch_size=32,
        nb_epochs=1,
        augmentation=lambda batch, generator: batch.flip(3),
        validation_attack=lambda network, inputs, labels: inputs,
        checkpoint_dir=tmp_path / "run",
        csv_file=tmp_path / "curves.csv",
        verbose=False,
    )
    assert {"epoch", "learning_rate", "loss", "seconds", "validation_robust_accuracy"} <= set(trainer.history[0])
    assert len(list((tmp_path / "run").iterdir())) == 2
    assert (tmp_path / "curves.csv").read_text().count("\n") == 2
