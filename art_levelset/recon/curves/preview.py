"""A picture of a curve reconstruction: the two surfaces whose intersection the curve is, and the curve in its cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from art_levelset.core.modes import evaluating
from art_levelset.recon.clouds import Points
from art_levelset.recon.curves.result import CurveReconstruction

CELLS = 40
MARGIN = 0.15
MOST_POINTS = 4000
COLOURS = ((0.36, 0.60, 0.84), (0.93, 0.63, 0.33))
LIGHT = np.array([0.35, 0.45, 0.82])
VIEW = {"elev": 24.0, "azim": -58.0}


def draw_curve(path: str | Path, reconstruction: CurveReconstruction, cloud: Points, *, title: str = "") -> None:
    """
    Draw {F_1 = 0}, {F_2 = 0} and the curve (left), the cloud and the curve (right), and write a PNG file.

    :param path: The file to write.
    :param reconstruction: The reconstruction.
    :param cloud: The points, (n, 3), in its coordinates.
    :param title: A line above the pictures.
    :raises OSError: If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    frame = reconstruction.frame
    unit = frame.to_unit(cloud)
    low, high = unit.min(axis=0) - MARGIN, unit.max(axis=0) + MARGIN
    figure = Figure(figsize=(12, 6.2), dpi=100)
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = [figure.add_subplot(1, 2, column + 1, projection="3d") for column in range(2)]
    for triangles, colour in zip(_surfaces(reconstruction, low, high), COLOURS, strict=True):
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        shade = 0.45 + 0.55 * np.abs(normals @ LIGHT)
        colours = np.concatenate([shade[:, None] * colour, np.full((len(shade), 1), 0.4)], axis=1)
        axes[0].add_collection3d(Poly3DCollection(triangles, facecolors=colours, linewidths=0))
    shown = unit[np.random.default_rng(0).permutation(len(unit))[:MOST_POINTS]]
    axes[1].scatter(*shown.T, s=7, color=(0.2, 0.6, 0.25), alpha=0.5, linewidths=0)
    for view in axes:
        for piece in reconstruction.pieces:
            view.plot(*frame.to_unit(piece.chain).T, color="black", linewidth=2)
        view.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        view.set_box_aspect(high - low, zoom=1.4)
        view.view_init(**VIEW)
        view.set_axis_off()
    axes[0].set_title("the two surfaces and their intersection")
    axes[1].set_title("the curve and its cloud")
    figure.tight_layout()
    figure.savefig(path, format="png")


def _surfaces(reconstruction: CurveReconstruction, low: Points, high: Points) -> list[NDArray[np.float64]]:
    """The triangles of {F_1 = 0} and {F_2 = 0} in a box of the unit frame, (m, 3, 3) each."""
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
