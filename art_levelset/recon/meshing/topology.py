"""The topology of a triangle mesh: parts, boundaries, genus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from art_levelset.recon.meshing.components import Faces, connected_parts, sorted_edges

if TYPE_CHECKING:
    from trimesh import Trimesh


@dataclass(frozen=True)
class Topology:
    """
    What a mesh is up to deformation.

    :param parts: Number of connected parts.
    :param boundaries: Number of closed curves in which the mesh ends.
    :param genus: Number of handles of all parts together; None where more than two triangles meet in an edge or
           boundaries touch, for then it is no surface.
    :param watertight: Whether every edge has two triangles that agree about the outside.
    """

    parts: int
    boundaries: int
    genus: int | None
    watertight: bool

    def __str__(self) -> str:
        """For a terminal."""
        genus = "no surface" if self.genus is None else f"genus {self.genus}"
        closed = "watertight" if self.watertight else f"not watertight, {_counted(self.boundaries, 'boundary curve')}"
        return f"{_counted(self.parts, 'part')}, {genus}, {closed}"


def topology(mesh: Trimesh) -> Topology:
    """
    Count the parts, the boundaries and the handles of a mesh.

    With V, E and F vertices, edges and faces, c parts, b boundaries and g handles, V - E + F = 2 c - 2 g - b.

    :param mesh: The mesh, with at least one face. Vertices at the same place are different vertices.
    :return: Its topology.
    """
    faces = np.asarray(mesh.faces, dtype=np.int32)
    parts, _ = connected_parts(faces)
    edges, count = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0, return_counts=True)
    ends = edges[count == 1]
    # As triangles whose last two corners agree, the edges of the boundaries have the boundaries for parts.
    boundaries = connected_parts(ends[:, [0, 1, 1]])[0] if len(ends) else 0
    simple = count.max() <= 2 and bool((np.unique(ends, return_counts=True)[1] == 2).all())
    handles = 2 * parts - boundaries - (len(np.unique(faces)) - len(edges) + len(faces))
    return Topology(
        parts=parts,
        boundaries=boundaries,
        genus=handles // 2 if simple and handles >= 0 and handles % 2 == 0 else None,
        watertight=bool(mesh.is_watertight and mesh.is_winding_consistent),
    )


def euler_number(triangles: Faces, size: int) -> int:
    """
    Vertices, as far as triangles have them, minus edges plus triangles.

    :param triangles: Indices of vertices, (m, 3).
    :param size: The number of vertices.
    :return: The Euler number.
    """
    edges = sorted_edges(triangles, size)
    different = int(np.count_nonzero(np.diff(edges))) + min(len(edges), 1)
    return len(np.unique(triangles)) - different + len(triangles)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
