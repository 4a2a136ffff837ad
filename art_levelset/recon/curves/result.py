"""What is found: the network, and its zero level set as ordered pieces; saved and loaded together."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_not_negative, check_positive
from art_levelset.files import write_bytes
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.contents import built, fill, numbers
from art_levelset.recon.curves.polylines import Polyline, write_polylines
from art_levelset.tensors import has_format, load_tensors
from art_levelset.untrusted import opened

FORMAT = 2


class CurveNetwork(nn.Module):
    """
    A network with a layer of radial units, and affine beside it:

        F(x) = W^T h(x),  h(x) = (exp(-|x - c_1|^2 / (2 s_1^2)), ..., exp(-|x - c_k|^2 / (2 s_k^2)), x, 1).

    It is smooth, and so is its zero set; and it is linear in W, its only parameters. The centres c and the widths s are
    buffers. :func:`art_levelset.recon.curves.solve.network_around` puts them where curves are.

    :param units: Number of radial units, k >= 1; all are at the origin, with a width of 1, and W is zero.
    :raises ValueError: If the number is out of range.
    """

    centres: Tensor
    widths: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        check_count("units", units)
        self.units = units
        self.register_buffer("centres", torch.zeros(units, 3))
        self.register_buffer("widths", torch.ones(units))
        self.weights = nn.Parameter(torch.zeros(units + 4, 2))

    def features(self, points: Tensor) -> Tensor:
        """
        Evaluate h.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, units + 4).
        """
        squares = (points**2).sum(dim=1, keepdim=True) + (self.centres**2).sum(dim=1) - 2 * points @ self.centres.T
        radial = torch.exp(-squares / (2 * self.widths**2))
        return torch.cat([radial, points, torch.ones_like(points[:, :1])], dim=1)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 2).
        """
        return self.features(points) @ self.weights


@dataclass(frozen=True, eq=False)
class CurveReconstruction:
    """
    Curves as the zero level set of a network.

    :param network: F, (batch, 3) -> (batch, 2), in the unit frame.
    :param frame: The map between the cloud's coordinates and the unit frame.
    :param pieces: The ordered curves, in the cloud's coordinates.
    :param junctions: Where the gradients of F are parallel on the zero set, so that it can branch, (k, 3).
    :param spurious: Number of components of the zero set that no data support; they are not among the pieces.
    :param noise: The standard deviation of the cloud around the curves, in each direction across, in its units.
    :param rejected: Whether the zero set has other pieces than the ordered cloud, or closes others.
    """

    network: nn.Module
    frame: Frame
    pieces: list[Polyline]
    junctions: Points
    spurious: int
    noise: float
    rejected: bool

    @property
    def length(self) -> float:
        """The length of all pieces together."""
        return float(sum(piece.length for piece in self.pieces))

    def export(self, path: str | Path) -> None:
        """
        Write the pieces as lines.

        :param path: A .ply, .obj or .csv file (see :func:`write_polylines`).
        :raises ValueError: If the suffix is another.
        :raises OSError: If the file cannot be written.
        """
        write_polylines(self.pieces, path)

    def save(self, path: str | Path) -> None:
        """
        Save the reconstruction, to be loaded again by :func:`load_curve`; the file is there completely or not at all.

        :param path: The file, usually .pt.
        :raises OSError: If the file cannot be written.
        """
        sizes = None
        if isinstance(self.network, CurveNetwork):
            sizes = {"units": self.network.units}
        contents = {
            "format": FORMAT,
            "sizes": sizes,
            "weights": {name: tensor.cpu() for name, tensor in self.network.state_dict().items()},
            "centre": torch.as_tensor(self.frame.centre),
            "scale": float(self.frame.scale),
            "pieces": [(torch.as_tensor(piece.points), piece.closed) for piece in self.pieces],
            "junctions": torch.as_tensor(self.junctions),
            "spurious": int(self.spurious),
            "noise": float(self.noise),
            "rejected": self.rejected,
        }
        packed = io.BytesIO()
        torch.save(contents, packed)
        write_bytes(packed.getvalue(), path)


def load_curve(path: str | Path, network: nn.Module | None = None) -> CurveReconstruction:
    """
    Load what :meth:`CurveReconstruction.save` has written. Nothing in the file is executed.

    :param path: The file.
    :param network: The network that was fitted, if it was not a :class:`CurveNetwork`; its parameters are overwritten.
    :return: The reconstruction, on the CPU.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is no curve reconstruction, or the network is missing or another one.
    """
    with opened(path) as file:
        try:
            contents = load_tensors(file)
        except ValueError as error:
            raise ValueError(f"{path}: is no saved curve: {error}") from error
    if not has_format(contents, FORMAT) or "pieces" not in contents:
        raise ValueError(f"{path}: is no saved curve")
    try:
        parts = _parts(contents)
    except Exception as error:  # a file may say anything
        raise ValueError(f"{path}: is a damaged curve ({type(error).__name__}: {error!s:.200})") from error
    weights = contents.get("weights")
    if network is None:
        if contents.get("sizes") is None:
            raise ValueError(f"network: the curve in {path} has a network of one's own, which must be given")
        network = built(CurveNetwork, contents["sizes"], weights, path)
    fill(network, weights, path)
    return CurveReconstruction(network, *parts)


def _parts(contents: dict[str, Any]) -> tuple[Frame, list[Polyline], Points, int, float, bool]:
    """All but the network, checked."""
    centre, scale, noise = np.asarray(contents["centre"]), contents["scale"], contents["noise"]
    numbers("centre", centre, (3,))
    check_positive("scale", scale)
    check_not_negative("noise", noise)
    check_count("spurious", contents["spurious"], least=0)
    junctions = numbers("junctions", np.asarray(contents["junctions"]), (None, 3))
    pieces = []
    for points, closed in contents["pieces"]:
        corners = numbers("pieces", np.asarray(points), (None, 3))
        if len(corners) < 2 or not isinstance(closed, bool):
            raise ValueError("pieces must have two points at least, and be closed or not")
        pieces.append(Polyline(corners, closed))
    if not isinstance(contents["rejected"], bool):
        raise ValueError(f"rejected must be True or False, got {contents['rejected']!r}")
    return Frame(centre, scale), pieces, junctions, contents["spurious"], noise, contents["rejected"]
