"""Meshes from files."""

from __future__ import annotations

from pathlib import Path

import trimesh
from trimesh import Trimesh


def read_mesh(path: Path, name: str) -> Trimesh:
    """
    Read a mesh.

    :param path: A file in a format that trimesh reads.
    :param name: What the caller calls it, for messages.
    :return: The mesh, with at least one triangle.
    :raises ValueError: If it cannot be read or has no triangles.
    :raises OSError: If there is no such file.
    """
    with path.open("rb"):
        pass  # says so when there is no such file
    try:
        mesh = trimesh.load(path, force="mesh")
    except Exception as error:  # the readers of corrupt files raise anything
        raise ValueError(f"{name}: {path} cannot be read as a mesh ({type(error).__name__}: {error})") from error
    if not isinstance(mesh, Trimesh) or not len(mesh.faces):
        raise ValueError(f"{name}: {path} has no triangles")
    return mesh
