"""Layers with running statistics that the caller has frozen keep them; the others follow the clean batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from art_levelset.core.statistics import batch_statistics, frozen_layers
from art_levelset.trainers import Callback, GeometricSVMTrainer, LevelSetMarginTrainer, MadryTrainer, TRADESTrainer
from art_levelset.trainers.max_margin import MMATrainer
from art_levelset.trainers.noise_fgsm import NFGSMTrainer
from art_levelset.trainers.nuclear_norm import NuATTrainer
from art_levelset.trainers.prior_fgsm import FGSMPGITrainer
from art_levelset.trainers.weight_perturbation import TRADESAWPTrainer

TRAINERS = {
    "levels": lambda built: LevelSetMarginTrainer(built, 0.1, seed=0, ema_decay=0.9),
    "linearised": lambda built: LevelSetMarginTrainer(built, 0.1, distance="linearised", seed=0),
    "distances": lambda built: LevelSetMarginTrainer(built, 0.1, distance="rho", max_iter=3, seed=0),
    "madry": lambda built: MadryTrainer(built, 0.1, max_iter=3, seed=0, ema_decay=0.9),
    "trades": lambda built: TRADESTrainer(built, 0.1, max_iter=3, seed=0),
    "fgsm-pgi": lambda built: FGSMPGITrainer(built, 0.1, seed=0),
    "trades-awp": lambda built: TRADESAWPTrainer(built, 0.1, max_iter=3, seed=0, ema_decay=0.9),
    "mma": lambda built: MMATrainer(built, 0.15, max_iter=3, seed=0),
    "nuat": lambda built: NuATTrainer(built, 0.1, seed=0),
    "n-fgsm": lambda built: NFGSMTrainer(built, 0.1, seed=0),
    "svm": lambda built: GeometricSVMTrainer(built, seed=0),
}
KINDS = {
    "BatchNorm": lambda: nn.BatchNorm2d(4),
    "BatchNorm, cumulative": lambda: nn.BatchNorm2d(4, momentum=None),
    "InstanceNorm": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
}


def network(layer: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), layer, nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
    )


def frozen(module: nn.Sequential, how: str) -> nn.Sequential:
    module.train()
    if how == "mode":
        module[1].eval()
    else:
        module[1].requires_grad_(False)
    return module


def buffers(module: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in module.buffers()]


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["mode", "gradient"])
def test_fit_leaves_their_statistics_as_they_are(classifier, digits, name, kind, how):
    module = frozen(network(KINDS[kind]()), how)
    module[1].running_mean.fill_(0.3)
    module[1].running_var.fill_(2.0)
    before, modes = buffers(module[1]), [part.training for part in module.modules()]

    class Predicting(Callback):
        """The toolbox's prediction puts every layer in evaluation mode."""

        def on_epoch_end(self, trainer, metrics):
            trainer.classifier.predict(digits[0][:4])
            for part, mode in zip(module.modules(), modes, strict=True):
                part.training = mode and part is not module[5]

    built = classifier(module, 2, optimizer=torch.optim.Adam(module.parameters(), lr=1e-2))
    weight = module[0].weight.clone()
    trainer = TRAINERS[name](built)
    trainer.fit(digits[0][:96], digits[1][:96] % 2, batch_size=32, nb_epochs=2, callbacks=[Predicting()], verbose=False)
    torch.testing.assert_close(buffers(module[1]), before, rtol=1e-5, atol=0)  # torch 2.4 rounds those of InstanceNorm
    assert not torch.equal(weight, module[0].weight)
    assert module[5].num_batches_tracked > 0, "the layer that is not frozen follows"


@pytest.mark.parametrize("name", TRAINERS)
def test_those_of_a_network_in_evaluation_mode_follow(classifier, digits, name):
    module = network(nn.BatchNorm2d(4)).eval()
    trainer = TRAINERS[name](classifier(module, 2))
    trainer.fit(digits[0][:64], digits[1][:64] % 2, batch_size=32, nb_epochs=1, verbose=False)
    assert module[1].num_batches_tracked > 0


def test_which_layers_are_frozen():
    module = network(nn.BatchNorm2d(4))
    assert frozen_layers(module) == frozenset()
    assert frozen_layers(module.eval()) == frozenset()
    module.train()
    module[1].eval()
    assert frozen_layers(module) == {module[1]}
    module.train()
    module[1].weight.requires_grad_(False)
    assert frozen_layers(module) == frozenset()
    module[1].bias.requires_grad_(False)
    assert frozen_layers(module) == {module[1]}
    assert frozen_layers(module.eval()) == {module[1]}
    plain = network(nn.BatchNorm2d(4, affine=False))
    assert frozen_layers(plain) == frozenset()
    plain[1].eval()
    assert frozen_layers(plain) == {plain[1]}


def test_a_frozen_layer_normalises_by_its_running_statistics(digits):
    module = frozen(network(nn.BatchNorm2d(4)), "gradient")
    x = torch.as_tensor(digits[0][:16])
    statistics = batch_statistics(module, x)
    assert set(statistics) == {module[5]}
    with torch.no_grad():
        inputs = module[:5].eval()(x)
    torch.testing.assert_close(statistics[module[5]].mean, inputs.mean(dim=0))
