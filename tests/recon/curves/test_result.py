"""Saving, loading, files of lines, and the picture."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from art_levelset.models import fc_1
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import CurveReconstruction, Polyline, load_curve
from art_levelset.recon.curves.polylines import write_polylines
from art_levelset.recon.curves.preview import draw_curve
from art_levelset.recon.curves.result import CurveNetwork

TRIANGLE = Polyline(np.array([[1e6, 0.1, 0.2], [1e6 + 1e-7, 1, 0], [0, 1 / 3, 0]]), True)
SEGMENT = Polyline(np.array([[0.0, 0, 0], [0, 0, 2]]), False)


def test_saved_and_loaded(ring: CurveReconstruction, tmp_path: Path) -> None:
    ring.save(tmp_path / "ring.pt")
    again = load_curve(tmp_path / "ring.pt")
    np.testing.assert_array_equal(again.pieces[0].points, ring.pieces[0].points)
    assert again.pieces[0].closed
    assert (again.length, again.noise, again.spurious) == (ring.length, ring.noise, ring.spurious)
    places = torch.rand(5, 3)
    assert torch.equal(again.network(places), ring.network(places))
    np.testing.assert_array_equal(again.frame.centre, ring.frame.centre)


def test_a_network_of_ones_own_is_given_again(ring: CurveReconstruction, tmp_path: Path) -> None:
    path = tmp_path / "ring.pt"
    own = dataclasses.replace(ring, network=fc_1(3, 2, width=4))
    own.save(path)
    with pytest.raises(ValueError, match="network: the curve in .* has a network of one's own"):
        load_curve(path)
    with pytest.raises(ValueError, match="network: the weights in .* are those of another network"):
        load_curve(path, fc_1(3, 2, width=5))
    again = load_curve(path, fc_1(3, 2, width=4))
    assert torch.equal(again.network(torch.ones(1, 3)), own.network(torch.ones(1, 3)))


@pytest.mark.parametrize("contents", [b"", b"garbage"])
def test_files_that_are_no_curve(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(contents)
    with pytest.raises(ValueError, match="is no saved curve"):
        load_curve(tmp_path / "a.pt")
    with pytest.raises(OSError, match="No such file"):
        load_curve(tmp_path / "b.pt")


def test_weights_of_something_else(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is no saved curve"):
        load_curve(tmp_path / "a.pt")


def test_a_save_that_fails_leaves_the_old_file(
    ring: CurveReconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ring.pt"
    ring.save(path)
    before, write = path.read_bytes(), Path.write_bytes

    def fail(target: Path, content: bytes) -> None:
        write(target, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        ring.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.csv", "a.png", "a.pt"])
def test_files_in_folders_that_do_not_exist(
    name: str, ring: CurveReconstruction, ring_cloud: Points, tmp_path: Path
) -> None:
    path = tmp_path / "missing" / name
    write = {".csv": ring.export, ".png": partial(draw_curve, reconstruction=ring, cloud=ring_cloud), ".pt": ring.save}
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        write[path.suffix](path)


def test_ply(tmp_path: Path) -> None:
    write_polylines([TRIANGLE, SEGMENT], tmp_path / "a.ply")
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    assert b"element vertex 5\n" in header
    assert b"element edge 4\n" in header
    np.testing.assert_array_equal(np.frombuffer(body[: 5 * 24], "<f8").reshape(5, 3)[:3], TRIANGLE.points)
    np.testing.assert_array_equal(np.frombuffer(body[5 * 24 :], "<i4").reshape(4, 2), [[0, 1], [1, 2], [2, 0], [3, 4]])


def test_obj(tmp_path: Path) -> None:
    write_polylines([TRIANGLE, SEGMENT], tmp_path / "a.obj")
    rows = (tmp_path / "a.obj").read_text().splitlines()
    vertices = np.array([row.split()[1:] for row in rows if row.startswith("v")], dtype=float)
    np.testing.assert_array_equal(vertices, np.concatenate([TRIANGLE.points, SEGMENT.points]))
    assert [row for row in rows if row.startswith("l")] == ["l 1 2 3 1", "l 4 5"]


def test_csv(tmp_path: Path) -> None:
    write_polylines([TRIANGLE, SEGMENT], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "piece,closed,s,x,y,z"
    table = np.loadtxt(tmp_path / "a.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, 0], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(table[:, 1], [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(table[:3, 2], TRIANGLE.parameters[:3])
    np.testing.assert_array_equal(table[:3, 3:], TRIANGLE.points)


def test_other_formats_are_refused(ring: CurveReconstruction, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot write lines as '.stl', use .ply, .obj, .csv"):
        ring.export(tmp_path / "a.stl")
    assert list(tmp_path.iterdir()) == []


def test_a_picture(ring: CurveReconstruction, ring_cloud: Points, tmp_path: Path) -> None:
    draw_curve(tmp_path / "a.png", ring, ring_cloud, title="a ring")
    halves = np.split(imread(tmp_path / "a.png")[..., :3], 2, axis=1)
    blue, orange, black = zip(*map(_shares, halves), strict=True)
    assert min(blue[0], orange[0], *black) > 0.002
    assert (blue[1], orange[1]) == (0, 0)  # the surfaces are on the left


def _shares(picture: Points) -> tuple[float, float, float]:
    """The shares of the pixels that are blue, orange and black."""
    red, _, blue = picture.transpose(2, 0, 1)
    return float((blue > red + 0.1).mean()), float((red > blue + 0.1).mean()), float((picture < 0.1).all(axis=2).mean())


def test_a_picture_of_nothing(ring: CurveReconstruction, ring_cloud: Points, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^reconstruction: it has no pieces$"):
        draw_curve(tmp_path / "a.png", dataclasses.replace(ring, pieces=[]), ring_cloud)
    assert list(tmp_path.iterdir()) == []


def test_bad_networks() -> None:
    with pytest.raises(ValueError, match="units must be an integer >= 1, got 0"):
        CurveNetwork(0)


def test_a_network_of_two_units() -> None:
    network = CurveNetwork(2)
    network.centres.copy_(torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]))
    network.widths.copy_(torch.tensor([1.0, 0.5]))
    with torch.no_grad():
        network.weights[:, 0] = torch.tensor([1.0, 0, 0, 0, 2, 0])
        network.weights[:, 1] = torch.tensor([0.0, 1, 0, 0, 0, 3])
    place = torch.tensor([[1.0, 1, 1]])
    torch.testing.assert_close(network(place), torch.tensor([[np.exp(-1.5) + 2, np.exp(-4) + 3]], dtype=torch.float32))
