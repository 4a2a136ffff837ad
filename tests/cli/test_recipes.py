"""The recipe for a residual network on CIFAR10, ten steps of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from art_levelset.cli.main import main
from art_levelset.models import CLASSIFIERS


def test_ten_steps_of_resnet18(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    y = np.arange(28) % 10
    x = generator.integers(0, 256, size=(28, 32, 32, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    run, output = tmp_path / "run", tmp_path / "cifar10.pth"
    files = ["--data", str(tmp_path / "images.npz"), "--checkpoint-dir", str(run), "-o", str(output)]
    small = ["--batch-size", "4", "--nb-epochs", "2", "--nb-validation", "8"]
    assert main(["train", "--preset", "cifar10-resnet18", "--bf16", *files, *small]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.split()[:1] in (["1"], ["2"])] == ["1", "2"]
    settings = yaml.safe_load(output.with_suffix(".yaml").read_text())
    assert (settings["optimizer"], settings["lr"], settings["weight-decay"]) == ("sgd", 0.1, 5e-4)
    assert (settings["ema"], settings["arch"], settings["bf16"]) == (0.999, "resnet18", True)
    network = CLASSIFIERS["resnet18"](nb_classes=10, input_shape=(3, 32, 32))
    network.load_state_dict(torch.load(output, weights_only=True))
    logits = network.eval()(torch.as_tensor(x[:8] / np.float32(255)).movedim(3, 1))
    assert logits.shape == (8, 10)
    assert torch.isfinite(logits).all()
    capsys.readouterr()
    assert main(["train", "--preset", "cifar10-resnet18", "--bf16", *files, *small]) == 0, "nothing is left to do"
    assert not (set(torch.load(output, weights_only=True)) ^ set(network.state_dict()))
