"""What the command line for curves does with one scan: the reconstruction, the files and the report."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from art_levelset.cli.recon import files
from art_levelset.cli.recon.curve_report import CurveReport
from art_levelset.cli.recon.result import Result, Seconds
from art_levelset.recon.curves.fit import FEWEST_STEPS, reconstruct_curve
from art_levelset.recon.curves.preview import draw_curve
from art_levelset.recon.curves.writing import SUFFIXES
from art_levelset.recon.io.reading import read_points

FILES = {"output": SUFFIXES, "csv": (".csv",), "preview": (".png",), "save": (), "json": ()}
"""The options that name files to write, and the suffixes they may have."""


def arguments_of_each(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """
    The arguments of each scan, checked before the work: with its own files.

    :param arguments: What the parser returns.
    :return: For each scan the arguments, with the `scan` and all paths.
    :raises ValueError: If there are too few steps or a file cannot be written afterwards.
    :raises OSError: If the directory of the curves cannot be made.
    """
    if arguments.steps < FEWEST_STEPS:
        raise ValueError(f"--steps must be at least {FEWEST_STEPS}, got {arguments.steps}")
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
        points = read_points(scan)
    with seconds.of("fit"):
        curves = reconstruct_curve(
            points,
            steps=arguments.steps,
            seed=arguments.seed,
            closed=arguments.closed,
            device=arguments.device,
            verbose=not arguments.quiet,
        )
    if not curves.pieces:
        raise ValueError("the reconstruction is empty: the network's zero level set is nowhere near the cloud")
    report = CurveReport.of(curves)
    title = f"{scan.name}: {len(points):,} points, length {curves.length:.6g}"
    settings = vars(arguments)
    writers: dict[str, Callable[[Path], object]] = {
        "output": curves.export,
        "csv": curves.export,
        "preview": lambda path: draw_curve(path, curves, points, title=title),
        "save": curves.save,
        "json": lambda path: path.write_text(report.json(settings, len(points), seconds), encoding="utf-8"),
    }
    return Result(report, seconds, files.write_files(arguments, writers))
