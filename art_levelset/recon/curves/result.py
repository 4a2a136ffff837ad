"""What is found: the network, and its zero level set as ordered pieces; saved and loaded together."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
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

FORMAT = 1


class CurveNetwork(nn.Module):
    """
    A sinusoidal network: h_1 = sin(f (A_1 x + b_1)), h_(k+1) = sin(f (A_(k+1) h_k + b_(k+1))), F = A h + b.

    It is smooth, and so is its zero set. The weights of the first layer are uniform in [-1/3, 1/3], those of the others
    in [-sqrt(6 / width) / f, sqrt(6 / width) / f], which keeps the activations' distribution from layer to layer.

    | Paper link: https://arxiv.org/abs/2006.09661

    :param width: Units of a hidden layer, >= 1.
    :param depth: Number of hidden layers, >= 1.
    :param frequency: f, > 0: how fast F can change in the unit frame [-1, 1]^3.
    :param generator: Source of the random initial weights; None for torch's default one.
    :raises ValueError: If a number is out of range.
    """

    def __init__(
        self, width: int = 96, depth: int = 3, frequency: float = 8.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_count("depth", depth)
        check_positive("frequency", frequency)
        self.width, self.depth, self.frequency = width, depth, frequency
        sizes = [3, *[width] * depth, 2]
        layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
        for index, layer in enumerate(layers):
            bound = 1 / 3 if index == 0 else sqrt(6 / width) / frequency
            shift = (1 if index == 0 else 1 / frequency) / sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -shift, shift, generator=generator)
        self.layers = nn.ModuleList(layers)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 2).
        """
        hidden = points
        for layer in self.layers[:-1]:
            hidden = torch.sin(self.frequency * layer(hidden))
        values: Tensor = self.layers[-1](hidden)
        return values


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
        Save the reconstruction, to be loaded again by :func:`load_curve`; the file is there completely or not at all.

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


def _parts(contents: dict[str, Any]) -> tuple[Frame, list[Polyline], Points, int, float]:
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
    return Frame(centre, scale), pieces, junctions, contents["spurious"], noise
