"""`python -m art_levelset.recon scan.ply`: a raw point cloud in, a mesh out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from trimesh import Trimesh

PROGRAM = "python -m art_levelset.recon"
STEPS = 800
RESOLUTION = 256

EXAMPLES = f"""examples:
  {PROGRAM} scan.ply
      writes scan.mesh.ply
  {PROGRAM} scan.xyz -o part.stl --preview part.png --html part.html
      writes a file for printing and two for looking at it
  {PROGRAM} facade.ply --trim 0.05 --faces 20000
      leaves open what no point is near, and makes a small file
  {PROGRAM} scan.ply --reference truth.ply --heat-map errors.ply --json figures.json
      says and shows how far the mesh is from a known surface
  {PROGRAM} scan.ply --resolution 512 --steps 3000 --device cuda --save scan.pt
      takes its time, and keeps the network for Reconstruction.load
"""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """
    Build the parser.

    :return: The parser.
    """
    parser = _Parser(
        prog=PROGRAM,
        description="Reconstruct a surface from a raw, unoriented point cloud (eq. 13).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scan", type=Path, help="point cloud: .ply .obj .xyz .pts .npy .npz .stl")
    parser.add_argument("--curve", action="store_true", help="reconstruct curves instead (options: --curve --help)")
    parser.add_argument("-o", "--output", type=Path, help="the mesh, in any format of trimesh (default: SCAN.mesh.ply)")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also draw the cloud and the mesh")
    parser.add_argument("--reference", type=Path, metavar="MESH", help="also report the distances to this surface")
    parser.add_argument(
        "--heat-map", type=Path, metavar="PLY", help="the mesh in the colours of its distances to the reference"
    )
    parser.add_argument("--html", type=Path, help="a page that shows the mesh, the cloud and the errors in a browser")
    parser.add_argument("--json", type=Path, help="settings, seconds and figures as a file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fitted network, for Reconstruction.load")
    parser.add_argument(
        "--trim", type=float, metavar="DISTANCE", help="cut away what is further from the data, in the scan's units"
    )
    parser.add_argument("--faces", type=int, help="simplify to about so many triangles")
    parser.add_argument("--parts", type=int, help="keep so many connected parts, the largest (default: all supported)")
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
    given = sys.argv[1:] if argv is None else argv
    if "--curve" in given:
        from art_levelset.recon.curves.__main__ import main as reconstruct_curves

        return reconstruct_curves([argument for argument in given if argument != "--curve"])
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
    scan: Path = arguments.scan
    arguments.output = arguments.output or scan.with_name(f"{scan.stem}.mesh.ply")
    _check(arguments)

    from art_levelset.recon.fit import reconstruct
    from art_levelset.recon.heat_map import heat_map
    from art_levelset.recon.preview import draw
    from art_levelset.recon.reading import read_points
    from art_levelset.recon.report import Report, Seconds
    from art_levelset.recon.viewer import write_page
    from art_levelset.recon.writing import replacing, write_mesh

    seconds = Seconds()
    with seconds.of("read"):
        points = read_points(scan)
        reference = None if arguments.reference is None else _read_mesh(arguments.reference)
    with seconds.of("fit"):
        reconstruction = reconstruct(
            points,
            steps=arguments.steps,
            seed=arguments.seed,
            device=_device(arguments.device),
            verbose=not arguments.quiet,
        )
    with seconds.of("mesh"):
        mesh = reconstruction.mesh(
            arguments.resolution,
            faces=arguments.faces,
            parts=arguments.parts,
            trim=arguments.trim,
            verbose=not arguments.quiet,
        )
    with seconds.of("compare"):
        report = Report.of(mesh, reference)
    shown, title = mesh, f"{scan.name}: {len(points):,} points, {len(mesh.faces):,} triangles"
    largest = None
    if reference is not None and (arguments.heat_map or arguments.html):
        with seconds.of("heat map"):
            shown, largest = heat_map(mesh, reference)
        title += f"; dark red: {largest:.3g} or more from the reference"
    writers: dict[str, Callable[[Path], object]] = {
        "output": lambda path: write_mesh(mesh, path),
        "preview": lambda path: draw(path, shown, points, title=title),
        "heat_map": lambda path: write_mesh(shown, path),
        "html": lambda path: write_page(path, shown, points, title=title, largest_error=largest),
        "save": reconstruction.save,
        "json": lambda path: path.write_text(report.json(vars(arguments), len(points), seconds), encoding="utf-8"),
    }
    files = [(path, write) for name, write in writers.items() if (path := getattr(arguments, name)) is not None]
    for path, write in files:
        with replacing(path) as temporary:
            write(temporary)
    return [*report.lines(), f"Wrote in {seconds.total():.0f} s:", *(f"  {path}" for path, _ in files)]


def _check(arguments: argparse.Namespace) -> None:
    """Before the work: whether the numbers make sense and the files can be written afterwards."""
    for name, least in (("resolution", 8), ("faces", 4), ("parts", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    if arguments.trim is not None and not arguments.trim > 0:
        raise ValueError(f"--trim must be positive, got {arguments.trim}")
    if arguments.heat_map is not None and arguments.reference is None:
        raise ValueError("--heat-map needs a --reference")
    if arguments.faces is not None and find_spec("fast_simplification") is None:
        raise ValueError("--faces needs fast-simplification: pip install 'art-levelset[mesh]'")
    _check_format(arguments.output)
    if arguments.output.resolve() == arguments.scan.resolve():
        raise ValueError(f"--output: {arguments.output} is the scan itself")
    written: dict[Path, str] = {}
    suffixes = {"output": None, "preview": ".png", "heat_map": ".ply", "html": ".html", "save": None, "json": None}
    for name, suffix in suffixes.items():
        option, path = f"--{name.replace('_', '-')}", getattr(arguments, name)
        if path is None:
            continue
        if suffix and path.suffix.lower() != suffix:
            raise ValueError(f"{option}: must be a {suffix} file, got {path}")
        if path.is_dir():
            raise ValueError(f"{option}: {path} is a directory")
        if not path.parent.is_dir():
            raise ValueError(f"{option}: there is no directory {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(f"{option}: cannot write in {path.parent}")
        if path.resolve() in (arguments.scan.resolve(), *written):
            other = written.get(path.resolve(), "the scan itself")
            raise ValueError(f"{option}: {path} is also {other}")
        written[path.resolve()] = option


def _check_format(output: Path) -> None:
    from trimesh import Trimesh

    triangle = Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    try:
        single = not isinstance(triangle.export(file_type=output.suffix.lower().lstrip(".")), dict)
    except (ValueError, ImportError):
        single = False
    if not single:
        raise ValueError(f"--output: cannot write a mesh as {output.suffix!r}, use .ply, .obj, .stl, .off or .glb")


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
