"""Every reader of files, with files that it reads and the way to say what is in them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from art_levelset.attacks.memo import Memo
from art_levelset.core.universality import exact_network
from art_levelset.evaluation.datasets import load
from art_levelset.evaluation.leaderboard import markdown, text
from art_levelset.evaluation.page import html
from art_levelset.evaluation.record import read_record, write_record
from art_levelset.experiments.rows import Rows
from art_levelset.identity import digest
from art_levelset.models import load_classifier, load_weights
from art_levelset.recon import Reconstruction
from art_levelset.recon.cloud.clouds import Frame
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.curves import CurveNetwork, CurveReconstruction, Polyline, load_curve
from art_levelset.recon.exact import load_exact, save_exact
from art_levelset.recon.fitting.checkpoint import Checkpoint
from art_levelset.recon.network import GridNetwork
from art_levelset.trainers.checkpoints import Checkpoints

from ..evaluation.invented import attack, curve, masking, record
from .resuming import make_fit, make_training, resume_fit, resume_training
from .scans import command, meshes, read_scan, read_triangles, scans


@dataclass(frozen=True, eq=False)
class Reader:
    """
    A reader of files.

    :param name: Its name in the table of `docs/hostile_input.md`.
    :param suffix: That of its files.
    :param make: Writes a right file to a path.
    :param read: Reads a file; what it returns is compared by :func:`summary`.
    :param whole: Whether a file says when it is damaged: whatever is read of it is what was written then.
    :param contents: Tells what the file holds, to be changed; None where that is of no use.
    :param write: Writes changed contents to a path.
    :param share: It gets this part of the cases of others, for it is slow.
    """

    name: str
    suffix: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    whole: bool = False
    contents: Callable[[], Any] | None = None
    write: Callable[[Any, Path], None] | None = None
    share: int = 1


def summary(found: Any) -> str:
    """A text that is the same for the same answers."""
    if isinstance(found, torch.Tensor):
        return digest(found)
    if isinstance(found, np.ndarray):
        return digest(found)
    if isinstance(found, nn.Module):
        return summary(found.state_dict())
    if isinstance(found, dict):
        return "{" + ",".join(f"{key!r}:{summary(value)}" for key, value in found.items()) + "}"
    if isinstance(found, (list, tuple)):
        return "[" + ",".join(map(summary, found)) + "]"
    return repr(found)


# Data sets, records and rows


def _arrays() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (12, 6, 5), dtype=np.uint8),
        "y_train": np.arange(12) % 4,
        "x_test": random.random((8, 6, 5, 3), dtype=np.float32),
        "y_test": np.arange(8) % 4,
    }


def _make_data(path: Path) -> None:
    np.savez_compressed(path, **_arrays())


def _write_arrays(arrays: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{str(name): np.asarray(value) for name, value in arrays.items()})


def _read_data(path: Path, *, train: bool) -> Any:
    found = load(path, train=train)
    assert found.x.dtype == np.float32
    assert found.x.ndim == 4
    assert len(found.x) == len(found.y)
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert 0 <= found.y.min() <= found.y.max() < found.classes
    return found.x, found.y, found.classes


@cache
def _record_text() -> str:
    made = record(
        "Invented",
        0.5,
        attacks=(attack(accuracy=0.5, notes=("a note",)), attack("other", 0.6, repeats=2, deviation=0.01)),
        margin_curves=(curve(),),
        masking=masking("zero gradients"),
        weights={"sha256": "cd" * 32},
        link="https://example.org/",
    )
    with tempfile.TemporaryDirectory() as folder:
        write_record(made, Path(folder) / "a.json")
        return (Path(folder) / "a.json").read_text(encoding="utf-8")


def _make_record(path: Path) -> None:
    path.write_text(_record_text(), encoding="utf-8")


def _record_fields() -> Any:
    return json.loads(_record_text())


def _write_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _read_record(path: Path) -> Any:
    found = read_record(path)
    again = path.with_suffix(".again")
    write_record(found, again)
    assert read_record(again) == found
    return found


def _read_board(path: Path) -> Any:
    found = [read_record(path), record()]
    assert text(found).isprintable() or all(line.isprintable() for line in text(found).splitlines())
    assert "<script>alert" not in markdown(found)
    assert html(found)
    return found


SETTINGS = {"steps": 3, "names": ["a", "b"]}


def _rows() -> Any:
    rows = [{"name": "ours", "seed": seed, "accuracy": 0.5 + seed / 100} for seed in range(3)]
    return {"settings": SETTINGS, "rows": rows}


def _read_rows(path: Path) -> Any:
    found = Rows(path, SETTINGS)
    found.find(name="ours", seed=1)
    return found.rows


# Tensors


def _small_classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4 * 4, 3))


def _save(content: Any, path: Path, *, legacy: bool = False) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def _weights() -> Any:
    return {"epoch": 3, "model_state_dict": dict(_small_classifier().state_dict())}


def _read_weights(path: Path) -> Any:
    return load_weights(_small_classifier(), path)


def _convnet() -> Any:
    from art_levelset.models import CLASSIFIERS

    torch.manual_seed(0)
    return dict(CLASSIFIERS["convnet2a"](nb_classes=3, input_shape=(1, 8, 8)).state_dict())


def _read_classifier(path: Path) -> Any:
    return load_classifier("convnet2a", path, input_shape=(1, 8, 8), least_classes=2)


@cache
def _reconstruction() -> Reconstruction:
    generator = torch.Generator().manual_seed(0)
    network = GridNetwork((3, 4), (1, 2), width=4, generator=generator)
    centres = np.random.default_rng(0).standard_normal((20, 3))
    normals = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    frame = Frame(np.array([1.0, 2.0, 3.0]), 2.0)
    return Reconstruction(network, frame, Planes(normals, normals, 0.3, 0.01), 0.01, points=normals)


def _make_reconstruction(path: Path) -> None:
    _reconstruction().save(path)


def _make_curve(path: Path) -> None:
    _curve().save(path)


def _read_reconstruction(path: Path) -> Any:
    found = Reconstruction.load(path)
    assert found.sdf([[1.0, 2.0, 3.0]]).shape == (1,)
    planes = found.planes
    return found.network, found.frame.centre, found.frame.scale, planes.centres, planes.normals, found.points


@cache
def _curve() -> CurveReconstruction:
    network = CurveNetwork(4)
    torch.nn.init.normal_(network.weights, generator=torch.Generator().manual_seed(0))
    line = np.random.default_rng(0).standard_normal((5, 3))
    frame = Frame(np.array([1.0, 2.0, 3.0]), 2.0)
    return CurveReconstruction(
        network, frame, [Polyline(line, True), Polyline(line + 1, False)], line[:1], 0, 0.01, False
    )


def _read_curve(path: Path) -> Any:
    found = load_curve(path)
    assert found.length >= 0
    assert found.network(torch.zeros(1, 3)).shape == (1, 2)
    return found.network, found.frame.centre, [piece.points for piece in found.pieces], found.junctions, found.noise


TETRAHEDRON = (np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def _make_exact(path: Path) -> None:
    save_exact(path, exact_network(TETRAHEDRON), np.zeros(3), np.ones(3))


def _read_exact(path: Path) -> Any:
    network, low, high = load_exact(path)
    assert network(torch.zeros(2, len(low), dtype=torch.float64)).shape == (2, 1)
    return network, low, high


@cache
def _contents(make: Callable[[Path], None]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "a.pt")
        return torch.load(Path(folder) / "a.pt", weights_only=True)


# Checkpoints and memory


def _training_state() -> Any:
    model = _small_classifier()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, 1, 6, 6)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {
        "network": dict(model.state_dict()),
        "optimizer": optimizer.state_dict(),
        "history": [{"loss": 0.5}],
        "n": 3,
    }


def _read_training(path: Path) -> Any:
    folder = path.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    content = path.read_bytes()
    (folder / f"epoch-000001-{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)
    return Checkpoints(folder).read()


FIT = {"points": "300 points", "steps": 40, "seed": 0}


def _make_fit(path: Path) -> None:
    Checkpoint(path, FIT).write(_training_state())


def _read_fit(path: Path) -> Any:
    return Checkpoint(path, FIT).read()


def _read_memo(path: Path) -> Any:
    content = path.read_bytes()
    folder = path.with_suffix(".d")
    folder.mkdir(exist_ok=True)
    (folder / "key.npz").write_bytes(content + hashlib.sha256(content).digest())
    found = Memo(folder).recall("key")
    if found is None:
        raise ValueError(f"{path}: counts as missing")
    return found


# Commands


def _show_board(path: Path) -> Any:
    folder = path.with_suffix(".records")
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_bytes(path.read_bytes())
    return command(["leaderboard", str(folder)])


def _march(path: Path) -> Any:
    return command(["exact", str(path), "--resolution", "8", "-o", str(path.with_suffix(".ply"))])


def _evaluate(path: Path) -> Any:
    folder = path.with_suffix(".data")
    folder.mkdir(exist_ok=True)
    data = folder / "right.npz"
    np.savez(data, x_test=np.zeros((1, 8, 8), np.uint8), y_test=np.array([2]))
    options = ["--data", str(data), "--eps", "0.1", "--max-iter", "1", "--attacks", "pgd-ce", "-o", f"{data}.json"]
    command(["evaluate", "--model", str(path), "--arch", "convnet2a", *options])
    return read_record(f"{data}.json").clean_acc


def _saved(make: Callable[[], Any], *, legacy: bool = False) -> Callable[[Path], None]:
    return lambda path: _save(make(), path, legacy=legacy)


@cache
def readers() -> list[Reader]:
    """All of them."""
    tensors = [
        Reader("weights", ".pth", _saved(_weights), _read_weights, True, _weights, _save),
        Reader(
            "weights before 1.6",
            ".pth",
            _saved(_weights, legacy=True),
            _read_weights,
            False,
            _weights,
            partial(_save, legacy=True),
        ),
        Reader("classifier", ".pth", _saved(_convnet), _read_classifier, True, _convnet, _save),
        Reader("reconstruction", ".pt", _make_reconstruction, _read_reconstruction, True, None, _save),
        Reader("curve", ".pt", _make_curve, _read_curve, True, None, _save),
        Reader("exact network", ".pt", _make_exact, _read_exact, True, None, _save),
        Reader("training checkpoint", ".pt", _saved(_training_state), _read_training, True, _training_state, _save),
        Reader("fit checkpoint", ".pt", _make_fit, _read_fit, True, None, _save),
    ]
    tensors = [each if each.contents else replace(each, contents=partial(_contents, each.make)) for each in tensors]
    commands = [
        Reader("leaderboard, command", ".json", _make_record, _show_board, False, _record_fields, _write_json),
        Reader("exact, command", ".pt", _make_exact, _march, False, partial(_contents, _make_exact), _save),
        Reader("evaluate, command", ".pth", _saved(_convnet), _evaluate, False, _convnet, _save),
    ]
    resumed = [
        Reader(
            "training goes on",
            ".pt",
            make_training,
            resume_training,
            True,
            partial(_contents, make_training),
            _save,
            2,
        ),
        Reader("fit goes on", ".pt", make_fit, resume_fit, True, partial(_contents, make_fit), _save, 30),
    ]
    of_scans = [Reader(name, suffix, make, read_scan) for name, (suffix, make) in scans().items()]
    of_meshes = [Reader(name, suffix, make, read_triangles) for name, (suffix, make) in meshes().items()]
    return [
        *commands,
        *of_scans,
        *of_meshes,
        *resumed,
        Reader("test data", ".npz", _make_data, partial(_read_data, train=False), True, _arrays, _write_arrays),
        Reader("training data", ".npz", _make_data, partial(_read_data, train=True), True, _arrays, _write_arrays),
        Reader("record", ".json", _make_record, _read_record, False, _record_fields, _write_json),
        Reader("leaderboard", ".json", _make_record, _read_board, False, _record_fields, _write_json),
        Reader("rows", ".json", partial(_write_json, _rows()), _read_rows, False, _rows, _write_json),
        Reader("memory of work", ".npz", _make_data, _read_memo, True, _arrays, _write_arrays),
        *tensors,
    ]


@cache
def content_of(reader: Reader) -> bytes:
    """The bytes of a right file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"right{reader.suffix}"
        reader.make(path)
        return path.read_bytes()
