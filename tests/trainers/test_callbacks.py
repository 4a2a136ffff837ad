"""Early stopping: when it stops, and whose weights stay. Each callback starts anew in each `fit`."""

from __future__ import annotations

import pytest
import torch

from art_levelset.cli.epochs import EpochTable
from art_levelset.trainers import Callback, CSVLog, EarlyStopping, TensorBoardLog, Trapezoid

from .noisy import NoisyTrainer, random_data, small_classifier, weights


class Scripted(Callback):
    """Gives each epoch a figure, and keeps the weights it was measured with."""

    def __init__(self, *figures):
        self.figures, self.weights = figures, []

    def on_epoch_end(self, trainer, figures):
        figures["scripted"] = self.figures[trainer.progress.epoch - 1]
        self.weights.append(weights(trainer))


@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_stops_and_restores_the_best_weights(ema_decay):
    script = Scripted(0.1, 0.5, 0.3, 0.5, 0.9)
    trainer = NoisyTrainer(small_classifier(), seed=0, ema_decay=ema_decay)
    callbacks = [script, EarlyStopping("scripted", patience=2)]
    trainer.fit(*random_data(), nb_epochs=5, callbacks=callbacks, verbose=False)
    assert len(trainer.history) == 4
    assert torch.equal(weights(trainer), script.weights[1])
    assert not torch.equal(weights(trainer), script.weights[3])


def test_goes_on_while_the_figure_grows():
    script = Scripted(0.1, 0.0, 0.2, 0.1, 0.3)
    trainer = NoisyTrainer(small_classifier(), seed=0)
    callbacks = [script, EarlyStopping("scripted", patience=2)]
    trainer.fit(*random_data(), nb_epochs=5, callbacks=callbacks, verbose=False)
    assert len(trainer.history) == 5
    assert torch.equal(weights(trainer), script.weights[4])


def test_a_figure_that_is_not_a_number_is_no_best_one():
    script = Scripted(0.1, float("nan"), float("nan"))
    trainer = NoisyTrainer(small_classifier(), seed=0)
    trainer.fit(*random_data(), nb_epochs=3, callbacks=[script, EarlyStopping("scripted", 2)], verbose=False)
    assert torch.equal(weights(trainer), script.weights[0])


def test_a_figure_that_is_not_measured():
    trainer = NoisyTrainer(small_classifier(), seed=0)
    with pytest.raises(ValueError, match="validation_robust_accuracy"):
        trainer.fit(*random_data(), nb_epochs=1, callbacks=[EarlyStopping()], verbose=False)


def test_bad_patience():
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)


class TestSecondFit:
    """What a callback has seen in one `fit` is nothing to the next, of this trainer or of another."""

    @pytest.mark.parametrize("same", [True, False], ids=["the trainer", "another trainer"])
    def test_early_stopping_starts_anew(self, same):
        stopping = EarlyStopping("scripted", patience=1)
        first = NoisyTrainer(small_classifier(), seed=0)
        first.fit(*random_data(), nb_epochs=4, callbacks=[Scripted(0.9, 0.1), stopping], verbose=False)
        assert len(first.history) == 2
        second = first if same else NoisyTrainer(small_classifier(seed=1), seed=1)
        script = Scripted(*([0.0, 0.0] if same else []), 0.1, 0.2, 0.3)
        second.fit(*random_data(), nb_epochs=3, callbacks=[script, stopping], verbose=False)
        assert len(second.history) == 3 + 2 * same
        assert torch.equal(weights(second), script.weights[-1])

    def test_a_fit_that_an_exception_ended_leaves_nothing(self):
        class Failing(Callback):
            def on_batch_begin(self, trainer):
                if trainer.progress.epochs >= 1:
                    raise RuntimeError("passes")

        stopping = EarlyStopping("scripted", patience=1)
        with pytest.raises(RuntimeError, match="passes"):
            NoisyTrainer(small_classifier(), seed=0).fit(
                *random_data(), nb_epochs=2, callbacks=[Scripted(0.9), stopping, Failing()], verbose=False
            )
        trainer, script = NoisyTrainer(small_classifier(seed=1), seed=0), Scripted(0.1, 0.2)
        trainer.fit(*random_data(), nb_epochs=2, callbacks=[script, stopping], verbose=False)
        assert torch.equal(weights(trainer), script.weights[-1])

    def test_the_first_checkpoint_knows_nothing_of_an_earlier_fit(self, tmp_path):
        stopping = EarlyStopping("scripted", patience=1)
        first = NoisyTrainer(small_classifier(), seed=0)
        first.fit(*random_data(), nb_epochs=4, callbacks=[Scripted(0.9, 0.1), stopping], verbose=False)
        for nb_epochs in (1, 3):  # the second one goes on from the checkpoints of the first
            script = Scripted(0.1, 0.2, 0.3)
            second = NoisyTrainer(small_classifier(seed=1), seed=1)
            second.fit(
                *random_data(),
                nb_epochs=nb_epochs,
                callbacks=[script, stopping],
                checkpoint_dir=tmp_path,
                verbose=False,
            )
            assert len(second.history) == nb_epochs
            assert torch.equal(weights(second), script.weights[-1])

    def test_a_log_has_the_history_of_its_trainer(self, tmp_path):
        log = CSVLog(tmp_path / "curves.csv")
        for nb_epochs in (3, 1):
            trainer = NoisyTrainer(small_classifier(), seed=0)
            trainer.fit(*random_data(), nb_epochs=nb_epochs, callbacks=[log], verbose=False)
            assert (tmp_path / "curves.csv").read_text().count("\n") == nb_epochs + 1

    def test_tensorboard_has_files_of_its_own_for_each(self, tmp_path):
        accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        log = TensorBoardLog(tmp_path)
        for lr in (1e-2, 1e-3):
            trainer = NoisyTrainer(small_classifier(lr=lr), seed=0)
            trainer.fit(*random_data(), nb_epochs=2, callbacks=[log], verbose=False)
        assert len(list(tmp_path.iterdir())) == 2
        events = accumulators.EventAccumulator(str(tmp_path))
        events.Reload()
        found = [(event.step, event.value) for event in events.Scalars("loss")]
        assert found == [(step, pytest.approx(row["loss"])) for step, row in enumerate(trainer.history, start=1)]

    def test_the_trapezoid_is_a_function_of_the_progress(self):
        trapezoid = Trapezoid(0.1)
        rates = []

        class Rates(Callback):
            def on_batch_begin(self, trainer):
                rates[-1].append(trainer.classifier.optimizer.param_groups[0]["lr"])

        for _ in range(2):
            rates.append([])
            trainer = NoisyTrainer(small_classifier(), seed=0)
            trainer.fit(*random_data(), nb_epochs=3, batch_size=32, callbacks=[trapezoid, Rates()], verbose=False)
        assert rates[0] == rates[1]

    def test_the_table_of_the_command_line_begins_anew(self, capsys):
        table = EpochTable()
        for validation in (None, random_data()):
            trainer = NoisyTrainer(small_classifier(), seed=0)
            trainer.fit(*random_data(), validation, nb_epochs=1, callbacks=[table], verbose=False)
            heading, row = capsys.readouterr().out.splitlines()
            assert heading.split()[0] == "epoch"
            assert ("val. clean" in heading) == (validation is not None)
            assert row.split()[0] == "1"
