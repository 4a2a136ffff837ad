from __future__ import annotations

import dataclasses
import math
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from art_levelset.cli.main import build_parser, main
from art_levelset.cli.options import seconds
from art_levelset.cli.train import TRAINERS
from art_levelset.cli.train_settings import as_file, settings_of
from art_levelset.evaluation.record import read_record
from art_levelset.trainers import (
    GEOMETRIC_SVM_PRESETS,
    PRESETS,
    Cosine,
    LearningRate,
    LevelSetMarginTrainer,
    LoopTrainer,
    Steps,
    Trapezoid,
    crop,
    shift,
)

from ..nursing import Nursery

RUN = ["train", "--data", "digits", "--arch", "convnet2a", "--eps", "0.15", "--batch-size", "64"]
BY_TWO = ["--nproc-per-node", "2"]


def train(*options: str) -> int:
    return main([*RUN, *options])


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return found


def epochs(printed: str) -> list[list[str]]:
    """The rows of the table, without the seconds."""
    return [line.split()[:-1] for line in printed.splitlines() if line.split()[:1] and line.split()[0].isdigit()]


def test_training_ends_with_the_command_that_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--nb-epochs", "6", "-o", "my weights.pth", "--csv", "epochs.csv", "--ema", "0.9") == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].split()[:4] == ["epoch", "loss", "robust", "crossed"]
    assert [row[0] for row in epochs(printed)] == ["1", "2", "3", "4", "5", "6"]
    assert len((tmp_path / "epochs.csv").read_text().splitlines()) == 7
    assert (tmp_path / "my weights.png").read_bytes().startswith(b"\x89PNG")
    program, *evaluation = shlex.split(lines[-1])
    assert program == "art-levelset"
    assert main([*evaluation, "--nb-examples", "100", "--max-iter", "10"]) == 0
    record = read_record(tmp_path / "my weights.json")
    assert (record.dataset, record.eps, record.architecture) == ("digits", "0.15", "convnet2a")
    assert record.clean > 0.8
    assert record.worst_case.accuracy > 0.25, "plain training leaves next to nothing"


def test_training_goes_on_from_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def options(name: str) -> list[str]:
        return ["--checkpoint-dir", str(tmp_path / name), "-o", str(tmp_path / f"{name}.pth"), "--trainer", "madry"]

    assert train("--nb-epochs", "1", *options("parts")) == 0
    capsys.readouterr()
    assert train("--nb-epochs", "1", *options("parts")) == 0
    again = epochs(capsys.readouterr().out)
    assert [row[0] for row in again] == ["1"], "a finished run is not made again; its table is shown"
    assert train("--nb-epochs", "1", "--quiet", *options("parts")) == 0
    assert [row[0] for row in epochs(capsys.readouterr().out)] == ["1"], "nor with --quiet, which shows the last epoch"
    assert train("--nb-epochs", "1", "--seed", "3", *options("parts")) == 2
    assert "other settings" in capsys.readouterr().err


def test_it_stops_where_nothing_is_gained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--nb-epochs", "20", "--patience", "2", "--bf16", "--lr", "1e-9", "-o", str(tmp_path / "w.pth")) == 0
    assert [row[0] for row in epochs(capsys.readouterr().out)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "convnet9"], "--arch must be one of convnet2a"),
        (["--data", "letters"], "must be an .npz file or one of digits, mnist"),
        (["--data", "mnist"], "--data-root must name the folder"),
        (["--eps", "a third"], "--eps must be a number such as 0.3 or 8/255"),
        (["--eps", "-1"], "--eps must be"),
        (["--lr", "0"], "--lr must be positive"),
        (["--nb-epochs", "0"], "--nb-epochs must be"),
        (["--batch-size", "0"], "--batch-size must be"),
        (["--nb-validation", "1297"], "--nb-validation must be in [1, 1296]"),
        (["--seed", "-1"], "--seed must be an integer >= 0"),
        (["--patience", "0"], "--patience must be"),
        (["--ema", "1"], "--ema must be in [0, 1)"),
        (["--device", "abacus"], "--device must be cpu, cuda or cuda:N, got 'abacus'"),
        (["--device", "cuda:99"], "--device: there is no cuda:99"),
        (["--preset", "mine"], "--preset must be one of mnist"),
        (["--preset", "mnist", "--trainer", "trades"], "--preset is for --trainer levelset and geometric-svm"),
        (["--output", "missing/weights.pth"], "the folder missing does not exist"),
        (["--plot", "weights.pth"], "--plot must be another file than --output"),
        (["--output", "weights.yaml"], "the settings beside it must be another file than --output"),
        (["--time-budget", "soon"], "--time-budget must be a time such as 60s, 2m or 1h, got 'soon'"),
        (["--time-budget", "0s"], "--time-budget must be a time"),
        (["--optimizer", "lion"], "--optimizer must be one of adam"),
        (["--scheduler", "linear"], "--scheduler must be one of trapezoid"),
        (["--weight-decay", "-1"], "--weight-decay must be"),
        (["--threat-model", "L1"], "--threat-model must be one of Linf, L2"),
        (["--threat-model", "L2", "--trainer", "nuat"], "--threat-model must be Linf for --trainer nuat, got L2"),
        (["--config", "none.yaml"], "--config: none.yaml: No such file"),
    ],
)
def test_bad_input_is_one_line_and_no_file(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status: object = train(*options)
    except SystemExit as stop:  # the parser's
        status = stop.code
    assert status == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("art-levelset")]
    assert line.startswith("art-levelset train: error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """The trainers of `train` and what their `fit` is given, in the place of training."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    def fit(self: LevelSetMarginTrainer, x: Any, y: Any, **options: Any) -> None:
        seen.append((self, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(LevelSetMarginTrainer, "fit", fit)
    return seen


def test_every_trainer_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def fit(self: LoopTrainer, *data: Any, **options: Any) -> None:
        seen.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(LoopTrainer, "fit", fit)
    for name in TRAINERS:
        assert train("--trainer", name, "--ema", "0.9") == 130
    assert {name: type(made).__name__ for name, made in zip(TRAINERS, seen, strict=True)} == {
        "levelset": "LevelSetMarginTrainer",
        "madry": "MadryTrainer",
        "trades": "TRADESTrainer",
        "geometric-svm": "GeometricSVMTrainer",
        "n-fgsm": "NFGSMTrainer",
        "fgsm-pgi": "FGSMPGITrainer",
        "madry-awp": "MadryAWPTrainer",
        "trades-awp": "TRADESAWPTrainer",
        "mma": "MMATrainer",
        "nuat": "NuATTrainer",
    }
    assert all(made.ema_decay == 0.9 for made in seen)
    assert all(made.eps == 0.15 for made in seen if hasattr(made, "eps"))


@pytest.mark.parametrize("name", ["mnist", "paper-mnist", "cifar10"])
def test_a_preset_has_what_the_options_do_not_change(trained: list[tuple[Any, dict[str, Any]]], name: str) -> None:
    preset = PRESETS[name]
    assert main(["train", "--preset", name, "--data", "digits", "--arch", "convnet2a"]) == 130
    ((trainer, options),) = trained
    assert trainer.eps == preset.options["eps"]
    assert (options["nb_epochs"], options["batch_size"]) == (preset.nb_epochs, preset.batch_size)
    assert options["augmentation"] is preset.augmentation
    assert options["validation_attack"].keywords["eps"] == preset.eps
    assert trainer.classifier.optimizer.param_groups[0]["lr"] == preset.learning_rate


def test_options_win_over_the_preset(trained: list[tuple[Any, dict[str, Any]]]) -> None:
    given = ["--eps", "0.05", "--lr", "0.002", "--nb-epochs", "3", "--batch-size", "17", "--augment", "crop"]
    assert main(["train", "--preset", "paper-mnist", "--data", "digits", "--arch", "convnet2a", *given]) == 130
    ((trainer, options),) = trained
    preset = PRESETS["paper-mnist"].options
    assert trainer.eps == pytest.approx(preset["eps"] / 6)
    assert trainer.eps_incorrect == pytest.approx(preset["eps_incorrect"] / 6)
    assert trainer.eps_step == pytest.approx(preset["eps_step"] / 6)
    assert trainer.eps_step_incorrect == pytest.approx(preset["eps_step_incorrect"] / 6)
    assert (options["nb_epochs"], options["batch_size"]) == (3, 17)
    assert options["augmentation"] is crop
    assert options["validation_attack"].keywords["eps"] == 0.05
    assert trainer.classifier.optimizer.param_groups[0]["lr"] == 0.002
    assert main(["train", "--preset", "cifar10", "--data", "digits", "--arch", "convnet2a", "--augment", "none"]) == 130
    assert trained[-1][1]["augmentation"] is None
    assert main(["train", "--preset", "mnist", "--data", "digits", "--arch", "convnet2a"]) == 130
    assert trained[-1][1]["augmentation"] is shift


def test_the_average_of_a_preset_and_of_the_options(trained: list[tuple[Any, dict[str, Any]]]) -> None:
    for name, given, decay in (
        ("cifar10-resnet18", [], 0.999),
        ("cifar10-resnet18", ["--ema", "0.9"], 0.9),
        ("mnist", ["--ema", "0.9"], 0.9),
        ("mnist", [], 0.998),
        ("fashion_mnist", [], None),
    ):
        assert main(["train", "--preset", name, "--data", "digits", "--arch", "convnet2a", *given]) == 130
        assert trained[-1][0].ema_decay == decay
        assert trained[-1][0].execution.compile is False
    assert main(["train", "--preset", "mnist", "--data", "digits", "--arch", "convnet2a", "--compile"]) == 130
    assert trained[-1][0].execution.compile is True


def test_the_optimizer_and_how_its_rate_changes(trained: list[tuple[Any, dict[str, Any]]]) -> None:
    for given, kind, rate, decay, schedule in (
        ([], "Adam", 5e-3, 0.0, Trapezoid),
        (["--optimizer", "sgd", "--scheduler", "cosine"], "SGD", 0.1, 0.0, Cosine),
        (["--optimizer", "adamw", "--weight-decay", "0.01"], "AdamW", 5e-3, 0.01, Trapezoid),
        (["--optimizer", "sgd", "--lr", "0.2", "--scheduler", "steps"], "SGD", 0.2, 0.0, Steps),
    ):
        assert train(*given) == 130
        trainer, options = trained[-1]
        optimizer = trainer.classifier.optimizer
        assert type(optimizer).__name__ == kind
        assert (optimizer.param_groups[0]["lr"], optimizer.defaults["weight_decay"]) == (rate, decay)
        assert options["scheduler"] is None
        (found,) = [callback for callback in options["callbacks"] if isinstance(callback, LearningRate)]
        assert (type(found), found.peak) == (schedule, rate)


def test_a_preset_keeps_its_milestones_until_told_otherwise(trained: list[tuple[Any, dict[str, Any]]]) -> None:
    shared = ["train", "--preset", "paper-mnist", "--data", "digits", "--arch", "convnet2a"]
    assert main(shared) == 130
    assert trained[-1][1]["scheduler"] is not None
    assert main([*shared, "--scheduler", "constant", "--optimizer", "sgd"]) == 130
    assert trained[-1][1]["scheduler"] is None
    assert trained[-1][0].classifier.optimizer.defaults["lr"] == 0.1


def test_the_l2_ball_is_that_of_training_validation_and_evaluation(
    trained: list[tuple[Any, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--threat-model", "L2", "--eps", "1.5") == 130
    trainer, options = trained[-1]
    assert (trainer.norm, trainer.eps) == (2.0, 1.5)
    assert options["validation_attack"].keywords["norm"] == 2.0
    assert main(["train", "--preset", "mnist", "--threat-model", "L2"]) == 2
    assert "--eps must be given with --threat-model L2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["paper-mnist", "paper-cifar10-convnet4b", "paper-cifar10-resnet18"])
def test_presets_that_are_of_linf_alone(capsys: pytest.CaptureFixture[str], name: str) -> None:
    for radius in ([], ["--eps", "1.5"]):
        assert main(["train", "--preset", name, "--threat-model", "L2", *radius]) == 2
        assert capsys.readouterr().err == (
            f"art-levelset train: error: --threat-model must be Linf for --preset {name}, got L2, "
            "for which --preset must be mnist, fashion_mnist, cifar10 or cifar10-resnet18\n"
        )


@pytest.mark.parametrize(
    "name", sorted({*PRESETS} - {"paper-mnist", "paper-cifar10-convnet4b", "paper-cifar10-resnet18"})
)
def test_presets_that_have_l2(trained: list[tuple[Any, dict[str, Any]]], name: str) -> None:
    given = ["--data", "digits", "--arch", "convnet2a", "--threat-model", "L2", "--eps", "1.5"]
    assert main(["train", "--preset", name, *given]) == 130
    assert trained[-1][0].norm == 2.0


def test_a_run_writes_the_settings_that_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--nb-epochs", "1", "--optimizer", "sgd", "--augment", "crop", "--ema", "0.9", "--threat-model", "L2"]
    assert train(*given, "--nb-validation", "40", "-o", "first.pth") == 0
    evaluation = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert evaluation[evaluation.index("--threat-model") + 1] == "L2"
    first = weights(tmp_path / "first.pth")
    (tmp_path / "first.pth").unlink()
    assert main(["train", "--config", "first.yaml"]) == 0
    check_same(weights(tmp_path / "first.pth"), first)
    assert main(["train", "--config", "first.yaml", "--seed", "1", "-o", "other.pth"]) == 0
    assert (tmp_path / "other.yaml").read_text() != (tmp_path / "first.yaml").read_text()
    assert not torch.equal(*(next(iter(weights(tmp_path / f"{name}.pth").values())) for name in ("first", "other")))


def test_the_settings_do_not_say_where_the_run_kept_its_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    traces = ["--checkpoint-dir", "run", "--csv", "epochs.csv", "--plot", "curves.png"]
    assert train("--nb-epochs", "1", *traces, "-o", "first.pth") == 0
    before = (tmp_path / "epochs.csv").read_text()
    assert main(["train", "--config", "first.yaml", "--seed", "1", "-o", "other.pth"]) == 0
    assert not torch.equal(*(next(iter(weights(tmp_path / f"{name}.pth").values())) for name in ("first", "other")))
    assert (tmp_path / "epochs.csv").read_text() == before


def test_a_number_in_a_name_is_no_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--nb-epochs", "1", "-o", "robust-0.15") == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"robust-0.15{end}" for end in ("", ".png", ".yaml")}
    evaluation = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert evaluation[evaluation.index("--output") + 1] == "robust-0.15.json"


def test_a_time_ends_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--time-budget", "1s", "-o", str(tmp_path / "w.pth")) == 0
    assert [row[0] for row in epochs(capsys.readouterr().out)][:1] == ["1"]
    written = (tmp_path / "w.yaml").read_text()
    assert "time-budget: 1s" in written
    assert "nb-epochs" not in written


@pytest.mark.parametrize("time", ["300h", "1234567.5s", "0.1s", "1h0.3s", "0.00000123s"])
def test_a_time_in_the_settings_is_read_as_it_was(time: str) -> None:
    arguments = build_parser().parse_args([*RUN, "--time-budget", time])
    settings = yaml.safe_load(as_file(arguments, settings_of(arguments)))
    assert seconds(settings["time-budget"]) == seconds(time)


@pytest.mark.parametrize("preset", ["mnist", "cifar10"])
def test_a_presets_radius_is_in_the_command_that_evaluates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    output = str(tmp_path / "w.pth")
    settings = ["--data", "digits", "--arch", "convnet2a", "--nb-epochs", "1", "--nb-validation", "1200", "-o", output]
    assert main(["train", "--preset", preset, *settings]) == 0
    evaluation = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert evaluation[evaluation.index("--eps") + 1] == {"mnist": "0.3", "cifar10": "8/255"}[preset]


def test_a_preset_names_data_and_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--eps", "0.3", "--preset", "mnist"]) == 2
    assert "to load 'mnist'" in capsys.readouterr().err
    assert main(["train", "--eps", "0.3", "--arch", "convnet2a"]) == 2
    assert "--data must be given where there is no --preset" in capsys.readouterr().err
    assert main(["train", "--data", "digits", "--arch", "convnet2a"]) == 2
    assert "--eps must be given where there is no --preset" in capsys.readouterr().err


def test_an_interrupt_names_the_checkpoints(nursery: Nursery, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    process = nursery.start([*RUN, "--nb-epochs", "1000", "--checkpoint-dir", str(folder)], tmp_path)
    process.until(lambda: list(folder.glob("epoch-000001-*.pt")))
    process.kill(signal.SIGINT)
    ended = process.end()
    assert ended.status == 130, ended.err
    line = f"art-levelset train: interrupted; the same command goes on from the checkpoints in {folder}"
    assert ended.err.splitlines()[-1].endswith(line)
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def by_two(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What two processes print in two epochs, and their weights."""
    folder = tmp_path_factory.mktemp("two")
    done = nursery.torchrun([*BY_TWO, "-m", "art_levelset", *RUN, "--nb-epochs", "2", "-o", "two.pth"], folder)
    assert done.status == 0, done.err
    return done.out, folder / "two.pth"


@pytest.mark.slow
def test_two_processes_train_what_one_trains(
    by_two: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--nb-epochs", "2", "-o", str(tmp_path / "one.pth")) == 0
    one = epochs(capsys.readouterr().out)
    printed, path = by_two
    assert [row[:-1] for row in epochs(printed)] == [row[:-1] for row in one], "but for the attack's random starts"
    check_same(weights(path), weights(tmp_path / "one.pth"))


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_nothing_is_lost(
    by_two: tuple[str, Path], nursery: Nursery, tmp_path: Path
) -> None:
    program = Path(__file__).with_name("killed_once.py")
    kept = [*RUN, "--nb-epochs", "2", "--checkpoint-dir", "kept", "-o", "resumed.pth"]
    resumed = nursery.torchrun([*BY_TWO, "--max-restarts", "1", str(program), *kept], tmp_path, KILLED_AFTER="1")
    assert resumed.status == 0, resumed.err
    assert (tmp_path / "killed").exists(), "a process was killed"
    found, expected = weights(tmp_path / "resumed.pth"), weights(by_two[1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_geometric_svm_is_trained_on_any_number_of_classes_without_a_radius(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--trainer", "geometric-svm", "--data", "digits", "--arch", "convnet2a", "--nb-epochs", "8"]
    assert main(["train", *options, "--patience", "7", "-o", "svm.pth"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["epoch", "loss", "accuracy", "margin", "val.", "clean"]
    assert float(lines[8].split()[4].rstrip("%")) > 80
    assert "with a radius for EPS" in lines[-2]
    evaluation = shlex.split(lines[-1].replace("EPS", "0.1"))[1:-1]  # without the search for masked gradients
    assert main([*evaluation, "--nb-examples", "50", "--max-iter", "5"]) == 0
    assert read_record(tmp_path / "svm.json").clean > 0.8


def test_a_radius_of_the_geometric_svm_is_for_validation() -> None:
    preset = GEOMETRIC_SVM_PRESETS["paper-mnist"]
    assert preset.eps is None
    assert preset.for_radius(0.1) == dataclasses.replace(preset, eps=0.1)


def test_the_norm_of_the_geometric_svm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the margin is the trainer's or the preset's where none is given, and a run's file says as much."""
    seen: list[Any] = []

    def fit(self: LoopTrainer, *data: Any, **options: Any) -> None:
        seen.append((self, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(LoopTrainer, "fit", fit)
    monkeypatch.chdir(tmp_path)
    shared = ["train", "--trainer", "geometric-svm", "--data", "digits", "--arch", "convnet2a", "--eps", "0.1"]
    for given, norm, ball in (
        ([], 2, math.inf),
        (["--threat-model", "Linf"], math.inf, math.inf),
        (["--threat-model", "L2"], 2, 2),
        (["--preset", "paper-mnist"], math.inf, math.inf),
        (["--preset", "paper-mnist", "--threat-model", "L2"], 2, 2),
    ):
        assert main([*shared, *given]) == 130
        arguments = build_parser().parse_args([*shared, *given])
        Path("run.yaml").write_text(as_file(arguments, settings_of(arguments)))
        assert main(["train", "--config", "run.yaml"]) == 130
        for trainer, options in seen[-2:]:
            assert (trainer.norm, options["validation_attack"].keywords["norm"]) == (norm, ball)


def test_presets_belong_to_trainers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--trainer", "geometric-svm", "--preset", "mnist"]) == 2
    assert "--preset must be one of paper-mnist, paper-fashion-mnist, paper-cifar10" in capsys.readouterr().err
    assert main(["train", "--trainer", "geometric-svm", "--data", "digits"]) == 2
    assert "--arch must be given where there is no --preset" in capsys.readouterr().err
