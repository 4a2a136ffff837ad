"""A picture of a curve reconstruction: the two surfaces whose intersection the curve is, and the curve in its cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from art_levelset.core.modes import evaluating
from art_levelset.files import replacing
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.result import CurveReconstruction
from art_levelset.recon.inspect.preview import mesh_picture, pixels

CELLS = 48
MARGIN = 0.15
MOST_POINTS = 4000
COLOURS = ((0.36, 0.60, 0.84), (0.93, 0.63, 0.33))
TILT = 25.0
"""How far the viewer stands from where the curves look widest, in degrees."""

HALF_WIDTH = 0.008
"""Of the curves where no surface hides them; half of the picture's side is 1."""


def draw_curve(path: str | Path, reconstruction: CurveReconstruction, cloud: Points, *, title: str = "") -> None:
    """
    Draw {F_1 = 0}, {F_2 = 0} and the curve (left), the cloud and the curve (right), and write a PNG file.

    The curve is thin where a surface hides it.

    :param path: The file to write.
    :param reconstruction: The reconstruction.
    :param cloud: The points, (n, 3), in its coordinates.
    :param title: A line above the pictures.
    :raises ValueError: If the reconstruction has no pieces.
    :raises OSError: If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not reconstruction.pieces:
        raise ValueError("reconstruction: it has no pieces")
    frame = reconstruction.frame
    chains = [frame.to_unit(piece.chain) for piece in reconstruction.pieces]
    every = np.concatenate(chains)
    low, high = every.min(axis=0) - MARGIN, every.max(axis=0) + MARGIN
    centre, turn = (low + high) / 2, widest_view(every)
    corners = np.where(np.indices((2, 2, 2)).reshape(3, -1).T, high, low)
    scale = np.abs((corners - centre) @ turn.T)[:, :2].max()

    def seen(points: Points) -> Points:
        return np.asarray((points - centre) @ turn.T / scale)

    lines = [seen(chain) for chain in chains]
    surfaces = [seen(triangles.reshape(-1, 3)) for triangles in hypersurfaces(reconstruction, low, high)]
    shapes = [*surfaces, *map(_ribbon, lines)]
    colours = [*COLOURS, *[(0.0, 0.0, 0.0)] * len(lines)]
    counts = [len(corners) // 3 for corners in shapes]
    vertices = np.concatenate(shapes)
    picture = mesh_picture(vertices, np.arange(len(vertices)).reshape(-1, 3), np.repeat(colours, counts, axis=0))
    shown = cloud[np.random.default_rng(0).permutation(len(cloud))[:MOST_POINTS]]
    figure = Figure(figsize=(12, 6.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    left, right = figure.subplots(1, 2)
    left.imshow(picture, origin="lower")
    right.scatter(*pixels(seen(frame.to_unit(shown))).T, s=7, color=(0.2, 0.6, 0.25), alpha=0.5, linewidths=0)
    for axes, width in ((left, 0.7), (right, 2.0)):
        for line in lines:
            axes.plot(*pixels(line).T, color="black", linewidth=width)
    rows, columns = (np.flatnonzero((picture < 1).any(axis=(2, across))) for across in (1, 0))
    for axes in (left, right):
        axes.set(xlim=columns[[0, -1]], ylim=rows[[0, -1]], aspect="equal")
        axes.set_axis_off()
    left.set_title("the two surfaces and their intersection")
    right.set_title("the curve and its cloud")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format="png")


def widest_view(points: Points) -> Points:
    """
    The rotation to where points look widest, but for a tilt.

    :param points: (n, 3).
    :return: (3, 3), the rows are the picture's right and up and the direction to the viewer.
    """
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    cosine, sine = np.cos(np.deg2rad(TILT)), np.sin(np.deg2rad(TILT))
    return np.asarray(np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ axes)


def _ribbon(line: Points) -> Points:
    """The corners of triangles that face the viewer along a line, slightly before it, (6 k, 3)."""
    along = np.diff(line[:, :2], axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-30)
    aside = HALF_WIDTH * np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], axis=1)
    before = line + np.array([0, 0, 2 * HALF_WIDTH])
    a, b, c, d = before[:-1] - aside, before[:-1] + aside, before[1:] - aside, before[1:] + aside
    return np.stack([a, b, c, b, c, d], axis=1).reshape(-1, 3)


def hypersurfaces(reconstruction: CurveReconstruction, low: Points, high: Points) -> list[NDArray[np.float64]]:
    """
    The two surfaces {F_1 = 0} and {F_2 = 0} in a box.

    :param reconstruction: The reconstruction.
    :param low: The box's lowest corner in the unit frame, (3,).
    :param high: Its highest one.
    :return: The triangles of each surface, (m, 3, 3), in the unit frame.
    """
    from skimage.measure import marching_cubes

    step = float((high - low).max()) / CELLS
    counts = np.ceil((high - low) / step).astype(int) + 1
    nodes = low + step * np.indices(tuple(counts.tolist())).reshape(3, -1).T
    network = reconstruction.network
    like = next(network.parameters())
    with torch.no_grad(), evaluating(network):
        values = network(torch.as_tensor(nodes, dtype=like.dtype, device=like.device)).cpu().numpy()
    surfaces = []
    for column in values.T:
        grid = column.reshape(counts)
        if not grid.min() < 0 < grid.max():
            surfaces.append(np.zeros((0, 3, 3)))
            continue
        vertices, faces, _, _ = marching_cubes(grid, 0.0)
        surfaces.append((low + step * vertices.astype(np.float64))[faces])
    return surfaces
