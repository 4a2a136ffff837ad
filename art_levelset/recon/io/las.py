"""Laser scans, by laspy: without what their own classification calls noise or withholds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import BATCH

logger = logging.getLogger(__name__)

NOISE = 7, 18
"""The classes of low and of high noise."""


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
    with laspy.open(path) as file:
        names = {*file.header.point_format.dimension_names}
        for points in file.chunk_iterator(BATCH):
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
