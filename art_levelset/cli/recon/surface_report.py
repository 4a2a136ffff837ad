"""What there is to say of a mesh: its topology, its distances to the cloud and to a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from art_levelset.cli.recon.result import Seconds, document
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.inspect.metrics import CloudDistances, SurfaceDistances, compare, compare_with_cloud
from art_levelset.recon.meshing.topology import Topology, topology

if TYPE_CHECKING:
    from trimesh import Trimesh


@dataclass(frozen=True)
class Report:
    """
    The figures of a mesh.

    :param vertices: Number of vertices.
    :param faces: Number of triangles.
    :param topology: Of the mesh.
    :param cloud: The distances to the cloud.
    :param reference: The topology of the reference, if there is one.
    :param distances: The distances to the reference.
    """

    vertices: int
    faces: int
    topology: Topology
    cloud: CloudDistances
    reference: Topology | None = None
    distances: SurfaceDistances | None = None

    @classmethod
    def of(cls, mesh: Trimesh, points: Points, reference: Trimesh | None) -> Report:
        """
        Measure a mesh.

        :param mesh: The mesh.
        :param points: The cloud that it was made of, (n, 3).
        :param reference: What to compare it with, if anything.
        :return: The report.
        """
        own = len(mesh.vertices), len(mesh.faces), topology(mesh), compare_with_cloud(mesh, points)
        return cls(*own) if reference is None else cls(*own, topology(reference), compare(mesh, reference))

    @property
    def chamfer(self) -> float:
        """The mean distance to the reference, or else to the cloud, times 10^3, as a multiple of the diagonal."""
        if self.distances is None:
            return self.cloud.relative()
        return self.distances.relative()["chamfer_to_surface"]

    def lines(self) -> list[str]:
        """
        Distances and topology, for a terminal.

        :return: Lines of text.
        """
        if self.distances is None:
            return [f"to the cloud / diagonal x 10^3: Chamfer {self.cloud.relative():.4g}", f"mesh: {self.topology}"]
        return [*self.distances.report().splitlines(), f"mesh: {self.topology}", f"reference: {self.reference}"]

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
        }

    def json(
        self, settings: Mapping[str, Any], points: int, seconds: Seconds, attempts: Sequence[Judgement] = ()
    ) -> str:
        """
        Everything, for a file.

        :param settings: What was asked for.
        :param points: Number of points of the scan.
        :param seconds: What the parts of the run took.
        :param attempts: How the attempts at the fit were judged.
        :return: A JSON document; distances are in the scan's units, `relative` ones are multiples of the diagonal of
                 the reference's bounding box, times 10^3.
        """
        figures: dict[str, Any] = {
            "attempts": [{**asdict(attempt), "failed": attempt.failed} for attempt in attempts],
            "mesh": {"vertices": self.vertices, "faces": self.faces, **asdict(self.topology)},
            "cloud": {**asdict(self.cloud), "relative": self.cloud.relative()},
        }
        if self.distances is not None and self.reference is not None:
            figures["reference"] = asdict(self.reference)
            figures["distances"] = asdict(self.distances)
            figures["relative"] = self.distances.relative()
        return document(settings, points, seconds, figures)
