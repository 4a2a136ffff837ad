"""Execution: bfloat16, channels last and compilation change the speed and not the result, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from art_levelset import LevelSetMarginTrainer
from art_levelset.core.bracketing import false_position
from art_levelset.core.fields import margin_field
from art_levelset.core.samples import Status
from art_levelset.trainers.adversarial import MadryTrainer
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.callbacks import Callback
from art_levelset.trainers.execution import Execution, computes_in_bfloat16


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    )


def trained(classifier, digits, execution, nb_epochs=2, options=None, **arguments) -> LoopTrainer:
    built = classifier(convnet(), optimizer=None)
    built = classifier(built.model, optimizer=torch.optim.Adam(built.model.parameters(), lr=5e-3))
    trainer = LevelSetMarginTrainer(built, eps=0.1, seed=0, execution=execution, **(options or {}))
    trainer.fit(digits[0][:400], digits[1][:400], batch_size=40, nb_epochs=nb_epochs, verbose=False, **arguments)
    return trainer


def test_without_options_the_network_is_itself():
    network = convnet()
    assert Execution().searched(network) is network
    assert Execution().trained(network) is network


class TestBfloat16:
    def test_outputs_and_gradients_are_float32_and_close(self):
        network, x = convnet(), torch.rand(20, 1, 8, 8)
        for view in (Execution(bf16=True).searched(network), Execution(bf16=True).trained(network)):
            outputs = view(x)
            assert outputs.dtype == torch.float32
            assert not torch.equal(outputs, network(x))
            torch.testing.assert_close(outputs, network(x), rtol=0, atol=0.02)
            network.zero_grad()
            outputs.sum().backward()
            assert all(part.grad.dtype == torch.float32 for part in network.parameters())

    def test_the_shared_network_keeps_its_modes_and_parameters(self):
        network = convnet()
        view = Execution(bf16=True).searched(network)
        assert {id(part) for part in view.parameters()} == {id(part) for part in network.parameters()}
        assert network in list(view.modules())

    def test_why_boundary_points_are_found_in_float32(self):
        """In bfloat16 margins are multiples of a coarse step: what converges there is not on the boundary."""
        torch.manual_seed(1)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        for part in network.parameters():
            part.data *= 3
        start, end = torch.rand(2, 200, 1, 8, 8)
        labels = network(start).argmax(dim=1)
        crossing = network(end).argmax(dim=1) != labels
        start, end, labels = start[crossing], end[crossing], labels[crossing]
        exact = false_position(margin_field(network, labels), start, end, tol=5e-6)
        coarse = false_position(margin_field(Execution(bf16=True).searched(network), labels), start, end)
        residuals = [margin_field(network, labels)(found.points).abs().squeeze(1) for found in (exact, coarse)]
        assert (exact.status == Status.CONVERGED).all()
        assert residuals[0].max() <= 1e-5
        assert residuals[1].median() > 1e-3

    @pytest.mark.parametrize("distance", ["rho", "lp"])
    def test_training_with_distances_finds_exact_boundary_points(self, classifier, digits, monkeypatch, distance):
        from art_levelset.trainers import distances as module

        found = []

        def watched(field, start, end):
            zeros = false_position(field, start, end)
            found.append(zeros)
            with torch.no_grad():
                torch.testing.assert_close(field(zeros.points), zeros.values)
            return zeros

        monkeypatch.setattr(module, "false_position", watched)
        trained(classifier, digits, Execution(bf16=True), options={"distance": distance, "max_iter": 4})
        status = torch.cat([zeros.status for zeros in found])
        good = (status == Status.CONVERGED) | (status == Status.STALLED)
        assert len(status) > 100
        assert good.float().mean() > 0.97, "but for the sign changes that only bfloat16 sees"
        assert torch.cat([zeros.values for zeros in found])[status == Status.CONVERGED].abs().max() <= 1e-5
        assert set(status.tolist()) <= {Status.CONVERGED, Status.STALLED, Status.NO_CROSSING}

    def test_it_learns_as_much(self, classifier, digits):
        x, y = digits[0][:400], digits[1][:400]
        accuracies = []
        for execution in (Execution(), Execution(bf16=True)):
            torch.manual_seed(0)
            trainer = LevelSetMarginTrainer(classifier(), eps=0.1, seed=0, execution=execution)
            trainer.fit(x, y, batch_size=20, nb_epochs=5, verbose=False)
            accuracies.append((trainer.predict(x).argmax(axis=1) == y).mean())
        assert accuracies[0] > 0.7
        assert accuracies[1] == pytest.approx(accuracies[0], abs=0.05)

    def test_processors_without_instructions_for_it_are_warned_of(self, classifier, monkeypatch, caplog):
        monkeypatch.setattr("platform.machine", lambda: "AMD64")
        for capability, warned in (("AVX512", False), ("AVX2", True)):
            monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda found=capability: found)
            assert computes_in_bfloat16(torch.device("cpu")) != warned
            LevelSetMarginTrainer(classifier(), eps=0.1, execution=Execution())
            assert not caplog.text
            LevelSetMarginTrainer(classifier(), eps=0.1, execution=Execution(bf16=True))
            assert ("no instructions for bfloat16 (cpu)" in caplog.text) == warned

    def test_of_a_gpu_its_generation_says_so(self, monkeypatch):
        for capability, has in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
            monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, found=capability: found)
            assert computes_in_bfloat16(torch.device("cuda")) == has


class TestChannelsLast:
    def test_weights_are_so_while_training_and_not_afterwards(self, classifier, digits):
        seen = []

        class Watch(Callback):
            def on_batch_begin(self, trainer):
                weight = trainer.classifier.model[2].weight
                seen.append(weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous())

        plain = trained(classifier, digits, Execution(), nb_epochs=1)
        changed = trained(classifier, digits, Execution(channels_last=True), nb_epochs=1, callbacks=[Watch()])
        assert seen
        assert all(seen)
        assert changed.classifier.model[2].weight.is_contiguous()
        assert changed.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.02)

    def test_the_layout_is_restored_after_an_exception(self):
        network = convnet()
        optimizer = torch.optim.Adam(network.parameters())

        def fail():
            with Execution(channels_last=True).laid_out(network, optimizer):
                raise RuntimeError("passes")

        with pytest.raises(RuntimeError, match="passes"):
            fail()
        assert network[2].weight.is_contiguous()

    @pytest.mark.parametrize("fused", [False, True])
    def test_the_optimizer_follows_when_others_train_in_between(self, classifier, digits, fused):
        """Fused steps read parameters and moments in the order of memory, whatever their strides."""
        found = []
        for execution in (Execution(), Execution(channels_last=True)):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 10))
            optimizer = torch.optim.Adam(network.parameters(), lr=0.01, eps=1e-3, fused=fused)
            built = classifier(network, optimizer=optimizer)
            trainer = MadryTrainer(built, 0.02, max_iter=1, num_random_init=0, seed=0, execution=execution)
            np.random.seed(0)  # noqa: NPY002  # ART shuffles with it
            for _ in range(2):
                built.fit(digits[0][:64], digits[1][:64], batch_size=32, nb_epochs=1)
                trainer.fit(digits[0][:64], digits[1][:64], batch_size=32, nb_epochs=1, verbose=False)
            found.append(nn.utils.parameters_to_vector(network.parameters()).detach())
        torch.testing.assert_close(*found, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_networks_give_the_same_values_and_gradients(bf16):
    network = convnet().eval()
    plain, compiled = Execution(bf16=bf16), Execution(bf16=bf16, compile=True)
    tolerance = {"rtol": 0, "atol": 0.02} if bf16 else {"rtol": 1e-4, "atol": 1e-6}
    for count in (20, 7):  # active sets change the size of the batch
        x = torch.rand(count, 1, 8, 8)
        found = []
        for execution in (plain, compiled):
            leaves = x.clone().requires_grad_()
            network.zero_grad()
            outputs = execution.searched(network)(leaves)
            outputs.logsumexp(dim=1).sum().backward()
            if execution is compiled:
                assert all(part.grad is None for part in network.parameters()), "a search needs none of them"
            network.zero_grad()
            execution.trained(network)(x).logsumexp(dim=1).sum().backward()
            found.append((outputs, leaves.grad, network[2].weight.grad.clone()))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, **tolerance)
