"""Pickles that run code when they are loaded, in every place that takes a file: they must never run."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.attacks.memo import Memo
from art_levelset.cli.main import main
from art_levelset.recon.io.meshes import read_mesh
from art_levelset.recon.io.reading import read_cloud

from .damage import outcome
from .readers import readers

READERS = {each.name: each for each in readers()}


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def plain(thing: Any) -> bytes:
    return pickle.dumps(thing)


def with_protocol_2(thing: Any) -> bytes:
    return pickle.dumps(thing, protocol=2)


def of_torch(thing: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": thing, "format": thing}, buffer)
    return buffer.getvalue()


def of_torch_before(thing: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": thing}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def array(thing: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([thing], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def arrays(thing: Any) -> bytes:
    buffer = io.BytesIO()
    names = ("x_train", "y_train", "x_test", "y_test", "points")
    np.savez(buffer, **{name: np.array([thing], dtype=object) for name in names})
    return buffer.getvalue()


def archive(thing: Any) -> bytes:
    """The names of PyTorch's archives, a pickle in a member, and one as an array."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("archive/data.pkl", "archive/version", "points.npy", "x_test.npy"):
            file.writestr(name, pickle.dumps(thing, protocol=2))
    return buffer.getvalue()


FORMS = [plain, with_protocol_2, of_torch, of_torch_before, array, arrays, archive]

LOADERS: list[Callable[[bytes], Any]] = [
    pickle.loads,
    pickle.loads,
    lambda content: torch.load(io.BytesIO(content), weights_only=False),
    lambda content: torch.load(io.BytesIO(content), weights_only=False),
    lambda content: np.load(io.BytesIO(content), allow_pickle=True),
    lambda content: np.load(io.BytesIO(content), allow_pickle=True)["points"],
    lambda content: pickle.loads(zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl")),
]


@pytest.mark.parametrize(("form", "loader"), list(zip(FORMS, LOADERS, strict=True)), ids=[f.__name__ for f in FORMS])
def test_each_would_run_in_an_unsafe_reader(form: Any, loader: Any, tmp_path: Path) -> None:
    loader(form(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("name", READERS)
def test_no_reader_runs_it(name: str, tmp_path: Path) -> None:
    for form in FORMS:
        path = tmp_path / f"{form.__name__}{READERS[name].suffix}"
        path.write_bytes(form(Payload(tmp_path / "ran")))
        is_read, message = outcome(lambda path=path: READERS[name].read(path), str(path.with_suffix("")))  # type: ignore[misc]
        assert not (tmp_path / "ran").exists(), form
        assert not is_read, message


SCANS = (".asc", ".csv", ".las", ".laz", ".npy", ".npz", ".obj", ".off", ".pcd", ".ply", ".pts", ".stl", ".txt", ".xyz")
MESHES = (".ply", ".obj", ".stl", ".off", ".glb", ".gltf", ".3mf", ".zip", ".json", ".dae", ".pkl", ".pt")


@pytest.mark.parametrize("form", FORMS)
def test_no_reader_of_scans_or_meshes_runs_it(form: Callable[[Any], bytes], tmp_path: Path) -> None:
    content = form(Payload(tmp_path / "ran"))
    for suffix in {*SCANS, *MESHES}:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        for read in (read_cloud, lambda path: read_mesh(path, "reference")):
            is_read, message = outcome(lambda read=read, path=path: read(path), str(path))  # type: ignore[misc]
            assert not (tmp_path / "ran").exists(), suffix
            assert not is_read, suffix
            assert message


@pytest.mark.parametrize("form", FORMS)
def test_nor_does_the_command_line(
    form: Callable[[Any], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {}
    for suffix in (".pt", ".npz", ".npy", ".json", ".ply"):
        files[suffix] = tmp_path / f"file{suffix}"
        files[suffix].write_bytes(form(Payload(tmp_path / "ran")))
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_bytes(files[".json"].read_bytes())
    data, out = tmp_path / "right.npz", str(tmp_path / "out")
    np.savez(data, x_test=np.zeros((2, 8, 8), np.uint8), y_test=np.arange(2))
    evaluate = ["evaluate", "--arch", "convnet2a", "--eps", "0.1", "-o", out]
    commands = [
        [*evaluate, "--model", str(files[".pt"]), "--data", str(data)],
        [*evaluate, "--model", str(files[".pt"]), "--data", str(files[".npz"])],
        ["train", "--data", str(files[".npz"]), "--arch", "convnet2a", "--eps", "0.1", "-o", out],
        ["leaderboard", str(tmp_path / "records")],
        ["exact", str(files[".pt"]), "-o", f"{out}.ply"],
        ["exact", str(files[".ply"]), "-o", f"{out}.pt"],
        *(["recon", str(files[suffix])] for suffix in (".npz", ".npy", ".ply")),
    ]
    for command in commands:
        assert main(command) == 2, command
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", FORMS)
def test_nor_do_the_folders_of_data_sets(form: Callable[[Any], bytes], tmp_path: Path, monkeypatch: Any) -> None:
    from torchvision.datasets import CIFAR10, MNIST

    from art_levelset.evaluation.datasets import load

    def offline(self: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(MNIST, "download", offline)
    monkeypatch.setattr(CIFAR10, "download", offline)
    content = form(Payload(tmp_path / "ran"))
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]
    raw = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    places = [f"cifar-10-batches-py/{name}" for name in names]
    places += ["MNIST/processed/training.pt", "MNIST/processed/test.pt", *(f"FashionMNIST/raw/{name}" for name in raw)]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(content)
    for name in ("mnist", "fashion_mnist", "cifar10"):
        is_read, _ = outcome(lambda name=name: load(name, data_root=tmp_path), name)  # type: ignore[misc]
        assert not is_read, name
        assert not (tmp_path / "ran").exists(), name


def test_nor_does_the_memory_of_an_evaluation(tmp_path: Path) -> None:
    memo_key = "a" * 64
    for form in FORMS:
        content = form(Payload(tmp_path / "ran"))
        (tmp_path / f"{memo_key}.npz").write_bytes(content + hashlib.sha256(content).digest())
        assert Memo(tmp_path).recall(memo_key) is None
        assert not (tmp_path / "ran").exists()


def test_nor_does_an_attack_that_goes_on(tmp_path: Path) -> None:
    """With a memory in which each file is a payload."""

    class Hostile(Memo):
        def recall(self, key: str | None, **wanted: Any) -> Any:
            content = arrays(Payload(tmp_path / "ran"))
            (tmp_path / f"{key}.npz").write_bytes(content + hashlib.sha256(content).digest())
            return super().recall(key, **wanted)

    pytest.importorskip("pyautoattack")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
    x = torch.rand(2, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = AutoAttack(0.1, version="partial", memo=Hostile(tmp_path))
        assert attack(model, x, model(x).argmax(dim=1)).shape == x.shape
    assert list(tmp_path.glob("*.npz")), "the memory was asked"
    assert not (tmp_path / "ran").exists()
