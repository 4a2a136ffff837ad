from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from art.defences.preprocessor import JpegCompression
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.attacks.effort import Effort
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Outcome
from art_levelset.evaluation import evaluate, pgd
from art_levelset.evaluation.record import read_record, write_record
from art_levelset.models import load_released_weights

quiet = partial(evaluate, verbose=False)


def threshold(at: float = 0.5) -> nn.Linear:
    """Says class 1 where the only feature exceeds the threshold."""
    model = nn.Linear(1, 2)
    model.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.tensor([at, -at])})
    return model


POINTS = torch.tensor([[0.1], [0.35], [0.45], [0.7], [0.9]])
LABELS = torch.tensor([0, 0, 1, 1, 1])  # the third is misclassified
ABOUT = {"name": "a threshold", "dataset": "a line", "architecture": "linear", "eps": "0.17", "threat_model": "Linf"}


class Shift:
    """Moves every sample by a fixed amount, fewer with every call; counts its calls."""

    def __init__(self, by: float) -> None:
        self.by, self._calls = by, 0

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self._calls += 1
        return (x + self.by * (1 - 2 * y.unsqueeze(1))).clamp(0, 1)


class Counted(nn.Sequential):
    """The threshold; counts its passes."""

    def __init__(self) -> None:
        super().__init__(threshold())
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        outputs: Tensor = super().forward(x)
        return outputs


class TestFigures:
    def test_known_answers(self) -> None:
        attacks = {"near": Shift(0.17), "far": Shift(0.3), "none": Shift(0.0)}
        report = quiet(threshold(), POINTS, LABELS, attacks)
        assert report.clean.tolist() == [True, True, False, True, True]
        near, far, none = report.attacks
        assert near.right.tolist() == [[True, False, False, True, True]]
        assert far.right.tolist() == [[True, False, False, False, True]]
        assert none.right.tolist() == [report.clean.tolist()]
        assert [near.accuracy, far.accuracy, none.accuracy] == pytest.approx([0.6, 0.4, 0.8])
        assert report.worst.tolist() == [True, False, False, False, True]

    def test_the_worst_case_is_taken_per_sample(self) -> None:
        """Two attacks that break one half each leave nothing, though each leaves half."""

        def up(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return torch.ones_like(x)

        def down(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return torch.zeros_like(x)

        points, labels = torch.tensor([[0.2], [0.8]]), torch.tensor([0, 1])
        report = quiet(threshold(), points, labels, {"up": up, "down": down})
        assert [one.accuracy for one in report.attacks] == [0.5, 0.5]
        assert not report.worst.any()

    def test_mean_deviation_and_worst_case_over_repeats(self) -> None:
        def lottery(model: nn.Module, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
            return 1 - x if seed % 2 else x

        points, labels = torch.tensor([[0.2], [0.8]]), torch.tensor([0, 1])
        (one,) = quiet(threshold(), points, labels, {"lottery": lottery}, repeats=12).attacks
        each = one.right.mean(axis=1)
        assert set(each) == {0.0, 1.0}, "every repeat has a seed of its own"
        assert one.accuracy == pytest.approx(each.mean())
        assert one.deviation == pytest.approx(np.std(each, ddof=1))
        again = quiet(threshold(), points, labels, {"lottery": lottery}, repeats=12)
        assert again.attacks[0].right.tolist() == one.right.tolist()
        assert not again.worst.any()
        other = quiet(threshold(), points, labels, {"lottery": lottery}, repeats=12, seed=1).attacks[0]
        assert other.right.tolist() != one.right.tolist()

    def test_cost(self) -> None:
        report = quiet(threshold(), POINTS, LABELS, {"pgd": partial(pgd, eps=0.05, max_iter=7)}, repeats=2)
        effort = report.attacks[0].effort
        assert effort.gradients == 2 * 4 * 7, "two repeats, four samples, seven steps"
        assert effort.forwards >= effort.gradients
        assert effort.seconds > 0

    def test_warnings_become_notes(self, caplog: pytest.LogCaptureFixture) -> None:
        def shy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            logging.getLogger("art_levelset.somewhere").warning("the gradients of %d of %d samples\nvanish", 1, len(x))
            logging.getLogger("art_levelset").warning("it is shy")
            return x

        report = quiet(threshold(), POINTS, LABELS, {"shy": shy}, repeats=2, batch_size=3)
        assert report.attacks[0].notes == ("the gradients of 4 of 8 samples vanish", "it is shy")
        assert not logging.getLogger("art_levelset").handlers

    def test_what_an_ensemble_leaves_after_each_member(self) -> None:
        class Ensemble:
            def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
                raise AssertionError("its outcome is asked for")

            def outcome(self, model: nn.Module, x: Tensor, y: Tensor) -> Outcome[Tensor]:
                return Outcome(1 - x, Effort(1.0, 5, 3), {"clean": len(x), "mirror": 0})

        report = quiet(threshold(), POINTS, LABELS, {"both": Ensemble()}, batch_size=3)
        assert report.attacks[0].survivors == {"clean": 0.8, "mirror": 0.0}
        assert report.attacks[0].effort == Effort(2.0, 10, 6)
        assert "left after each attack: clean 80.00%, mirror 0.00%" in report.attacks[0].result().notes


class TestOutcomes:
    """What became of each sample: who broke it, and how near a misclassified point is."""

    def test_a_plain_attack_is_as_near_as_its_examples(self) -> None:
        (near,) = quiet(threshold(), POINTS, LABELS, {"near": Shift(0.17)}).attacks
        assert near.broken_by.tolist() == [[-1] * 5]
        assert near.distances[0].tolist() == pytest.approx([math.inf, 0.17, 0.0, math.inf, math.inf])
        assert near.members == ()

    def test_in_the_attacks_own_norm(self) -> None:
        model = nn.Linear(2, 2)
        model.load_state_dict({"weight": torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), "bias": torch.tensor([0.5, -0.5])})

        def aside(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return x + torch.tensor([0.3, 0.4])

        sample, label = torch.tensor([[0.4, 0.1]]), torch.tensor([0])
        for norm, far in ((math.inf, 0.4), (2.0, 0.5), (1.0, 0.7)):
            (one,) = quiet(model, sample, label, {"aside": aside}, norm=norm).attacks
            assert one.distances[0, 0] == pytest.approx(far)

    @pytest.mark.parametrize("resumed", [False, True])
    def test_an_ensemble_tells_more(self, tmp_path: Path, resumed: bool, as_if_installed: None) -> None:
        """Its second member says that it broke all, which is believed where the example is misclassified."""

        class Searching:
            def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
                raise AssertionError("its outcome is asked for")

            def outcome(self, model: nn.Module, x: Tensor, y: Tensor) -> Outcome[Tensor]:
                far = (x[:, 0] - 0.5).abs()
                return Outcome(
                    torch.where(far[:, None] < 0.3, 1 - x, x),
                    Effort(1.0, 5, 3),
                    {"clean": len(x), "first": len(x), "second": 0},
                    torch.full((len(x),), 1),
                    far.double(),
                )

        run = partial(quiet, threshold(), POINTS, LABELS, {"both": Searching()}, batch_size=3, memo=Memo(tmp_path))
        if resumed:
            run()
        (one,) = run().attacks
        assert one.members == ("first", "second")
        assert one.broken_by.tolist() == [[-1, 1, -1, 1, -1]]
        assert one.distances[0].tolist() == pytest.approx([0.4, 0.15, 0.0, 0.2, 0.4])
        assert one.distances.dtype == np.float32

    def test_the_same_attack_under_two_names_runs_once(self) -> None:
        model = Counted()
        attack = partial(pgd, eps=0.05, max_iter=7)
        quiet(model, POINTS, LABELS, {"one": attack})
        once, model.passes = model.passes, 0
        report = quiet(model, POINTS, LABELS, {"one": attack, "two": attack})
        assert model.passes == once
        assert [one.name for one in report.attacks] == ["one", "two"]


@pytest.mark.usefixtures("as_if_installed")
class TestResuming:
    def test_a_killed_evaluation_goes_on(self, tmp_path: Path) -> None:
        class Dying(Shift):
            def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
                if self._calls == 2:
                    raise KeyboardInterrupt
                return super().__call__(model, x, y)

        run = partial(quiet, threshold(), POINTS, LABELS, batch_size=1, repeats=2)
        whole = run({"shift": Shift(0.17)})
        with pytest.raises(KeyboardInterrupt):
            run({"shift": Dying(0.17)}, memo=Memo(tmp_path))
        attack = Dying(0.17)
        attack._calls = -10
        resumed = run({"shift": attack}, memo=Memo(tmp_path))
        assert attack._calls == -10 + 8 - 2, "what was finished is not attacked again"
        assert resumed.attacks[0].right.tolist() == whole.attacks[0].right.tolist()
        assert not [path for path in tmp_path.iterdir() if path.suffix != ".npz"]

    def test_nothing_is_recalled_for_another_network_data_seed_or_attack(self, tmp_path: Path) -> None:
        calls = []

        def counted(model: nn.Module, x: Tensor, y: Tensor, seed: int = 0, eps: float = 0.1) -> Tensor:
            calls.append(seed)
            return x

        def run(model: nn.Module, x: Tensor, eps: float = 0.1, seed: int = 0) -> int:
            before = len(calls)
            quiet(model, x, LABELS, {"counted": partial(counted, eps=eps)}, seed=seed, memo=Memo(tmp_path))
            return len(calls) - before

        model = threshold()
        assert run(model, POINTS) == 1
        assert run(model, POINTS) == 0
        assert run(threshold(0.51), POINTS) == 1
        assert run(model, POINTS + 0.01) == 1
        assert run(model, POINTS, eps=0.2) == 1
        assert run(model, POINTS, seed=1) == 1
        assert run(nn.Sequential(model), POINTS) == 1
        assert run(model, POINTS) == 0

    def test_a_file_that_was_cut_off_counts_as_missing(self, tmp_path: Path) -> None:
        run = partial(quiet, threshold(), POINTS, LABELS, memo=Memo(tmp_path))
        whole = run({"pgd": partial(pgd, eps=0.17)})
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:100])
        assert run({"pgd": partial(pgd, eps=0.17)}).attacks[0].right.tolist() == whole.attacks[0].right.tolist()


def test_a_box_may_be_given_for_each_feature(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(10, 100, generator=generator)
    model = nn.Linear(100, 3)
    y = model(x).argmax(dim=1).detach()
    boxes = [(np.linspace(-1, 0, 100), np.linspace(1, top, 100)) for top in (2, 3)]
    attacks = {"pgd": [partial(pgd, eps=2.0, max_iter=5, clip_values=box) for box in boxes]}
    memo = Memo(tmp_path)
    reports = [quiet(model, x, y, {"pgd": attack}, memo=memo) for attack in [*attacks["pgd"], attacks["pgd"][0]]]
    assert len(list(tmp_path.iterdir())) == 2
    assert reports[0].attacks[0].accuracy < 1
    low, high = reports[0].attacks[0].parameters["clip_values"]
    assert low["shape"] == high["shape"] == [100]
    write_record(reports[0].record(**{**ABOUT, "eps": "2"}), tmp_path / "record.json")


class TestRecord:
    def test_round_trip(self, tmp_path: Path) -> None:
        report = quiet(threshold(), POINTS, LABELS, {"near": Shift(0.17), "far": Shift(0.3)}, repeats=2)
        record = report.record(**ABOUT)
        write_record(record, tmp_path / "record.json")
        assert read_record(tmp_path / "record.json") == record
        assert record.clean_acc == "80.00"
        assert record.worst_case.accuracy == pytest.approx(0.4)
        assert [attack.accuracy for attack in record.attacks] == pytest.approx([0.6, 0.4])
        assert record.autoattack_acc == ""
        assert record.versions["torch"] == torch.__version__.split("+")[0] or record.versions["torch"]

    def test_the_data_are_told_apart(self) -> None:
        hashes = {
            quiet(threshold(), points, labels, {"shift": Shift(0.1)}).data
            for points, labels in [(POINTS, LABELS), (POINTS + 1e-3, LABELS), (POINTS, 1 - LABELS)]
        }
        assert len(hashes) == 3

    def test_table(self) -> None:
        table = quiet(threshold(), POINTS, LABELS, {"near": Shift(0.17)}, repeats=2).table()
        assert [line.split()[:2] for line in table.splitlines()[1:]] == [
            ["clean", "80.00%"],
            ["near", "60.00%"],
            ["worst", "case"],
        ]


def test_a_classifier_is_evaluated_behind_its_preprocessing() -> None:
    """Samples times 255 with ART's scaling to [0, 1]: the same verdicts, distances times 255."""
    model = threshold()
    plain = quiet(model, POINTS, LABELS, {"shift": Shift(0.17)})
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (1,), 2, clip_values=(0, 255), preprocessing=(0.0, 255.0), device_type="cpu"
    )

    def shift(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (x + 0.17 * 255 * (1 - 2 * y.unsqueeze(1))).clamp(0, 255)

    scaled = quiet(classifier, POINTS.numpy() * 255, LABELS.numpy(), {"shift": shift})
    assert scaled.attacks[0].right.tolist() == plain.attacks[0].right.tolist()


def test_a_numpy_defence_is_attacked_through_its_estimated_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    defence = JpegCompression(clip_values=(0, 1), quality=75, channels_first=True)
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        (1, 8, 8),
        4,
        preprocessing_defences=defence,
        clip_values=(0, 1),
        device_type="cpu",
    )
    x = torch.rand(16, 1, 8, 8)
    y = torch.from_numpy(classifier.predict(x.numpy()).argmax(axis=1))
    report = quiet(classifier, x, y, {"pgd": partial(pgd, eps=0.1, max_iter=10)})
    assert report.clean.all()
    assert report.attacks[0].accuracy < 0.5


def test_an_attack_that_returns_arrays() -> None:
    tensors, arrays = (
        quiet(threshold(), POINTS, LABELS, {"f": attack})
        for attack in (lambda model, x, y: x + 0.2, lambda model, x, y: (x + 0.2).numpy())
    )
    assert arrays.attacks[0].accuracy == tensors.attacks[0].accuracy < tensors.clean.mean()
    np.testing.assert_array_equal(arrays.attacks[0].distances, tensors.attacks[0].distances)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="attacks must hold at least one"):
        quiet(threshold(), POINTS, LABELS, {})
    with pytest.raises(ValueError, match="repeats must be an integer >= 1"):
        quiet(threshold(), POINTS, LABELS, {"a": Shift(0)}, repeats=0)
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1"):
        quiet(threshold(), POINTS, LABELS, {"a": Shift(0)}, batch_size=0)
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        quiet(threshold(), POINTS, LABELS, {"a": Shift(0)}, seed=-1)
    with pytest.raises(ValueError, match="x holds no sample"):
        quiet(threshold(), POINTS[:0], LABELS[:0], {"a": Shift(0)})
    with pytest.raises(TypeError, match="model must be an nn.Module or an ART"):
        quiet("a model", POINTS, LABELS, {"a": Shift(0)})
    with pytest.raises(ValueError, match="attack must return the shape"):
        quiet(threshold(), POINTS, LABELS, {"a": lambda model, x, y: x[:1]})


@pytest.mark.parametrize("name", ["madry_eps0.3", "levelset_eps0.4"])
def test_the_released_weights_on_200_images(data_dir: Path, mnist_test: tuple[Tensor, Tensor], name: str) -> None:
    """PGD with 10 steps on the margin leaves at least what 40 leave, and no more than a few points more."""
    x, y = (rows[:200] for rows in mnist_test)
    model = load_released_weights(data_dir / "checkpoints" / "levelsets-mnist" / f"{name}.pth")
    attack = partial(pgd, eps=0.3, max_iter=10, loss="margin", stop_when_broken=True)
    report = quiet(model, x, y, {"margin": attack})
    assert report.clean.mean() >= 0.995
    assert 0.9 <= report.attacks[0].accuracy <= 0.98
