"""`python -m art_levelset.recon --curve cloud.xyz`, or `... recon.curves cloud.xyz`: a raw cloud in, curves out."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from art_levelset.recon.clouds import read_points
from art_levelset.recon.curves.fit import STEPS, reconstruct_curve
from art_levelset.recon.curves.preview import draw_curve
from art_levelset.recon.curves.result import CurveReconstruction
from art_levelset.recon.curves.writing import SUFFIXES
from art_levelset.recon.writing import replacing

PROGRAM = "python -m art_levelset.recon"


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser of what follows `--curve`.

    :return: The parser.
    """
    parser = _Parser(prog=f"{PROGRAM} --curve", description="Reconstruct curves from a raw, unordered point cloud.")
    parser.add_argument("scan", type=Path, help="point cloud: .ply .obj .xyz .pts .npy .npz .stl")
    parser.add_argument("-o", "--output", type=Path, help="the lines, .ply .obj .csv (default: SCAN.curve.ply)")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="also a table: piece, closed, s, x, y, z")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the two surfaces and the curves")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for load_curve")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--closed", action="store_const", const=True, help="close every piece, over whatever gap")
    ends.add_argument("--open", dest="closed", action="store_const", const=False, help="leave every piece open")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimisation steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments without `--curve`; those of the process by default.
    :return: The exit status: 0, or 2 after bad input, which one line on stderr names, or 130 after an interrupt.
    """
    arguments = build_parser().parse_args(argv)
    try:
        for line in run(arguments):
            print(line)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> list[str]:
    """
    Reconstruct and write the files.

    :param arguments: What the parser returns.
    :return: The report, lines of text.
    :raises ValueError: If an argument or the contents of a file are bad.
    :raises OSError: If a file cannot be read or written.
    """
    started = time.perf_counter()
    scan: Path = arguments.scan
    arguments.output = arguments.output or scan.with_name(f"{scan.stem}.curve.ply")
    _check(arguments)
    points = read_points(scan)
    result = reconstruct_curve(
        points,
        steps=arguments.steps,
        seed=arguments.seed,
        closed=arguments.closed,
        device=_device(arguments.device),
        verbose=not arguments.quiet,
    )
    if not result.pieces:
        raise ValueError("the reconstruction is empty: the network's zero level set is nowhere near the cloud")
    title = f"{scan.name}: {len(points):,} points, length {result.length:.6g}"
    writers: dict[str, Callable[[Path], object]] = {
        "output": result.export,
        "csv": result.export,
        "preview": lambda path: draw_curve(path, result, points, title=title),
        "save": result.save,
    }
    files = [(path, write) for name, write in writers.items() if (path := getattr(arguments, name)) is not None]
    for path, write in files:
        with replacing(path) as temporary:
            write(temporary)
    seconds = time.perf_counter() - started
    return [*_report(result), f"Wrote in {seconds:.0f} s:", *(f"  {path}" for path, _ in files)]


def _report(result: CurveReconstruction) -> list[str]:
    count = len(result.pieces)
    lines = [f"{count} {'piece' if count == 1 else 'pieces'}, length {result.length:.6g}, noise {result.noise:.3g}"]
    for number, piece in enumerate(result.pieces):
        kind = "closed" if piece.closed else "open"
        lines.append(f"  {number}: {kind}, length {piece.length:.6g}, {len(piece)} vertices")
    if len(result.junctions):
        lines.append(f"the zero level set can branch at {len(result.junctions)} points")
    return lines


def _check(arguments: argparse.Namespace) -> None:
    """Before the work: whether the files can be written afterwards."""
    written = {arguments.scan.resolve(): "the scan itself"}
    for name, suffixes in (("output", SUFFIXES), ("csv", (".csv",)), ("preview", (".png",)), ("save", ())):
        path = getattr(arguments, name)
        if path is None:
            continue
        if suffixes and path.suffix.lower() not in suffixes:
            raise ValueError(f"--{name}: must be a {', '.join(suffixes)} file, got {path}")
        if path.is_dir():
            raise ValueError(f"--{name}: {path} is a directory")
        if not path.parent.is_dir():
            raise ValueError(f"--{name}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(f"--{name}: cannot write in {path.parent}")
        if path.resolve() in written:
            raise ValueError(f"--{name}: {path} is also {written[path.resolve()]}")
        written[path.resolve()] = f"--{name}"


def _device(name: str) -> str:
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"--device: {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return name


if __name__ == "__main__":
    sys.exit(main())
