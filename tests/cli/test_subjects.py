"""Any model and any data: what `art-levelset evaluate` makes of them, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from art_levelset.cli.main import main
from art_levelset.evaluation.record import Record, read_record

from ..attacks.tiny import needs

OWN = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SLOPE = 4.0


def points(count=40, low=0.0, high=1.0):
    """Points of three classes: by their first coordinate, at thirds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 2, generator=generator)
    return low + (high - low) * x, (3 * x[:, 0]).long().clamp(max=2)


def images(count=12):
    x, y = points(count)
    return x.reshape(count, 2, 1, 1), y


def two(count=40):
    x, y = points(count)
    return x, (x[:, 0] > 0.5).long()


def dataset():
    return TensorDataset(*points())


def loader(batch_size=7):
    return DataLoader(dataset(), batch_size=batch_size, shuffle=True)


def pixels():
    x, y = points()
    return (255 * x).to(torch.uint8).numpy(), y.numpy()


class Thirds(nn.Module):
    """The right classifier of `points`, in several forms."""

    def __init__(self, form="logits", scale=1.0):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        slope = SLOPE * scale * torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
        self.linear.load_state_dict({"weight": slope, "bias": -SLOPE * torch.tensor([0.0, 1 / 3, 1.0])})
        self.form = form

    def forward(self, x):
        logits = self.linear(x.flatten(1))
        if self.form == "noise":
            return logits + 0.1 * torch.randn_like(logits)
        if self.form == "fails":
            return logits @ logits
        nothing = torch.where(x.flatten(1)[:, :1] > 0.5, torch.nan, 0.0)
        return {
            "logits": logits,
            "probabilities": logits.softmax(dim=1),
            "tuple": (x, logits),
            "dictionary": {"features": x, "logits": logits},
            "nan": logits + nothing,
            "rounded": logits.detach().round(),
        }[self.form]


class Half(nn.Module):
    """One logit: class 1 where the first coordinate is above 0.5."""

    def __init__(self, sigmoid=False):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.linear.load_state_dict({"weight": torch.tensor([[20.0, 0.0]]), "bias": torch.tensor([-10.0])})
        self.sigmoid = sigmoid

    def forward(self, x):
        return self.linear(x).sigmoid() if self.sigmoid else self.linear(x)


class Four(nn.Module):
    def __init__(self):
        super().__init__()
        self.thirds = Thirds(form="noise")

    def forward(self, x):
        logits = self.thirds(x)
        return torch.cat([logits, logits[:, :1] - 1], dim=1)


class Tenfold(nn.Module):
    def forward(self, x):
        return x / 10


thirds = Thirds()
number = 3


def low():
    return Thirds().bfloat16()


def fails():
    raise KeyError("nothing")


def stops():
    raise SystemExit(3)
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file of the user's own in the current folder; and modules are what they were, after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    Path("own.py").write_text(OWN)
    yield
    for name in {*sys.modules} - before:
        if "own" in name:
            del sys.modules[name]


def evaluate(*options: str, arch: str = "own.py:Thirds", data: str = "own.py:points") -> int:
    """In a ball that moves the boundaries by 0.08, less than from a third half way to the next."""
    given = ["--arch", arch, "--data", data, "--eps", "0.08"]
    attack = [] if "--attacks" in options else ["--attacks", "pgd-margin", "--max-iter", "5"]
    try:
        return main(["evaluate", *given, *attack, *options])
    except SystemExit as stop:  # the parser's
        return int(str(stop.code))


def record_of(*options: str, arch: str = "own.py:Thirds", data: str = "own.py:points") -> Record:
    assert evaluate(*options, arch=arch, data=data) == 0
    return read_record("record.json")


def expected(count: int = 40, eps: float = 0.08) -> float:
    """The robust accuracy of the right classifier: the share of points that are farther from the thirds."""
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))[:, 0]
    return float(((x - 1 / 3).abs() > eps).logical_and((x - 2 / 3).abs() > eps).float().mean())


def test_a_model_and_data_of_a_file() -> None:
    record = record_of("--arch-args", '{"form": "logits"}', "--data-args", '{"count": 30}')
    assert (record.architecture, record.dataset) == ('own.py:Thirds {"form": "logits"}', 'own.py:points {"count": 30}')
    assert (record.name, record.n_examples, record.weights) == ("Thirds", 30, None)
    assert record.clean == 1
    assert record.worst_case.accuracy == pytest.approx(expected(30))
    assert 0.1 < expected(30) < 0.9
    assert record.footnote.startswith("no file of weights; the network's SHA-256 is ")


def test_a_model_and_data_of_a_module() -> None:
    record = record_of(arch="own:thirds", data="own:dataset")
    assert (record.architecture, record.dataset) == ("own:thirds", "own:dataset")
    assert record.worst_case.accuracy == pytest.approx(expected())


def test_a_loader_that_shuffles_gives_the_same_samples_again() -> None:
    first = record_of("--nb-examples", "10", data="own.py:loader")
    again = record_of("--nb-examples", "10", data="own.py:loader")
    other = record_of("--nb-examples", "10", "--seed", "1", data="own.py:loader")
    assert first.n_examples == 10
    assert first.data == again.data != other.data


def test_bytes_become_numbers_between_0_and_1() -> None:
    assert record_of(data="own.py:pixels").worst_case.accuracy == pytest.approx(expected(), abs=0.05)


def test_weights_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {
        "linear.weight": torch.tensor([[0.0, 0.0], [40.0, 0.0], [80.0, 0.0]]),
        "linear.bias": -40 * torch.tensor([0.0, 1 / 2, 1.5]),
    }
    torch.save(state, "plain.pth")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, "wrapped.pth")
    torch.save({"net": state}, "net.pth")
    pytest.importorskip("safetensors.torch").save_file(state, "safe.safetensors")
    found = [record_of("--model", name) for name in ("plain.pth", "wrapped.pth", "net.pth", "safe.safetensors")]
    assert {record.clean_acc for record in found} == {found[0].clean_acc}
    assert found[0].clean < 1, "these are other boundaries"
    assert found[3].name == "safe"
    assert found[3].weights is not None
    assert found[3].weights.sha256 == hashlib.sha256(Path("safe.safetensors").read_bytes()).hexdigest()
    assert found[3].footnote == ""


def test_the_file_of_weights_is_named_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    for name, classes in (("thirds.pth", 3), ("half.pth", 1)):
        torch.save({"linear.weight": torch.ones(classes, 2), "linear.bias": torch.zeros(classes)}, name)
    for arch, weights, message in (
        (["own.py:Thirds", "--arch-args", '{"form": "nan"}'], "thirds.pth", "--model: the logits are not finite"),
        (["own.py:Half"], "half.pth", "--model has 2 classes, but the labels show 3"),
    ):
        assert evaluate("--arch", *arch, "--model", weights) == 2
        assert f"error: {message}" in capsys.readouterr().err


def test_a_network_of_torchvision() -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    torch.save(get_model("squeezenet1_1", num_classes=5).state_dict(), "five.pth")
    options = ("--model", "five.pth", "--data-args", '{"size": 3, "image_size": [3, 32, 32], "num_classes": 5}')
    record = record_of(*options, "--max-iter", "1", arch="torchvision:squeezenet1_1", data="torchvision:FakeData")
    assert (record.architecture, record.dataset) == ("torchvision:squeezenet1_1", "FakeData")
    assert record.n_examples == 3


def folder_of_images(sizes: tuple[int, ...] = (4, 4)) -> None:
    """Dark images, grey ones and light ones: the three classes."""
    for label, (name, grey) in enumerate((("dark", 20), ("grey", 127), ("light", 230))):
        folder = Path("photos", name)
        folder.mkdir(parents=True)
        for number, size in enumerate(sizes):
            pixels = np.full((size, size + label, 3), grey, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_folder_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    folder_of_images((4, 6, 5))
    assert evaluate(data="imagefolder:photos") == 2
    assert "resize and crop make images equal" in capsys.readouterr().err
    options = ("--preprocessing", "first.py:FirstTwo", "--data-args", '{"resize": 4, "crop": 4}')
    Path("first.py").write_text(
        "from torch import nn\nclass FirstTwo(nn.Module):\n    def forward(self, x):\n        return x[:, 0, 0, :2]\n"
    )
    record = record_of(*options, data="imagefolder:photos")
    assert (record.dataset, record.n_examples, record.clean) == ("photos", 9, 1)
    assert record.footnote.startswith("inputs preprocessed by first.py:FirstTwo; ")
    assert record_of(*options, "--nb-examples", "3", data="imagefolder:photos").clean == 1
    few = record_of(*options, "--nb-examples", "3", "--eps", "0.2", data="imagefolder:photos")
    assert few.worst_case.accuracy == pytest.approx(2 / 3), "one of each class; the grey one is near both others"


def test_a_normalisation_is_part_of_the_model() -> None:
    """The classifier of points ten times as large sees the raw ones behind a normalisation."""
    scaled = ("--arch-args", '{"scale": 0.1}')
    plain = record_of(*scaled, "--mean", "0", "--std", "0.1")
    assert plain.worst_case.accuracy == pytest.approx(expected())
    assert plain.footnote.startswith("inputs normalised by mean 0, std 0.1; ")
    assert record_of(*scaled, "--mean", "0", "0", "--std", "0.1", "5").worst_case == plain.worst_case
    other = record_of("--preprocessing", "own.py:Tenfold", "--arch-args", '{"scale": 10}')
    assert other.worst_case == plain.worst_case


def test_the_box_is_that_of_raw_inputs() -> None:
    wide = ("--data-args", '{"low": -10, "high": 10}', "--clip-values", "-10", "10", "--eps", "1.6")
    record = record_of(*wide, "--mean", "-10", "--std", "20")
    assert record.worst_case.accuracy == pytest.approx(expected())
    assert record.attacks[0].parameters["clip_values"] == [-10, 10]


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_other_norms(norm: str) -> None:
    """The boundaries are upright, so that their distances are the same in every norm."""
    record = record_of("--threat-model", norm, "--max-iter", "20", "--masking")
    assert record.threat_model == norm
    assert record.worst_case.accuracy == pytest.approx(expected(), abs=0.03)
    assert record.masking is not None


@pytest.mark.parametrize(
    ("form", "key", "note"),
    [
        ("probabilities", None, "the model returns probabilities: their logarithms are attacked as logits"),
        ("tuple", "1", None),
        ("tuple", "-1", None),
        ("dictionary", "logits", None),
    ],
)
def test_forms_of_outputs(form: str, key: str | None, note: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--arch-args", json.dumps({"form": form}), *(() if key is None else ("--output-key", key)))
    record = record_of(*options)
    assert record.worst_case.accuracy == pytest.approx(expected())
    printed = capsys.readouterr().err
    if note is not None:
        assert note in record.footnote
        assert f"warning: {note}" in printed.lower()
        assert not record.unreliable


@needs("pyautoattack")
@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_output_is_two_classes(sigmoid: bool) -> None:
    attacks = ["pgd-margin", *([] if sigmoid else ["autoattack-partial"])]
    options = ("--arch-args", json.dumps({"sigmoid": sigmoid}), "--nb-examples", "20", "--attacks", *attacks)
    record = record_of(*options, arch="own.py:Half", data="own.py:two")
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))[:, 0]
    assert record.clean == 1
    assert record.worst_case.accuracy == pytest.approx(((x - 0.5).abs() > 0.08).float().mean().item())
    assert ("the probability of class 1" if sigmoid else "one logit z") in record.footnote


def test_a_random_model_is_attacked_by_pgd_on_the_mean_of_passes(capsys: pytest.CaptureFixture[str]) -> None:
    record = record_of("--arch-args", '{"form": "noise"}', "--eot", "8")
    assert record.attacks[0].parameters["passes"] == 8
    assert record.attacks[0].parameters["eps"] == 0.08
    assert record.unreliable
    assert record.worst_case.accuracy == pytest.approx(expected(), abs=0.15)
    assert evaluate("--eot", "8", "--attacks", "autoattack-rand", arch="own.py:Four", data="own.py:images") == 2
    assert "--eot is for PGD, got autoattack-rand" in capsys.readouterr().err
    assert evaluate("--eot", "0") == 2


@needs("pyautoattack")
def test_a_random_model_is_judged_by_averaged_gradients_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--attacks", "autoattack", arch="own.py:Four", data="own.py:images") == 2
    assert "autoattack-rand averages gradients over passes (EOT)" in capsys.readouterr().err
    record = record_of("--nb-examples", "1", "--attacks", "autoattack-rand", arch="own.py:Four", data="own.py:images")
    assert record.attacks[0].parameters["version"] == "rand"
    assert record.unreliable
    assert "the network is random" in record.footnote


def test_a_network_in_bfloat16() -> None:
    record = record_of("--margins", arch="own.py:low")
    assert record.worst_case.accuracy == pytest.approx(expected(), abs=0.06)
    assert record.margin_curves[0].accuracy[0] == record.clean


def test_what_the_code_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loud.py").write_text(
        "print('imported')\nfrom own import Thirds\ndef make():\n    print('made')\n    return Thirds()"
    )
    assert evaluate("--json", arch="loud.py:make") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["record"]["architecture"] == "loud.py:make"
    assert "imported\nmade\n" in printed.err


def test_finished_work_is_that_of_the_same_code_alone(tmp_path: Path) -> None:
    """A constant beside the class is no parameter, and no text of the network shows it."""

    def files_after(code: str) -> set[str]:
        for name in [name for name in sys.modules if name.startswith("own_")]:
            del sys.modules[name]
        Path("own.py").write_text(code)
        assert evaluate("--resume", "work", "--nb-examples", "10") == 0
        return {path.name for path in (tmp_path / "work").iterdir()}

    code = OWN.replace("return {", "return SIGN * {").replace("}[self.form]", "}[self.form]\n\n\nSIGN = 1\n")
    first = files_after(code)
    assert len(first) == 1
    assert files_after(code) == first
    second = files_after(code.replace("SIGN = 1", "SIGN = 2"))
    assert len(second - first) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "convnet9"], "--arch must be one of convnet2a, "),
        (["--arch", "none.py:make"], "--arch: there is no file none.py"),
        (["--arch", "none.deep:make"], "--arch: there is no module none"),
        (["--arch", "own.py:Third"], "--arch: own.py has no 'Third': did you mean Thirds?"),
        (["--arch", "own.py:number"], "--arch: own.py:number must be callable, got int"),
        (["--arch", "own.py:points"], "--arch: own.py:points must return an nn.Module, got tuple"),
        (["--arch", "own.py:fails"], "--arch: own.py:fails failed: KeyError: 'nothing' (own.py, line "),
        (["--arch", "own.py:stops"], "--arch: own.py:stops failed: SystemExit: 3 (own.py, line "),
        (["--arch", "own.py:thirds", "--arch-args", '{"form": 1}'], "--arch-args must not be given"),
        (["--arch-args", '{"width": 8}'], "--arch: own.py:Thirds failed: TypeError: "),
        (["--arch-args", "{'form': 1}"], "--arch-args must be a JSON object: "),
        (["--arch-args", "[1]"], "--arch-args must be a JSON object such as"),
        (["--arch-args", '{"scale": NaN}'], "NaN is no number of JSON"),
        (["--arch-args", '{"scale": 1, "scale": 2}'], "'scale' is there twice"),
        (["--arch-args", '{"form": "fails"}'], "--arch: the network, given samples of the shape (2,), failed: Runtime"),
        (["--arch-args", '{"form": "nan"}'], "--arch: the logits are not finite for "),
        (["--arch-args", '{"form": "rounded"}'], "no gradient"),
        (["--arch-args", '{"form": "tuple"}'], "--output-key must say which one: the model returns a tuple of 2"),
        (["--output-key", "logits"], "--output-key: there is no 'logits' in what the model returns"),
        (["--arch", "convnet2a"], "--model must name the file of weights of --arch convnet2a"),
        (["--arch", "torchvision:resnet18"], "--model must name the file of weights"),
        (["--arch", "torchvision:resnet19", "--model", "own.py"], "no network 'resnet19': did you mean resnet1"),
        (
            ["--arch", "torchvision:resnet18", "--arch-args", '{"weights": 1}', "--model", "own.py"],
            "nothing is fetched",
        ),
        (["--arch", "robustbench:Carmon2019Unlabeled"], "--model-root must name the folder"),
        (["--arch", "robustbench:Any", "--model", "own.py"], "--model is not for robustbench"),
        (["--model", "own.py"], "--model: own.py is not a file of PyTorch weights"),
        (["--data", "own.py:fails"], "--data: own.py:fails failed: KeyError"),
        (["--data", "own.py:Tenfold"], "data must be a pair (x, y), a data set or a DataLoader, got Tenfold"),
        (["--data", "imagefolder:none"], "none is no folder"),
        (["--data", "torchvision:MNST"], "torchvision has no data set 'MNST': did you mean MNIST?"),
        (["--data", "torchvision:CIFAR100"], "--data-root must name the folder"),
        (["--data", "torchvision:CIFAR100", "--data-root", "."], "CIFAR100 is not in ., --download"),
        (["--data", "mnist", "--data-root", "."], "--data-root: mnist is not in .; --download"),
        (
            ["--data", "digits", "--data-args", "{}", "--clip-values", "0", "2"],
            "--clip-values are for data of your own",
        ),
        (["--data", "digits", "--data-args", '{"a": 1}'], "--data-args are for data of your own"),
        (["--data-args", '{"low": -1}'], "x must lie within clip_values (0.0, 1.0), got values in [-"),
        (["--clip-values", "1", "0"], "--clip-values must be LO < HI, got 1 0"),
        (["--mean", "0"], "--mean and --std must be given together"),
        (["--mean", "0", "--std", "0"], "--std must be positive"),
        (["--mean", "0", "0", "0", "--std", "1"], "one for each of 2 channels"),
        (["--mean", "0", "--std", "1", "--preprocessing", "own:Tenfold"], "--preprocessing must do what --mean"),
        (["--preprocessing", "Tenfold"], "--preprocessing must be a Python path"),
        (["--attacks", "autoattack"], "autoattack needs four classes, and the model has 3: autoattack-partial"),
        (["--attacks", "autoattack", "--arch", "own.py:Four"], "autoattack is for images"),
        (["--attacks", "pgd-dlr", "--arch", "own.py:Half", "--data", "own.py:two"], "pgd-dlr needs three classes"),
        (["--arch", "own.py:Half"], "--arch has 2 classes, but the labels show 3"),
        (["--threat-model", "L1", "--margins"], "--margins must have a --threat-model Linf or L2, got L1"),
        (["--clip-values", "0", "2", "--attacks", "autoattack-partial"], "--clip-values must be (0, 1) for AutoAttack"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert evaluate(*options) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("art-levelset evaluate: error")]
    assert message in line
    assert "Traceback" not in printed.err
    assert not Path("record.json").exists()
