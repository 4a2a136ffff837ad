"""`python -m art_levelset.recon scan.ply`: a raw point cloud in, a mesh out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from trimesh import Trimesh

PROGRAM = "python -m art_levelset.recon"
STEPS = 800
RESOLUTION = 256


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser.

    :return: The parser.
    """
    parser = _Parser(prog=PROGRAM, description="Reconstruct a surface from a raw, unoriented point cloud (eq. 13).")
    parser.add_argument("scan", type=Path, help="point cloud: .ply .obj .xyz .pts .npy .npz .stl")
    parser.add_argument("-o", "--output", type=Path, help="the mesh, in any format of trimesh (default: SCAN.mesh.ply)")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the cloud and the mesh")
    parser.add_argument("--reference", type=Path, metavar="MESH", help="also report the distances to this surface")
    parser.add_argument(
        "--resolution", type=int, default=RESOLUTION, help="grid cells along the longest side (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimisation steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to compute (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
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
    output: Path = arguments.output or scan.with_name(f"{scan.stem}.mesh.ply")
    _check_outputs(scan, output, arguments.preview)
    if arguments.resolution < 8:
        raise ValueError(f"--resolution must be at least 8, got {arguments.resolution}")

    from art_levelset.recon.clouds import read_points
    from art_levelset.recon.fit import reconstruct
    from art_levelset.recon.metrics import compare
    from art_levelset.recon.preview import draw
    from art_levelset.recon.writing import write_mesh

    points = read_points(scan)
    reference = None if arguments.reference is None else _read_mesh(arguments.reference)
    reconstruction = reconstruct(
        points,
        steps=arguments.steps,
        seed=arguments.seed,
        device=_device(arguments.device),
        verbose=not arguments.quiet,
    )
    mesh = reconstruction.mesh(arguments.resolution, verbose=not arguments.quiet)
    lines = []
    if reference is not None:
        lines += compare(mesh, reference).report().splitlines()
    files = [output]
    _write(output, lambda path: write_mesh(mesh, path))
    if arguments.preview is not None:
        files.append(arguments.preview)
        title = f"{scan.name}: {len(points):,} points, {len(mesh.faces):,} triangles"
        _write(arguments.preview, lambda path: draw(path, mesh, points, title=title))
    return [*lines, f"Wrote in {time.perf_counter() - started:.0f} s:", *(f"  {file}" for file in files)]


def _check_outputs(scan: Path, output: Path, preview: Path | None) -> None:
    """Before the work: whether the files can be written afterwards."""
    _check_format(output)
    if output.resolve() == scan.resolve():
        raise ValueError(f"--output: {output} is the scan itself")
    if preview is not None and preview.suffix.lower() != ".png":
        raise ValueError(f"--preview: must be a .png file, got {preview}")
    for name, path in (("--output", output), ("--preview", preview)):
        if path is None:
            continue
        if path.is_dir():
            raise ValueError(f"{name}: {path} is a directory")
        if not path.parent.is_dir():
            raise ValueError(f"{name}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(f"{name}: cannot write in {path.parent}")


def _check_format(output: Path) -> None:
    from trimesh import Trimesh

    triangle = Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    try:
        single = not isinstance(triangle.export(file_type=output.suffix.lower().lstrip(".")), dict)
    except (ValueError, ImportError):
        single = False
    if not single:
        raise ValueError(f"--output: cannot write a mesh as {output.suffix!r}, use .ply, .obj, .stl, .off or .glb")


def _write(path: Path, write: Callable[[str], object]) -> None:
    """Write a file under a temporary name beside it, and give it its name when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder) / path.name
        write(str(temporary))
        temporary.replace(path)


def _read_mesh(path: Path) -> Trimesh:
    import trimesh

    with path.open("rb"):
        pass  # says so when there is no such file
    try:
        mesh = trimesh.load(path, force="mesh")
    except Exception as error:  # the readers of corrupt files raise anything
        raise ValueError(f"--reference: {path} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise ValueError(f"--reference: {path} has no triangles")
    return mesh


def _device(name: str) -> str:
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"--device: {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return name


if __name__ == "__main__":
    sys.exit(main())
