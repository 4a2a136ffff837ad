"""LevelSetMarginTrainer: eq. 12 as the paper writes it, alive from a random start, at home in ART."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.data_generators import NumpyDataGenerator
from art.defences.trainer import Trainer
from torch import nn

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers import distances
from art_levelset.trainers.schedules import Linear

from .networks import affine, convnet

EQ_12 = {"distance": "rho", "warmup": 0.0, "burn_in": 0.0, "max_grad_norm": None}
"""The paper's objective from the first step on."""


class TestEquation12:
    """An affine network of two classes: F^1 = w.x + b is known, and so is every distance."""

    @pytest.fixture
    def module(self):
        direction = torch.linspace(0.1, 1.0, 64)
        self.weight = 2 * direction
        return affine([(-direction).tolist(), direction.tolist()], [12.0, -12.0])

    def batch_loss(self, classifier, module, x, y, **options):
        trainer = LevelSetMarginTrainer(
            classifier(module, 2, clip_values=None), seed=0, max_iter=40, **{**EQ_12, **options}
        )
        trainer._union = len(x)
        loss, figures = trainer.batch_loss(torch.as_tensor(x), torch.as_tensor(y), None)
        return trainer, loss, figures

    @pytest.mark.parametrize("norm", [math.inf, 2])
    def scores(self, x):
        return (torch.as_tensor(x).flatten(1) @ self.weight - 24).numpy()

    @pytest.mark.parametrize("norm", [math.inf, 2])
    def test_value_is_the_hinge_of_the_signed_distance(self, classifier, module, digits, norm):
        x, y = digits[0][:64], digits[1][:64] % 2
        margins = self.scores(x) * np.where(y == 1, 1, -1)
        assert 0 < (margins > 0).mean() < 1
        distances = np.abs(margins) / torch.linalg.vector_norm(self.weight, ord=1 if norm == math.inf else 2).item()
        eps = 2 * distances.max()
        _, loss, figures = self.batch_loss(classifier, module, x, y, eps=eps, norm=norm, distance="lp")
        assert figures["crossed"] == 1.0
        # p is on the boundary and in the ball, on the way to a random point: its distance is in [distances, eps].
        low = np.where(margins > 0, 0, eps + distances).mean()
        high = np.where(margins > 0, eps - distances, 2 * eps).mean()
        assert low <= loss.item() * (1 + 1e-5)
        assert loss.item() <= high * (1 + 1e-5)

    @pytest.mark.parametrize("label", [0, 1])
    def test_a_descent_step_raises_the_margin_of_the_label(self, classifier, module, digits, label):
        """Away from a correctly classified sample, toward a wrongly classified one: either way."""
        _, loss, _ = self.batch_loss(classifier, module, digits[0][:1], np.array([label]), eps=1.0)
        loss.backward()
        assert (module[1].bias.grad[label] - module[1].bias.grad[1 - label]).item() < 0

    def test_correct_sample_farther_than_eps_costs_nothing(self, classifier, module, digits):
        x = digits[0][:8]
        y = (self.scores(x) > 0).astype(np.int64)
        distance = np.abs(self.scores(x)).min() / self.weight.sum().item()
        _, loss, figures = self.batch_loss(classifier, module, x, y, eps=0.9 * distance)
        assert loss is None
        assert figures == {"accuracy": 1.0, "crossed": 0.0, "margin": pytest.approx(0.9 * distance)}

    def test_wrong_sample_out_of_reach_is_pulled_by_the_linearised_distance(self, classifier, module, digits):
        x = digits[0][:8]
        y = (self.scores(x) < 0).astype(np.int64)
        distances = np.abs(self.scores(x)) / self.weight.sum().item()
        eps = 0.5 * distances.min()
        _, loss, figures = self.batch_loss(classifier, module, x, y, eps=eps)
        assert figures == {"accuracy": 0.0, "crossed": 0.0, "margin": pytest.approx(-distances.mean(), rel=1e-4)}
        assert loss.item() == pytest.approx(np.mean(eps + distances), rel=1e-4)

    def test_weights_and_radii_of_correct_and_incorrect_samples(self, classifier, module, digits):
        x = digits[0][:8]
        correct = (self.scores(x) > 0).astype(np.int64)
        one, three = (self.batch_loss(classifier, module, x, correct, eps=2.0, lam=lam)[1].item() for lam in (1.0, 3.0))
        assert three == pytest.approx(3 * one, rel=1e-5)
        near, far = (
            self.batch_loss(classifier, module, x, 1 - correct, eps=0.01, eps_incorrect=eps)[1].item()
            for eps in (0.001, 0.002)
        )
        assert far - near == pytest.approx(0.001, rel=1e-2)
        assert self.batch_loss(classifier, module, x, correct, eps=2.0, lam=0.0)[1].item() == 0.0


@pytest.mark.parametrize("projection", ["false_position", "newton"])
@pytest.mark.parametrize("boundary", ["hard", "soft"])
def test_every_way_to_the_boundary_trains(classifier, digits, projection, boundary):
    torch.manual_seed(0)
    trainer = LevelSetMarginTrainer(
        classifier(convnet()), 0.5, norm=2, distance="lp", boundary=boundary, projection=projection, seed=0
    )
    trainer.fit(digits[0][:640], digits[1][:640], nb_epochs=6, batch_size=32, verbose=False)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < first["loss"] / 2
    if boundary == "hard":  # the soft one needs logits of some scale before a sample counts as right
        assert last["accuracy"] > 0.5
        assert last["margin"] > 0


def accuracy_after_training_from_scratch(classifier, digits, seed: int) -> float:
    """Adam at 1e-3 from a random start, no other loss first."""
    torch.manual_seed(seed)
    trainer = LevelSetMarginTrainer(classifier(convnet()), eps=0.15, seed=seed, max_iter=5, **EQ_12)
    trainer.fit(digits[0][:800], digits[1][:800], nb_epochs=5, batch_size=32, verbose=False)
    return trainer.history[-1]["accuracy"]


@pytest.mark.parametrize("seed", range(5))
def test_training_from_a_random_start_does_not_die(classifier, digits, seed):
    assert accuracy_after_training_from_scratch(classifier, digits, seed) > 0.7


def test_without_the_linearised_distance_it_does_die(classifier, digits, monkeypatch):
    """The failure that the linearised distance cures is real: the test above could fail."""
    monkeypatch.setattr(distances, "linearised_distances", lambda search, rows: (rows[:0], search.x.new_zeros(0)))
    assert max(accuracy_after_training_from_scratch(classifier, digits, seed) for seed in range(2)) < 0.5


def test_more_robust_than_plain_training_against_arts_own_attack(classifier, digits):
    x, y = digits
    accuracies = {}
    for name, options in {
        "plain": {},
        "level set": {},
        "linearised": {"distance": "linearised"},
        "eq. 12": EQ_12,
    }.items():
        torch.manual_seed(0)
        trained = classifier()
        if name == "plain":
            trained.fit(x[:1400], y[:1400], batch_size=64, nb_epochs=15)
        else:
            LevelSetMarginTrainer(trained, eps=0.15, seed=0, **options).fit(
                x[:1400], y[:1400], batch_size=64, nb_epochs=15, verbose=False
            )
        attack = ProjectedGradientDescentPyTorch(trained, eps=0.1, eps_step=0.01, max_iter=20, verbose=False)
        adversarial = attack.generate(x[1400:], y[1400:])
        accuracies[name] = (trained.predict(adversarial).argmax(1) == y[1400:]).mean()
        assert (trained.predict(x[1400:]).argmax(1) == y[1400:]).mean() > 0.9
    assert accuracies["level set"] > accuracies["plain"] + 0.15
    assert accuracies["linearised"] > accuracies["plain"] + 0.1
    assert accuracies["eq. 12"] > accuracies["plain"] + 0.15


def test_warns_when_the_network_is_constant(classifier, digits, caplog):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(module[1].weight)
    nn.init.zeros_(module[1].bias)
    trainer = LevelSetMarginTrainer(classifier(module), eps=0.1, seed=0, **EQ_12)
    trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=3, verbose=False)
    assert caplog.text.count("the network is constant") == 1


class TestInsideART:
    def test_is_an_art_trainer(self, classifier):
        built = classifier()
        trainer = LevelSetMarginTrainer(built, eps=0.1)
        assert isinstance(trainer, Trainer)
        assert trainer.get_classifier() is built
        assert trainer.classifier is built

    @pytest.mark.parametrize("form", ["integers", "column", "one-hot", "float one-hot"])
    def test_label_forms_train_alike(self, classifier, digits, form):
        x, y = digits[0][:100], digits[1][:100]
        labels = {
            "integers": y,
            "column": y[:, None],
            "one-hot": np.eye(10, dtype=np.int64)[y],
            "float one-hot": np.eye(10)[y],
        }
        outputs = []
        for given in (y, labels[form]):
            torch.manual_seed(0)
            trainer = LevelSetMarginTrainer(classifier(), eps=0.1, seed=3)
            trainer.fit(x, given, nb_epochs=1, verbose=False)
            outputs.append(trainer.predict(x))
        np.testing.assert_array_equal(*outputs)

    def test_inputs_and_modes_are_unchanged(self, classifier, digits):
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)
        )
        x, y = digits[0][:100].astype(np.float64), digits[1][:100]
        x.flags.writeable = y.flags.writeable = False
        for training in (True, False):
            module.train(training)
            before = module[2].running_mean.clone()
            trainer = LevelSetMarginTrainer(classifier(module), eps=0.1, seed=0, burn_in=0.0)
            trainer.fit(x, y, (x, y), nb_epochs=1, verbose=False)
            assert all(part.training == training for part in module.modules())
            assert not torch.equal(before, module[2].running_mean), "BatchNorm must follow the clean batches"
            assert set(trainer.history[0]) >= {"loss", "robust_accuracy", "crossed", "seconds", "validation_accuracy"}

    def test_generator(self, classifier, digits):
        x, y = digits[0][:96], np.eye(10)[digits[1][:96]]
        generator = NumpyDataGenerator(x, y, batch_size=32, drop_remainder=False, shuffle=True)
        trainer = LevelSetMarginTrainer(classifier(), eps=0.1, seed=0)
        trainer.fit_generator(generator, nb_epochs=2, validation_data=(x, y), verbose=False)
        assert len(trainer.history) == 2
        with pytest.raises(TypeError, match="generator"):
            trainer.fit_generator([(x, y)])

    def test_scheduler_steps_once_an_epoch(self, classifier, digits):
        built = classifier()
        scheduler = torch.optim.lr_scheduler.StepLR(built.optimizer, step_size=1, gamma=0.5)
        trainer = LevelSetMarginTrainer(built, eps=0.1, seed=0)
        trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=3, batch_size=32, scheduler=scheduler, verbose=False)
        assert built.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 8)
        with pytest.raises(ValueError, match="scheduler"):
            trainer.fit(digits[0][:64], digits[1][:64], scheduler=object())

    def test_same_seed_same_weights(self, classifier, digits):
        weights = []
        for _ in range(2):
            torch.manual_seed(1)
            trainer = LevelSetMarginTrainer(classifier(), eps=0.1)
            trainer.fit(digits[0][:200], digits[1][:200], nb_epochs=2, verbose=False)
            weights.append(torch.nn.utils.parameters_to_vector(trainer.classifier.model.parameters()))
        assert torch.equal(*weights)

    def test_eps_is_in_raw_units_behind_the_preprocessing(self, classifier, digits):
        """Inputs times 255 with ART's preprocessing (0, 255) and eps times 255: the same training."""
        x, y = digits[0][:200], digits[1][:200]
        outputs = []
        for scale in (1.0, 256.0):
            torch.manual_seed(0)
            built = classifier(clip_values=(0.0, scale), preprocessing=(0.0, scale))
            trainer = LevelSetMarginTrainer(built, eps=0.1 * scale, seed=3)
            trainer.fit(x * scale, y, nb_epochs=2, verbose=False)
            outputs.append(trainer.predict(x * scale))
        np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-4)

    def test_preprocessing_without_gradient_is_refused(self, classifier):
        from art.defences.preprocessor import JpegCompression

        defence = JpegCompression(clip_values=(0, 1), channels_first=True)
        with pytest.raises(ValueError, match="JpegCompression"):
            LevelSetMarginTrainer(classifier(preprocessing_defences=defence), eps=0.1)

    def test_search_stays_inside_the_clip_values(self, classifier, digits):
        seen = []

        class Watched(nn.Sequential):
            def forward(self, x):
                seen.append((x.min().item(), x.max().item()))
                return super().forward(x)

        trainer = LevelSetMarginTrainer(classifier(Watched(nn.Flatten(), nn.Linear(64, 10))), eps=0.5, seed=0)
        trainer.fit(digits[0][:64], digits[1][:64], nb_epochs=1, verbose=False)
        assert min(low for low, _ in seen) >= 0
        assert max(high for _, high in seen) <= 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"eps": -0.1}, "eps"),
            ({"eps": 0.0}, "eps"),
            ({"eps": math.nan}, "eps"),
            ({"eps": 0.1, "eps_incorrect": -1.0}, "eps_incorrect"),
            ({"eps": 0.1, "eps_step": 0.0}, "eps_step"),
            ({"eps": 0.1, "lam": -1.0}, "lam"),
            ({"eps": 0.1, "max_iter": 0}, "max_iter"),
            ({"eps": 0.1, "norm": 1}, "norm"),
            ({"eps": 0.1, "norm": 2, "distance": "rho"}, "rho"),
            ({"eps": 0.1, "boundary": "smooth"}, "boundary"),
            ({"eps": 0.1, "projection": "line"}, "projection"),
            ({"eps": 0.1, "lam_incorrect": math.inf}, "lam_incorrect"),
            ({"eps": 0.1, "eps_step_incorrect": 0.0}, "eps_step_incorrect"),
            ({"eps": 0.1, "warmup": 1.5}, "warmup"),
            ({"eps": 0.1, "burn_in": 1.0}, "burn_in"),
            ({"eps": Linear(0.0, -1.0, 5)}, "eps"),
            ({"eps": 0.1, "distance": "l2"}, "distance"),
            ({"eps": 0.1, "sharpness": 0.0}, "sharpness"),
            ({"eps": 0.1, "offsets_dir": "no/such/folder"}, "offsets_dir must be a folder"),
            ({"eps": 0.1, "sharpness": math.nan}, "sharpness"),
            ({"eps": 0.1, "consistency": -1.0}, "consistency"),
            ({"eps": 0.1, "tracked": 1.5}, "tracked"),
            ({"eps": 0.1, "tracked": math.nan}, "tracked"),
            ({"eps": 0.1, "halvings": (0,)}, "halvings"),
            ({"eps": 0.1, "halvings": (3, 1)}, r"halvings must be rising numbers of steps below 10, got \(3, 1\)"),
            ({"eps": 0.1, "halvings": (2, 2)}, "halvings must be rising"),
            ({"eps": 0.1, "halvings": (1.5,)}, "halvings"),
            ({"eps": 0.1, "halvings": (3,), "max_iter": 3}, "halvings must be rising numbers of steps below 3"),
            ({"eps": 0.1, "halvings": (1,), "tracked": True}, "tracked must be less than 1"),
            ({"eps": 0.1, "halvings": (1,), "distance": "rho"}, "halvings are for distance 'logit'"),
            ({"eps": 0.1, "halvings": (1,), "consistency": 0.5}, "without consistency"),
            ({"eps": 0.1, "consistency": 1.0, "distance": "linearised"}, "consistency is for distance 'logit'"),
        ],
    )
    def test_constructor(self, classifier, options, name):
        with pytest.raises(ValueError, match=name):
            LevelSetMarginTrainer(classifier(), **options)

    def test_unknown_argument(self, classifier):
        with pytest.raises(TypeError, match="epsilon"):
            LevelSetMarginTrainer(classifier(), eps=0.1, epsilon=0.1)

    def test_classifier(self, classifier):
        with pytest.raises(ValueError, match="optimizer"):
            LevelSetMarginTrainer(classifier(optimizer=None), eps=0.1)
        with pytest.raises(TypeError, match="PyTorchClassifier"):
            LevelSetMarginTrainer(nn.Linear(2, 2), eps=0.1)

    @pytest.mark.parametrize(
        ("change", "error", "name"),
        [
            (lambda x, y: (x[:, 0], y), ValueError, "x must have the shape"),
            (lambda x, y: (x[:0], y[:0]), ValueError, "x must have the shape"),
            (lambda x, y: (np.where(x > 0.5, np.nan, x), y), ValueError, "not finite"),
            (lambda x, y: (x.astype(str), y), TypeError, "real numbers"),
            (lambda x, y: (x, y[:-1]), ValueError, "one label a sample"),
            (lambda x, y: (x, y + 1), ValueError, r"in \[0, 10\)"),
            (lambda x, y: (x, y - 1), ValueError, "y must not be negative"),
            (lambda x, y: (x, y + 0.5), ValueError, "whole numbers"),
            (lambda x, y: (x, np.eye(9)[y % 9]), ValueError, "y must have the shape"),
            (lambda x, y: (x, np.full((len(y), 10), 0.1)), ValueError, "one-hot"),
        ],
    )
    def test_data(self, classifier, digits, change, error, name):
        x, y = change(digits[0][:50], digits[1][:50])
        trainer = LevelSetMarginTrainer(classifier(), eps=0.1)
        before = copy.deepcopy(trainer.classifier.model.state_dict())
        with pytest.raises(error, match=name):
            trainer.fit(x, y, verbose=False)
        assert all(torch.equal(before[key], value) for key, value in trainer.classifier.model.state_dict().items())
        assert trainer.history == []

    @pytest.mark.parametrize("options", [{"batch_size": 0}, {"nb_epochs": 0}])
    def test_counts(self, classifier, digits, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            LevelSetMarginTrainer(classifier(), eps=0.1).fit(digits[0][:50], digits[1][:50], **options)

    @pytest.mark.parametrize("loss", [lambda total: total * math.nan, lambda total: torch.sqrt(0 * total)])
    def test_loss_or_gradient_that_is_not_finite_stops_training(self, classifier, digits, loss):
        trainer = LevelSetMarginTrainer(classifier(), eps=0.1, seed=0)
        before = copy.deepcopy(trainer.classifier.model.state_dict())
        total = trainer.classifier.model[1].weight.sum()
        trainer.batch_loss = lambda x, y, rows: (loss(total), {"accuracy": 0.0})
        with pytest.raises(FloatingPointError, match="not finite"):
            trainer.fit(digits[0][:50], digits[1][:50], verbose=False)
        assert all(torch.equal(before[key], value) for key, value in trainer.classifier.model.state_dict().items())
