"""A reconstruction as one HTML page that any browser shows without a network: rotate, zoom, cloud and errors."""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.files import write_text
from art_levelset.recon.cloud.clouds import Points, unit
from art_levelset.recon.inspect.coarsening import coarsened
from art_levelset.recon.inspect.colours import colours_of_distances
from art_levelset.recon.inspect.preview import view
from art_levelset.recon.io.meshes import vertex_colours

if TYPE_CHECKING:
    from trimesh import Trimesh

MOST_POINTS = 100_000
"""A larger cloud is shown by a random part of it."""

MOST_BYTES = 6_000_000
"""A mesh that takes more is shown by fewer triangles: with the cloud the page stays below 10 MB, in base 64."""

FINEST = 5e-4
"""The finest cells in which vertices are merged, in half diagonals of the mesh."""

VERTEX, TRIANGLE = 18, 12
"""Bytes of a vertex, with its normal and colour, and of a triangle."""

FIRST_VIEW = 30.0, 20.0
"""Azimuth and elevation of the viewer in degrees, as in the pictures."""


def write_page(
    path: str | Path, mesh: Trimesh, cloud: Points, *, title: str = "", largest_error: float | None = None
) -> None:
    """
    Write the page, of less than 10 MB.

    A mesh that is too large for that is shown by fewer triangles, of which the page tells, and a cloud of more than
    :data:`MOST_POINTS` points by a random part.

    :param path: The file to write.
    :param mesh: The mesh.
    :param cloud: The points, (n, 3), in the same coordinates.
    :param title: A line above the view.
    :param largest_error: If the mesh has vertex colours that stand for errors: the one of the last colour, in the
           mesh's units. The colours can be switched off.
    :raises OSError: If the file cannot be written.
    """
    low, high = mesh.bounds
    centre, scale = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    shown = cloud[np.random.default_rng(0).permutation(len(cloud))[:MOST_POINTS]]
    tints = vertex_colours(mesh) if largest_error is not None else None
    columns = [(np.asarray(mesh.vertices) - centre) / scale, np.asarray(mesh.vertex_normals)]
    columns += [] if tints is None else [tints[:, :3]]
    first = float(np.sqrt(2 * mesh.area / (MOST_BYTES / (VERTEX / 2 + TRIANGLE)))) / scale  # two triangles a cell
    vertices, faces = coarsened(np.hstack(columns), np.asarray(mesh.faces), _fits, max(first, FINEST))
    notes = []
    if len(faces) < len(mesh.faces):
        notes.append(f"{len(faces):,} triangles are shown for the {len(mesh.faces):,} of the mesh")
    if len(shown) < len(cloud):
        notes.append(f"{len(shown):,} points are shown of {len(cloud):,}")
    data = {
        "vertices": _text(vertices[:, :3], np.float32),
        "normals": _text(np.rint(127 * unit(vertices[:, 3:6])), np.int8),
        "faces": _text(faces, np.uint32),
        "cloud": _text((shown - centre) / scale, np.float32),
        "turn": view(*FIRST_VIEW, high - low).ravel().tolist(),
    }
    if largest_error is not None and tints is not None:
        levels = colours_of_distances(np.linspace(0, 1, 9), 1.0)
        data["colours"] = _text(np.rint(vertices[:, 6:]), np.uint8)
        data["largest"] = f"{largest_error:.3g} and more"
        data["scale"] = ["#" + "".join(f"{round(255 * part):02x}" for part in level) for level in levels]
    template = Template(files("art_levelset.recon.inspect").joinpath("viewer.html").read_text(encoding="utf-8"))
    page = template.substitute(title=html.escape(title), note="; ".join(notes), data=json.dumps(data))
    write_text(page, path)


def _fits(vertices: int, faces: int) -> bool:
    return VERTEX * vertices + TRIANGLE * faces <= MOST_BYTES


def _text(array: NDArray[Any], kind: type[np.generic]) -> str:
    """The numbers, little-endian, in base 64."""
    return base64.b64encode(array.astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode("ascii")
