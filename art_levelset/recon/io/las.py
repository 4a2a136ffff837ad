"""Laser scans, by laspy: without what their own classification calls noise or withholds."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH
from art_levelset.untrusted import opened, size_of

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 26
"""So many bytes of points are read at once."""

NOISE = 7, 18
"""The classes of low and of high noise."""

_RECORD = 54
"""The least size of a record of variable length."""

_POINT = 20
"""The bytes of a point in the shortest of all formats."""


def read_las(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions and colours of the points that are neither noise nor withheld.

    :param path: The file.
    :return: Batches: `points` and, if there are any, `colours`, each (n, 3).
    :raises ValueError: If it is damaged, or all points are left out.
    :raises ImportError: If laspy is missing.
    """
    try:
        import laspy
    except ImportError as error:
        raise ImportError(f"{path}: .las and .laz files need laspy: pip install 'art-levelset[las]'") from error
    left_out = count = 0
    size = _check_header(path)
    backend = laspy.LazBackend.Lazrs  # the parallel one takes what the sizes of chunks claim
    with laspy.open(path, laz_backend=backend, read_evlrs=False) as file, _panics_caught():
        names = {*file.header.point_format.dimension_names}
        for points in file.chunk_iterator(max(1, min(BATCH, MOST_BYTES // size))):
            used = ~np.isin(np.asarray(points.classification), NOISE) & ~np.asarray(points.withheld, dtype=bool)
            batch = {"points": np.stack([points.x, points.y, points.z], axis=1)[used]}
            if {"red", "green", "blue"} <= names:
                batch["colours"] = np.stack([points.red, points.green, points.blue], axis=1)[used]
            count += len(used)
            left_out += len(used) - int(used.sum())
            yield batch
    if left_out == count > 0:
        raise ValueError(f"all of its {count:,} points are of the noise classes 7 and 18, or withheld")
    if left_out:
        counts = f"{left_out:,}", f"{count:,}"
        logger.warning("%s: left out %s of %s points, of the noise classes 7 and 18 or withheld", path, *counts)


def _check_header(path: Path) -> int:
    """
    Refuse a header that promises more than its file can hold: laspy and lazrs take memory for whatever it says.

    :return: The bytes of a point before it is compressed.
    :raises ValueError: If it does, or is none.
    """
    with opened(path) as file:
        size = size_of(file)
        file.seek(0)
        start = file.read(375)
        if len(start) < 227 or start[:4] != b"LASF":
            raise ValueError("it has no LAS header")
        header, begin, records, form, length, count = struct.unpack_from("<HIIBHI", start, 94)
        if start[25] >= 4 and len(start) >= 255:
            count = max(count, struct.unpack_from("<Q", start, 247)[0])
        if not 227 <= header <= begin <= size or _RECORD * records > begin - header:
            raise ValueError(f"its header promises {records:,} records before byte {begin:,} of {size:,}")
        if length < _POINT:
            raise ValueError(f"its header says that a point has {length} bytes, fewer than {_POINT}")
        if not form & 0xC0:
            if length * count > size - begin:
                raise ValueError(f"its header promises {count:,} points, {size - begin:,} bytes cannot hold them")
            return int(length)
        file.seek(begin)
        table = int.from_bytes(file.read(8), "little", signed=True)
        if table == -1:
            file.seek(max(0, size - 8))
            table = int.from_bytes(file.read(8), "little", signed=True)
        if not begin <= table <= size - 8:
            raise ValueError("its table of compressed chunks is not in the file")
        file.seek(table + 4)
        chunks = int.from_bytes(file.read(4), "little")
        if chunks > size:
            raise ValueError(f"its header promises {chunks:,} compressed chunks in {size:,} bytes")
    return int(length)


@contextmanager
def _panics_caught() -> Iterator[None]:
    """What lazrs raises when it is surprised is no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("its compressed points are damaged") from error
