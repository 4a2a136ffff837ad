"""The result of a reconstruction: the fitted network, and its mesh and distances in the scan's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from art_levelset.core.modes import evaluating
from art_levelset.recon.clouds import Frame, Points
from art_levelset.recon.extract import zero_set
from art_levelset.recon.parts import supported_parts
from art_levelset.recon.planes import Planes

if TYPE_CHECKING:
    from trimesh import Trimesh

MARGIN = 0.08
"""How far the box of the mesh goes beyond the cloud, in the unit frame."""

SUPPORT = 0.002
CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """
    A surface as the zero level set of a network.

    :param network: F, (batch, 3) -> (batch, 1) in the unit frame, positive outside.
    :param frame: The map between the scan's coordinates and the unit frame.
    :param planes: The local planes of the cloud, with outward normals, in the unit frame.
    """

    network: nn.Module
    frame: Frame
    planes: Planes

    def sdf(self, points: object) -> NDArray[np.float64]:
        """
        The signed distance to the surface, as the network approximates it; good near the cloud.

        :param points: (n, 3) in the scan's coordinates.
        :return: F in the scan's units, negative inside, (n,).
        :raises ValueError: If the shape is wrong.
        """
        places = np.asarray(points, dtype=np.float64)
        if places.ndim != 2 or places.shape[1] != 3:
            raise ValueError(f"points must have the shape (n, 3), got {places.shape}")
        return self._values(self.frame.to_unit(places)).astype(np.float64) * self.frame.scale

    def mesh(self, resolution: int = 256, *, verbose: bool = False) -> Trimesh:
        """
        The surface as triangles, with the normals outwards, in the scan's coordinates.

        Connected parts that are the nearest one to less than 0.2% of the data are left out: pockets and crumbs.

        :param resolution: Number of grid cells along the longest side of the cloud's bounding box, >= 8.
        :param verbose: Whether to show a progress bar.
        :return: The mesh.
        :raises ValueError: If the resolution is too small, or the network has no zero level set there.
        """
        from trimesh import Trimesh

        low = self.planes.centres.min(axis=0) - MARGIN
        high = self.planes.centres.max(axis=0) + MARGIN
        vertices, faces = zero_set(self._values, low, high, resolution, verbose=verbose)
        faces = faces[supported_parts(vertices, faces, self.planes.centres, SUPPORT)]
        used, faces = np.unique(faces, return_inverse=True)
        return Trimesh(self.frame.from_unit(vertices[used]), faces.reshape(-1, 3), process=False)

    def _values(self, places: Points) -> NDArray[np.float32]:
        """F at points of the unit frame, in chunks."""
        device = next(self.network.parameters()).device
        values = [np.zeros(0, dtype=np.float32)]
        with torch.no_grad(), evaluating(self.network):
            for start in range(0, len(places), CHUNK):
                part = torch.as_tensor(places[start : start + CHUNK], dtype=torch.float32, device=device)
                values.append(self.network(part).squeeze(1).cpu().numpy())
        return np.concatenate(values)
