"""Scans of terrestrial laser scanners in E57 files, by pye57: each where its pose says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.untrusted import check_claim, opened, size_of

_POINT = 96
"""Bytes that a point takes while it is read."""


def read_e57(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """
    Read positions and colours of all scans, without the points that they mark as invalid, and where the scanners were.

    :param path: The file.
    :return: A batch for each scan: `points`, and if all scans have them `sensors`, the origin of the coordinates that
             the pose of the scan turns and moves, and `colours`, each (n, 3).
    :raises ValueError: If it is damaged or claims too many points.
    :raises ImportError: If pye57 is missing.
    """
    try:
        import pye57
    except ImportError as error:
        raise ImportError(f"{path}: .e57 files need pye57: pip install 'art-levelset[e57]'") from error
    with opened(path) as file:
        size = size_of(file)
    with _named_in_text(path) as name, closing(pye57.E57(name)) as scans:
        headers = [scans.get_header(i) for i in range(scans.scan_count)]
        check_claim(_POINT * sum(header.point_count for header in headers), size)
        colours = all({"colorRed", "colorGreen", "colorBlue"} <= {*header.point_fields} for header in headers)
        posed = all(header.has_pose() for header in headers)
        for i in range(len(headers)):
            found = scans.read_scan(i, colors=colours, ignore_missing_fields=True)
            batch = {"points": np.stack([found[f"cartesian{axis}"] for axis in "XYZ"], axis=1)}
            if posed:
                batch["sensors"] = np.broadcast_to(headers[i].translation, batch["points"].shape).copy()
            if colours:
                batch["colours"] = np.stack([found[f"color{name}"] for name in ("Red", "Green", "Blue")], axis=1)
            yield batch


@contextmanager
def _named_in_text(path: Path) -> Iterator[str]:
    """The file's name, or that of a link to it where its own is bytes that are no text, which pye57 does not take."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory() as folder:
            link = Path(folder) / "scan.e57"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)
