"""The whole evaluation: what is refused before the first pass, what is kept, and what a record says of what was run."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.pgd import pgd
from art_levelset.evaluation import IncompleteEvaluation, Report, assessment
from art_levelset.evaluation.assessment import evaluate

ABOUT = {"name": "a network", "dataset": "noise", "architecture": "linear"}

quiet = partial(evaluate, verbose=False)


class Counted(nn.Sequential):
    """Counts its passes."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 3))
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        outputs: Tensor = super().forward(x)
        return outputs


@pytest.fixture
def network() -> Counted:
    return Counted()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(30, 1, 4, 4)


@pytest.fixture
def y(network: Counted, x: Tensor) -> Tensor:
    with torch.no_grad():
        labels = network(x).argmax(dim=1)
    network.passes = 0
    return labels


def short(eps: float = 0.05, norm: float = math.inf, **others: Any) -> Any:
    return partial(pgd, eps=eps, norm=norm, max_iter=3, **others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margins": True, "norm": 1}, "attacks: 'a', norm must be 1"),
        ({"masking": True, "max_iter": 1}, "max_iter must be at least 2"),
        ({"masking": True, "eps_step": 1e-4}, "eps_step must be at least eps / max_iter"),
        ({"eps": 0.5}, "attacks: 'a', eps must be 0.5, as it is of the others, got 0.05"),
        ({"norm": 2.0}, "attacks: 'a', norm must be 2"),
        ({"eps": -1.0}, "eps must be a finite number > 0"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"repeats": 1.5}, "repeats must be an integer >= 1"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"masking": True, "clip_values": (0.5, 1.0)}, "x must lie within clip_values"),
    ],
)
def test_bad_arguments_are_found_before_the_first_pass(
    network: Counted, x: Tensor, y: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quiet(network, x, y, {"a": short()}, **options)
    assert network.passes == 0


def test_margins_know_no_l1(network: Counted, x: Tensor, y: Tensor) -> None:
    with pytest.raises(ValueError, match="norm must be inf or 2 for margins, got 1"):
        quiet(network, x, y, {"a": short(norm=1)}, margins=True)
    with pytest.raises(ValueError, match="eps must be given for margins"):
        quiet(network, x, y, {"a": short(), "b": short(0.1)}, margins=True)
    with pytest.raises(TypeError, match="gradient_free must be callable"):
        quiet(network, x, y, {"a": short()}, masking=True, gradient_free="square")
    with pytest.raises(TypeError, match="model must be an nn.Module"):
        quiet(network, x, y, {"a": short()}, masking=True, sources={"other": "no network"})
    assert network.passes == 0


def test_attacks_by_name_are_those_of_the_catalogue(network: Counted, x: Tensor, y: Tensor) -> None:
    report = quiet(network, x, y, ["pgd-ce", "pgd-margin"], eps=0.05, max_iter=3)
    named = {"pgd-ce": short(stop_when_broken=True), "pgd-margin": short(loss="margin", stop_when_broken=True)}
    given = quiet(network, x, y, named)
    for one, other in zip(report.attacks, given.attacks, strict=True):
        assert one.name == other.name
        assert one.right.tolist() == other.right.tolist()
    with pytest.raises(ValueError, match="eps must be given for attacks by name"):
        quiet(network, x, y, ["pgd-ce"])


@pytest.mark.parametrize("part", ["margins", "masking"])
def test_what_the_attacks_found_is_kept_when_the_rest_fails(
    network: Counted, x: Tensor, y: Tensor, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(assessment, "searched_distances" if part == "margins" else "diagnosis_of", fail)
    with pytest.raises(IncompleteEvaluation, match=f"{part}: out of luck") as failure:
        quiet(network, x, y, {"a": short()}, margins=part == "margins", masking=part == "masking")
    assert failure.value.report.attacks[0].accuracy <= 1
    assert failure.value.report.record(**ABOUT).n_examples == 30


def test_what_earlier_attacks_found_is_kept_when_one_fails(network: Counted, x: Tensor, y: Tensor) -> None:
    def fail(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("a library's mistake")

    with pytest.raises(IncompleteEvaluation, match="attack 'b': a library's mistake") as failure:
        quiet(network, x, y, {"a": short(), "b": fail, "c": short()})
    assert [one.name for one in failure.value.report.attacks] == ["a"]
    with pytest.raises(RuntimeError, match="a library's mistake"):
        quiet(network, x, y, {"b": fail})


class TestRecordsAreMadeOfWhatWasRun:
    @pytest.fixture
    def report(self, network: Counted, x: Tensor, y: Tensor) -> Report:
        return quiet(network, x, y, {"a": short(0.01, 2)})

    def test_radius_and_norm_are_those_of_the_attacks(self, report: Report) -> None:
        record = report.record(**ABOUT)
        assert (record.eps, record.threat_model) == ("0.01", "L2")
        assert report.record(**ABOUT, eps="1/100").eps == "1/100"

    def test_others_are_refused(self, report: Report) -> None:
        with pytest.raises(ValueError, match="eps must be 0.01"):
            report.record(**ABOUT, eps="0.5")
        with pytest.raises(ValueError, match="threat_model must be L2"):
            report.record(**ABOUT, threat_model="Linf")

    def test_a_record_has_one_radius(self, network: Counted, x: Tensor, y: Tensor) -> None:
        report = quiet(network, x, y, {"a": short(0.01), "b": short(0.02)})
        with pytest.raises(ValueError, match=r"eps: a record has one, the attacks have several \('a' 0.01, 'b' 0.02\)"):
            report.record(**ABOUT)

    def test_attacks_that_do_not_say_it_need_it_said(self, network: Counted, x: Tensor, y: Tensor) -> None:
        report = quiet(network, x, y, {"none": lambda model, x, y: x})
        assert report.record(**ABOUT, eps="8/255", threat_model="L2").threat_model == "L2"
        with pytest.raises((TypeError, ValueError)):
            report.record(**ABOUT)

    @pytest.mark.parametrize("version", ["standard", "plus", "rand"])
    def test_only_standard_autoattack_is_called_so(self, report: Report, version: str) -> None:
        one = report.attacks[0]
        ensemble = assessment.replace(
            one, parameters={"name": "AutoAttack", "version": version, "eps": 0.01, "norm": 2.0}
        )
        record = assessment.replace(report, attacks=(ensemble,)).record(**ABOUT)
        assert record.autoattack_acc == (f"{100 * one.accuracy:.2f}" if version == "standard" else "")


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], dim=1) + 0.3 * torch.randn(len(x), 2)


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values = (8 * x).round() / 4
        return torch.cat([values, 1 - values], dim=1)


class Batched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        values = self.norm(x)
        return torch.cat([values, -values], dim=1)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values = x - x.mean(dim=0)
        return torch.cat([values, -values], dim=1)


class TestNetworksThatAreNoFunctions:
    x = torch.linspace(0, 1, 40)[:, None]
    y = (x[:, 0] < 0.5).long()

    def test_random_networks_are_doubted(self) -> None:
        state = torch.get_rng_state()
        report = quiet(Noisy(), self.x, 1 - self.y, {"none": lambda model, x, y: x})
        assert report.probes.random > 0.9
        assert "the network is random" in report.table()
        record = report.record(**ABOUT, eps="0.1", threat_model="Linf")
        assert record.unreliable
        assert "average over passes" in record.footnote
        assert torch.get_rng_state().shape == state.shape

    def test_gradients_that_are_zero_are_doubted(self) -> None:
        report = quiet(Rounding(), self.x, self.y, {"pgd": short(0.2)})
        assert report.probes.zero_gradients == 1
        assert "exactly zero for 100% of the samples" in report.text()
        assert report.record(**ABOUT).unreliable

    @pytest.mark.parametrize(("network", "cause"), [(Batched(), r" \(layer 'norm' keeps"), (Centred(), "")])
    def test_logits_that_depend_on_the_batch_are_refused(self, network: nn.Module, cause: str) -> None:
        with pytest.raises(ValueError, match="depend on the other samples of its batch" + cause):
            quiet(network, self.x, self.y, {"pgd": short()})

    def test_honest_networks_are_not_doubted(self, network: Counted, x: Tensor, y: Tensor) -> None:
        honest = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten())
        for model in (network, nn.Sequential(honest, nn.Linear(16, 3))):
            report = quiet(model, x, y, {"pgd": short()})
            assert report.probes.notes == ()
            record = report.record(**ABOUT)
            assert not record.unreliable
            assert record.footnote == ""


def test_boxes_of_arrays(network: Counted, x: Tensor, y: Tensor) -> None:
    """The same verdicts with the box (0, 1) as numbers and as arrays for each feature."""
    arrays = np.zeros((1, 4, 4), np.float32), np.ones((1, 4, 4), np.float32)
    runs = [
        quiet(network, x, y, ["pgd-margin"], eps=0.05, max_iter=3, clip_values=box, margins=True, masking=True)
        for box in ((0.0, 1.0), arrays)
    ]
    one, other = runs
    assert one.attacks[0].right.tolist() == other.attacks[0].right.tolist()
    assert one.curves == other.curves
    assert one.diagnosis == other.diagnosis


def test_what_an_attack_does_where_it_is_not_told_counts_as_well(network: Counted, x: Tensor, y: Tensor) -> None:
    """The usual norm of pgd is L_inf: a record says so, and no other."""
    report = evaluate(network, x, y, {"pgd": partial(pgd, eps=0.1, max_iter=2)}, verbose=False)
    about = {"name": "a", "dataset": "b", "architecture": "c"}
    assert report.record(**about).threat_model == "Linf"
    with pytest.raises(ValueError, match="threat_model must be Linf"):
        report.record(**about, threat_model="L2")
    with pytest.raises(ValueError, match="norm must be 2"):
        evaluate(network, x, y, {"pgd": partial(pgd, eps=0.1, max_iter=2)}, norm=2.0, verbose=False)


def test_a_record_has_one_box(network: Counted, x: Tensor, y: Tensor) -> None:
    attacks = {str(top): partial(pgd, eps=0.1, max_iter=2, clip_values=(0.0, top)) for top in (1.0, 2.0)}
    report = evaluate(network, x, y, attacks, verbose=False)
    with pytest.raises(ValueError, match="clip_values: a record has one box"):
        report.record(name="a", dataset="b", architecture="c")


def test_a_footnote_does_not_hide_what_the_probes_found() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.1 * torch.randn_like(x))

    x, y = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    report = evaluate(Noisy(6, 3), x, y, ["pgd-margin"], eps=0.05, max_iter=2, verbose=False)
    made = report.record(name="a", dataset="b", architecture="c", footnote="Ours")
    assert made.footnote.startswith("Ours; the network is random")
    assert made.unreliable


def test_the_checks_do_not_run_again_what_the_suite_has_run(network: Counted, x: Tensor, y: Tensor) -> None:
    """PGD with the margin and with cross-entropy, which the checks begin with, come from the memo."""

    def passes(attacks: Any, **options: Any) -> int:
        network.passes = 0
        quiet(network, x, y, attacks, eps=0.05, max_iter=3, **options)
        return network.passes

    both, one = ["pgd-ce", "pgd-margin"], ["pgd-dlr"]
    alone = passes(one, masking=True) - passes(one)
    recalled = passes(both) + alone - passes(both, masking=True)
    assert recalled >= 2 * 3, "two attacks of three steps"
