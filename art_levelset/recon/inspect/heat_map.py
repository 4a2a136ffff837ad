"""Where a mesh is wrong: every vertex has the colour of its distance to a reference surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import distances_to_surface

if TYPE_CHECKING:
    from trimesh import Trimesh

COLOURS = "turbo"
"""The name of Matplotlib's colour map: blue is no distance, red the largest one shown."""

SHOWN = 0.95
"""The largest distance shown is that which this part of the vertices does not exceed."""


def heat_map(mesh: Trimesh, reference: Trimesh) -> tuple[Trimesh, float]:
    """
    Colour a mesh by its distance to a reference.

    :param mesh: The mesh, with at least one face.
    :param reference: The reference surface, in the same coordinates.
    :return: The mesh with vertex colours, and the distance that is drawn in the last colour, as are larger ones.
    """
    from trimesh.visual import ColorVisuals

    distances = distances_to_surface(np.asarray(mesh.vertices, dtype=np.float64), reference)
    largest = float(np.quantile(distances, SHOWN))
    coloured: Trimesh = mesh.copy(include_cache=True)
    coloured.visual = ColorVisuals(coloured, vertex_colors=(255 * colours(distances, largest)).round().astype(np.uint8))
    return coloured, largest


def colours(distances: NDArray[np.float64], largest: float) -> Points:
    """
    Colours of distances.

    :param distances: (n,), >= 0.
    :param largest: The distance from which on the last colour is given.
    :return: Red, green, blue from 0 to 1, (n, 3).
    """
    from matplotlib import colormaps

    part = np.clip(distances / largest, 0, 1) if largest > 0 else np.zeros_like(distances)
    return np.asarray(colormaps[COLOURS](part)[:, :3])
