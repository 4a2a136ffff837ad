"""Training by the clock: progress is time, a continued run has what is left, the last epoch may be a part of one."""

from __future__ import annotations

import math

import pytest

from art_levelset.trainers import UNLIMITED, Callback, Cosine, StopTraining, TimeBudget

from .noisy import NoisyTrainer, random_data, small_classifier


class Clock:
    """A second passes between two looks."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def fit(seconds: float, *callbacks: Callback, batch_size: int = 16, **options: object) -> NoisyTrainer:
    trainer = NoisyTrainer(small_classifier(), seed=0)
    trainer.fit(
        *random_data(),
        nb_epochs=UNLIMITED,
        batch_size=batch_size,
        callbacks=[TimeBudget(seconds, Clock()), *callbacks],
        verbose=False,
        **options,
    )
    return trainer


def test_progress_follows_the_clock_and_ends_with_it() -> None:
    seen, rates = [], []

    class Look(Callback):
        def on_batch_begin(self, trainer: NoisyTrainer) -> None:
            seen.append(trainer.progress.fraction)
            rates.append(trainer.classifier.optimizer.param_groups[0]["lr"])

    fit(8.0, Cosine(0.1), Look(), batch_size=2)  # an epoch is longer
    assert (seen.pop(), rates.pop()) == (1.0, 0.0), "the others are told of the step that is not made"
    assert seen == pytest.approx([number / 8 for number in range(1, 8)])
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * fraction)) for fraction in seen])


def test_what_is_done_of_the_last_epoch_is_measured() -> None:
    nb_batches = math.ceil(len(random_data()[0]) / 16)
    trainer = fit(nb_batches + 3.0, validation_data=random_data(seed=1))
    assert [row["epoch"] for row in trainer.history] == [1, 2]
    assert all("validation_accuracy" in row for row in trainer.history)


def test_a_continued_run_has_what_is_left() -> None:
    clock = Clock()
    first = TimeBudget(10.0, clock)
    clock.now += 4
    state = first.state_dict()
    again = TimeBudget(10.0, Clock())
    again.load_state_dict(state)
    assert state == {"spent": 5.0}
    assert again.fraction == pytest.approx(0.6)


def test_a_run_that_ran_out_of_time_is_finished(tmp_path) -> None:
    trainer = fit(5.0, checkpoint_dir=tmp_path)
    assert len(trainer.history) > 0
    again = fit(5.0, checkpoint_dir=tmp_path)
    assert again.history == trainer.history
    assert again.seen == []


def test_a_run_that_ran_out_of_time_goes_on_with_more(tmp_path) -> None:
    trainer = fit(5.0, batch_size=2, checkpoint_dir=tmp_path)
    more = fit(9.0, batch_size=2, checkpoint_dir=tmp_path)
    assert more.history[: len(trainer.history)] == trainer.history
    assert len(more.history) > len(trainer.history)


def test_the_time_is_up_at_once() -> None:
    with pytest.raises(StopTraining):
        TimeBudget(1.0, Clock()).on_batch_begin(NoisyTrainer(small_classifier(), seed=0))


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_bad_input(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        TimeBudget(seconds)
