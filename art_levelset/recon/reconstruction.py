"""The result of a reconstruction: the fitted network, and its mesh and distances in the scan's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from art_levelset.checks import check_positive
from art_levelset.core.modes import evaluating
from art_levelset.recon.cloud.clouds import FEWEST_POINTS, Frame, Points
from art_levelset.recon.cloud.faces import points_on_faces
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.sheets import upward
from art_levelset.recon.fitting.blocks import Block
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.meshing.creases import part_moved, sharpen
from art_levelset.recon.meshing.extract import grid_of_box, zero_set
from art_levelset.recon.meshing.handle_records import Handle, records
from art_levelset.recon.meshing.handles import ASIDE, FINEST, find_handle_removal
from art_levelset.recon.meshing.refine import (
    APART,
    nearest_points,
    polish_vertices,
    simplify_mesh,
    simplify_within,
    surface_normals,
)
from art_levelset.recon.meshing.remembered import Remembered
from art_levelset.recon.meshing.surface import HandleRemoval, Surface
from art_levelset.recon.meshing.topology import (
    Faces,
    compact,
    largest_components,
    near_data,
    supported_components,
    without_short_edges,
)
from art_levelset.recon.patchwork import Patchwork
from art_levelset.recon.saving import load, save
from art_levelset.recon.threads import mapped, parts_of

if TYPE_CHECKING:
    from trimesh import Trimesh

BORDER, BULGE = 0.08, 1.0
"""How far the box of the mesh goes beyond the cloud at least, in the unit frame and in reaches of the planes: over few
points the surface bulges."""

SUPPORT = 0.002
SMALLEST = 2.0
"""A connected component of which all sides are shorter than so many reaches of the planes is smaller than the
neighbourhoods that they were fitted to: a crumb."""

MANY = 100
"""But no crumb is what so many planes stand for: about twice as many as a sphere of that size has where they are as far
from each other as usual, so here they are nearer, and so small a thing has been seen well."""

FINEST_DETAIL = 1 / 400
"""Where the planes have hardly any error the zero set still deviates from them, and nothing smaller than this part of
their reach is worth a triangle."""

CHUNK = 1 << 14
"""So many points are evaluated together: what the layers make of them fits into a processor's cache."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """
    A surface as the zero level set of a network: what :func:`art_levelset.recon.pipeline.reconstruct` returns.

    >>> import numpy as np
    >>> import torch
    >>> from art_levelset.recon import GridNetwork, reconstruct
    >>> directions = np.random.default_rng(0).standard_normal((300, 3))
    >>> sphere = 10 * directions / np.linalg.norm(directions, axis=1, keepdims=True) + [100.0, 0.0, 0.0]
    >>> small = GridNetwork((8, 16), (2, 2), width=16, generator=torch.Generator().manual_seed(0))
    >>> reconstruction = reconstruct(
    ...     sphere, network=small, steps=60, batch_size=64, learning_rate=1e-2, verbose=False
    ... )
    >>> mesh = reconstruction.mesh(resolution=16)
    >>> round(float(mesh.volume) / (4 / 3 * np.pi * 10**3), 1)
    1.0
    >>> reconstruction.sdf([[100.0, 0.0, 0.0], [120.0, 0.0, 0.0]]) < 0
    array([ True, False])

    :param network: F, (batch, 3) -> (batch, 1) in the unit frame, positive outside.
    :param frame: The map between the scan's coordinates and the unit frame.
    :param planes: The local planes of the cloud, with outward normals, in the unit frame.
    :param correction: By how much F may be corrected beside the data, in the unit frame, >= 0
           (:mod:`art_levelset.recon.meshing.surface`).
    :param handle_removal: Where it is shifted to be rid of handles that no data speak for.
    :param points: The points of the cloud that sharp edges are found with, (n, 3), in the unit frame
           (:func:`art_levelset.recon.cloud.faces.enough_points`); none, (0, 3), where they are not known.
    :param attempts: How the attempts at the fit were judged, in their order; the network is that of the best one. Empty
           where nothing was judged: unfinished fits, the paper's own setting, and what :meth:`load` reads.
    :param handles: What was done about each narrow tunnel and bridge, the narrowest ones first. Empty where none was
           found or looked for: before :meth:`without_handles`, and what :meth:`load` reads.
    :param blocks: The parts that networks of their own were fitted to; the attempts are then those of the worst one.
           Empty where there is one network, and for what :meth:`load` reads.
    """

    network: nn.Module
    frame: Frame
    planes: Planes
    correction: float = 0.0
    handle_removal: HandleRemoval = field(default_factory=HandleRemoval)
    points: Points = field(default_factory=partial(np.zeros, (0, 3)))
    attempts: tuple[Judgement, ...] = ()
    handles: tuple[Handle, ...] = ()
    blocks: tuple[Block, ...] = ()
    _before_removal: _Known | None = field(default=None, init=False, repr=False)

    @property
    def rejected(self) -> Judgement | None:
        """The judgement of the best attempt, if it has failed as all the others have; else None."""
        failed = self.attempts and all(attempt.failed for attempt in self.attempts)
        return min(self.attempts, key=lambda attempt: attempt.rank) if failed else None

    @property
    def open_trim(self) -> float:
        """The `trim` of :meth:`mesh` that leaves open what no plane is beside, in the scan's units: half of a reach."""
        return self.planes.reach / 2 * self.frame.scale

    @property
    def noise_tolerance(self) -> float:
        """
        The `tolerance` of :meth:`mesh` that the noise hides, in the scan's units: the usual standard error of the local
        planes, and no less than 1/400 of their reach.
        """
        return max(self.planes.error, FINEST_DETAIL * self.planes.reach) * self.frame.scale

    @cached_property
    def is_sheet(self) -> bool:
        """Whether the cloud is an open sheet that is nowhere steep (:mod:`art_levelset.recon.cloud.sheets`)."""
        return upward(self.planes) is not None

    @cached_property
    def surface(self) -> nn.Module:
        """The function whose zero level set is the surface: F, with its corrections."""
        if not self.correction and not len(self.handle_removal):
            return self.network
        return Surface(self.network, self.planes, self.correction, self.handle_removal)

    def sdf(self, points: object) -> NDArray[np.float64]:
        """
        The signed distance to the surface, as the network approximates it; good near the cloud.

        :param points: (n, 3) in the scan's coordinates.
        :return: F in the scan's units, negative inside, (n,).
        :raises ValueError: If the shape is wrong.
        """
        return self._values(self.frame.to_unit(_check_queries(points))).astype(np.float64) * self.frame.scale

    def project(self, points: object) -> Points:
        """
        The nearest points of the surface, by our projection (:func:`art_levelset.recon.meshing.refine.nearest_points`).

        :param points: (n, 3) in the scan's coordinates.
        :return: (n, 3) in the scan's coordinates; NaN where the projection does not arrive at the surface.
        :raises ValueError: If the shape is wrong.
        """
        return self.frame.from_unit(nearest_points(self.surface, self.frame.to_unit(_check_queries(points))))

    def mesh(
        self,
        resolution: int = 256,
        *,
        faces: int | None = None,
        tolerance: float | None = None,
        parts: int | None = None,
        trim: float | None = None,
        sharp: bool = False,
        polish: bool = True,
        verbose: bool = False,
    ) -> Trimesh:
        """
        The surface as triangles, with the normals outwards, in the scan's coordinates.

        Connected components that are the nearest one to less than 0.2% of the data are left out: pockets and crumbs;
        and, beside the largest one, those smaller than the usual neighbourhoods that the local planes are fitted to,
        unless as many planes stand for them as for a larger thing. The mesh is watertight unless the surface leaves the
        box of the cloud (larger by 4% of its longest side, or a reach of the planes, on each side), `trim`
        opens it or `faces` is given.

        :param resolution: Number of grid cells along the longest side of the cloud's bounding box, >= 8.
        :param faces: Simplify to about so many triangles, >= 4. None for all.
        :param tolerance: Simplify as far as no vertex is further than this from the planes of the triangles that it
               stands for, in the scan's units, > 0: few triangles where the surface is flat. Topology and borders stay.
               :attr:`noise_tolerance` changes less than the noise of the scan does. None for all triangles.
        :param parts: Keep so many connected components, those of the largest areas, >= 1, of what `trim` leaves. None
               for all that data support.
        :param trim: Cut away what is further from the data than this, in the scan's units: triangles that close holes
               of the scan, > 0. The data are the local planes, counted as discs of half their reach;
               :attr:`open_trim` leaves nothing that is not beside one.
        :param sharp: Whether to put vertices and edges on the creases between faces, where the points speak for them
               (:mod:`art_levelset.recon.meshing.creases`), as on machined parts. Beside them the mesh is no zero
               set, and has the mean normals of its triangles.
        :param polish: Whether to move the vertices onto the zero set (see
               :func:`art_levelset.recon.meshing.refine.polish_vertices`) and give them the normals D_xF / |D_xF| as
               vertex normals.
        :param verbose: Whether to show a progress bar.
        :return: The mesh.
        :raises ValueError: If a number is out of range, both `faces` and `tolerance` are given, sharp edges are asked
                for and the points are not known, the network has no zero level set there, or nothing is left.
        """
        from trimesh import Trimesh
        from trimesh.caching import TrackedArray

        if trim is not None:
            check_positive("trim", trim)
        if tolerance is not None:
            check_positive("tolerance", tolerance)
        if faces is not None and tolerance is not None:
            raise ValueError("faces and tolerance: only one of them can be given")
        if sharp and len(self.points) < FEWEST_POINTS:
            raise ValueError("sharp: the points of the cloud are needed, which this reconstruction does not have")
        vertices, triangles, cell = self._level_set(resolution, verbose=verbose)
        triangles = without_short_edges(vertices, triangles, APART * cell)
        vertices, triangles = compact(vertices, triangles)
        if polish:
            vertices = polish_vertices(self.surface, vertices, triangles, cell)
        creases = np.empty((0, 3))
        if sharp:
            faces_met = points_on_faces(self.points, self.planes)
            vertices, triangles, creases = sharpen(vertices, triangles, faces_met, self.points, cell)
        if trim is not None:
            gap = self.planes.reach / 2  # between the centres of the planes that stand for the data
            kept = near_data(vertices, triangles, self.planes.centres, trim / self.frame.scale + gap)
            vertices, triangles = compact(vertices, triangles[kept])
            if not len(triangles):
                raise ValueError(f"trim: nothing of the surface is within {trim} of the data")
        if parts is not None:
            vertices, triangles = compact(vertices, triangles[largest_components(vertices, triangles, parts)])
        if faces is not None:
            vertices, triangles = simplify_mesh(vertices, triangles, faces)
        if tolerance is not None:
            vertices, triangles = simplify_within(vertices, triangles, tolerance / self.frame.scale)
            if polish:
                smooth = part_moved(vertices, creases, self.planes.reach) == 0
                vertices[smooth] = polish_vertices(self.surface, vertices, triangles, cell)[smooth]
        indices = triangles.astype(np.int64).view(TrackedArray)
        del triangles  # of a mesh of millions, 12 bytes each
        hash(indices)  # trimesh copies them for it, but only once: now, while there are no normals
        directions = None
        if polish:
            directions = surface_normals(self.surface, vertices)
            beside = part_moved(vertices, creases, self.planes.reach) > 0
            if beside.any():  # there it is no zero set
                directions[beside] = Trimesh(vertices, indices, process=False).vertex_normals[beside]
        vertices = self.frame.from_unit(vertices)
        return Trimesh(vertices, indices, vertex_normals=directions, process=False)

    def without_handles(self) -> Reconstruction:
        """
        Remove the handles that no data speak for (:mod:`art_levelset.recon.meshing.handles`).

        :return: The same reconstruction with the shifts that this takes, if any, instead of those it had, and with a
                 record of every handle that was narrow enough to be tried.
        """
        surface = Surface(self.network, self.planes, self.correction, HandleRemoval())
        result = replace(self, handle_removal=HandleRemoval())
        low, high = self._box()
        if isinstance(self.network, Patchwork):  # what is small in the scene need not be small in its block
            aside, handles = ASIDE * self.planes.reach, list[Handle]()
            for first, last in zip(self.network.low.cpu().numpy(), self.network.high.cpu().numpy(), strict=True):
                block = np.maximum(first, low), np.minimum(last, high)
                removal, tried = find_handle_removal(surface, result._values, *block, aside)
                result = replace(result, handle_removal=result.handle_removal.followed_by(removal))
                handles += records(*tried, surface.trusted, self.frame)
            return replace(result, handles=tuple(sorted(handles, key=lambda handle: handle.width)))
        known = Remembered(result._values, grid_of_box(low, high, FINEST))
        removal, tried = find_handle_removal(surface, known, low, high)
        result = replace(result, handle_removal=removal, handles=records(*tried, surface.trusted, self.frame))
        object.__setattr__(result, "_before_removal", _Known(known, surface, _versions(self.network)))
        return result

    def save(self, path: str | Path) -> None:
        """
        Write the reconstruction to a file, from which :meth:`load` makes it again.

        :param path: The file; it appears when it is complete.
        :raises OSError: If it cannot be written.
        """
        save(path, self.network, self.frame, self.planes, self.correction, self.handle_removal, self.points)

    @classmethod
    def load(cls, path: str | Path, network: nn.Module | None = None) -> Reconstruction:
        """
        Read a reconstruction that :meth:`save` wrote. No code that the file brings is run.

        :param path: The file.
        :param network: The network to fill with the weights, if it was one of your own.
        :return: The reconstruction, on the CPU or where the given network is.
        :raises OSError: If the file cannot be read.
        :raises ValueError: If it is no reconstruction, or its network is another one.
        """
        network, parts = load(path, network)
        return cls(network, *parts)

    def _box(self) -> tuple[Points, Points]:
        """Two corners of the box of the mesh, in the unit frame."""
        border = max(BORDER, BULGE * self.planes.reach)
        return self.planes.centres.min(axis=0) - border, self.planes.centres.max(axis=0) + border

    def _level_set(self, resolution: int, *, verbose: bool = False) -> tuple[Points, Faces, float]:
        """The components of the surface that data support, as vertices and triangles, and the edge of a grid cell."""
        low, high = self._box()
        known = self._before_removal
        function = self._values
        if known is not None and known.versions == _versions(self.network):
            function = partial(known.values, removal=self.handle_removal)
        vertices, triangles = zero_set(function, low, high, resolution, verbose=verbose)
        smallest = SMALLEST * self.planes.reach
        centres = self.planes.centres
        triangles = triangles[supported_components(vertices, triangles, centres, SUPPORT, smallest, MANY)]
        return vertices, triangles, float((high - low).max()) / resolution

    def _values(self, queries: Points) -> NDArray[np.float32]:
        """The surface's function at points of the unit frame, in chunks."""
        surface = self.surface
        device = next(surface.parameters()).device
        values = np.empty(len(queries), dtype=np.float32)

        def evaluate(rows: slice) -> None:
            part = torch.as_tensor(queries[rows], dtype=torch.float32, device=device)
            with torch.no_grad():
                values[rows] = surface(part).squeeze(1).cpu().numpy()

        with evaluating(surface):
            mapped(evaluate, parts_of(len(queries), CHUNK))
        return values


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of a surface before handles are removed: its values, the surface, and the state of the network."""

    function: Remembered
    surface: Surface
    versions: list[tuple[int, int]]

    def values(self, queries: Points, removal: HandleRemoval) -> NDArray[np.float32]:
        """The values after a removal, (n,), at points of the unit frame, (n, 3)."""
        device = self.surface.distance.centres.device
        values = torch.as_tensor(self.function(queries), device=device)
        points = torch.as_tensor(queries, dtype=torch.float32, device=device)
        for centre, shift in zip(removal.centres, removal.shifts, strict=True):
            values = self.surface.shift_values(points, values, centre, float(shift))
        return values.cpu().numpy()


def _versions(network: nn.Module) -> list[tuple[int, int]]:
    """Numbers that change when a weight is changed."""
    return [(id(weight), weight._version) for weight in network.parameters()]


def _check_queries(points: object) -> Points:
    points = points.detach().cpu() if isinstance(points, torch.Tensor) else points
    queries = np.asarray(points, dtype=np.float64)
    if queries.ndim != 2 or queries.shape[1] != 3:
        raise ValueError(f"points must have the shape (n, 3), got {queries.shape}")
    return queries
