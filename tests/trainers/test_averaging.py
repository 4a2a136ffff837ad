"""The moving average of the weights: its formula, and who has which weights when."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from art_levelset.trainers.averaging import ExponentialAverage
from art_levelset.trainers.callbacks import Callback

from .noisy import NoisyTrainer, random_data, small_classifier, weights


@settings(deadline=None, max_examples=20)
@given(decay=st.floats(0, 0.999), values=st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_formula(decay, values):
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 3.0)
    average = ExponentialAverage(module, decay)
    expected = 3.0
    for step, value in enumerate(values, start=1):
        nn.init.constant_(module.weight, value)
        average.update()
        momentum = min(decay, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * value
    with average.deployed():
        assert module.weight.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert module.weight.item() == values[-1]


def test_statistics_are_averaged_and_counters_are_not():
    module = nn.BatchNorm1d(2)
    average = ExponentialAverage(module, 0.5)
    module.running_mean.fill_(1.0)
    module.num_batches_tracked.fill_(7)
    average.update()
    average.deploy()
    momentum = 2 / 11
    torch.testing.assert_close(module.running_mean, torch.full((2,), 1 - momentum))
    assert module.num_batches_tracked.item() == 7


def test_weights_come_back_even_when_an_exception_passes():
    module = nn.Linear(2, 2)
    average = ExponentialAverage(module, 0.9)
    nn.init.zeros_(module.weight)

    def fail():
        with average.deployed():
            assert module.weight.abs().sum() > 0
            raise RuntimeError("passes")

    with pytest.raises(RuntimeError, match="passes"):
        fail()
    assert module.weight.abs().sum() == 0


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        NoisyTrainer(small_classifier(), ema_decay=decay)


def test_fit_leaves_the_average_and_trains_the_weights_themselves():
    during = []

    class Recorder(Callback):
        def on_batch_begin(self, trainer):
            during.append(weights(trainer))

        def on_epoch_end(self, trainer, figures):
            during.append(weights(trainer))

    runs = {}
    for decay in (None, 0.9):
        during.clear()
        trainer = NoisyTrainer(small_classifier(), seed=0, ema_decay=decay)
        trainer.fit(*random_data(), batch_size=48, nb_epochs=2, callbacks=[Recorder()], verbose=False)
        runs[decay] = [*during, weights(trainer)]
    batches = (0, 1, 3, 4)
    assert all(torch.equal(runs[None][step], runs[0.9][step]) for step in batches)
    assert not torch.equal(runs[None][-1], runs[0.9][-1])
    assert torch.equal(runs[0.9][-2], runs[0.9][-1])
