"""LoopTrainer: randomness, progress, callbacks, augmentation, clipping, data sources, validation and the history."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from art_levelset import memory, progress
from art_levelset.trainers import Batch, Callback, Numbered, StopTraining

from .noisy import NoisyTrainer, random_data, small_classifier, weights


def trained(nb_epochs=2, batch_size=32, options=None, **arguments):
    trainer = NoisyTrainer(small_classifier(), seed=5, **(options or {}))
    trainer.fit(*random_data(), nb_epochs=nb_epochs, batch_size=batch_size, verbose=False, **arguments)
    return trainer


class TestRandomness:
    def test_an_epoch_is_a_function_of_the_seed_and_its_number(self):
        """Two fits of one epoch see and draw what one fit of two epochs does."""
        once = trained(2)
        twice = trained(1)
        twice.fit(*random_data(), nb_epochs=1, batch_size=32, verbose=False)
        assert torch.equal(weights(once), weights(twice))
        for one, other in zip(once.seen, twice.seen, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))

    def test_epochs_steps_and_seeds_differ(self):
        trainer = trained(2)
        noises = [noise for _, _, _, noise, _ in trainer.seen]
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(noises, 2))
        assert not torch.equal(trainer.seen[0][2], trainer.seen[3][2])
        other = NoisyTrainer(small_classifier(), seed=6)
        other.fit(*random_data(), nb_epochs=1, batch_size=32, verbose=False)
        assert not torch.equal(other.seen[0][2], trainer.seen[0][2])

    def test_a_generator_drawn_from_by_a_callback_does_not_move_the_next_step(self):
        class Drawing(Callback):
            def on_epoch_end(self, trainer, figures):
                torch.rand(7, generator=trainer.randomness)

        assert torch.equal(weights(trained()), weights(trained(callbacks=[Drawing()])))

    def test_rows_are_the_numbers_of_the_samples(self):
        x, y = random_data()
        trainer = trained(1)
        rows = torch.cat([rows for _, _, rows, _, _ in trainer.seen])
        assert rows.sort().values.tolist() == list(range(len(x)))
        for inputs, labels, numbers, _, _ in trainer.seen:
            np.testing.assert_array_equal(inputs, x[numbers])
            np.testing.assert_array_equal(labels, y[numbers])

    @pytest.mark.parametrize("seed", [-1, 0.5])
    def test_bad_seed(self, seed):
        with pytest.raises(ValueError, match="seed"):
            NoisyTrainer(small_classifier(), seed=seed)


class TestProgress:
    def test_steps_of_two_fits(self):
        trainer = trained(1, batch_size=48)
        trainer.fit(*random_data(), nb_epochs=2, batch_size=48, verbose=False)
        found = [(part.epoch, part.epochs, part.fraction) for *_, part in trainer.seen]
        assert found == [(0, 0, 0), (0, 0.5, 0.5), (1, 1, 0), (1, 1.5, 0.25), (2, 2, 0.5), (2, 2.5, 0.75)]
        assert (trainer.progress.epoch, trainer.progress.epochs, trainer.progress.fraction) == (3, 3, 1)


class TestCallbacks:
    def test_order_and_progress(self):
        events = []

        class Recorder(Callback):
            def on_train_begin(self, trainer):
                events.append(("begin", trainer.progress.epochs))

            def on_batch_begin(self, trainer):
                events.append(("batch", trainer.progress.epochs))

            def on_epoch_end(self, trainer, figures):
                assert trainer.history[-1] is figures
                figures["own"] = 1.0
                events.append(("epoch", trainer.progress.epochs))

            def on_train_end(self, trainer):
                events.append(("end", trainer.progress.epochs))

        trainer = trained(2, batch_size=48, callbacks=[Recorder()])
        assert [name for name, _ in events] == ["begin", *["batch", "batch", "epoch"] * 2, "end"]
        assert [where for _, where in events] == [0, 0, 0.5, 1, 1, 1.5, 2, 2]
        assert trainer.history[-1]["own"] == 1.0

    def test_stop_after_an_epoch_tells_the_others_first(self):
        seen = []

        class Stop(Callback):
            def on_epoch_end(self, trainer, figures):
                raise StopTraining

        class Later(Callback):
            def on_epoch_end(self, trainer, figures):
                seen.append("epoch")

            def on_train_end(self, trainer):
                seen.append("end")

        assert len(trained(5, callbacks=[Stop(), Later()]).history) == 1
        assert seen == ["epoch", "end"]

    def test_an_epoch_that_is_stopped_in_the_middle_is_the_last(self):
        class Stop(Callback):
            def on_batch_begin(self, trainer):
                if trainer.progress.epochs > 1.5:
                    raise StopTraining

        stopped = trained(5, callbacks=[Stop()])
        assert [row["epoch"] for row in stopped.history] == [1, 2]
        assert len(stopped.seen) == 5

    def test_before_the_first_step_of_an_epoch_there_is_none_of_it(self):
        class Stop(Callback):
            def on_batch_begin(self, trainer):
                if trainer.progress.epochs >= 1:
                    raise StopTraining

        assert len(trained(5, callbacks=[Stop()]).history) == 1

    def test_what_is_no_callback(self):
        with pytest.raises(TypeError, match="callbacks"):
            trained(callbacks=[print])


class TestAugmentation:
    def test_batches_are_augmented_and_the_arrays_are_not(self):
        x, y = random_data()
        before = x.copy()

        def flipped(batch, generator):
            return torch.where(torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5, batch.flip(3), batch)

        trainer = NoisyTrainer(small_classifier(), seed=0)
        trainer.fit(x, y, nb_epochs=1, augmentation=flipped, verbose=False)
        np.testing.assert_array_equal(x, before)
        ((inputs, _, rows, _, _),) = trainer.seen
        same = (inputs.numpy() == x[rows]).all(axis=(1, 2, 3))
        mirrored = (inputs.numpy() == x[rows][..., ::-1]).all(axis=(1, 2, 3))
        assert (same | mirrored).all()
        assert 0.2 < mirrored.mean() < 0.8

    @pytest.mark.parametrize("wrong", [lambda x, generator: x[:1], lambda x, generator: None])
    def test_another_shape_is_refused(self, wrong):
        with pytest.raises(ValueError, match="augmentation"):
            trained(augmentation=wrong)

    def test_no_function(self):
        with pytest.raises(TypeError, match="augmentation"):
            trained(augmentation=3)


class TestGradientNorm:
    def test_a_longer_gradient_is_scaled_to_the_limit(self):
        """With SGD at rate 1 the step is the gradient."""
        limit, lengths = 0.01, []
        for bound in (None, limit):
            classifier = small_classifier(lr=1.0, optimizer=torch.optim.SGD)
            before = torch.nn.utils.parameters_to_vector(classifier.model.parameters()).detach()
            trainer = NoisyTrainer(classifier, seed=0, max_grad_norm=bound)
            trainer.fit(*random_data(), batch_size=96, nb_epochs=1, verbose=False)
            after = torch.nn.utils.parameters_to_vector(classifier.model.parameters()).detach()
            lengths.append((after - before).norm().item())
            assert trainer.history[0]["gradient_norm"] == pytest.approx(lengths[0], rel=1e-4)
        assert lengths[0] > 10 * limit
        assert lengths[1] == pytest.approx(limit, rel=1e-4)

    @pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
    def test_bad_limit(self, value):
        with pytest.raises(ValueError, match="max_grad_norm"):
            NoisyTrainer(small_classifier(), max_grad_norm=value)


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*map(torch.as_tensor, random_data()), strict=True)


class Short(Stream):
    def __len__(self):
        return 500


class TestGenerators:
    @pytest.mark.parametrize("integers", [True, False])
    def test_a_data_loader_trains_as_its_batches_do(self, integers):
        x, y = random_data()
        labels = torch.as_tensor(y) if integers else torch.eye(10)[y]
        loader = DataLoader(TensorDataset(torch.as_tensor(x), labels), batch_size=40)
        trainer = NoisyTrainer(small_classifier(), seed=0)
        trainer.fit_generator(loader, nb_epochs=2, validation_data=(x, y), verbose=False)
        assert [len(part[0]) for part in trainer.seen] == [40, 40, 16] * 2
        np.testing.assert_array_equal(torch.cat([part[0] for part in trainer.seen[:3]]), x)
        np.testing.assert_array_equal(torch.cat([part[1] for part in trainer.seen[:3]]), y)
        assert all(part[2] is None for part in trainer.seen)
        assert "validation_accuracy" in trainer.history[1]

    def test_numbered_samples_are_known_again(self):
        x, y = random_data()
        data = Numbered(TensorDataset(torch.as_tensor(x), torch.as_tensor(y)))
        trainer = NoisyTrainer(small_classifier(), seed=0)
        begun = []
        trainer.begin_fit = begun.append
        trainer.fit_generator(DataLoader(data, batch_size=40, shuffle=True), nb_epochs=1, verbose=False)
        assert begun == [96]
        rows = torch.cat([part[2] for part in trainer.seen])
        assert sorted(rows.tolist()) == list(range(96))
        np.testing.assert_array_equal(torch.cat([part[0] for part in trainer.seen]), x[rows])
        with pytest.raises(TypeError, match="dataset must have a length, got Stream"):
            Numbered(Stream())

    def test_generators_of_the_toolbox(self):
        x, y = random_data()
        loader = DataLoader(TensorDataset(torch.as_tensor(x), torch.as_tensor(y)), batch_size=32)
        for generator in (
            NumpyDataGenerator(x, np.eye(10)[y], batch_size=32),
            PyTorchDataGenerator(loader, size=96, batch_size=32),
        ):
            trainer = NoisyTrainer(small_classifier(), seed=0)
            trainer.fit_generator(generator, nb_epochs=1, verbose=False)
            assert len(trainer.seen) == 3

    def test_a_sampler_hears_the_epoch(self):
        class Sampler(torch.utils.data.SequentialSampler):
            epochs = ()

            def set_epoch(self, epoch):
                self.epochs = (*self.epochs, epoch)

        data = TensorDataset(*map(torch.as_tensor, random_data()))
        sampler = Sampler(data)
        NoisyTrainer(small_classifier(), seed=0).fit_generator(
            DataLoader(data, batch_size=48, sampler=sampler), nb_epochs=3, verbose=False
        )
        assert sampler.epochs == (0, 1, 2)

    def test_what_does_not_fit(self):
        trainer = NoisyTrainer(small_classifier(), seed=0)
        x, y = map(torch.as_tensor, random_data())
        for generator, error, message in (
            ([(x, y)], TypeError, "generator must be"),
            (DataLoader(Stream(), batch_size=8), ValueError, "length of an epoch"),
            (DataLoader(Short(), batch_size=8), ValueError, "ended before"),
            (DataLoader(TensorDataset(x), batch_size=8), ValueError, "pairs"),
            (DataLoader(Numbered(TensorDataset(x, y)), 8, collate_fn=lambda items: (x, y)), ValueError, "triples"),
            (DataLoader(TensorDataset(x[:, 0], y), batch_size=8), ValueError, "generator: x must have the shape"),
            (DataLoader(TensorDataset(x, y + 10), batch_size=8), ValueError, "generator: y"),
        ):
            with pytest.raises(error, match=message):
                trainer.fit_generator(generator, nb_epochs=1, verbose=False)


class TestValidation:
    def test_accuracies_are_those_of_the_network_that_is_left_behind(self):
        x, y = random_data(60, seed=1)
        asked = []

        def attack(network, inputs, labels):
            asked.append(network.training)
            return (inputs + 0.3 * torch.sign(inputs - 0.5)).clamp(0, 1)

        trainer = trained(3, validation_data=(x, np.eye(10)[y]), validation_attack=attack, options={"ema_decay": 0.9})
        clean, attacked = (
            (trainer.predict(inputs).argmax(axis=1) == y)
            for inputs in (x, attack(trainer.classifier.model, torch.as_tensor(x), None).numpy())
        )
        assert trainer.history[-1]["validation_accuracy"] == pytest.approx(clean.mean())
        assert trainer.history[-1]["validation_robust_accuracy"] == pytest.approx((clean & attacked).mean())
        assert asked[:3] == [False] * 3

    def test_the_trainers_own_attack(self):
        class Attacking(NoisyTrainer):
            def default_validation_attack(self):
                return lambda network, x, y: x

        trainer = Attacking(small_classifier(), seed=0)
        trainer.fit(*random_data(), random_data(), nb_epochs=1, verbose=False)
        figures = trainer.history[0]
        assert figures["validation_robust_accuracy"] == figures["validation_accuracy"]

    def test_no_pair(self):
        with pytest.raises(TypeError, match="validation_data"):
            trained(validation_data=random_data()[0])


class TestHistory:
    def test_columns(self):
        classifier = small_classifier(lr=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(classifier.optimizer, 1, gamma=0.1)
        trainer = NoisyTrainer(classifier, seed=0)
        trainer.fit(*random_data(), nb_epochs=2, scheduler=scheduler, verbose=False)
        assert list(trainer.history[0]) == ["epoch", "learning_rate", "loss", "accuracy", "gradient_norm", "seconds"]
        assert [row["epoch"] for row in trainer.history] == [1, 2]
        assert [row["learning_rate"] for row in trainer.history] == pytest.approx([0.5, 0.05])

    def test_a_scheduler_that_wants_a_figure_is_refused(self):
        classifier = small_classifier()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(classifier.optimizer)
        with pytest.raises(ValueError, match="scheduler"):
            NoisyTrainer(classifier).fit(*random_data(), scheduler=scheduler, verbose=False)

    @pytest.mark.parametrize("total", [2, 3, 4])
    def test_a_scheduler_that_is_too_short_is_found_before_the_first_pass(self, total):
        classifier = small_classifier()
        scheduler = torch.optim.lr_scheduler.OneCycleLR(classifier.optimizer, max_lr=0.1, total_steps=total)
        trainer = NoisyTrainer(classifier, seed=0)
        if total >= 3:
            trainer.fit(*random_data(), nb_epochs=3, scheduler=scheduler, verbose=False)
            assert len(trainer.history) == 3
            trainer.seen.clear()
        with pytest.raises(ValueError, match=f"^scheduler: the OneCycleLR has {total % 3 if total > 2 else 2} of its"):
            trainer.fit(*random_data(), nb_epochs=3, scheduler=scheduler, verbose=False)
        assert trainer.seen == []

    def test_what_is_left_of_a_scheduler_counts_from_the_checkpoint(self, tmp_path):
        for nb_epochs in (2, 3, 4):
            classifier = small_classifier()
            scheduler = torch.optim.lr_scheduler.OneCycleLR(classifier.optimizer, max_lr=0.1, total_steps=3)
            trainer = NoisyTrainer(classifier, seed=0)
            options = {"nb_epochs": nb_epochs, "scheduler": scheduler, "checkpoint_dir": tmp_path, "verbose": False}
            if nb_epochs <= 3:
                trainer.fit(*random_data(), **options)
                assert len(trainer.history) == nb_epochs
            else:
                with pytest.raises(ValueError, match="^scheduler: the OneCycleLR has 0 of its 3 steps left"):
                    trainer.fit(*random_data(), **options)

    def test_the_bar_names_clean_and_robust_accuracy(self, capfd, monkeypatch):
        monkeypatch.setattr(progress, "shown", lambda verbose: verbose)
        x, y = random_data()
        trainer = NoisyTrainer(small_classifier(), seed=0)
        trainer.fit(x, y, (x, y), nb_epochs=2, batch_size=96, validation_attack=lambda network, x, y: x)
        shown = capfd.readouterr().err
        assert "Noisy epoch 2/2" in shown
        assert "val_accuracy=" in shown
        assert "val_robust_accuracy=" in shown


class TestSubclasses:
    """What whoever writes a trainer may override, and hand over."""

    def test_epochs_and_steps_may_be_overridden(self):
        calls = []

        class Counting(NoisyTrainer):
            def epoch(self, run, callbacks, bar):
                calls.append("epoch")
                return {**super().epoch(run, callbacks, bar), "own": 1.0}

            def step(self, x, y, rows):
                calls.append(len(x))
                return super().step(x, y, rows)

        trainer = Counting(small_classifier(), seed=5)
        trainer.fit(*random_data(), nb_epochs=2, batch_size=40, verbose=False)
        assert calls == ["epoch", 40, 40, 16] * 2
        assert [row["own"] for row in trainer.history] == [1.0, 1.0]
        assert torch.equal(weights(trainer), weights(trained(2, batch_size=40)))

    def test_batches_of_ones_own(self):
        x, y = random_data()

        class Halves:
            nb_batches = 2
            settings = {"halves": 2}  # noqa: RUF012

            def epoch(self, seed, number):
                yield Batch(x[:48], y[:48])
                yield Batch(x[48:], y[48:])

            def state_dict(self):
                return {}

            def load_state_dict(self, state):
                pass

        trainer = NoisyTrainer(small_classifier(), seed=0)
        trainer.fit_generator(Halves(), nb_epochs=2, verbose=False)
        assert [len(inputs) for inputs, *_ in trainer.seen] == [48] * 4
        assert trainer.seen[0][2] is None

    def test_a_state_goes_on_in_another_trainer(self):
        first = trained(1)
        second = NoisyTrainer(small_classifier(seed=9), seed=3)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        for trainer in (first, second):
            trainer.fit(*random_data(), nb_epochs=1, batch_size=32, verbose=False)
        assert torch.equal(weights(first), weights(second))
        assert [row["loss"] for row in first.history] == [row["loss"] for row in second.history]

    def test_settings_are_the_public_attributes(self):
        settings = NoisyTrainer(small_classifier(), seed=0, noise=0.2).settings()
        assert settings["trainer"] == "NoisyTrainer"
        assert settings["noise"] == 0.2
        assert set(settings) == {"trainer", "ema_decay", "max_grad_norm", "execution", "noise"}

    def test_a_callback_may_put_another_progress_in_its_place(self):
        class Clock(Callback):
            def on_batch_begin(self, trainer):
                trainer.progress = replace(trainer.progress, fraction=0.25)

        trainer = trained(1, callbacks=[Clock()])
        assert {part.fraction for *_, part in trainer.seen} == {0.25}


def test_batches_that_there_is_no_memory_for(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 40.2e6)
    x, y = random_data()
    trainer, random = NoisyTrainer(small_classifier()), torch.get_rng_state()
    before = weights(trainer)
    with pytest.raises(
        ValueError, match=r"^batch_size: 96 needs about \d+ MB of memory, 40 MB are free; \d+ would fit$"
    ) as refused:
        trainer.fit(x, y, batch_size=96, nb_epochs=1, verbose=False)
    assert torch.equal(weights(trainer), before)
    assert torch.equal(torch.get_rng_state(), random)
    trainer.fit(x, y, batch_size=int(str(refused.value).split()[-3]), nb_epochs=1, verbose=False)
