"""
kill -9 at random moments: nothing under a final name is ever damaged, the last run ends at the same bits, no litter.

Half of the moments are taken from the clock, half from what is done to files. A few of them each by default, twenty
with --all-faults.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import signal
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from art_levelset.cli.settings import read_settings
from art_levelset.evaluation.record import read_record
from art_levelset.models import convnet_2a

from ..nursing import Nursery

KILLED = -signal.SIGKILL
FILE_EVENTS = 40
"""So many things are done to files, about, in a run."""


@dataclass(frozen=True)
class Work:
    """A command line that goes on where it was killed, and what its files must be in the end."""

    argv: list[str]
    result: Callable[[Path], Any]
    files: set[str]
    before: str = ""


def whole(path: Path) -> bool:
    """Whether a file is what its writer wanted it to be."""
    content = path.read_bytes()
    if path.name.startswith("epoch-"):
        return hashlib.sha256(content).hexdigest()[:16] == path.stem.rpartition("-")[2]
    if path.name.endswith(".outcomes.npz"):
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    if path.suffix == ".npz":
        return hashlib.sha256(content[:-32]).digest() == content[-32:]
    if path.suffix == ".pt":
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    if path.suffix == ".pth":
        return bool(torch.load(path, weights_only=True))
    if path.suffix == ".png":
        return content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")
    if path.suffix == ".json":
        return bool(read_record(path).attacks)
    if path.suffix == ".ply":
        return len(trimesh.load(path, force="mesh").faces) > 100
    if path.suffix == ".yaml":  # with the last of its options
        return content.endswith(b"\n") and read_settings(path).get("output") == "weights.pth"
    return path.suffix == ".csv" and content.endswith(b"\n")


def final(folder: Path) -> list[Path]:
    """The files under final names: not those that are hidden, or in a hidden folder."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def trained(folder: Path) -> Any:
    """All weights, and the epochs but for their seconds."""
    weights = torch.load(folder / "weights.pth", weights_only=True)
    rows = list(csv.DictReader((folder / "epochs.csv").read_text().splitlines()))
    return {name: value.numpy().tobytes() for name, value in weights.items()}, [
        {name: value for name, value in row.items() if name != "seconds"} for row in rows
    ]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in ("seconds", "created")}
    return [without_times(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(params=["train", "evaluate", "recon"])
def work(request: pytest.FixtureRequest, few_digits: Path, weights: Path, sphere: Path, tmp_path: Path) -> Work:
    if request.param == "train":
        options = ["--arch", "convnet2a", "--eps", "0.1", "--batch-size", "32", "--nb-epochs", "3"]
        files = ["--checkpoint-dir", "kept", "--csv", "epochs.csv"]
        names = {"weights.pth", "weights.png", "weights.yaml", "epochs.csv", "kept"}
        return Work(["train", "--data", str(few_digits), *options, *files], trained, names)
    if request.param == "evaluate":
        data = tmp_path / "agreed.npz"
        model = convnet_2a(10, (1, 8, 8))
        model.load_state_dict(torch.load(weights, weights_only=True))
        images = np.random.default_rng(0).random((12, 8, 8)).astype(np.float32)
        with torch.no_grad():
            labels = model(torch.from_numpy(images)[:, None]).argmax(dim=1).numpy()
        np.savez(data, x_test=images, y_test=labels)
        options = ["--eps", "0.02", "--max-iter", "3", "--batch-size", "4", "--repeats", "3", "--masking"]
        argv = ["evaluate", "--model", str(weights), "--arch", "convnet2a", "--data", str(data), *options]
        return Work(
            [*argv, "--resume", "work"],
            lambda folder: without_times(json.loads((folder / "record.json").read_text())),
            {"record.json", "record.outcomes.npz", "work"},
        )
    options = ["--steps", "12", "--resolution", "16", "--quiet", "--checkpoint", "fit.pt"]
    return Work(
        ["recon", str(sphere), "-o", "mesh.ply", *options],
        lambda folder: (folder / "mesh.ply").read_bytes(),
        {"mesh.ply"},
        "import art_levelset.recon.fitting.checkpoint as module; module.INTERVAL = 0.02",
    )


def test_killed_at_random_moments(work: Work, nursery: Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    draws = random.Random(0)
    kills = 20 if request.config.getoption("--all-faults") else 2
    (tmp_path / "whole").mkdir()
    assert nursery.run(work.argv, tmp_path / "whole", before=work.before).status == 0
    expected = work.result(tmp_path / "whole")
    folder, seconds, done = tmp_path / "parts0", 0.5, 0
    folder.mkdir()
    for attempt in range(10 * kills):
        if done == kills:
            break
        started = time.perf_counter()
        if attempt % 2 == 0:
            calls = draws.randint(1, FILE_EVENTS)
            end = nursery.run(work.argv, folder, before=f"{work.before}\nkill_in({calls})")
        else:
            run = nursery.start(work.argv, folder, before=work.before)
            time.sleep(draws.random() * seconds)
            run.kill(signal.SIGKILL)
            end = run.end()
        assert end.status in (KILLED, 0), end.err
        assert [path for path in final(folder) if not whole(path)] == []
        done += end.status == KILLED
        if end.status == 0:  # before the kill: once more from the beginning
            seconds = time.perf_counter() - started
            assert work.result(folder) == expected
            folder = tmp_path / f"parts{attempt + 1}"
            folder.mkdir()
    assert done == kills
    end = nursery.run(work.argv, folder, before=work.before)
    assert end.status == 0, end.err
    assert work.result(folder) == expected
    assert {path.name for path in folder.iterdir()} == work.files
    assert list(folder.rglob(".*")) == []
