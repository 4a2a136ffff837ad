"""
Meshes from and to files, without losing detail.

Far from the origin float32 coordinates are too coarse for a small scan, and trimesh writes no others to PLY files. So
those of double precision are written here, by hand.
"""

from __future__ import annotations

import io
import json
import logging
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.io.text import read_lines
from art_levelset.untrusted import check_claim, opened, size_of

if TYPE_CHECKING:
    from trimesh import Trimesh

logger = logging.getLogger(__name__)

READ = (".glb", ".obj", ".off", ".ply", ".stl")
"""Trimesh reads others too, but archives, XML and what names other files can take any memory and read any file."""

MOST_BYTES = 1 << 32
"""The most bytes of a file: 4 GiB."""

_LARGEST_PART = 64
"""Bytes of the largest thing in a .glb file, a matrix."""

FINEST = 1e-6
"""Coordinates may be rounded by this part of the mesh's diagonal."""

_SINGLE_PRECISION = {".stl", ".glb"}
_TEXT = {".obj", ".off"}
_FEWEST_DIGITS = 8
_PLY_TYPES = {"<f8": "double", "<f4": "float", "u1": "uchar"}


def read_mesh(path: Path, name: str) -> Trimesh:
    """
    Read a mesh.

    :param path: A file of one of :data:`READ`.
    :param name: What the caller calls it, for messages.
    :return: The mesh, with at least one triangle.
    :raises ValueError: If it cannot be read or has no triangles.
    :raises OSError: If there is no such file.
    """
    from trimesh import Trimesh

    if path.suffix.lower() not in READ:
        raise ValueError(f"{name}: {path} cannot be read, use one of {' '.join(READ)}")
    try:
        mesh = load_with_trimesh(path, force="mesh", process=False)
        if isinstance(mesh, Trimesh):
            mesh.remove_infinite_values()
            mesh.merge_vertices(digits_vertex=_digits(mesh))
    except OSError:
        raise
    except Exception as error:  # the readers of corrupt files raise anything
        raise ValueError(f"{name}: {path} cannot be read as a mesh ({type(error).__name__}: {error!s:.200})") from error
    if not isinstance(mesh, Trimesh) or not len(mesh.faces):
        raise ValueError(f"{name}: {path} has no triangles")
    return mesh


def load_with_trimesh(path: Path, **options: Any) -> Any:
    """
    Let trimesh read a file, whose claims are looked at before: trimesh believes them.

    :param path: The file, of one of :data:`READ`.
    :param options: Those of `trimesh.load`.
    :return: What it reads; no other files, which a mesh may name for its materials, are opened.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is too large, claims what takes too much memory, or is damaged.
    """
    import trimesh

    suffix = path.suffix.lower()
    with opened(path) as file:
        size = size_of(file)
        if size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
        if suffix == ".glb":
            file.seek(12)
            length, kind = struct.unpack("<I4s", file.read(8).ljust(8))
            if kind != b"JSON" or length > size:
                raise ValueError("its header is damaged")
            parts = json.loads(file.read(length))["accessors"]
            check_claim(sum(abs(int(part["count"])) for part in parts) * _LARGEST_PART, size)
        file.seek(0)
        data = file.read()
    if _is_text(suffix, data):
        data = "\n".join(read_lines(path)).encode()  # trimesh knows UTF-8 only
    try:
        return trimesh.load(io.BytesIO(data), file_type=suffix[1:], skip_materials=True, **options)
    except ImportError as error:  # of what trimesh guesses encodings with
        raise ValueError("it is neither text nor what its suffix promises") from error


def _is_text(suffix: str, data: bytes) -> bool:
    """Whether a file's lines must be taken apart for trimesh."""
    if suffix == ".stl":
        return not data.isascii() and data[:5] == b"solid" and b"facet" in data[:1000]
    return suffix == ".off" or (suffix == ".obj" and not data.isascii())


def write_mesh(mesh: Trimesh, path: str | Path) -> None:
    """
    Write a mesh in the format that the file's suffix names, in its own coordinates.

    A PLY file has float32 coordinates where these keep the detail and float64 ones where they do not (georeferenced
    scans, say); trimesh, which writes all else, knows the first only. In formats that are always float32 the mesh is
    moved to the origin then, with a warning that says by how much.

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
        origin = _round_origin(mesh)
        words = path.suffix, rounding, ", ".join(f"{coordinate:.15g}" for coordinate in origin)
        logger.warning(
            "%s files round these coordinates by up to %.3g: it is written without (%s); or use .ply", *words
        )
        mesh = mesh.copy().apply_translation(-origin)
    digits: dict[str, Any] = {"digits": max(_digits(mesh), _FEWEST_DIGITS)} if path.suffix.lower() in _TEXT else {}
    mesh.export(str(path), **digits)


def _digits(mesh: Trimesh) -> int:
    """How many digits after the point tell places from each other that are a hundred millionth of the mesh apart."""
    diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) if len(mesh.vertices) else 0.0
    return int(np.ceil(8 - np.log10(diagonal))) if diagonal > 0 else _FEWEST_DIGITS


def _round_origin(mesh: Trimesh) -> NDArray[np.float64]:
    """A place near a mesh that has few digits."""
    unit = 10.0 ** np.ceil(np.log10(np.linalg.norm(np.ptp(mesh.vertices, axis=0))))
    return np.asarray(np.round(mesh.bounds.mean(axis=0) / unit) * unit)


def vertex_colours(mesh: Trimesh) -> NDArray[np.uint8] | None:
    """
    The colours that the vertices of a mesh were given.

    :param mesh: The mesh.
    :return: Red, green, blue, alpha, (n, 4); None if they were given none.
    """
    from trimesh.visual import ColorVisuals

    if not isinstance(mesh.visual, ColorVisuals) or mesh.visual.kind != "vertex":
        return None
    return np.asarray(mesh.visual.vertex_colors, dtype=np.uint8)


def _double_precision_ply(mesh: Trimesh) -> bytes:
    columns: list[tuple[str, str, NDArray[Any]]] = [(axis, "<f8", mesh.vertices[:, i]) for i, axis in enumerate("xyz")]
    if "vertex_normals" in mesh._cache:  # given to the mesh, not computed from its faces: trimesh's own rule
        columns += [(f"n{axis}", "<f4", mesh.vertex_normals[:, i]) for i, axis in enumerate("xyz")]
    if (colours := vertex_colours(mesh)) is not None:
        columns += [(name, "u1", colours[:, i]) for i, name in enumerate(("red", "green", "blue", "alpha"))]
    vertices = np.empty(len(mesh.vertices), dtype=[(name, kind) for name, kind, _ in columns])
    for name, _, column in columns:
        vertices[name] = column
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
    faces["count"] = 3
    faces["indices"] = mesh.faces
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
        + "".join(f"property {_PLY_TYPES[kind]} {name}\n" for name, kind, _ in columns)
        + f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return header.encode("ascii") + vertices.tobytes() + faces.tobytes()
