"""What there is to say of reconstructed curves: their pieces, their lengths, the noise around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from art_levelset.cli.recon.result import Seconds, document
from art_levelset.recon.curves.result import CurveReconstruction


@dataclass(frozen=True)
class Piece:
    """
    The figures of a piece.

    :param closed: Whether it is closed.
    :param length: Its length.
    :param vertices: Number of vertices.
    """

    closed: bool
    length: float
    vertices: int


@dataclass(frozen=True)
class CurveReport:
    """
    The figures of curves, in the scan's units.

    :param pieces: Of each piece.
    :param length: Of all pieces together.
    :param noise: The standard deviation of the cloud around the curves, in each direction across.
    :param junctions: The points at which the zero level set can branch.
    """

    pieces: list[Piece]
    length: float
    noise: float
    junctions: list[list[float]]

    @classmethod
    def of(cls, curves: CurveReconstruction) -> CurveReport:
        """
        Measure curves.

        :param curves: The curves.
        :return: The report.
        """
        pieces = [Piece(piece.closed, piece.length, len(piece)) for piece in curves.pieces]
        return cls(pieces, curves.length, curves.noise, curves.junctions.tolist())

    def lines(self) -> list[str]:
        """
        Pieces, noise and junctions, for a terminal.

        :return: Lines of text.
        """
        count = len(self.pieces)
        lines = [f"{count} {'piece' if count == 1 else 'pieces'}, length {self.length:.6g}, noise {self.noise:.3g}"]
        for number, piece in enumerate(self.pieces):
            kind = "closed" if piece.closed else "open"
            lines.append(f"  {number}: {kind}, length {piece.length:.6g}, {piece.vertices} vertices")
        if self.junctions:
            lines.append(f"the zero level set can branch at {len(self.junctions)} points")
        return lines

    def row(self) -> dict[str, str]:
        """
        The curves in a table of several.

        :return: The cells by the names of their columns.
        """
        return {
            "pieces": str(len(self.pieces)),
            "closed": str(sum(piece.closed for piece in self.pieces)),
            "length": f"{self.length:.6g}",
            "noise": f"{self.noise:.3g}",
            "junctions": str(len(self.junctions)),
        }

    def json(self, settings: Mapping[str, Any], points: int, seconds: Seconds) -> str:
        """
        Everything, for a file.

        :param settings: What was asked for.
        :param points: Number of points of the scan.
        :param seconds: What the parts of the run took.
        :return: A JSON document; lengths are in the scan's units.
        """
        return document(settings, points, seconds, asdict(self))
