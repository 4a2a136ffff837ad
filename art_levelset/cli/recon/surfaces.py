"""One scan to a mesh: the checks, the reconstruction, the files and what there is to say of the mesh."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimesh import Trimesh

from art_levelset.checks import check_count, check_positive
from art_levelset.cli.output import as_json
from art_levelset.cli.processes import own_device
from art_levelset.cli.recon import ALL, files
from art_levelset.cli.recon.batch import Result, Seconds, document
from art_levelset.recon.cloud.cells import MOST_POINTS
from art_levelset.recon.fitting.blocks import Block, block_file
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.fitting.ranks import agreed
from art_levelset.recon.inspect.accounting import Account, account_for
from art_levelset.recon.inspect.colours import heat_map, transfer_colours
from art_levelset.recon.inspect.metrics import CloudDistances, SurfaceDistances, compare, compare_with_cloud
from art_levelset.recon.inspect.preview import draw
from art_levelset.recon.inspect.viewer import write_page
from art_levelset.recon.io.columns import check_columns
from art_levelset.recon.io.meshes import read_mesh, write_mesh
from art_levelset.recon.io.reading import Cloud, LeftOut, read_cloud
from art_levelset.recon.meshing.handle_records import Handle, describe
from art_levelset.recon.meshing.topology import Topology, topology
from art_levelset.recon.paper import reconstruct_as_paper
from art_levelset.recon.pipeline import reconstruct
from art_levelset.recon.reconstruction import Reconstruction
from art_levelset.untrusted import printable

logger = logging.getLogger(__name__)

PRESETS: dict[str, Callable[..., Reconstruction]] = {"default": reconstruct, "paper": reconstruct_as_paper}

FILES: dict[str, tuple[str, ...]] = {
    "output": (),
    "preview": (".png",),
    "heat_map": (".ply",),
    "html": (".html",),
    "save": (),
    "json": (),
    "checkpoint": (),
}
"""The options that name files to write, and the suffixes they may have."""


def arguments_of_each(arguments: argparse.Namespace) -> list[argparse.Namespace]:
    """
    The arguments of each scan, checked before the work: with its own files.

    :param arguments: What the parser returns.
    :return: For each scan the arguments, with the `scan` and all paths.
    :raises ValueError: If a number makes no sense or a file cannot be written afterwards.
    :raises OSError: If the directory of the meshes cannot be made.
    """
    _check(arguments)
    return files.arguments_of_each(arguments, FILES, ".mesh.ply", read=["reference"])


def reconstruct_scan(arguments: argparse.Namespace) -> Result:
    """
    Reconstruct a scan and write the files.

    :param arguments: Those of one scan, checked.
    :return: What became of it.
    :raises ValueError: If an argument or the contents of a file are bad.
    :raises OSError: If a file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    seconds = Seconds()
    with seconds.of("read"):
        cloud, reference = agreed(lambda: (_read(arguments), _read_reference(arguments)))
    logger.info("%s has %d points", arguments.scan, cloud.number)
    with seconds.of("fit"):
        reconstruction = _fitted(arguments, cloud)
    with seconds.of("mesh"):
        trim = _trim(arguments, reconstruction)
        mesh = reconstruction.mesh(
            arguments.resolution,
            parts=arguments.parts,
            trim=trim,
            sharp=not arguments.smooth and len(reconstruction.points) > 0,
            verbose=arguments.bars,
            **_simplification(arguments, cloud, reconstruction),
        )
        if cloud.colours is not None:
            mesh = transfer_colours(mesh, cloud.points, cloud.colours)
    with seconds.of("compare"):
        report = SurfaceReport.of(mesh, cloud, reconstruction, reference)
    if report.account.worth_a_warning:
        logger.warning("%s: %s", arguments.scan, "; ".join(map(str.strip, report.account.lines())))
    name = printable(arguments.scan.name)
    shown, title = mesh, f"{name}: {cloud.number:,} points, {len(mesh.faces):,} triangles"
    largest = None
    if reference is not None and (arguments.heat_map or arguments.html):
        with seconds.of("heat map"):
            shown, largest = heat_map(mesh, reference)
        title += f"; dark red: {largest:.3g} or more from the reference"

    def in_full() -> dict[str, Any]:
        metrics = report.as_dict()
        return document(arguments, files.named(arguments, writers), cloud.number, seconds, metrics)

    writers: dict[str, Callable[[Path], object]] = {
        "output": lambda path: write_mesh(mesh, path),
        "preview": lambda path: draw(path, shown, cloud.points, title=title),
        "heat_map": lambda path: write_mesh(shown, path),
        "html": lambda path: write_page(path, shown, cloud.points, title=title, largest_error=largest),
        "save": reconstruction.save,
        "json": lambda path: path.write_text(as_json(in_full()), encoding="utf-8"),
    }
    written = files.write_files(arguments, writers)
    if arguments.checkpoint is not None:
        several = [block_file(arguments.checkpoint, block) for block in range(arguments.blocks)]
        for path in several if arguments.blocks > 1 else [arguments.checkpoint]:
            path.unlink(missing_ok=True)
    return Result(report, seconds, written, in_full(), report.rejection())


def help_with_scan(arguments: argparse.Namespace) -> None:
    """
    Do a rank's share of the fits of the blocks of a scan, of which the first rank does all the rest.

    :param arguments: Those of the scan, checked.
    :raises Exception: What the first rank raises as well.
    """
    _fitted(arguments, agreed(lambda: _read(arguments)))


def _read(arguments: argparse.Namespace) -> Cloud:
    """The cloud, with what is to be used of it."""
    cloud = read_cloud(arguments.scan, columns=arguments.columns, most=MOST_POINTS * arguments.blocks)
    if arguments.use_normals and cloud.normals is None:
        raise ValueError(f"--use-normals: {arguments.scan} has no normals")
    if arguments.use_sensors and cloud.sensors is None:
        raise ValueError(f"--use-sensors: {arguments.scan} does not say where its points were seen from")
    return cloud


def _read_reference(arguments: argparse.Namespace) -> Trimesh | None:
    return None if arguments.reference is None else read_mesh(arguments.reference, "--reference")


def _fitted(arguments: argparse.Namespace, cloud: Cloud) -> Reconstruction:
    return PRESETS[arguments.preset](
        cloud.points,
        steps=arguments.steps,
        seed=arguments.seed,
        device=own_device(arguments.device),
        verbose=arguments.bars,
        **_given(
            arguments,
            normals=cloud.normals if arguments.use_normals else None,
            sensors=cloud.sensors if arguments.use_sensors else arguments.viewpoint,
            counts=None if arguments.preset == "paper" else cloud.counts,
            blocks=arguments.blocks if arguments.blocks > 1 else None,
        ),
    )


def _given(arguments: argparse.Namespace, **others: object) -> dict[str, object]:
    """What is given of the options that the paper's own setting does not have."""
    own = {name: getattr(arguments, name) for name in ("quality", "time_budget", "checkpoint")}
    options = {**own, **others}
    return {name: value for name, value in options.items() if value is not None}


def _trim(arguments: argparse.Namespace, reconstruction: Reconstruction) -> float | None:
    """Where the surface ends: as `--trim` or `--open` says, and with the data if they are an open sheet."""
    if arguments.trim is not None:
        return float(arguments.trim)
    return reconstruction.open_trim if arguments.open or reconstruction.is_sheet else None


def _simplification(arguments: argparse.Namespace, cloud: Cloud, reconstruction: Reconstruction) -> dict[str, Any]:
    """How many triangles the mesh has: as `--faces` says, else few where the noise hides it and no colours are lost."""
    if arguments.faces == ALL:
        return {}
    if arguments.faces is not None:
        return {"faces": arguments.faces}
    return {} if cloud.colours is not None else {"tolerance": reconstruction.noise_tolerance}


def _check(arguments: argparse.Namespace) -> None:
    """Whether the numbers make sense and the options go together."""
    for name, least in (("steps", 1), ("resolution", 8), ("faces", 4), ("parts", 1), ("blocks", 1)):
        value = getattr(arguments, name)
        if value not in (None, ALL):
            check_count(f"--{name}", value, least)
    check_columns(arguments.columns, "--columns")
    if arguments.trim is not None:
        check_positive("--trim", arguments.trim)
    if arguments.trim is not None and arguments.open:
        raise ValueError("--trim and --open: only one of them can be given")
    if arguments.viewpoint is not None and arguments.use_sensors:
        raise ValueError("--viewpoint and --use-sensors: only one of them can be given")
    if arguments.viewpoint is not None and not all(map(math.isfinite, arguments.viewpoint)):
        raise ValueError(f"--viewpoint must be three finite numbers, got {arguments.viewpoint}")
    if arguments.blocks > 1 and arguments.time_budget is not None:
        raise ValueError("--blocks and --time-budget: only one of them can be given")
    if arguments.blocks > 1 and arguments.preset == "paper":
        raise ValueError("--blocks: the preset paper does not have it")
    for name in ("quality", "checkpoint", "use_normals", "use_sensors", "viewpoint"):
        if arguments.preset == "paper" and getattr(arguments, name):
            raise ValueError(f"--{name.replace('_', '-')}: the preset paper does not have it")
    if arguments.heat_map is not None and arguments.reference is None:
        raise ValueError("--heat-map needs a --reference")
    if arguments.output is not None:
        _check_format(arguments.output)


def _check_format(output: Path) -> None:
    triangle = Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    try:
        single = not isinstance(triangle.export(file_type=output.suffix.lower().lstrip(".")), dict)
    except (ValueError, ImportError):
        single = False
    if not single:
        raise ValueError(f"--output: cannot write a mesh as {output.suffix!r}, use .ply, .obj, .stl, .off or .glb")


@dataclass(frozen=True)
class SurfaceReport:
    """
    The metrics of a mesh.

    :param vertices: Number of vertices.
    :param faces: Number of triangles.
    :param topology: Of the mesh.
    :param cloud: The distances to the cloud.
    :param account: What has become of its points.
    :param means: How many means stand for the points, where these were too many; else None.
    :param left_out: What of the file was left out in reading.
    :param sheet: Whether the points are of an open sheet.
    :param attempts: How the attempts at the fit were judged.
    :param rejected: The judgement of the best one, if all have failed.
    :param handles: What was done about each narrow handle.
    :param blocks: The parts that networks of their own were fitted to.
    :param reference: The topology of the reference, if there is one.
    :param distances: The distances to the reference.
    """

    vertices: int
    faces: int
    topology: Topology
    cloud: CloudDistances
    account: Account
    means: int | None
    left_out: LeftOut
    sheet: bool
    attempts: tuple[Judgement, ...] = ()
    rejected: Judgement | None = None
    handles: tuple[Handle, ...] = ()
    blocks: tuple[Block, ...] = ()
    reference: Topology | None = None
    distances: SurfaceDistances | None = None

    @classmethod
    def of(
        cls, mesh: Trimesh, cloud: Cloud, reconstruction: Reconstruction, reference: Trimesh | None
    ) -> SurfaceReport:
        """
        Measure a mesh.

        :param mesh: The mesh.
        :param cloud: The cloud that it was made of.
        :param reconstruction: What has made it.
        :param reference: What to compare it with, if anything.
        :return: The report.
        """
        frame, planes = reconstruction.frame, reconstruction.planes
        centres, reach = frame.from_unit(planes.centres), frame.scale * planes.reach
        account = account_for(cloud.points, mesh, centres, reach, reconstruction.sdf, cloud.counts)
        distances = compare_with_cloud(mesh, cloud.points, counts=cloud.counts)
        measured = len(mesh.vertices), len(mesh.faces), topology(mesh), distances, account
        fit = reconstruction.attempts, reconstruction.rejected, reconstruction.handles, reconstruction.blocks
        means = None if cloud.counts is None else len(cloud.counts)
        own = *measured, means, cloud.left_out, reconstruction.is_sheet, *fit
        return cls(*own) if reference is None else cls(*own, topology(reference), compare(mesh, reference))

    @property
    def chamfer(self) -> float:
        """The mean distance to the reference, or else to the cloud, times 10^3, as a multiple of the diagonal."""
        if self.distances is None:
            return self.cloud.relative()
        return self.distances.relative()["chamfer_to_surface"]

    def lines(self) -> list[str]:
        """
        Distances, topology, handles, what has become of the points, and whether the fit was rejected, for a terminal.

        :return: Lines of text.
        """
        left_out = [f"no points: {self.left_out}"] if str(self.left_out) else []
        sheet = ["surface: an open sheet, which ends where the points do (or by --trim)"] if self.sheet else []
        fit = [f"fit: {self.rejection()}"] if self.rejected else []
        means = [] if self.means is None else [f"points: used as their means in the {self.means:,} cells of a grid"]
        end = [*sheet, *filter(None, [describe(self.handles)]), *self.account.lines(), *means, *left_out, *fit]
        if self.distances is None:
            strays = f" ({self.cloud.outliers:,} outliers do not count)" if self.cloud.outliers else ""
            distance = f"to the cloud / diagonal x 10^3: Chamfer {self.cloud.relative():.4g}{strays}"
            return [distance, f"mesh: {self.topology}", *end]
        topologies = [f"mesh: {self.topology}", f"reference: {self.reference}"]
        return [*self.distances.report().splitlines(), *topologies, *end]

    def rejection(self) -> str:
        """
        Why the fit is not to be trusted.

        :return: That it was rejected, and what for; empty if it was not.
        """
        return "" if self.rejected is None else f"rejected, for {self.rejected}"

    def row(self) -> dict[str, str]:
        """
        The mesh in a table of several.

        :return: The cells by the names of their columns.
        """
        return {
            "faces": f"{self.faces:,}",
            "parts": str(self.topology.parts),
            "genus": "-" if self.topology.genus is None else str(self.topology.genus),
            "watertight": "yes" if self.topology.watertight else "no",
            "Chamfer x 10^3": f"{self.chamfer:.4g}",
            "fit": "rejected" if self.rejected else "accepted" if self.attempts else "-",
        }

    def as_dict(self) -> dict[str, Any]:
        """
        Everything, for a program.

        :return: What a JSON document can hold; distances are in the scan's units, `relative` ones are multiples of the
                 diagonal of the reference's bounding box, times 10^3.
        """
        metrics: dict[str, Any] = {
            "attempts": _judged(self.attempts),
            "rejected": self.rejected is not None,
            "handles": [asdict(handle) for handle in self.handles],
            "blocks": [
                {
                    "low": block.low.tolist(),
                    "high": block.high.tolist(),
                    "planes": block.planes,
                    "attempts": _judged(block.attempts),
                }
                for block in self.blocks
            ],
            "mesh": {"vertices": self.vertices, "faces": self.faces, **asdict(self.topology)},
            "cloud": {**asdict(self.cloud), "relative": self.cloud.relative()},
            "means": self.means,
            "left_out": asdict(self.left_out),
            "sheet": self.sheet,
            "account": {**asdict(self.account), "threshold": self.account.threshold, "share": self.account.share},
        }
        if self.distances is not None and self.reference is not None:
            metrics["reference"] = asdict(self.reference)
            metrics["distances"] = asdict(self.distances)
            metrics["relative"] = self.distances.relative()
        return metrics


def _judged(attempts: Sequence[Judgement]) -> list[dict[str, Any]]:
    return [{**asdict(attempt), "failed": attempt.failed} for attempt in attempts]
