"""
Where the scans of one object belong: the `.conf` files beside range scans, as those of Stanford have them.

A line `bmesh FILE x y z qx qy qz qw` says that the points p of the file are at R(q)^T p + (x, y, z), where R(q) is the
rotation of the quaternion: the pose is told as that of the viewer. So written, 40,097 points of the bunny's second scan
are on the lattice of its scanner again, and not with R(q). Lines that begin with another word are no scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.io.text import read_lines, show

SUFFIX = ".conf"

KEYWORDS = "bmesh", "mesh"

MOST_SCANS = 10_000
_NUMBERS = 7


@dataclass(frozen=True, eq=False)
class Pose:
    """
    Where a scan belongs.

    :param file: The name of its file, in the folder of the `.conf` file.
    :param rotation: R(q), (3, 3).
    :param translation: (3,).
    """

    file: str
    rotation: Points
    translation: Points

    def applied(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """
        Points of the scan, where they belong.

        :param batch: `points` and, if there are any, `normals` and `sensors`, each (n, 3), and others.
        :return: The same; all these are turned, and points and sensors moved.
        """
        moved = {**batch, "points": batch["points"].astype(np.float64) @ self.rotation + self.translation}
        if "sensors" in batch:
            moved["sensors"] = batch["sensors"].astype(np.float64) @ self.rotation + self.translation
        if "normals" in batch:
            moved["normals"] = batch["normals"].astype(np.float64) @ self.rotation
        return moved


def conf_in(folder: Path) -> Path:
    """
    The file that says where the scans of a folder belong.

    :param folder: The folder.
    :return: Its only `.conf` file.
    :raises IsADirectoryError: If it has none or several.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX)
    if len(found) != 1:
        raise IsADirectoryError(
            f"{folder} is a folder with {len(found)} {SUFFIX} files: one must say where the scans in it belong"
        )
    return found[0]


def read_poses(path: Path) -> list[Pose]:
    """
    Read where scans belong.

    :param path: The `.conf` file.
    :return: The poses, in the order of the file, at least one.
    :raises ValueError: If a line of a scan is damaged, a file is not beside this one, or there are no scans.
    """
    poses: list[Pose] = []
    for line in read_lines(path):
        keyword, *words = line.split()
        if keyword not in KEYWORDS:
            continue
        if len(poses) == MOST_SCANS:
            raise ValueError(f"it has more than {MOST_SCANS:,} scans")
        poses.append(_pose(line, words))
    if not poses:
        raise ValueError(f"it has no line of a scan: {KEYWORDS[0]} FILE x y z qx qy qz qw")
    return poses


def _pose(line: str, words: list[str]) -> Pose:
    try:
        file, numbers = " ".join(words[:-_NUMBERS]), np.array([float(word) for word in words[-_NUMBERS:]])
        good = bool(file) and bool(np.isfinite(numbers).all()) and 0.5 < float(np.linalg.norm(numbers[3:])) < 2
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"the line {show(line)} must be {KEYWORDS[0]} FILE x y z qx qy qz qw, with a unit quaternion")
    if "/" in file or "\\" in file or file in (".", ".."):
        raise ValueError(f"the line {show(line)} names a file that is not beside it")
    return Pose(file, Rotation.from_quat(numbers[3:]).as_matrix(), numbers[:3])
