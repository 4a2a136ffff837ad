"""The loss of levels, the default: every number of an affine network, tracked searches, the change along them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_levelset import LevelSetMarginTrainer
from art_levelset.core.ascent import ascend
from art_levelset.core.fields import soft_margin_field
from art_levelset.trainers import Numbered, search
from art_levelset.trainers.augmentation import crop
from art_levelset.trainers.callbacks import Callback

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

    def test_halvings_leave_the_samples_of_lowest_margins(self, classifier, digits):
        """Of an affine network F(p) is known: eight of sixteen have a part in the loss, and four make all steps."""
        direction = torch.linspace(0.1, 1.0, 64)
        steps = []

        class Counted(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = affine([(-direction).tolist(), direction.tolist()], [12.0, -12.0])

            def forward(self, x):
                steps.append(len(x))
                return self.inner(x)

        module = Counted()
        built = classifier(module, 2, clip_values=None)
        options = {"warmup": 0.0, "burn_in": 0.0, "seed": 0, "max_iter": 10, "halvings": (1, 3)}
        trainer = LevelSetMarginTrainer(built, 0.1, **options)
        trainer._start = lambda samples, *_: samples
        trainer._union = 16
        x, y = torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16] % 2)
        steps.clear()
        loss, figures = trainer.batch_loss(x, y, None)
        assert steps == [16, 8, 8, *[4] * 7, 8]
        margins = (x.flatten(1) @ (2 * direction) - 24) * (2 * y - 1)
        rows = margins.argsort()
        lowest = margins[rows][:8] - 0.1 * 2 * direction.sum()
        last = torch.cat([lowest, margins[rows][8:]])
        assert figures["margin"] == pytest.approx(last.mean().item(), rel=1e-4)
        assert figures["crossed"] == pytest.approx((last <= 0).float().mean().item())
        assert loss.item() == pytest.approx(nn.functional.softplus(-lowest).sum().item() / 16, rel=1e-4)
        loss.backward()
        labels = (2 * y - 1)[rows][:8]
        expected = -(labels * torch.sigmoid(-lowest)).sum() / 16
        assert module.inner[1].bias.grad[1].item() == pytest.approx(expected.item(), rel=1e-3)

    @pytest.mark.parametrize(("count", "left"), [(1, 1), (2, 1), (5, 3), (16, 8), (39, 20)])
    def test_half_of_the_batch_goes_on(self, classifier, count, left):
        trainer = self.trainer(classifier, convnet(), eps=0.2, halvings=(1,))
        trainer._union = count
        values = torch.randperm(count, generator=torch.Generator().manual_seed(0)).float()
        goes_on = trainer._lower_half(values)
        assert torch.equal(goes_on, values < left)
        again = trainer._lower_half(torch.where(goes_on, values, math.inf))
        assert torch.equal(again, values < (left + 1) // 2)

    def test_halvings_wait_for_searches_that_begin_anew(self, classifier, digits):
        seen = []

        class Watch(Callback):
            def on_batch_begin(self, trainer):
                seen.append((trainer.remembers and trainer._tracking, trainer._halvings))

        trainer = self.trainer(classifier, convnet(), eps=0.1, tracked=0.5, halvings=(1, 3))
        trainer.fit(digits[0][:64], digits[1][:64], batch_size=16, nb_epochs=2, callbacks=[Watch()], verbose=False)
        assert seen == [(True, ())] * 4 + [(False, (1, 3))] * 4

    def test_halvings_hide_no_network_that_has_diverged(self, classifier, digits):
        module = convnet()
        with torch.no_grad():
            module[-1].bias.fill_(math.nan)
        trainer = self.trainer(classifier, module, eps=0.1, halvings=(1, 3))
        with pytest.raises(FloatingPointError, match="not finite"):
            trainer.step(torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16]), None)

    def test_a_share_without_low_margins_has_no_loss(self, classifier, digits):
        trainer = self.trainer(classifier, Reshaping(), eps=0.2, halvings=(1, 3))
        trainer._lower_half = lambda values: torch.zeros(len(values), dtype=torch.bool)
        loss, figures = trainer.batch_loss(torch.as_tensor(digits[0][:16]), torch.as_tensor(digits[1][:16]), None)
        assert loss is None
        assert math.isfinite(figures["margin"])

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
