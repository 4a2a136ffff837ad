"""
What was done about each handle near the surface, and what data there are for and against it.

A plane speaks about a place that is no further than two of its reaches, as far as the widest shift moves F, and is seen
from its centre under at most 45 degrees from its normal, in front or behind. Places in front of it by more than the
noise are outside by what it says, those behind it are inside. So the walls of a bored hole speak for the tunnel, and
planes over its mouth against it. A plane knows nothing of what is round the corner: the middle of a deep hole is behind
the faces that it goes through, but its walls are nearer. So nobody speaks who is more than twice as far away as another
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import Floats
from art_levelset.recon.meshing.bricks import Integers
from art_levelset.recon.meshing.surface import DOUBT

TUNNEL, BRIDGE = "tunnel", "bridge"
CLOSED, CUT, LEFT = "closed", "cut", "left"

FAR = 2.0
"""Planes speak about places within so many reaches."""

FARTHER = 2.0
"""Planes so many times as far from a place as the nearest one that speaks about it are not asked."""

MANY = 3
"""So many planes for a handle and none against it are enough to leave it as it is."""

SPOKEN_FOR = "planes speak for it"
DATA = "no shift that data allow removes it"
PARTS = "the number of parts would change"


@dataclass(frozen=True)
class Handle:
    """
    A tunnel or a bridge so narrow that its removal was tried.

    :param kind: :data:`TUNNEL`, outside of the surface, or :data:`BRIDGE`, inside of it.
    :param decision: What was done: a tunnel is :data:`CLOSED`, a bridge :data:`CUT`, or either is :data:`LEFT`.
    :param why: Why it was left; empty if it was not.
    :param place: Its middle, where it is narrowest, (x, y, z) in the scan's coordinates.
    :param width: The diameter of the tunnel or the thickness of the bridge there: 2 |F|, in the scan's units.
    :param depth: |F| there in standard errors of the planes; None if these have none.
    :param planes_for: So many planes say that it is there: of a tunnel, that its middle is outside.
    :param planes_against: So many say that it is not.
    """

    kind: str
    decision: str
    why: str
    place: tuple[float, float, float]
    width: float
    depth: float | None
    planes_for: int
    planes_against: int


def records(
    places: Points, values: Floats, decisions: Sequence[tuple[str, str]], planes: Planes, frame: Frame
) -> tuple[Handle, ...]:
    """
    Tell what was done about handles.

    :param places: The middles of tunnels and bridges, (n, 3), in the unit frame.
    :param values: F there, before anything was done, (n,); tunnels are where it is positive.
    :param decisions: For each what was done and why.
    :param planes: The planes of the cloud that have a say, in the unit frame.
    :param frame: The map to the scan's coordinates.
    :return: A record of each, in their order.
    """
    outside, inside = count_speakers(places, planes)
    there, error = frame.from_unit(places), planes.error
    found = []
    for i, (value, (decision, why)) in enumerate(zip(values.tolist(), decisions, strict=True)):
        tunnel = value > 0
        speakers = int(outside[i]), int(inside[i])
        x, y, z = there[i].tolist()
        found.append(
            Handle(
                kind=TUNNEL if tunnel else BRIDGE,
                decision=decision,
                why=why,
                place=(x, y, z),
                width=2 * abs(value) * frame.scale,
                depth=abs(value) / error if error else None,
                planes_for=speakers[0] if tunnel else speakers[1],
                planes_against=speakers[1] if tunnel else speakers[0],
            )
        )
    return tuple(found)


def count_speakers(places: Points, planes: Planes) -> tuple[Integers, Integers]:
    """
    Count the planes that say that places are outside or inside.

    :param places: (n, 3).
    :param planes: The planes, with outward normals.
    :return: How many say that each is outside, (n,), and how many that it is inside, (n,).
    """
    outside, inside = np.zeros((2, len(places)), dtype=np.int64)
    for i, near in enumerate(cKDTree(planes.centres).query_ball_point(places, FAR * planes.reach)):
        offsets = places[i] - planes.centres[near]
        heights = np.einsum("ki,ki->k", offsets, planes.normals[near])
        squares = (offsets**2).sum(axis=1)
        sure = (2 * heights**2 >= squares) & (np.abs(heights) > DOUBT * planes.error)
        sure &= squares <= FARTHER**2 * squares[sure].min(initial=np.inf)
        outside[i], inside[i] = np.count_nonzero(sure & (heights > 0)), np.count_nonzero(sure & (heights < 0))
    return outside, inside


def are_spoken_for(planes_for: Integers, planes_against: Integers) -> NDArray[np.bool_]:
    """
    Whether planes are enough to leave handles as they are.

    :param planes_for: How many say that each is there, (n,).
    :param planes_against: How many say that it is not, (n,).
    :return: (n,).
    """
    enough: NDArray[np.bool_] = (planes_for >= MANY) & (planes_against == 0)
    return enough


def describe(handles: Sequence[Handle]) -> str:
    """
    The handles that were removed, for a terminal.

    :param handles: The records of all that were tried.
    :return: A line; empty if there are none.
    """
    counts = [
        (sum((handle.kind, handle.decision) == (kind, decision) for handle in handles), kind, decision)
        for kind, decision in ((TUNNEL, CLOSED), (BRIDGE, CUT))
    ]
    parts = [f"{count:,} {kind}{'s'[: count != 1]} {decision}" for count, kind, decision in counts if count]
    return f"narrow handles: {', '.join(parts)}" if parts else ""
