"""Writing meshes without losing detail: far from the origin, float32 coordinates are too coarse for a small scan."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trimesh import Trimesh

logger = logging.getLogger(__name__)

FINEST = 1e-6
"""Coordinates may be rounded by this part of the mesh's diagonal."""

_SINGLE_PRECISION = {".stl", ".glb"}


def write_mesh(mesh: Trimesh, path: str | Path) -> None:
    """
    Write a mesh in the format that the file's suffix names, in its own coordinates.

    A PLY file has float32 coordinates where these keep the detail and float64 ones where they do not (georeferenced
    scans, say); trimesh, which writes all else, knows the first only. Formats that are always float32 are written with
    a warning then.

    :param mesh: The mesh.
    :param path: The file; its directory exists.
    :raises ValueError: If the format is unknown.
    :raises OSError: If the file cannot be written.
    """
    path = Path(path)
    rounding = np.abs(mesh.vertices - mesh.vertices.astype(np.float32)).max(initial=0.0)
    exact = rounding <= FINEST * np.linalg.norm(np.ptp(mesh.vertices, axis=0))
    if not exact and path.suffix.lower() == ".ply":
        path.write_bytes(_double_precision_ply(mesh))
        return
    if not exact and path.suffix.lower() in _SINGLE_PRECISION:
        logger.warning("%s files round these coordinates by up to %.3g: use .ply or .obj", path.suffix, rounding)
    mesh.export(str(path))


def _double_precision_ply(mesh: Trimesh) -> bytes:
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    faces["count"] = 3
    faces["indices"] = mesh.faces
    return header.encode("ascii") + mesh.vertices.astype("<f8").tobytes() + faces.tobytes()
