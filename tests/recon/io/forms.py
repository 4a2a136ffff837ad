"""The cloud that is written in many forms, and how its numbers become text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points

GENERATOR = np.random.default_rng(0)
POINTS: Points = np.round(GENERATOR.uniform(-2000, 2000, (40, 3)), 3)
"""Some above a thousand and some below, none whole."""
NORMALS: Points = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
COLOURS = GENERATOR.integers(0, 256, (40, 3), dtype=np.uint8)
SINGLE = POINTS.astype(np.float32)

Write = Callable[[str, str | bytes], Path]


def rows(*columns: NDArray[np.generic], separator: str = " ", form: str = "%.9g") -> list[str]:
    return [separator.join(form % number for number in row) for row in np.concatenate(columns, axis=1)]


def lines(*columns: NDArray[np.generic], separator: str = " ", form: str = "%.9g") -> str:
    return "".join(row + "\n" for row in rows(*columns, separator=separator, form=form))


def written_as(form: Callable[[float], str], separator: str) -> str:
    return "".join(separator.join(map(form, row)) + "\n" for row in POINTS.tolist())


def swapped(text: str) -> str:
    """English numbers as German ones, and the other way round."""
    return text.translate(str.maketrans(",.", ".,"))


def ply(
    form: str, properties: Sequence[str], body: str | bytes, *, count: int = 40, before: str = "", end: str = "\n"
) -> bytes:
    header = f"ply\nformat {form} 1.0\ncomment größe\n{before}element vertex {count}\n"
    header += "".join(f"property {item}\n" for item in properties) + "end_header\n"
    data = body if isinstance(body, bytes) else body.replace("\n", end).encode()
    return header.replace("\n", end).encode("latin-1") + data


def pcd(form: str, *, count: int = 40, fields: str = "x y z", extra: str = "", body: bytes | None = None) -> bytes:
    numbers = len(fields.split())
    header = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE{' 4' * numbers}\nTYPE{' F' * numbers}\n{extra}"
    header += f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {form}\n"
    if body is None:
        body = lines(SINGLE).encode() if form == "ascii" else SINGLE.astype("<f4").tobytes()
    return header.encode() + body


def packed_colours() -> NDArray[np.float32]:
    red, green, blue = COLOURS.T.astype(np.uint32)
    return ((255 << 24) | (red << 16) | (green << 8) | blue).astype(np.uint32).view(np.float32)[:, None]
