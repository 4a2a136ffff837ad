"""A picture of a reconstruction: the cloud and the mesh, shaded, from three sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.meshes import vertex_colours

if TYPE_CHECKING:
    from trimesh import Trimesh

PIXELS = 480
"""Side of each of the pictures."""

VIEWS = ((0.0, 0.0), (60.0, 25.0), (200.0, 20.0))
"""Azimuth and elevation of the viewer in degrees, about the scan's longest axis of y and z."""

MOST_POINTS = 60_000
SURFACE = np.array([0.42, 0.62, 0.80])
BACK = np.array([0.85, 0.45, 0.35])


def draw(path: str | Path, mesh: Trimesh, cloud: Points, *, title: str = "") -> None:
    """
    Draw the cloud (above) and the mesh (below) from three sides and write a PNG file.

    Faces seen from behind, as through a hole, are red. A mesh that has vertex colours is drawn in them.

    :param path: The file to write.
    :param mesh: The mesh.
    :param cloud: The points, (n, 3), in the same coordinates.
    :param title: A line above the pictures.
    :raises OSError: If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    low, high = mesh.bounds
    centre, scale = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    vertices = (np.asarray(mesh.vertices) - centre) / scale
    shown = cloud[np.random.default_rng(0).permutation(len(cloud))[:MOST_POINTS]]
    shown = (shown - centre) / scale
    base = face_colours(mesh)
    figure = Figure(figsize=(len(VIEWS) * 4, 8.2), dpi=100)
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    for column, (azimuth, elevation) in enumerate(VIEWS):
        turn = view(azimuth, elevation, high - low)
        pictures = (points_picture(shown @ turn.T), mesh_picture(vertices @ turn.T, np.asarray(mesh.faces), base))
        for row, picture in enumerate(pictures):
            axes = figure.add_subplot(2, len(VIEWS), row * len(VIEWS) + column + 1)
            axes.imshow(picture, origin="lower")
            axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, format="png")


def draw_beside(path: str | Path, rows: Sequence[Mapping[str, Trimesh | Points]]) -> None:
    """
    Draw clouds and surfaces side by side from the front, as the paper's Figure 3 does, and write a PNG file.

    :param path: The file to write.
    :param rows: For each row of pictures the clouds, (n, 3), and meshes by their titles, in the same coordinates; the
           last one gives the row its centre and size.
    :raises OSError: If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.7 * columns, 2.6 * len(rows)), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for row, shown in enumerate(rows):
        last = list(shown.values())[-1]
        extent = last if isinstance(last, np.ndarray) else np.asarray(last.vertices)
        low, high = extent.min(axis=0), extent.max(axis=0)
        centre, turn = (low + high) / 2, view(*VIEWS[1], high - low)
        scale = float(np.linalg.norm(high - low)) / 2
        pictures = []
        for shape in shown.values():
            if isinstance(shape, np.ndarray):
                some = shape[np.random.default_rng(0).permutation(len(shape))[:MOST_POINTS]]
                pictures.append(points_picture((some - centre) / scale @ turn.T))
            else:
                vertices = (np.asarray(shape.vertices) - centre) / scale @ turn.T
                pictures.append(mesh_picture(vertices, np.asarray(shape.faces), face_colours(shape)))
        drawn = np.any([(picture < 1).any(axis=2) for picture in pictures], axis=0)
        bottom, top, left, right = (index for axis in (1, 0) for index in np.flatnonzero(drawn.any(axis=axis))[[0, -1]])
        for column, (title, picture) in enumerate(zip(shown, pictures, strict=True)):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            axes.imshow(picture[bottom : top + 1, left : right + 1], origin="lower")
            axes.set_title(title, fontsize=7, parse_math=False)
            axes.set_axis_off()
    figure.savefig(path, format="png")


def view(azimuth: float, elevation: float, extent: Points) -> Points:
    """
    The rotation from a mesh's coordinates to a picture's.

    :param azimuth: Where the viewer stands, in degrees.
    :param elevation: How far above, in degrees.
    :param extent: The sides of the bounding box, (3,); the longer one of y and z is upright.
    :return: (3, 3), the rows are the picture's right and up and the direction to the viewer.
    """
    return _rotation(azimuth, elevation, 1 + int(np.argmax(extent[1:])))


def _rotation(azimuth: float, elevation: float, upright: int) -> Points:
    """The rows are the picture's right and up and the direction to the viewer."""
    across = 2 if upright == 1 else 1
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    toward = np.zeros(3)
    toward[[0, across, upright]] = np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)
    if across == 1:
        toward[1] *= -1  # keeps the view right-handed: the viewer stands before the plane y = 0
    up = np.eye(3)[upright] - toward * toward[upright]
    up /= np.linalg.norm(up)
    return np.stack([np.cross(up, toward), up, toward])


def face_colours(mesh: Trimesh) -> Points | None:
    """
    The colours of faces: the means of those of their vertices.

    :param mesh: The mesh.
    :return: (m, 3), from 0 to 1; None if the vertices have none.
    """
    colours = vertex_colours(mesh)
    return None if colours is None else np.asarray(colours[mesh.faces, :3].mean(axis=1) / 255)


def mesh_picture(vertices: Points, faces: NDArray[np.int64], base: Points | None = None) -> NDArray[np.float64]:
    """
    Every triangle is covered by points, a pixel apart or closer, and the nearest to the viewer is kept.

    :param vertices: (n, 3), the picture's right and up, from -1 to 1, and the direction to the viewer.
    :param faces: (m, 3).
    :param base: The colours of the faces, (m, 3); None for the usual ones.
    :return: (PIXELS, PIXELS, 3), the lowest row first.
    """
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    light = np.array([0.35, 0.45, 0.82])
    shade = 0.25 + 0.75 * np.abs(normals @ light)
    colours = (np.where(normals[:, 2:] >= 0, SURFACE, BACK) if base is None else base) * shade[:, None]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    divisions = np.clip(np.ceil(longest * PIXELS / 2).astype(int), 1, PIXELS)
    covering, owners = [], []
    for count in np.unique(divisions):
        some = np.flatnonzero(divisions == count)
        i, j = np.indices((count + 1, count + 1)).reshape(2, -1)
        inner = i + j <= count
        weights = np.stack([i, j, count - i - j], axis=1)[inner] / count
        covering.append(np.einsum("wc,fci->fwi", weights, corners[some]).reshape(-1, 3))
        owners.append(np.repeat(some, len(weights)))
    return _splat(np.concatenate(covering), colours[np.concatenate(owners)])


def pixels(points: Points) -> Points:
    """
    Where points are in a picture.

    :param points: (n, 2) or more, the picture's right and up, from -1 to 1.
    :return: (n, 2), column and row.
    """
    return np.asarray((points[:, :2] * 0.98 + 1) * (PIXELS - 1) / 2)


def points_picture(points: Points) -> NDArray[np.float64]:
    """
    Points as pixels, the darker the nearer to the viewer.

    :param points: (n, 3), the picture's right and up, from -1 to 1, and the direction to the viewer.
    :return: (PIXELS, PIXELS, 3), the lowest row first.
    """
    depth = (points[:, 2:] - points[:, 2].min()) / max(float(np.ptp(points[:, 2])), 1e-30)
    return _splat(points, np.array([0.15, 0.15, 0.2]) + 0.55 * (1 - depth))


def _splat(points: Points, colours: Points) -> NDArray[np.float64]:
    """Points into pixels; of those in one pixel the nearest to the viewer."""
    where = np.round(pixels(points)).astype(int)
    inside = ((where >= 0) & (where < PIXELS)).all(axis=1)
    order = np.flatnonzero(inside)[np.argsort(points[inside, 2], kind="stable")]
    picture = np.ones((PIXELS, PIXELS, 3))
    picture[where[order, 1], where[order, 0]] = np.clip(colours[order], 0, 1)
    return picture
