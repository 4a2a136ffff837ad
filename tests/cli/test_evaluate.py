from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from art_levelset.cli.main import main
from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.outcomes import read_outcomes
from art_levelset.evaluation.record import read_record
from art_levelset.models import convnet_2a


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ConvNet-2a, trained on the digits for a few seconds."""
    torch.manual_seed(0)
    (x, y), _ = digits()
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    model = convnet_2a(10, (1, 8, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(6):
        for rows in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "plain.pth"
    torch.save(model.state_dict(), path)
    return path


def run(weights: Path, folder: Path, *options: str) -> int:
    given = ["--model", str(weights), "--arch", "convnet2a", "--data", "digits", "--eps", "0.15", "--max-iter", "10"]
    return main(["evaluate", *given, "--output", str(folder / "record.json"), *options])


def test_a_record_for_the_leaderboard(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weights, tmp_path, "--nb-examples", "120", "--masking", "--margins", "--name", "plain ConvNet-2a") == 0
    printed = capsys.readouterr().out
    record = read_record(tmp_path / "record.json")
    assert record.name == "plain ConvNet-2a"
    assert (record.dataset, record.architecture, record.threat_model, record.eps) == (
        "digits",
        "convnet2a",
        "Linf",
        "0.15",
    )
    assert record.clean > 0.9
    assert [attack.name for attack in record.attacks] == ["pgd-ce", "pgd-margin"]
    assert record.worst_case.accuracy < 0.5, "plain training withstands little"
    assert record.masking is not None
    assert record.calibration is not None
    assert record.calibration.accuracy == pytest.approx(record.clean, abs=1e-4)
    assert sum(part.count for part in record.calibration.bins) == 120
    assert not record.failed_checks
    for curve in record.margin_curves:
        assert curve.accuracy[0] == pytest.approx(record.clean, abs=1e-4)
        at = curve.accuracy[curve.eps.index(pytest.approx(0.15))]
        assert at == pytest.approx(record.worst_case.accuracy, abs=0.1)
    assert "worst case" in printed
    assert "Calibration: ECE" in printed
    assert "Gradient masking" in printed
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert "plain ConvNet-2a" in capsys.readouterr().out


def test_a_number_in_a_name_is_no_suffix(weights: Path, tmp_path: Path) -> None:
    network = tmp_path / "plain-0.5"
    network.write_bytes(weights.read_bytes())
    for eps, number in (("0.1", 100), ("0.2", 50)):
        output = ["--eps", eps, "--output", str(tmp_path / f"model-{eps}")]
        assert run(network, tmp_path, "--nb-examples", str(number), "--max-iter", "2", *output) == 0
    for eps, number in (("0.1", 100), ("0.2", 50)):
        record = read_record(tmp_path / f"model-{eps}")
        assert record.name == "plain-0.5"
        assert record.outcomes is not None
        assert record.outcomes.file == f"model-{eps}.outcomes.npz"
        assert len(read_outcomes(record, tmp_path).arrays["clean"]) == number


def test_it_goes_on_from_finished_work(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--nb-examples", "50", "--resume", str(tmp_path / "work"))
    assert run(weights, tmp_path, *options) == 0
    first = json.loads((tmp_path / "record.json").read_text())
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    assert kept
    assert run(weights, tmp_path, *options) == 0
    again = json.loads((tmp_path / "record.json").read_text())
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == kept
    del first["created"], again["created"]
    assert again == first, "the same seconds too: nothing was computed again"


def test_the_record_of_the_attacks_is_written_when_the_checks_fail(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("art_levelset.evaluation.assessment.diagnosis_of", fail)
    assert run(weights, tmp_path, "--nb-examples", "20", "--masking") == 1
    printed = capsys.readouterr()
    assert "art-levelset evaluate: error: the record has no masking: too large" in printed.err
    assert read_record(tmp_path / "record.json").masking is None
    assert "worst case" in printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "convnet9"], "--arch must be one of convnet2a"),
        (["--arch", "resnet18"], "holds the weights of another network"),
        (["--model", "missing.pth"], "missing.pth"),
        (["--data", "missing.npz"], "missing.npz"),
        (["--data", "letters"], "--data must be an .npz file or one of digits, mnist"),
        (["--data", "mnst"], "got 'mnst': did you mean mnist?"),
        (["--data", "mnist"], "--data-root must name the folder"),
        (["--eps", "a third"], "--eps must be a number such as 0.3 or 8/255"),
        (["--eps", "1/0"], "--eps must be a number such as 0.3 or 8/255"),
        (["--eps", "-1"], "--eps must be"),
        (["--attacks", "pgd-hinge"], "--attacks must be one of pgd-ce"),
        (["--nb-examples", "0"], "--nb-examples must be in [1, 500]"),
        (["--max-iter", "0"], "--max-iter must be an integer >= 1"),
        (["--repeats", "0"], "--repeats must be an integer >= 1"),
        (["--threat-model", "L1", "--margins"], "--margins must have a --threat-model Linf or L2, got L1"),
        (["--masking", "--max-iter", "1"], "--max-iter must be at least 2"),
        (["--masking", "--eps-step", "0.0001"], "--eps-step must be at least eps / max_iter"),
        (["--interval", "0.2"], "--interval is for --autoattack estimate, which is not asked for"),
        (
            ["--attacks", "guided", "autoattack"],
            "--max-iter is for PGD, which is not among --attacks guided autoattack",
        ),
        (["--attacks", "guided", "--margins", "--eps-step", "0.1"], "--eps-step is for PGD, which is not among"),
        (["--attacks", "adv-lib-fmn", "--eps-step", "0.1"], "--eps-step is for PGD, which is not among"),
        (["--device", "tpu"], "--device must be cpu, cuda or cuda:N"),
        (["--output", "missing/record.json"], "the folder missing does not exist"),
    ],
)
def test_bad_input_is_one_line_and_no_file(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status: object = run(weights, tmp_path, *options)
    except SystemExit as stop:  # the parser's
        status = stop.code
    assert status == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("art-levelset")]
    assert line.startswith("art-levelset evaluate: error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--attacks", "guided", "--masking", "--eps-step", "0.1"],
        ["--attacks", "guided", "--margins"],
        ["--attacks", "guided", "pgd-margin", "--eps-step", "0.1"],
        ["--preset", "quick"],
    ],
)
def test_numbers_of_pgd_that_something_uses(weights: Path, tmp_path: Path, options: list[str]) -> None:
    assert run(weights, tmp_path, "--nb-examples", "10", *options) == 0


def test_images_of_a_file(weights: Path, tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = digits()
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x[:, 0], y_train=y, x_test=x_test[:, 0], y_test=y_test)
    assert run(weights, tmp_path, "--data", str(path), "--nb-examples", "30", "--attacks", "pgd-dlr") == 0
    record = read_record(tmp_path / "record.json")
    assert record.dataset == "mine"
    assert [attack.parameters["loss"] for attack in record.attacks] == ["dlr"]


def test_a_file_that_lacks_the_last_classes(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, (x, y) = digits()
    few, many = tmp_path / "few.npz", tmp_path / "many.npz"
    np.savez(few, x_test=x[y < 7, 0], y_test=y[y < 7])
    np.savez(many, x_test=x[:, 0], y_test=y + 2)
    assert run(weights, tmp_path, "--data", str(few), "--nb-examples", "30", "--attacks", "pgd-ce") == 0
    assert read_record(tmp_path / "record.json").clean > 0.9
    assert run(weights, tmp_path, "--data", str(many)) == 2
    assert "plain.pth holds the weights of a network of 10 classes, but the labels show 12" in capsys.readouterr().err
