"""What trainers are given is checked before the first step: optimizers, networks, data within the clip values."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.estimators.classification import PyTorchClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_levelset.trainers import Callback, GeometricSVMTrainer, LevelSetMarginTrainer, MadryTrainer, TRADESTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.weight_perturbation import TRADESAWPTrainer

TRAINERS = {
    "levels": lambda built: LevelSetMarginTrainer(built, 0.1, seed=0, warmup=0.0, burn_in=0.0),
    "distances": lambda built: LevelSetMarginTrainer(
        built, 0.1, distance="rho", max_iter=3, seed=0, warmup=0.0, burn_in=0.0
    ),
    "madry": lambda built: MadryTrainer(built, 0.1, max_iter=3, seed=0),
    "trades": lambda built: TRADESTrainer(built, 0.1, max_iter=3, seed=0),
    "fgsm-pgi": lambda built: FGSMPGITrainer(built, 0.1, seed=0),
    "trades-awp": lambda built: TRADESAWPTrainer(built, 0.1, max_iter=3, seed=0, ema_decay=0.9),
    "mma": lambda built: MMATrainer(built, 0.15, max_iter=3, seed=0),
    "nuat": lambda built: NuATTrainer(built, 0.1, seed=0),
    "n-fgsm": lambda built: NFGSMTrainer(built, 0.1, seed=0),
    "svm": lambda built: GeometricSVMTrainer(built, seed=0),
}


class Returning(nn.Module):
    """A linear network whose outputs something is done with."""

    def __init__(self, change=lambda outputs: outputs, classes=2):
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.change = change

    def forward(self, x):
        return self.change(self.linear(x.flatten(1)))


class InPlace(nn.Sequential):
    """A network that normalises its input in place."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))


@pytest.fixture
def data(digits):
    return digits[0][:64], digits[1][:64] % 2


def built(module, **options):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    options = {"clip_values": (0.0, 1.0), "optimizer": optimizer, **options}
    return PyTorchClassifier(module, nn.CrossEntropyLoss(), (1, 8, 8), 2, device_type="cpu", **options)


def refused(trainer, fit, error, message):
    """The error is one line, and nothing has changed."""
    state, random = copy.deepcopy(trainer.classifier.model.state_dict()), torch.get_rng_state()
    with pytest.raises(error, match=message) as raised:
        fit()
    assert "\n" not in str(raised.value)
    assert trainer.history == []
    assert torch.equal(random, torch.get_rng_state())
    for name, value in trainer.classifier.model.state_dict().items():
        assert torch.equal(value, state[name])


class TestNetwork:
    @pytest.mark.parametrize("name", TRAINERS)
    @pytest.mark.parametrize("generator", [False, True])
    @pytest.mark.parametrize(
        ("module", "error", "message"),
        [
            (Returning(lambda outputs: (outputs, outputs)), TypeError, "one tensor of logits.*got tuple"),
            (Returning(lambda outputs: {"logits": outputs}), TypeError, "one tensor of logits.*got dict"),
            (Returning(classes=3), ValueError, r"must return \(\d, 2\)"),
            (Returning(lambda outputs: outputs.softmax(dim=1)), ValueError, "probabilities"),
            (Returning().double(), ValueError, "torch.float64"),
        ],
        ids=["tuple", "dict", "three outputs", "softmax", "float64"],
    )
    def test_what_is_no_logits_of_its_classes_is_refused(self, data, name, generator, module, error, message):
        trainer = TRAINERS[name](built(module))
        batches = NumpyDataGenerator(*data, batch_size=32)

        def fit():
            if generator:
                trainer.fit_generator(batches, verbose=False)
            else:
                trainer.fit(*data, verbose=False)

        refused(trainer, fit, error, f"^classifier: its model.*{message}")

    @pytest.mark.parametrize("name", TRAINERS)
    def test_one_logit_is_for_the_svm_alone(self, data, name):
        trainer = TRAINERS[name](built(Returning(classes=1)))
        if name == "svm":
            trainer.fit(*data, nb_epochs=1, verbose=False)
            assert len(trainer.history) == 1
        else:
            refused(trainer, lambda: trainer.fit(*data, verbose=False), ValueError, "^classifier: its model.*one logit")

    def test_before_training_it_is_seen_in_evaluation_mode_and_left_as_it_is(self, data):
        class Noisy(nn.Module):
            def __init__(self):
                super().__init__()
                self.modes = []

            def forward(self, x):
                self.modes.append(self.training)
                return x + 0 * torch.rand_like(x)

        module = nn.Sequential(
            nn.Flatten(), Noisy(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)
        )
        before = []

        class First(Callback):
            def on_train_begin(self, trainer):
                before.append((torch.get_rng_state(), module[3].num_batches_tracked.item(), module[1].modes.copy()))

        trainer = TRAINERS["madry"](built(module))
        random = torch.get_rng_state()
        trainer.fit(*data, nb_epochs=1, callbacks=[First()], verbose=False)
        assert torch.equal(before[0][0], random)
        assert before[0][1:] == (0, [False, False])

    @pytest.mark.parametrize("name", TRAINERS)
    def test_one_that_writes_to_its_input_trains_as_one_that_does_not(self, data, name):
        x, y = data[0].copy(), data[1]

        class Normalising(nn.Sequential):
            def forward(self, x):
                return super().forward((x - 0.5) / 0.25)

        outputs = []
        for kind in (Normalising, InPlace):
            torch.manual_seed(1)
            trainer = TRAINERS[name](built(kind(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2))))
            trainer.fit(x, y, (x, y), nb_epochs=2, batch_size=32, verbose=False)
            outputs.append(trainer.predict(x))
            np.testing.assert_array_equal(x, data[0])
        np.testing.assert_array_equal(*outputs)


class TestOptimizer:
    def test_one_that_wants_a_closure_is_refused(self):
        module = Returning()
        with pytest.raises(ValueError, match="^classifier: its optimizer LBFGS"):
            TRAINERS["levels"](built(module, optimizer=torch.optim.LBFGS(module.parameters())))

    def test_stock_optimizers_are_not(self, data):
        for kind in (torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam):
            module = Returning()
            trainer = TRAINERS["madry"](built(module, optimizer=kind(module.parameters(), lr=1e-2)))
            trainer.fit(*data, nb_epochs=1, verbose=False)
            assert len(trainer.history) == 1


class TestBox:
    @pytest.mark.parametrize("name", TRAINERS)
    def test_samples_outside_are_refused(self, data, name):
        x, y = data
        standardised = (x - x.mean()) / x.std()
        trainer = TRAINERS[name](built(Returning()))
        for arguments, message in (
            ((standardised, y), r"^x must lie within clip_values \(0.0, 1.0\), got values in \[-"),
            ((x, y, (standardised, y)), "^validation_data: x must lie within clip_values"),
        ):
            refused(trainer, lambda given=arguments: trainer.fit(*given, verbose=False), ValueError, message)
        loader = DataLoader(TensorDataset(torch.as_tensor(standardised), torch.as_tensor(y)), batch_size=32)
        with pytest.raises(ValueError, match="^generator: x must lie within clip_values"):
            trainer.fit_generator(loader, nb_epochs=1, verbose=False)

    def test_any_sample_counts(self, data):
        x = np.tile(data[0], (40, 1, 1, 1))
        x[-1, 0, 7, 7] = 1.0001
        trainer = TRAINERS["levels"](built(Returning()))
        with pytest.raises(ValueError, match="^x must lie within clip_values"):
            trainer.fit(x, np.tile(data[1], 40), verbose=False)

    def test_doubles_count_as_what_they_are_rounded_to(self, data):
        high = 0.7
        assert float(np.float32(high)) < high
        trainer = TRAINERS["levels"](built(Returning(), clip_values=(0.0, high)))
        trainer.fit(data[0].astype(np.float64).clip(0, high), data[1], nb_epochs=1, verbose=False)
        assert len(trainer.history) == 1

    @pytest.mark.parametrize("name", TRAINERS)
    @pytest.mark.parametrize("shape", [(1, 8, 8), (64,), (3,)], ids=["feature", "flat", "channel"])
    def test_arrays_train_and_validate(self, data, name, shape):
        """Each feature or channel has walls of its own; no search leaves them, in training or in validation."""
        x, y = data
        channels = 3 if shape == (3,) else 1
        x = np.tile(x, (1, channels, 1, 1)).astype(np.float32)
        low = np.linspace(-0.3, 0.0, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        high = low + 1.0
        form = (3, 1, 1) if shape == (3,) else (1, 8, 8)
        x = x.clip(low.reshape(form), high.reshape(form))
        seen = []

        class Watched(nn.Sequential):
            def forward(self, x):
                seen.append(x.detach().clone())
                return super().forward(x)

        torch.manual_seed(0)
        module = Watched(nn.Flatten(), nn.Linear(64 * channels, 2))
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        classifier = PyTorchClassifier(
            module,
            nn.CrossEntropyLoss(),
            (channels, 8, 8),
            2,
            optimizer=optimizer,
            clip_values=(low, high),
            device_type="cpu",
        )
        trainer = TRAINERS[name](classifier)
        trainer.fit(x, y, (x[:10], y[:10]), nb_epochs=1, batch_size=32, verbose=False)
        assert 0 <= trainer.history[0]["validation_accuracy"] <= 1
        if name in ("levels", "distances"):
            assert trainer.history[0]["validation_robust_accuracy"] <= trainer.history[0]["validation_accuracy"]
        if name != "svm":
            points = torch.cat(seen)
            assert (points >= torch.as_tensor(low.reshape(form)) - 1e-6).all()
            assert (points <= torch.as_tensor(high.reshape(form)) + 1e-6).all()
            assert (points < 0).any()

    def test_arrays_that_fit_no_input_are_refused(self):
        with pytest.raises(ValueError, match="clip_values"):
            TRAINERS["levels"](built(Returning(), clip_values=(np.zeros(5), np.ones(5))))


def test_images_may_be_views_of_others() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    built = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), (3, 2, 2), 2, optimizer, clip_values=(0, 1), device_type="cpu"
    )
    blue_first = np.random.default_rng(0).uniform(size=(8, 3, 2, 2)).astype(np.float32)
    trainer = LevelSetMarginTrainer(built, 0.1, seed=0)
    trainer.fit(blue_first[:, ::-1], np.arange(8) % 2, batch_size=4, nb_epochs=1, verbose=False)
    assert len(trainer.history) == 1
