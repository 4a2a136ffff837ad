from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from matplotlib.image import imread

from art_levelset.recon.heat_map import heat_map
from art_levelset.recon.viewer import write_page

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


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser Chromium")
def test_a_browser_draws_it(tmp_path: Path) -> None:
    coloured, largest = heat_map(BALL, OTHER)
    write_page(tmp_path / "a.html", coloured, np.asarray(BALL.vertices), title="balls", largest_error=largest)
    command = ["chromium", "--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--window-size=800,600"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    address = (tmp_path / "a.html").as_uri()
    dom = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=120)
    assert 'data-state="drawn"' in dom.stdout
    picture = tmp_path / "a.png"
    subprocess.run([*command, f"--screenshot={picture}", address], capture_output=True, check=True, timeout=120)
    middle = imread(picture)[150:450, 250:550, :3]
    assert (middle.min(axis=2) < 0.9).mean() > 0.3  # the ball on white,
    assert (np.ptp(middle, axis=2) > 0.3).mean() > 0.1  # in colours
