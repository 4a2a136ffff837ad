"""Checkpoints: bit for bit the same as without interruption, killed at any moment, damaged, or of another run."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers.augmentation import crop
from art_levelset.trainers.callbacks import Callback, EarlyStopping
from art_levelset.trainers.checkpoints import Checkpoints, unpack
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.runs import random_states, set_random_states
from art_levelset.trainers.schedules import Linear

from .noisy import NoisyTrainer, random_data, small_classifier, weights


def newest(folder):
    return unpack(max(Path(folder).glob("epoch-*.pt")).read_bytes())


def without_seconds(state):
    return {**state, "history": [{**row, "seconds": None} for row in state["history"]]}


def assert_same(one, other):
    """Bit for bit, tensors and all."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for part in zip(one, other, strict=True):
            assert_same(*part)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


class Killed(Exception):
    """In the place of a signal."""


class KillIn(Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_batch_begin(self, trainer):
        if trainer.progress.epochs >= self.epochs:
            raise Killed


def run(folder, kill_at=None, trainer_type=NoisyTrainer, nb_epochs=4, batch_size=24, loader=False, **options):
    started = folder.is_dir() and any(folder.glob("epoch-*"))
    classifier = small_classifier(seed=int(10 * (kill_at or 0)) if started else 0)  # the checkpoint decides
    scheduler = torch.optim.lr_scheduler.StepLR(classifier.optimizer, 1, gamma=0.7)
    trainer = trainer_type(classifier, **{"seed": 3, "ema_decay": 0.9, "max_grad_norm": 1.0, **options})
    callbacks = [EarlyStopping("validation_accuracy", patience=3), KillIn(99 if kill_at is None else kill_at)]
    common = {"checkpoint_dir": folder, "scheduler": scheduler, "callbacks": callbacks, "verbose": False}
    x, y = random_data()
    if loader:
        data = TensorDataset(torch.as_tensor(x), torch.as_tensor(y))
        source = DataLoader(data, batch_size=batch_size, shuffle=True, **loader)
        fit = partial(trainer.fit_generator, source)
    else:
        fit = partial(trainer.fit, x, y, batch_size=batch_size)
    if kill_at is None:
        fit(nb_epochs=nb_epochs, validation_data=random_data(50, seed=1), **common)
    else:
        with pytest.raises(Killed):
            fit(nb_epochs=nb_epochs, validation_data=random_data(50, seed=1), **common)
    return trainer


class TestResume:
    @pytest.mark.parametrize(
        "kind",
        [
            {},
            {"seed": None},
            {"loader": {"num_workers": 0}},
            {"trainer_type": partial(LevelSetMarginTrainer, eps=0.1, max_iter=3)},
        ],
        ids=["noisy", "drawn seed", "loader", "level set"],
    )
    def test_ends_where_the_uninterrupted_run_ends(self, tmp_path, kind):
        torch.manual_seed(7)
        random = random_states(torch.device("cpu"))
        whole = run(tmp_path / "whole", **kind)
        set_random_states(random)
        for kill_at in (0.25, 0.75, 2.5, 3.0, 3.75):
            run(tmp_path / "parts", kill_at, **kind)
            torch.rand(3)
            np.random.rand(3)  # noqa: NPY002
        parts = run(tmp_path / "parts", **kind)
        assert torch.equal(weights(whole), weights(parts))
        states = [newest(tmp_path / name) for name in ("whole", "parts")]
        assert_same(*map(without_seconds, states))
        assert len(list((tmp_path / "parts").iterdir())) == 2

    def test_a_data_loader_with_its_own_generator(self, tmp_path):
        for name, kills in (("whole", ()), ("parts", (1.5, 2.25))):
            for kill_at in (*kills, None):
                run(tmp_path / name, kill_at, loader={"generator": torch.Generator().manual_seed(1)})
        assert_same(*(without_seconds(newest(tmp_path / name)) for name in ("whole", "parts")))

    def test_a_finished_run_returns_at_once_with_its_weights(self, tmp_path):
        first = run(tmp_path)
        again = run(tmp_path)
        assert again._seen == []
        assert again.history == first.history
        assert torch.equal(weights(first), weights(again))

    def test_epochs_may_be_added(self, tmp_path):
        whole = run(tmp_path / "whole", nb_epochs=4)
        for nb_epochs in (2, 3, 4):
            parts = run(tmp_path / "parts", nb_epochs=nb_epochs)
        assert torch.equal(weights(whole), weights(parts))
        assert len(parts.history) == 4

    def test_a_run_that_stopped_early_stays_stopped(self, tmp_path):
        for _ in range(2):
            trainer = NoisyTrainer(small_classifier(), seed=0)
            x, y = random_data()
            stopping = EarlyStopping("epoch_negated", patience=1)

            class Negated(Callback):
                def on_epoch_end(self, trainer, figures):
                    figures["epoch_negated"] = -figures["epoch"]

            trainer.fit(x, y, nb_epochs=9, callbacks=[Negated(), stopping], checkpoint_dir=tmp_path, verbose=False)
            assert len(trainer.history) == 2
        assert trainer._seen == []

    def test_the_second_fit_of_a_life(self, tmp_path):
        """`nb_epochs` counts from the beginning of the run that the folder belongs to."""
        fractions = []
        for kills in ((), (2.5,)):
            trainer = NoisyTrainer(small_classifier(), seed=3)
            trainer.fit(*random_data(), nb_epochs=1, verbose=False)
            folder = tmp_path / str(len(kills))
            for kill_at in (*kills, 99):
                try:
                    trainer.fit(
                        *random_data(), nb_epochs=3, checkpoint_dir=folder, callbacks=[KillIn(kill_at)], verbose=False
                    )
                except Killed:
                    continue
            assert len(trainer.history) == 4
            fractions.append(trainer._seen[-1][-1].fraction)
        assert fractions[0] == fractions[1] == pytest.approx(2 / 3)


class TestSettings:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"noise": 0.2}, "noise was 0.1, is 0.2"),
            ({"seed": 4}, "seed was 3, is 4"),
            ({"ema_decay": None}, "ema_decay was 0.9, is None"),
            ({"batch_size": 32}, "batch_size was 24, is 32"),
            ({"execution": Execution(channels_last=True)}, "channels_last=True"),
            ({"loader": {"num_workers": 0}}, "samples was 96, is None; batch_size was 24, is None; batches was None"),
        ],
    )
    def test_others_are_named(self, tmp_path, options, name):
        trainer = run(tmp_path, nb_epochs=1)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(ValueError, match=name):
            run(tmp_path, **options)
        assert sorted(tmp_path.iterdir()) == before
        assert len(trainer.history) == 1

    def test_another_network_optimizer_or_scheduler(self, tmp_path):
        def fit(classifier, scheduler=None):
            trainer = NoisyTrainer(classifier, seed=0)
            trainer.fit(
                *random_data(), nb_epochs=1, batch_size=48, scheduler=scheduler, checkpoint_dir=tmp_path, verbose=False
            )

        fit(small_classifier())
        with pytest.raises(ValueError, match="lr=0.01.*lr=0.02"):
            fit(small_classifier(lr=0.02))
        with pytest.raises(ValueError, match="optimizer was Adam"):
            fit(small_classifier(optimizer=torch.optim.SGD))
        classifier = small_classifier()
        with pytest.raises(ValueError, match="scheduler was None, is StepLR"):
            fit(classifier, torch.optim.lr_scheduler.StepLR(classifier.optimizer, 1))
        with pytest.raises(ValueError, match="model is not the one"):
            fit(small_classifier(nb_classes=11))

    def test_settings_are_numbers_and_texts_that_are_the_same_in_every_process(self, tmp_path):
        class Scheduled(NoisyTrainer):
            def __init__(self, classifier, **options):
                super().__init__(classifier, **options)
                self.radius = Linear(0.1, 0.2, 3)
                self.way = crop
                self.bounded = partial(max, 1, key=len)

        run(tmp_path, nb_epochs=1, trainer_type=Scheduled)
        settings = newest(tmp_path)["settings"]
        assert settings["radius"] == "Linear(start=0.1, end=0.2, nb_epochs=3)"
        assert settings["execution"] == "Execution(bf16=False, channels_last=False, compile=False)"
        assert settings["callbacks"] == "EarlyStopping, KillIn"
        assert settings["optimizer"].startswith("Adam(lr=0.01, betas=0.9, 0.999, eps=1e-08")
        assert settings["max_grad_norm"] == 1.0
        assert settings["way"] == "art_levelset.trainers.augmentation.crop"
        assert settings["bounded"] == "max(args=1, key=len)"


class TestDamage:
    @pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:99] + b"!"])
    def test_the_previous_one_is_used_and_the_damaged_one_named(self, tmp_path, caplog, damage):
        whole = run(tmp_path / "whole")
        run(tmp_path / "parts", nb_epochs=3)
        file = max((tmp_path / "parts").iterdir())
        file.write_bytes(damage(file.read_bytes()))
        trainer = run(tmp_path / "parts")
        assert str(file) in caplog.text
        assert torch.equal(weights(whole), weights(trainer))
        assert sorted(path.name[:12] for path in (tmp_path / "parts").iterdir()) == ["epoch-000003", "epoch-000004"]

    def test_all_damaged(self, tmp_path):
        run(tmp_path, nb_epochs=2)
        for file in tmp_path.iterdir():
            file.write_bytes(b"nothing")
        before = sorted(tmp_path.iterdir())
        with pytest.raises(ValueError, match="checkpoint_dir: every checkpoint"):
            run(tmp_path)
        assert sorted(tmp_path.iterdir()) == before

    def test_leftovers_of_a_killed_write_are_removed_and_other_files_are_not(self, tmp_path):
        (tmp_path / ".epoch-000001-0123456789abcdef-01234567.unfinished").mkdir()
        (tmp_path / "notes.txt").write_text("mine")
        run(tmp_path, nb_epochs=1)
        assert sorted(path.name[:12] for path in tmp_path.iterdir()) == ["epoch-000000", "epoch-000001", "notes.txt"]


class TestSafety:
    def test_a_file_where_the_folder_shall_be(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(NotADirectoryError, match="checkpoint_dir"):
            run(tmp_path / "run", nb_epochs=1)

    def test_only_plain_values_are_written(self, tmp_path):
        class Clever(Callback):
            def state_dict(self):
                return {"deep": [{"value": np.float64(1.0)}]}

        trainer = NoisyTrainer(small_classifier(), seed=0)
        with pytest.raises(TypeError, match=r"state\['callbacks'\].*'value'.* holds a float64"):
            trainer.fit(*random_data(), nb_epochs=1, callbacks=[Clever()], checkpoint_dir=tmp_path, verbose=False)
        assert list(tmp_path.iterdir()) == []

    def test_figures_of_callbacks_become_plain_numbers(self, tmp_path):
        class Numpy(Callback):
            def on_epoch_end(self, trainer, figures):
                figures["numpy"] = np.float64(0.5)

        trainer = NoisyTrainer(small_classifier(), seed=0)
        trainer.fit(*random_data(), nb_epochs=1, callbacks=[Numpy()], checkpoint_dir=tmp_path, verbose=False)
        assert newest(tmp_path)["history"][0]["numpy"] == 0.5

    def test_reading_runs_no_code(self, tmp_path):
        import hashlib
        import io

        class Evil:
            def __reduce__(self):
                return print, ("ran",)

        buffer = io.BytesIO()
        torch.save({"settings": Evil()}, buffer)
        content = buffer.getvalue()
        name = f"epoch-000001-{hashlib.sha256(content).hexdigest()[:16]}.pt"
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception, match="print"):
            Checkpoints(tmp_path).read()

    def test_a_scheduler_without_state(self, tmp_path):
        class Bare:
            def step(self):
                pass

        with pytest.raises(ValueError, match="state_dict"):
            NoisyTrainer(small_classifier()).fit(
                *random_data(), scheduler=Bare(), checkpoint_dir=tmp_path, verbose=False
            )


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    """Processes killed at random moments, and between the parts of a write; see the script."""
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # no other threads
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=alone)
    assert done.returncode == 0, done.stderr
    assert_same(*(without_seconds(newest(tmp_path / name)) for name in ("whole", "parts")))
    kills = [line.split() for line in done.stdout.splitlines()]
    assert len(kills) >= 8
    for _, seen, kept in kills:
        assert int(seen) - int(kept) in (0, 1), "at most the epoch that was being written is lost"
