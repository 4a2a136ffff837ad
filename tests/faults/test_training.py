"""Data and settings at the edge: every trainer makes a finite network, or says what is wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_levelset.cli.main import main
from art_levelset.evaluation import IncompleteEvaluation, evaluate
from art_levelset.models import convnet_2a
from art_levelset.trainers import (
    CurvatureTrainer,
    FGSMPGITrainer,
    GeometricSVMTrainer,
    LevelSetMarginTrainer,
    LoopTrainer,
    MadryTrainer,
    MMATrainer,
    NFGSMTrainer,
    NuATTrainer,
    TRADESAWPTrainer,
    TRADESTrainer,
)

TRAINERS: dict[str, Callable[..., LoopTrainer]] = {
    "level sets": lambda classifier: LevelSetMarginTrainer(classifier, eps=0.1, max_iter=3, seed=0),
    "Madry": lambda classifier: MadryTrainer(classifier, eps=0.1, max_iter=3, seed=0),
    "TRADES": lambda classifier: TRADESTrainer(classifier, eps=0.1, max_iter=3, seed=0),
    "FGSM-PGI": lambda classifier: FGSMPGITrainer(classifier, eps=0.1, seed=0),
    "TRADES-AWP": lambda classifier: TRADESAWPTrainer(classifier, eps=0.1, max_iter=3, seed=0),
    "MMA": lambda classifier: MMATrainer(classifier, eps=0.15, max_iter=3, seed=0),
    "NuAT": lambda classifier: NuATTrainer(classifier, eps=0.1, seed=0),
    "N-FGSM": lambda classifier: NFGSMTrainer(classifier, eps=0.1, seed=0),
    "geometric SVM": lambda classifier: GeometricSVMTrainer(classifier, seed=0),
    "curvature": lambda classifier: CurvatureTrainer(classifier, weight=0.1, seed=0),
}
DRAWS = np.random.default_rng(0)
X = DRAWS.random((12, 1, 4, 4)).astype(np.float32)
Y = DRAWS.integers(0, 3, 12)


class Constant(nn.Module):
    """Sees nothing of its input: class 2, always."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, 1.0, 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits + 0 * x.flatten(1).sum(1, keepdim=True)


class NotFinite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * math.nan


def network(normalised: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(8)] if normalised else []
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), *middle, nn.Softplus(), nn.Linear(8, 3))


def fit(
    trainer: str, model: nn.Module, x: Any, y: Any, *, rate: float = 0.1, batch_size: int = 4, **options: Any
) -> Any:
    """Two epochs; the network afterwards is finite."""
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        (1, 4, 4),
        3,
        optimizer=torch.optim.SGD(model.parameters(), lr=rate),
        clip_values=(0, 1),
        device_type="cpu",
    )
    made = TRAINERS[trainer](classifier)
    made.fit(x, y, batch_size=batch_size, nb_epochs=2, verbose=False, **options)
    assert len(made.history) == 2
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


WRONG = (network()(torch.from_numpy(X)).argmax(dim=1).numpy() + 1) % 3


@pytest.mark.parametrize("trainer", list(TRAINERS))
@pytest.mark.parametrize(
    ("make", "x", "y"),
    [
        (network, X[:1], Y[:1]),
        (network, X, np.zeros(12, int)),
        (network, np.full_like(X, 0.5), Y),
        (lambda: network(normalised=True), np.full_like(X, 0.5), Y),
        (network, X, WRONG),
        (Constant, X, np.full(12, 2)),
        (Constant, X, np.zeros(12, int)),
    ],
    ids=["one sample", "one class", "equal images", "equal and normalised", "all wrong", "constant", "constant, wrong"],
)
def test_what_can_be_trained_is_finite(trainer: str, make: Callable[[], nn.Module], x: Any, y: Any) -> None:
    fit(trainer, make(), x, y, rate=1e-3)


@pytest.mark.parametrize("trainer", list(TRAINERS))
@pytest.mark.parametrize(("x", "y", "batch_size"), [(X[:1], Y[:1], 4), (X, Y, 1), (X[:9], Y[:9], 4)])
def test_one_sample_and_batchnorm(trainer: str, x: Any, y: Any, batch_size: int) -> None:
    if trainer not in ("level sets", "geometric SVM", "curvature"):  # the others' losses are in training mode
        with pytest.raises(ValueError, match="^batch_size: BatchNorm cannot normalise a batch of 1 sample: choose"):
            fit(trainer, network(normalised=True), x, y, batch_size=batch_size)
    else:
        fit(trainer, network(normalised=True), x, y, batch_size=batch_size)


@pytest.mark.parametrize("trainer", list(TRAINERS))
def test_what_is_not_finite_is_told_and_not_kept(trainer: str, tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match="its gradient .* is not finite after 0 epochs.* A lower learning rate"
    ):
        fit(trainer, NotFinite(), X, Y)
    with pytest.raises(FloatingPointError, match="not finite after 1 epochs. A lower learning rate may help"):
        fit(trainer, network(), X, Y, rate=math.inf, batch_size=12, checkpoint_dir=tmp_path)  # in its only step
    assert [path.name.startswith("epoch-000000-") for path in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize("kind", ["constant", "all wrong", "one class", "one sample", "equal images"])
def test_evaluations_at_the_edge(kind: str) -> None:
    model = (Constant() if kind == "constant" else network()).eval()
    x = (
        torch.full((6, 1, 4, 4), 0.5)
        if kind == "equal images"
        else torch.from_numpy(X[: 1 if kind == "one sample" else 6])
    )
    if kind == "constant":
        x = torch.rand(100, 1, 4, 4)  # so many are needed to judge its gradients
    right = model(x).argmax(dim=1)
    y = {"all wrong": (right + 1) % 3, "one class": torch.zeros_like(right)}.get(kind, right)
    options = {"eps": 0.05, "max_iter": 5, "masking": True, "margins": True, "seed": 0}
    if kind == "all wrong":
        with pytest.raises(IncompleteEvaluation, match="holds no sample that model classifies right") as found:
            evaluate(model, x, y, ["pgd-ce", "pgd-margin"], **options)
        report = found.value.report
    else:
        report = evaluate(model, x, y, ["pgd-ce", "pgd-margin"], **options)
    record = report.record(name=kind, dataset="edge", architecture="small", eps="0.05", threat_model="Linf")
    clean = float((right == y).float().mean())
    assert record.clean == pytest.approx(clean, abs=1e-4)
    assert 0 <= record.worst_case.accuracy <= clean + 1e-6
    if kind == "constant":
        assert record.worst_case.accuracy == 1
        assert record.failed_checks, "its gradients are zero"


def test_weights_that_are_not_numbers_are_not_evaluated(
    tmp_path: Path, few_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {name: torch.full_like(value, math.nan) for name, value in convnet_2a(10, (1, 8, 8)).state_dict().items()}
    torch.save(state, tmp_path / "nan.pth")
    argv = ["evaluate", "--model", str(tmp_path / "nan.pth"), "--arch", "convnet2a", "--data", str(few_digits)]
    assert main([*argv, "--eps", "0.1", "-o", str(tmp_path / "record.json")]) == 2
    assert "not finite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pth"]


def test_a_board_of_many_records(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """2,000 records with --all-faults, 100 otherwise: all are ranked, in Markdown and on the page."""
    from art_levelset.evaluation.record import write_record

    from ..evaluation.invented import curve, masking, record

    count = 2000 if request.config.getoption("--all-faults") else 100
    (tmp_path / "records").mkdir()
    write_record(record("model", masking=masking(), margin_curves=(curve(),)), tmp_path / "first.json")
    first = json.loads((tmp_path / "first.json").read_text())
    for number in range(count):
        accuracy = number / count
        first["attacks"][0] |= {"accuracy": accuracy, "interval": [accuracy, 1.0]}
        first |= {"name": f"model {number}", "worst_case": {"accuracy": accuracy, "interval": [accuracy, 1.0]}}
        if accuracy <= 0.99:
            (tmp_path / "records" / f"{number}.json").write_text(json.dumps(first))
    files = ["--html", str(tmp_path / "board.html"), "--markdown", str(tmp_path / "board.md")]
    assert main(["leaderboard", str(tmp_path / "records"), *files]) == 0
    ranked = re.findall(r"\bmodel (\d+)", (tmp_path / "board.md").read_text())
    assert list(dict.fromkeys(ranked)) == [str(number) for number in range(int(0.99 * count), -1, -1)]
    assert (tmp_path / "board.html").stat().st_size < 6000 * count
