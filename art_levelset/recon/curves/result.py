"""The result of a curve reconstruction: the fitted network and the ordered pieces of its zero level set."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.curves.network import CurveNetwork
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.writing import write_polylines

FORMAT = 1


@dataclass(frozen=True, eq=False)
class CurveReconstruction:
    """
    Curves as the zero level set of a network.

    :param network: F, (batch, 3) -> (batch, 2), in the unit frame.
    :param frame: The map between the cloud's coordinates and the unit frame.
    :param pieces: The ordered curves, in the cloud's coordinates.
    :param junctions: Where the gradients of F are parallel on the zero set, so that it can branch, (k, 3).
    :param spurious: Number of parts of the zero set that no data support; they are not among the pieces.
    :param noise: The standard deviation of the cloud around the curves, in each direction across, in its units.
    """

    network: nn.Module
    frame: Frame
    pieces: list[Polyline]
    junctions: Points
    spurious: int
    noise: float

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
        Save the reconstruction, to be loaded again by :func:`load_curve`.

        :param path: The file, usually .pt.
        :raises OSError: If the file cannot be written.
        """
        sizes = None
        if isinstance(self.network, CurveNetwork):
            sizes = {name: getattr(self.network, name) for name in ("width", "depth", "frequency")}
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
        }
        with Path(path).open("wb") as file:
            torch.save(contents, file)


def load_curve(path: str | Path, network: nn.Module | None = None) -> CurveReconstruction:
    """
    Load what :meth:`CurveReconstruction.save` has written. Nothing in the file is executed.

    :param path: The file.
    :param network: The network that was fitted, if it was not a :class:`CurveNetwork`; its parameters are overwritten.
    :return: The reconstruction, on the CPU.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is no curve reconstruction, or the network is missing or another one.
    """
    with Path(path).open("rb") as file:
        try:
            contents = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            raise ValueError(f"{path}: is no saved curve ({type(error).__name__})") from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT or "pieces" not in contents:
        raise ValueError(f"{path}: is no saved curve")
    if network is None:
        if contents["sizes"] is None:
            raise ValueError("network: the curve was fitted with a network of one's own, which must be given")
        network = CurveNetwork(**contents["sizes"])
    try:
        network.load_state_dict(contents["weights"])
    except RuntimeError as error:
        raise ValueError(f"network: is not the one that was saved ({str(error).splitlines()[0]})") from error
    return CurveReconstruction(
        network,
        Frame(np.asarray(contents["centre"]), contents["scale"]),
        [Polyline(np.asarray(points), closed) for points, closed in contents["pieces"]],
        np.asarray(contents["junctions"]),
        contents["spurious"],
        contents["noise"],
    )
