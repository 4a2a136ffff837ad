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
from torch.utils.data import DataLoader, TensorDataset

from art_levelset import LevelSetMarginTrainer
from art_levelset.core.ascent import ascend
from art_levelset.core.fields import soft_margin_field
from art_levelset.trainers import Numbered, distances, search
from art_levelset.trainers.augmentation import crop
from art_levelset.trainers.schedules import Linear

from .networks import affine, convnet


class Reshaping(nn.Module):
    """A network that fails on no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(x.reshape(len(x), -1))


class Valley(nn.Module):
    """Two classes of the margin s |x - 1/2|^2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        margins = self.scale * (x - 0.5).square().flatten(1).sum(1)
        return torch.stack([torch.zeros_like(margins), margins], dim=1)


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


class TestLevels:
    """The default: a logistic loss at the ends of tracked searches."""

    def trainer(self, classifier, module, **options):
        options = {"warmup": 0.0, "burn_in": 0.0, "seed": 0, **options}
        trainer = LevelSetMarginTrainer(classifier(module, clip_values=None), **options)
        trainer._union = 16
        return trainer

    def test_of_an_affine_network_every_number_is_known(self, classifier, digits):
        """F(p) = F(x) - eps |w|_1 for two classes, where sign steps reach the corner of the ball."""
        direction = torch.linspace(0.1, 1.0, 64)
        module = affine([(-direction).tolist(), direction.tolist()], [12.0, -12.0])
        built = classifier(module, 2, clip_values=None)
        trainer = LevelSetMarginTrainer(built, 0.1, warmup=0.0, burn_in=0.0, seed=0, max_iter=10)
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2)
        trainer._union = 16
        loss, figures = trainer.batch_loss(x, y, None)
        scores = (x.flatten(1) @ (2 * direction) - 24) * (2 * y - 1)
        lowest = scores - 0.1 * 2 * direction.sum()
        assert loss.item() == pytest.approx(nn.functional.softplus(-lowest).mean().item(), rel=1e-4)
        assert figures["margin"] == pytest.approx(lowest.mean().item(), rel=1e-4)
        assert figures["crossed"] == pytest.approx((lowest <= 0).float().mean().item())
        loss.backward()
        weights = torch.sigmoid(-lowest)
        assert built.model[1].bias.grad[1].item() == pytest.approx((-(2 * y - 1) * weights).mean().item(), rel=1e-3)

    def test_the_soft_loss_is_the_cross_entropy_at_the_ends(self, classifier, digits):
        module = convnet()
        trainer = self.trainer(classifier, module, eps=0.2, max_iter=1, eps_step=1e-6)
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
        start = trainer._start
        ends = []
        trainer._start = lambda *given: ends.append(start(*given)) or ends[0]
        loss, _ = trainer.batch_loss(x, y, None)
        assert loss.item() == pytest.approx(nn.functional.cross_entropy(module(ends[0]), y).item(), abs=1e-4)

    def test_the_change_along_the_search_of_an_affine_network_is_known(self, classifier, digits):
        """One step of signs from the samples changes F by step |w|_1, of whichever samples are watched."""
        direction, step = torch.linspace(0.1, 1.0, 64), 0.05
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2)
        losses, gradients = [], []
        for consistency in (0.0, 3.0):
            built = classifier(affine([(-direction).tolist(), direction.tolist()], [12.0, -12.0]), 2, clip_values=None)
            options = {"max_iter": 1, "eps_step": step, "consistency": consistency}
            trainer = LevelSetMarginTrainer(built, 0.1, warmup=0.0, burn_in=0.0, seed=0, **options)
            trainer._union = 16
            trainer._start = lambda samples, *_: samples
            loss, figures = trainer.batch_loss(x, y, None)
            loss.backward()
            losses.append(loss.item())
            gradients.append(built.model[1].weight.grad[1])
        change = step * 2 * direction.sum().item()
        assert figures["change"] == pytest.approx(change**2, rel=1e-4)
        assert losses[1] - losses[0] == pytest.approx(3.0 * change**2, rel=1e-4)
        torch.testing.assert_close(gradients[1] - gradients[0], torch.full((64,), 3.0 * 2 * change * step))

    @pytest.mark.parametrize("count", [1, 2, 5, 16, 39])
    def test_a_quarter_of_the_batch_stands_for_it(self, classifier, count):
        trainer = self.trainer(classifier, convnet(), eps=0.2, consistency=1.0)
        trainer._union = count
        watched = trainer._watched()
        assert (watched > 0).sum() == math.ceil(count / 4)
        assert watched.sum().item() == pytest.approx(count)
        assert count < 16 or not torch.equal(watched, trainer._watched()), "another one each time"

    def test_none_of_a_share_need_be_watched(self, classifier, digits):
        """Networks that cannot reshape no samples are not asked to."""
        trainer = self.trainer(classifier, Reshaping(), eps=0.2, max_iter=1, consistency=1.0)
        trainer._watched = lambda: torch.zeros(16)
        loss, figures = trainer.batch_loss(torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16]), None)
        assert figures["change"] == 0.0
        loss.backward()

    @pytest.mark.parametrize("consistency", [0.0, 100.0])
    def test_a_penalty_does_not_turn_the_further_step_round(self, classifier, consistency):
        """A step across a valley ends higher than it began: the penalty would have it lower, and F falls inwards."""
        options = {"max_iter": 1, "eps_step": 0.3, "consistency": consistency}
        trainer = self.trainer(classifier, Valley(), eps=0.4, **options)
        x, y, rows = torch.full((16, 1, 8, 8), 0.6), torch.ones(16, dtype=int), torch.arange(16)
        trainer._start = lambda samples, *_: samples
        trainer._watched = lambda: torch.ones(16)
        trainer.begin_fit(16)
        loss, _ = trainer.batch_loss(x, y, rows)
        loss.backward()
        ends = trainer._offsets.start(x, rows, torch.full((16,), 0.4), torch.full_like(x, math.nan))
        torch.testing.assert_close(ends, x)  # to 0.3, and back to 0.6

    def test_a_search_goes_on_where_the_last_one_ended_and_one_step_further(self, classifier, digits):
        module = convnet()
        trainer = self.trainer(classifier, module, eps=0.2, max_iter=1, eps_step=0.05)
        x, y, rows = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16]), torch.arange(16) + 5
        trainer.begin_fit(60)
        loss, _ = trainer.batch_loss(x, y, rows)
        loss.backward()
        trainer.classifier.optimizer.zero_grad()
        eps, nowhere = torch.full((16,), 0.2), torch.full_like(x, 9.0)
        tracked = trainer._offsets.start(x, rows, eps, nowhere)
        assert (tracked - x).abs().max() <= 0.2 + 1e-6
        field = soft_margin_field(module, y)
        assert (field(tracked) < field(x)).all()
        assert torch.equal(trainer._offsets.start(x, rows + 20, eps, nowhere), nowhere), "others have no offset yet"
        further, _ = trainer.batch_loss(x, y, rows)
        assert further.item() > loss.item()

    def test_memory_makes_one_step_as_good_as_many(self, classifier, digits):
        x, y = digits[0][:1000], digits[1][:1000]
        robust = {}
        for tracked in (True, False):
            torch.manual_seed(0)
            built = classifier(convnet(), optimizer=None)
            built = classifier(built.model)
            trainer = LevelSetMarginTrainer(built, 0.15, seed=0, max_iter=1, eps_step=0.15 / 4, tracked=tracked)
            trainer.fit(x, y, nb_epochs=8, batch_size=32, verbose=False)
            robust[tracked] = trainer.history[-1]["robust_accuracy"]
        assert robust[True] < robust[False] - 0.05, "what tracked searches find is harder"

    def test_steps_of_a_search_that_begins_anew_become_shorter(self, classifier, digits, monkeypatch):
        seen = []

        def recorded(*given, step, **more):
            seen.append(step)
            return ascend(*given, step=step, **more)

        monkeypatch.setattr(search, "ascend", recorded)
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
        for options in ({}, {"eps_step": 0.05}, {"distance": "linearised"}):
            self.trainer(classifier, convnet(), eps=0.2, tracked=False, **options).batch_loss(x, y, None)
        for lengths in seen[::2]:
            assert lengths.shape == (10, 16)
            assert ((lengths[0] >= 0.1) & (lengths[0] <= 0.4)).all()
            assert lengths[0].unique().numel() == 16, "chance decides for each sample"
            torch.testing.assert_close(lengths, lengths[0] * (1 - torch.arange(10.0) / 10)[:, None])
        torch.testing.assert_close(seen[1], torch.full((16,), 0.05))

    @pytest.mark.parametrize("distance", ["logit", "linearised"])
    def test_searches_are_tracked_for_a_part_of_the_training(self, classifier, digits, monkeypatch, distance):
        """Three steps from the last end in three epochs of four, then ten from random points, which are not kept."""
        lengths, kept = [], []

        def recorded(*given, step, **more):
            lengths.append(step)
            return ascend(*given, step=step, **more)

        monkeypatch.setattr(search, "ascend", recorded)
        options = {"distance": distance, "burn_in": 0.0, "warmup": 0.0, "seed": 0}
        trainer = LevelSetMarginTrainer(classifier(convnet()), 0.2, tracked=0.75, **options)
        end_epoch = trainer.end_epoch
        trainer.end_epoch = lambda: kept.append(trainer._offsets._offsets.clone()) or end_epoch()
        trainer.fit(digits[0][:16], digits[1][:16], nb_epochs=4, batch_size=16, verbose=False)
        assert [step.shape for step in lengths] == 3 * [(16,)] + [(10, 16)]
        assert not torch.equal(kept[1], kept[2])
        assert torch.equal(kept[2], kept[3])

    def test_they_find_more_than_even_ones(self, classifier, digits):
        """On the margin of a network that withstands some of them, with the same number of steps."""
        x, y = digits[0][:500], digits[1][:500]
        torch.manual_seed(0)
        built = classifier(convnet())
        LevelSetMarginTrainer(built, 0.15, seed=0).fit(x, y, nb_epochs=20, batch_size=32, verbose=False)
        found = {}
        for eps_step in (None, 2.5 * 0.15 / 10):
            trainer = LevelSetMarginTrainer(
                built, 0.15, seed=0, burn_in=0.0, warmup=0.0, tracked=False, eps_step=eps_step
            )
            trainer._union = 500
            found[eps_step] = trainer.batch_loss(torch.as_tensor(x), torch.as_tensor(y), None)[0].item()
        assert found[None] > found[2.5 * 0.15 / 10]

    def test_offsets_go_with_the_pixels_that_an_augmentation_moves(self, classifier, digits):
        """A visit with another flip begins at the flipped end of the last search."""
        x, y = digits[0][:32], digits[1][:32]
        starts, visits = [], []

        def flip_every_other_epoch(batch, generator):
            visits.append(batch)
            return batch.flip(3) if flips[0] else batch

        flips = [False]
        trainer = LevelSetMarginTrainer(classifier(convnet()), 0.1, seed=0, burn_in=0.0, warmup=0.0)
        start = trainer._start
        trainer._start = lambda *given: starts.append(start(*given)) or starts[-1]
        options = {"batch_size": 32, "nb_epochs": 1, "verbose": False, "augmentation": flip_every_other_epoch}
        trainer.fit(x, y, **options)
        kept = trainer._offsets._offsets.clone()
        assert kept.any()
        flips[0] = True
        trainer.fit(x, y, **options)
        order = [int((torch.as_tensor(x) == one).flatten(1).all(dim=1).nonzero()[0]) for one in visits[-2]]
        expected = torch.as_tensor(x)[order].flip(3) + 0.1 / 127 * kept[order].flip(3)
        torch.testing.assert_close(starts[-1], expected)
        assert not torch.equal(trainer._offsets._offsets, kept)

    def test_offsets_in_a_file_and_a_numbered_loader_train_the_same_network(self, classifier, digits, tmp_path):
        x, y = torch.as_tensor(digits[0][:96]), torch.as_tensor(digits[1][:96])
        found = []
        for options in ({}, {"offsets_dir": tmp_path}):
            torch.manual_seed(0)
            trainer = LevelSetMarginTrainer(classifier(convnet()), 0.1, seed=0, **options)
            loader = DataLoader(Numbered(TensorDataset(x, y)), batch_size=32)
            trainer.fit_generator(loader, nb_epochs=3, verbose=False)
            assert trainer._offsets._known.all()
            found.append(trainer.predict(digits[0][:96]))
        np.testing.assert_array_equal(*found)
        assert list(tmp_path.iterdir()) == []

    def test_without_order_or_with_other_augmentation_searches_start_at_random(self, classifier, digits):
        x, y = digits[0][:64], digits[1][:64]
        trainer = LevelSetMarginTrainer(classifier(convnet()), 0.1, seed=0)
        trainer.fit(x, y, nb_epochs=1, verbose=False)
        assert trainer._offsets is not None
        trainer.fit(x, y, nb_epochs=1, verbose=False, augmentation=crop)
        assert trainer._offsets is not None
        trainer.fit(x, y, nb_epochs=1, verbose=False, augmentation=lambda batch, generator: batch / 2)
        assert trainer._offsets is None
        trainer.fit_generator(NumpyDataGenerator(x, y, batch_size=32), nb_epochs=1, verbose=False)
        assert trainer._offsets is None

    def test_radii_grow_once(self, classifier, digits):
        trainer = LevelSetMarginTrainer(classifier(convnet()), 0.1, seed=0, burn_in=0.25, warmup=0.5)
        seen = []
        growth = trainer._growth
        trainer._growth = lambda: seen.append(growth()) or seen[-1]
        trainer.fit(digits[0][:128], digits[1][:128], nb_epochs=2, batch_size=16, verbose=False)
        assert seen[:4] == [0.0] * 4
        first = trainer.history[0]
        assert first["robust_accuracy"] + first["crossed"] == pytest.approx(1.0), "means over the samples searched"
        np.testing.assert_allclose(seen[4:12], [0.01, *(np.arange(1, 8) / 8)])
        assert seen[12:] == [1.0] * 4
        trainer.fit(digits[0][:128], digits[1][:128], nb_epochs=1, batch_size=16, verbose=False)
        assert seen[16:] == [1.0] * 8

    def test_numbers_of_either_side(self, classifier, digits):
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16])
        losses = {}
        for name, options in {
            "all": {},
            "right": {"lam_incorrect": 0.0},
            "wrong": {"lam": 0.0},
            "small": {"eps": 1e-6, "eps_incorrect": 1e-6},
        }.items():
            torch.manual_seed(0)
            trainer = self.trainer(classifier, convnet(), **{"eps": 0.1, **options})
            losses[name] = trainer.batch_loss(x, y, None)[0].item()
        assert losses["right"] + losses["wrong"] == pytest.approx(losses["all"], rel=1e-5)
        assert losses["small"] < losses["all"]


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
