from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from art_levelset.recon.inspect.colours import heat_map
from art_levelset.recon.inspect.viewer import write_page

from ...browser import Page

BALL = trimesh.creation.icosphere(subdivisions=4, radius=2.0).apply_translation([1e6, 0, -3e6])
OTHER = trimesh.creation.icosphere(subdivisions=4, radius=2.0).apply_translation([1e6 + 0.2, 0, -3e6])


def contents(page: Path) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def numbers(text: str, kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), dtype=kind).reshape(-1, 3)


def test_the_page_holds_the_mesh_and_the_cloud(tmp_path: Path) -> None:
    cloud = np.asarray(BALL.vertices)[::7]
    write_page(tmp_path / "a.html", BALL, cloud, title="a <ball> & more")
    data = contents(tmp_path / "a.html")
    centre, scale = [1e6, 0, -3e6], 2 * np.sqrt(3)
    np.testing.assert_array_equal(numbers(data["faces"], "<u4"), BALL.faces)
    np.testing.assert_allclose(numbers(data["vertices"], "<f4") * scale + centre, BALL.vertices, rtol=0, atol=1e-6)
    np.testing.assert_allclose(numbers(data["normals"], "i1") / 127, BALL.vertex_normals, atol=0.005)
    points = numbers(data["cloud"], "<f4") * scale + centre
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(cloud, axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(np.reshape(data["turn"], (3, 3))), 1)
    assert "colours" not in data
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<title>a &lt;ball&gt; &amp; more</title>" in page


def test_a_large_mesh_is_shown_by_fewer_triangles(tmp_path: Path) -> None:
    large = trimesh.creation.icosphere(subdivisions=8, radius=2.0)
    large.visual.vertex_colors = np.rint(np.clip(large.vertices * 60 + 120, 0, 255)).astype(np.uint8)
    cloud = np.random.default_rng(0).standard_normal((120_000, 3))
    write_page(tmp_path / "a.html", large, cloud, largest_error=1.0)
    assert 4e6 < (tmp_path / "a.html").stat().st_size < 1e7
    data = contents(tmp_path / "a.html")
    faces, vertices = numbers(data["faces"], "<u4"), numbers(data["vertices"], "<f4")
    assert faces.max() == len(vertices) - 1
    radii = np.linalg.norm(vertices, axis=1) * np.sqrt(3)
    np.testing.assert_allclose(radii, 1, atol=0.002)
    normals = numbers(data["normals"], "i1") / 127
    np.testing.assert_allclose(normals, vertices / np.linalg.norm(vertices, axis=1, keepdims=True), atol=0.03)
    expected = np.clip(vertices * (2 * np.sqrt(3)) * 60 + 120, 0, 255)
    np.testing.assert_allclose(numbers(data["colours"], "u1"), expected, atol=2)
    note = f"{len(faces):,} triangles are shown for the 1,310,720 of the mesh; 100,000 points are shown of 120,000"
    assert f"<div>{note}</div>" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_soup_of_triangles_is_shown_as_well(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=7)
    soup = trimesh.Trimesh(ball.vertices[ball.faces.ravel()], np.arange(ball.faces.size).reshape(-1, 3), process=False)
    write_page(tmp_path / "a.html", soup, np.zeros((1, 3)))
    assert (tmp_path / "a.html").stat().st_size < 1e7
    assert "triangles are shown for the 327,680 of the mesh" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", BALL, np.asarray(BALL.vertices))
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert re.findall(r"https?:|\bsrc=|\bhref=|@import|\bfetch\(|XMLHttpRequest|\bimport\b", page) == []


def test_errors_are_colours(tmp_path: Path) -> None:
    coloured, largest = heat_map(BALL, OTHER)
    write_page(tmp_path / "a.html", coloured, np.asarray(BALL.vertices), largest_error=largest)
    data = contents(tmp_path / "a.html")
    np.testing.assert_array_equal(numbers(data["colours"], "u1"), np.asarray(coloured.visual.vertex_colors)[:, :3])
    assert data["largest"] == f"{largest:.3g} and more"
    assert len(data["scale"]) == 9
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in data["scale"])


@pytest.fixture
def page(tab: Page, tmp_path: Path) -> Iterator[Page]:
    """A ball in error colours, open; in the end the browser must not have complained, nor asked for anything else."""
    coloured, largest = heat_map(BALL, OTHER)
    path = tmp_path / "a.html"
    write_page(path, coloured, np.asarray(BALL.vertices), title="balls", largest_error=largest)
    tab.open(path, width=800, height=600)
    assert tab.evaluate("document.body.dataset.state") == "drawn"
    yield tab
    assert tab.complaints == []
    assert tab.requests == [path.as_uri()]


def ball(page: Page) -> NDArray[np.float32]:
    """The square in the middle that the ball fills."""
    return page.picture()[200:400, 300:500]


def colourful(picture: NDArray[np.float32]) -> float:
    """How much of a picture is in colours, which change from place to place."""
    return float((np.ptp(picture, axis=2) > 0.3).mean() * np.std(picture, axis=(0, 1)).max())


def test_a_browser_draws_the_errors_or_the_plain_mesh(page: Page) -> None:
    errors = ball(page)
    assert (errors.min(axis=2) < 0.9).all()
    assert colourful(errors) > 0.1
    assert page.evaluate("document.getElementById('legend').checkVisibility()")
    page.click("#errors")
    plain = ball(page)
    assert (plain.argmax(axis=2) == 2).all()  # blue, darker towards the rim
    assert not page.evaluate("document.getElementById('legend').checkVisibility()")


def test_mesh_and_cloud_can_be_switched_on_and_off(page: Page) -> None:
    page.click("#mesh")
    assert ball(page).min() == 1  # nothing but white
    page.click("#cloud")
    assert 0.01 < (ball(page).max(axis=2) < 0.5).mean() < 0.8  # dots
    page.click("#mesh")
    assert ball(page).max(axis=2).mean() < 0.9


def test_dragging_turns_the_picture_and_the_wheel_zooms(page: Page) -> None:
    before = ball(page)
    page.drag((350, 300), (450, 300))
    after = ball(page)
    assert np.abs(after - before).mean() > 0.02
    page.drag((450, 300), (350, 300))
    np.testing.assert_allclose(ball(page), before, atol=0.02)
    whole = (page.picture()[150:].min(axis=2) < 0.9).sum()
    page.wheel(400, 300, 500)
    smaller = (page.picture()[150:].min(axis=2) < 0.9).sum()
    assert abs(smaller / whole - np.exp(-1)) < 0.05


def test_without_webgl_the_page_says_so(tab: Page, tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", BALL, np.asarray(BALL.vertices))
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    (tmp_path / "b.html").write_text(page.replace('getContext("webgl2"', 'getContext("webgl0"'), encoding="utf-8")
    tab.open(tmp_path / "b.html")
    assert tab.evaluate("document.body.dataset.state") == "failed"
    assert "no WebGL 2" in tab.evaluate("document.getElementById('message').textContent")
