"""One scan to curves: the checks, the reconstruction, the files and what there is to say of the curves."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from art_levelset.cli.output import as_json
from art_levelset.cli.recon import files
from art_levelset.cli.recon.batch import Result, Seconds, document
from art_levelset.recon.curves.fit import reconstruct_curve
from art_levelset.recon.curves.polylines import SUFFIXES
from art_levelset.recon.curves.preview import draw_curve
from art_levelset.recon.curves.result import CurveReconstruction
from art_levelset.recon.io.columns import check_columns
from art_levelset.recon.io.reading import read_points
from art_levelset.untrusted import printable

logger = logging.getLogger(__name__)

FILES = {"output": SUFFIXES, "csv": (".csv",), "preview": (".png",), "save": (), "json": ()}
"""The options that name files to write, and the suffixes they may have."""

REJECTION = "rejected, for its pieces are not those of the ordered cloud"


def arguments_of_each(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """
    The arguments of each scan, checked before the work: with its own files.

    :param arguments: What the parser returns.
    :return: For each scan the arguments, with the `scan` and all paths.
    :raises ValueError: If a file cannot be written afterwards.
    :raises OSError: If the directory of the curves cannot be made.
    """
    check_columns(arguments.columns, "--columns")
    return files.arguments_of_each(arguments, FILES, ".curve.ply")


def reconstruct_scan(arguments: argparse.Namespace) -> Result:
    """
    Reconstruct the curves of a scan and write the files.

    :param arguments: Those of one scan, checked.
    :return: What became of it.
    :raises ValueError: If an argument or the contents of a file are bad.
    :raises OSError: If a file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    scan: Path = arguments.scan
    seconds = Seconds()
    with seconds.of("read"):
        points = read_points(scan, columns=arguments.columns)
    logger.info("%s has %d points", scan, len(points))
    with seconds.of("fit"):
        curves = reconstruct_curve(
            points,
            seed=arguments.seed,
            closed=arguments.closed,
            device=arguments.device,
            verbose=arguments.bars,
        )
    if not curves.pieces:
        raise ValueError("the reconstruction is empty: the network's zero level set is nowhere near the cloud")
    report = CurveReport.of(curves)
    title = f"{printable(scan.name)}: {len(points):,} points, length {curves.length:.6g}"

    def in_full() -> dict[str, Any]:
        return document(arguments, files.named(arguments, writers), len(points), seconds, asdict(report))

    writers: dict[str, Callable[[Path], object]] = {
        "output": curves.export,
        "csv": curves.export,
        "preview": lambda path: draw_curve(path, curves, points, title=title),
        "save": curves.save,
        "json": lambda path: path.write_text(as_json(in_full()), encoding="utf-8"),
    }
    rejected = REJECTION if curves.rejected else ""
    return Result(report, seconds, files.write_files(arguments, writers), in_full(), rejected)


@dataclass(frozen=True)
class Piece:
    """
    The metrics of a piece.

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
    The metrics of curves, in the scan's units; :func:`dataclasses.asdict` has them for a program.

    :param pieces: Of each piece.
    :param length: Of all pieces together.
    :param noise: The standard deviation of the cloud around the curves, in each direction across.
    :param junctions: The points at which the zero level set can branch.
    :param rejected: Whether the pieces are not those of the ordered cloud.
    """

    pieces: list[Piece]
    length: float
    noise: float
    junctions: list[list[float]]
    rejected: bool

    @classmethod
    def of(cls, curves: CurveReconstruction) -> CurveReport:
        """
        Measure curves.

        :param curves: The curves.
        :return: The report.
        """
        pieces = [Piece(piece.closed, piece.length, len(piece)) for piece in curves.pieces]
        return cls(pieces, curves.length, curves.noise, curves.junctions.tolist(), curves.rejected)

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
        if self.rejected:
            lines.append(f"fit: {REJECTION}")
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
            "fit": "rejected" if self.rejected else "accepted",
        }
