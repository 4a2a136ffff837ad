"""Any network and any data: what `art-levelset train` makes of them, and what it refuses."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from art_levelset.cli.main import main
from art_levelset.evaluation.record import Record, read_record

OWN = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SIGN = 1.0


def points(count=600, seed=0, high=1.0):
    """Points of three classes: by their first coordinate, at thirds."""
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return high * x, (3 * x[:, 0]).long().clamp(max=2)


def dataset():
    return TensorDataset(*points())


def loader():
    return DataLoader(dataset(), batch_size=30, shuffle=True)


def images(last=2):
    """Images of three classes, in bytes."""
    y = torch.arange(60) % 3
    x = (40 + 80 * y.reshape(-1, 1, 1, 1)).expand(60, 3, 32, 32).to(torch.uint8)
    return x, torch.where(y == 2, last, y)


def five():
    data = dataset()
    data.classes = ["a", "b", "c", "d", "e"]
    return data


def short():
    x, y = points()
    return x, y[1:]


def alone():
    x, y = points()
    return x, 0 * y


class Small(nn.Module):
    def __init__(self, width=32, classes=3, form="logits"):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, classes))
        self.form = form

    def forward(self, x):
        logits = SIGN * self.layers(x)
        return {
            "logits": logits,
            "tuple": (logits, x),
            "probabilities": logits.softmax(dim=1),
            "one": logits[:, 0],
            "whole": logits.detach().round(),
            "constant": self.layers(torch.zeros_like(x)),
        }[self.form]


class Stateful(Small):
    def get_extra_state(self):
        return "text"


kept = Small()
number = 3


def frozen():
    return Small().requires_grad_(False)


def double():
    return Small().double()


def lazy():
    return nn.LazyLinear(3)


def fails():
    raise KeyError("nothing")
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file of the user's own in the current folder; and modules are what they were, after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written(OWN)
    yield
    forget()


def written(code: str) -> None:
    """The user's file with other code, as a new process finds it."""
    forget()
    Path("own.py").write_text(code)


def forget() -> None:
    for name in [name for name in sys.modules if name == "own" or name.startswith("own_")]:
        del sys.modules[name]


def train(*options: str, arch: str = "own.py:Small", data: str = "own.py:points") -> int:
    given = ["--arch", arch, "--data", data, "--eps", "0.05", "--batch-size", "60", "--nb-epochs", "1", *options]
    try:
        return main(["train", *given])
    except SystemExit as stop:  # the parser's
        return int(str(stop.code))


def command_of(printed: str) -> tuple[str, list[str]]:
    """The line before the command that evaluates, and the command's words."""
    *_, remark, command = printed.splitlines()
    program, *words = shlex.split(command)
    assert program == "art-levelset"
    return remark, words


def attacked(words: list[str], *options: str) -> Record:
    """What the command finds, without the search for masked gradients."""
    assert words[-1] == "--masking"
    assert main([*words[:-1], "--max-iter", "5", *options]) == 0
    return read_record("weights.json")


def weights(path: str = "weights.pth") -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(path, weights_only=True)
    return found


@pytest.mark.parametrize("trainer", ["levelset", "madry", "trades", "geometric-svm"])
def test_the_command_that_is_printed_attacks_a_network_of_a_file(
    trainer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--arch-args", '{"width": 24}', "--nb-epochs", "12", "--lr", "0.02", "--trainer", trainer)
    assert train(*options, "--nb-validation", "100") == 0
    remark, words = command_of(capsys.readouterr().out)
    assert remark.endswith("to see what the network withstands, with test data for DATA:")
    assert words[words.index("--data") + 1] == "DATA", "the data were for training"
    assert "--data-args" not in words
    test = [word.replace("DATA", "own.py:points") for word in words]
    record = attacked(test, "--data-args", '{"seed": 1, "count": 200}')
    assert (record.architecture, record.n_examples) == ('own.py:Small {"width": 24}', 200)
    assert record.clean > 0.7, "chance is a third"
    assert record.weights is not None


def test_images_held_out_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fit(self: object, x: Any, y: Any, validation_data: Any, **options: Any) -> None:
        seen.update(x=x, held_out=validation_data[0])
        raise KeyboardInterrupt

    monkeypatch.setattr("art_levelset.trainers.LevelSetMarginTrainer.fit", fit)
    assert train("--nb-validation", "150", data="own.py:dataset") == 130
    rows = [tuple(row) for part in ("x", "held_out") for row in seen[part].tolist()]
    assert (len(seen["x"]), len(seen["held_out"]), len({*rows})) == (450, 150, 600)


def test_modules_data_sets_and_loaders(capsys: pytest.CaptureFixture[str]) -> None:
    """They hold the same samples, in another order in the loader; and a network that is there on import is seeded."""
    printed = []
    for data in ("own.py:points", "own.py:dataset"):
        forget()
        assert train(data=data, arch="own.py:kept") == 0
        printed.append(weights())
    assert all(torch.equal(printed[0][name], value) for name, value in printed[1].items())
    assert train(data="own:loader", arch="own:kept") == 0
    assert weights().keys() == printed[0].keys()
    assert "--arch own:kept" in capsys.readouterr().out


def test_a_network_of_torchvision_has_the_classes_of_the_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--augment", "crop", data="own.py:images", arch="torchvision:squeezenet1_1") == 0
    _, words = command_of(capsys.readouterr().out)
    assert words[words.index("--arch") + 1] == "torchvision:squeezenet1_1"
    test = [word.replace("DATA", "own.py:images") for word in words]
    assert attacked(test, "--nb-examples", "3", "--max-iter", "1").n_examples == 3
    assert weights()["classifier.1.bias"].shape == (3,)


def test_data_of_torchvision_are_named_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import FakeData

    class Parts(FakeData):
        """30 images to train on, and 10 to test on."""

        def __init__(self, root: str, train: bool = True, transform: Any = None, num_classes: int = 3) -> None:
            super().__init__(30 if train else 10, (3, 8, 8), num_classes, transform, random_offset=int(train))

    monkeypatch.setattr("torchvision.datasets.SVHN", Parts)
    options = ("--data-root", ".", "--json", "run.json", "--data-args")
    assert train(*options, '{"num_classes": 4, "resize": 6}', data="torchvision:SVHN", arch="convnet2a") == 0
    settings = json.loads(Path("run.json").read_text())["settings"]
    assert (settings["data_args"], settings["arch_args"]) == ({"num_classes": 4, "resize": 6}, {})
    remark, words = command_of(capsys.readouterr().out)
    assert remark.endswith("withstands:")
    assert attacked(words).n_examples == 10, "those to test on"
    assert weights()[[*weights()][-1]].shape == (4,)
    assert train(*options, '{"train": false}', data="torchvision:SVHN", arch="convnet2a") == 0
    assert "with test data for DATA:" in capsys.readouterr().out


def test_a_folder_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for name, grey in (("dark", 20), ("light", 230)):
            folder = Path(part, name)
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.full((9, 8, 3), grey + number, np.uint8)).save(folder / f"{number}.png")
    options = ("--trainer", "geometric-svm", "--nb-epochs", "4", "--data-args", '{"resize": 8, "crop": 8}')
    given = ["train", *options, "--arch", "convnet2a", "--data", "imagefolder:train", "--nb-validation", "2"]
    assert main(given) == 0
    remark, words = command_of(capsys.readouterr().out)
    assert remark.endswith("with a radius for EPS and a folder of test images for DIR:")
    record = attacked([word.replace("DIR", "test").replace("EPS", "0.01") for word in words])
    assert (record.dataset, record.n_examples) == ("test", 4)


def test_training_goes_on_from_checkpoints_of_the_same_network(capsys: pytest.CaptureFixture[str]) -> None:
    def again(epochs: int, *options: str, code: str = OWN, arch: str = "own.py:Small") -> tuple[int, str]:
        written(code)
        status = train("--checkpoint-dir", "run", "--nb-epochs", str(epochs), *options, arch=arch)
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    assert again(3, "-o", "whole.pth")[0] == 0
    max(Path("run").glob("epoch-*.pt")).unlink()  # as if it had been killed in the third epoch
    status, printed = again(3)
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()[1:4]] == ["1", "2", "3"]
    assert all(torch.equal(value, weights("whole.pth")[name]) for name, value in weights().items())
    others = [
        again(4, code=OWN.replace("SIGN = 1.0", "SIGN = 2.0")),
        again(4, code=OWN.replace("nn.ReLU()", "nn.LeakyReLU()")),
    ]
    for status, error in others:
        assert status == 2
        assert "--checkpoint-dir: run has no state of this run (ValueError: the network was another one: " in error
        assert "the code of own.py:Small, or a setting in it, has changed" in error
    status, error = again(4, "--arch-args", '{"width": 8}')
    assert status == 2
    assert "its model is not the one that was trained" in error
    assert again(4)[0] == 0, "nothing was lost"


def test_what_the_code_prints_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loud.py").write_text(
        "print('imported')\nfrom own import Small, points\ndef make():\n    print('made')\n    return Small()"
    )
    assert train("--json", arch="loud.py:make", data="loud.py:points") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["settings"]["architecture"] == "loud.py:make"
    assert "imported\nmade\n" in printed.err


def test_what_does_not_fit_into_memory_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("art_levelset.memory.available", lambda: 4000.0)
    options = ("--data-args", '{"size": 100, "image_size": [3, 8, 8]}')
    assert train(*options, data="torchvision:FakeData") == 2
    assert "train: error: --data: the number of samples: 100 needs about " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arch", "convnet9"], "--arch must be one of convnet2a, "),
        (["--arch", "robustbench:Any"], "--arch must be one of convnet2a, "),
        (["--arch", "none.py:make"], "--arch: there is no file none.py"),
        (["--arch", "own.py:Smal"], "--arch: own.py has no 'Smal': did you mean Small?"),
        (["--arch", "own.py:number"], "--arch: own.py:number must be callable, got int"),
        (["--arch", "own.py:points"], "--arch: own.py:points must return an nn.Module, got tuple"),
        (["--arch", "own.py:fails"], "--arch: own.py:fails failed: KeyError: 'nothing' (own.py, line "),
        (["--arch", "own.py:frozen"], "--arch: own.py:frozen must have parameters to train, got 4 that are all frozen"),
        (["--arch", "own.py:double"], "--arch: own.py:double must compute in torch.float32, got torch.float64"),
        (["--arch", "own.py:lazy"], "--arch: own.py:lazy must know the sizes of its layers"),
        (["--arch", "own.py:Stateful"], "--arch: the state of own.py:Stateful must be tensors"),
        (["--arch", "convnet2a"], "--arch convnet2a takes images (channels, height, width)"),
        (["--arch", "torchvision:resnet19"], "torchvision has no network 'resnet19': did you mean resnet1"),
        (["--arch-args", '{"depth": 8}'], "--arch: own.py:Small failed: TypeError: "),
        (["--arch-args", "{'width': 1}"], "--arch-args must be a JSON object: "),
        (
            ["--arch-args", "{}", "--arch", "own.py:kept", "--data", "own.py:fails"],
            "--data: own.py:fails failed: KeyErr",
        ),
        (["--arch-args", '{"width": 8}', "--arch", "convnet2a", "--data", "digits"], "--arch-args are not for convnet"),
        (
            ["--arch", "torchvision:resnet18", "--arch-args", '{"weights": "DEFAULT"}', "--data", "own.py:images"],
            "--arch-args must name no weights: nothing is fetched",
        ),
        (
            ["--arch", "torchvision:resnet18", "--arch-args", '{"num_classes": 7}', "--data", "own.py:images"],
            'torchvision:resnet18 {"num_classes": 7} must return 3 logits, one for each class of --data, got 7',
        ),
        (
            ["--arch-args", '{"classes": 2}'],
            '--arch: own.py:Small {"classes": 2} must return 3 logits, one for each class of --data, got 2',
        ),
        (["--arch-args", '{"classes": 4}'], "got 4; where labels of the last classes are missing, a Dataset says how"),
        (["--data", "own.py:five"], "--arch: own.py:Small must return 5 logits, one for each class of --data, got 3"),
        (["--arch-args", '{"form": "tuple"}'], "must return one tensor of logits, (batch, classes), got tuple"),
        (["--arch-args", '{"form": "probabilities"}'], "must return logits, got probabilities"),
        (["--arch-args", '{"form": "one"}'], "must return (8, classes >= 2) for 8 samples, got (8,)"),
        (["--arch-args", '{"form": "whole"}'], "must have gradients, of samples and of parameters"),
        (["--arch-args", '{"form": "constant"}'], "must have gradients, of samples and of parameters"),
        (
            ["--data", "own.py:images"],
            "--arch: own.py:Small, given samples of the shape (3, 32, 32), failed: RuntimeError: ",
        ),
        (["--data", "own.py:number"], "--data: own.py:number must be callable, got int"),
        (["--data", "own.py:Small"], "data must be a pair (x, y), a data set or a DataLoader, got Small"),
        (["--data", "own.py:short"], "--data: own.py:short failed: ValueError: y must have the shape (600,)"),
        (["--data", "own.py:alone"], "--data: the labels of own.py:alone must be of two classes at least"),
        (
            ["--data-args", '{"high": 2}'],
            '--data: the samples of own.py:points {"high": 2} must lie in [0, 1], got valu',
        ),
        (["--data-args", '{"high": -1}'], "must lie in [0, 1], got values in [-"),
        (["--data-args", '{"heigh": 2}'], "--data: own.py:points failed: TypeError: "),
        (
            ["--data", "own.py:images", "--data-args", '{"last": 1000000000000}', "--arch", "convnet2a"],
            "must be below the number of samples, 60, got 1000000000000",
        ),
        (
            ["--data", "own.py:images", "--data-args", '{"last": -1}', "--arch", "convnet2a"],
            "y must not be negative, got -1",
        ),
        (["--data", "torchvision:MNST"], "torchvision has no data set 'MNST': did you mean MNIST?"),
        (["--data", "torchvision:CIFAR100"], "--data-root must name the folder"),
        (["--data", "imagefolder:none"], "none is no folder"),
        (["--data", "digits", "--data-args", '{"a": 1}'], "--data-args are for data of your own"),
        (["--augment", "crop"], "--augment must be none for samples that are no images"),
        (["--nb-validation", "600"], "--nb-validation must be in [1, 599], got 600"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert train(*options) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("art-levelset train: error")]
    assert message in line
    assert "Traceback" not in printed.err
    assert not Path("weights.pth").exists()
