"""
Families of shapes made with code, whose topology and smallest features are known by construction.

A shape has a *spacing* h, how far the points of its scan are apart: of a surface of area A, n = A / h^2 points. Its
features, such as the diameter of a hole, a wall or a gap, are drawn as multiples of h, so that the numbers of all
shapes together say down to which size topology is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import trimesh
from solids import Solid, around_axis, ball, below, box, capsule, common, cylinder, meshed, torus, union, without

from art_levelset.recon.meshing.topology import euler_number, label_components

FEWEST, MOST = 8_000, 30_000
"""Points of a scan."""

NARROWEST, WIDEST = 2.0, 10.0
"""The features that a family is about, in spacings."""

CELLS = 4.0
"""Grid cells of the reference across the smallest feature, at least."""

COARSEST, FINEST = 128, 256
"""Grid cells of the reference along its longest side, at least and at most."""

Betti = tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """
    A solid and what is known of it.

    :param spacing: h, as it was asked for.
    :param solid: Its function, nowhere steeper than 1.
    :param half: Half of the sides of a box around the origin that holds it, (3,).
    :param parts: How many connected components its surface has; each is closed.
    :param genus: How many handles they have together.
    :param widths: The features that may close or break, by what they are: holes, walls, gaps.
    """

    spacing: float
    solid: Solid
    half: tuple[float, float, float]
    parts: int
    genus: int
    widths: Mapping[str, float]

    @property
    def betti(self) -> Betti:
        """The Betti numbers of the surface."""
        return self.parts, 2 * self.genus, self.parts

    @property
    def width(self) -> float:
        """The smallest feature."""
        return min(self.widths.values())

    def count(self, area: float) -> int:
        """
        How many points a scan has.

        :param area: Of the surface.
        :return: Area / h^2, within :data:`FEWEST` and :data:`MOST`.
        """
        return round(min(max(area / self.spacing**2, FEWEST), MOST))

    def mesh(self) -> trimesh.Trimesh:
        """
        The surface.

        :return: The mesh.
        :raises ValueError: If its topology is not that of the construction.
        """
        longest = 2 * max(self.half)
        cell = min(max(self.width / CELLS, longest / FINEST), longest / COARSEST)
        mesh = meshed(self.solid, self.half, cell)
        if betti_of(mesh) != self.betti:
            raise ValueError(f"the mesh has the Betti numbers {betti_of(mesh)} instead of {self.betti}")
        return mesh


def betti_of(mesh: trimesh.Trimesh) -> Betti:
    """
    The Betti numbers of a surface with or without boundary.

    Each component has b_0 = 1, and b_2 = 1 if it has no boundary; b_1 follows from the Euler number b_0 - b_1 + b_2.

    :param mesh: The mesh, with at least one face.
    :return: b_0, b_1 and b_2.
    """
    faces = np.asarray(mesh.faces, dtype=np.int32)
    parts, component = label_components(faces)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, edge, shared = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    lonely = np.flatnonzero(shared[edge.ravel()] == 1)
    closed = parts - len(np.unique(component[lonely // 3]))
    return parts, parts + closed - euler_number(faces, len(mesh.vertices)), closed


def plate(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A plate with three to eight round holes.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    count = int(draw.integers(3, 9))
    hole, thickness = spacing * draw.uniform(NARROWEST, WIDEST), spacing * draw.uniform(4, 7)
    cells = draw.permutation(list(product((-0.75, -0.25, 0.25, 0.75), (-0.35, 0.35))))[:count]
    middles = cells + draw.uniform(-0.06, 0.06, (count, 2))
    holes = [cylinder(2, hole / 2, math.inf, (x, y, 0)) for x, y in middles]
    half = 1.0, 0.7, thickness / 2
    return Shape(spacing, without(box(half), *holes), half, 1, count, {"hole": hole, "wall": thickness})


def ring(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A flat ring with four to twelve bolt holes.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    count = int(draw.integers(4, 13))
    hole, thickness = spacing * draw.uniform(NARROWEST, WIDEST), spacing * draw.uniform(4, 7)
    outer, inner = 1.0, 0.5
    middle = (outer + inner) / 2
    bolts = around_axis(cylinder(2, hole / 2, math.inf, (middle, 0, 0)), count)
    solid = without(cylinder(2, outer, thickness / 2), cylinder(2, inner, math.inf), bolts)
    widths = {
        "hole": hole,
        "wall": thickness,
        "rim": (outer - inner - hole) / 2,
        "between": 2 * middle * math.sin(math.pi / count) - hole,
    }
    return Shape(spacing, solid, (outer, outer, thickness / 2), 1, 1 + count, widths)


def gear(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A toothed wheel with a bore and holes around it; what may fail are the gaps between its teeth.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    root, height, half = 0.8, 0.2, 0.15
    tooth, wanted = spacing * draw.uniform(5, 9), spacing * draw.uniform(NARROWEST, WIDEST)
    half_tooth = math.asin(tooth / 2 / root)
    teeth = math.floor(math.pi / (half_tooth + math.asin(wanted / 2 / root)))
    gap = 2 * root * math.sin(math.pi / teeth - half_tooth)
    holes = int(draw.integers(3, 7))
    comb = around_axis(box((height, tooth / 2, half), (root, 0, 0)), teeth)
    cuts = cylinder(2, 0.2, math.inf), around_axis(cylinder(2, 0.12, math.inf, (0.48, 0, 0)), holes)
    solid = without(union(cylinder(2, root, half), comb), *cuts)
    tip = root + 1.5 * height
    return Shape(spacing, solid, (tip, tip, half), 1, 1 + holes, {"gap": gap, "tooth": tooth, "hole": 0.24})


def fins(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A base with two to eight thin fins.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    fin, gap = spacing * draw.uniform(NARROWEST, WIDEST), spacing * draw.uniform(NARROWEST, WIDEST)
    count = min(math.floor((1.9 + gap) / (fin + gap)), 8)
    base, height = 0.15, 0.5
    places = (fin + gap) * (np.arange(count) - (count - 1) / 2)
    middle = (height - 2 * base) / 2  # of the fins, which begin in the middle of the base
    blades = [box((fin / 2, 0.5, height / 2 + base / 2), (x, 0, middle + base / 2)) for x in places]
    solid = union(box((1.0, 0.6, base), (0, 0, -base)), *blades)
    return Shape(spacing, solid, (1.0, 0.6, 0.6), 1, 0, {"wall": fin, "gap": gap})


def shells(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A hollow ball with two to six round windows, and a ball in it.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    wall, gap = spacing * draw.uniform(NARROWEST, 6), spacing * draw.uniform(NARROWEST, WIDEST)
    window = draw.uniform(0.5, 0.8)
    places = draw.permutation([(axis, side) for axis in range(3) for side in (-1.0, 1.0)])[: draw.integers(2, 7)]
    cuts = [cylinder(int(axis), window / 2, 0.5, side * np.eye(3)[int(axis)]) for axis, side in places]
    shell = without(ball(1.0), ball(1.0 - wall), *cuts)
    solid = union(shell, ball(1.0 - wall - gap))
    return Shape(spacing, solid, (1.0, 1.0, 1.0), 2, len(cuts) - 1, {"wall": wall, "gap": gap, "hole": window})


def chain(draw: np.random.Generator, spacing: float) -> Shape:
    """
    Two to four linked tori.

    Links in turn lie in the planes z = 0 and y = 0, at distances R + e of their middles, R being the radius of their
    circles: these are R - e from each other, and those of the next but one 2 e.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    count = int(draw.integers(2, 5))
    tube, gap = spacing * draw.uniform(4, 10), spacing * draw.uniform(NARROWEST, WIDEST)
    radius = max(0.5, 1.5 * (tube + gap) + spacing)
    shift = radius - tube - gap
    places = (radius + shift) * (np.arange(count) - (count - 1) / 2)
    links = [torus(2 - i % 2, radius, tube / 2, (x, 0, 0)) for i, x in enumerate(places)]
    across = radius + tube / 2
    half = float(places[-1]) + across, across, across
    next_but_one = {} if count < 3 else {"next": 2 * shift - tube}
    return Shape(spacing, union(*links), half, count, count, {"gap": gap, "tube": tube, **next_but_one})


def tubes(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A pipe of two to six arms, open at all of their ends.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    count, outer = int(draw.integers(2, 7)), 0.3
    wall = spacing * draw.uniform(NARROWEST, 6)
    inner = outer - wall
    ways = draw.permutation([(axis, side) for axis in range(3) for side in (-0.5, 0.5)])[:count]
    pipes = [cylinder(int(axis), outer, 0.5, side * np.eye(3)[int(axis)]) for axis, side in ways]
    bores = [
        cylinder(int(axis), inner, 0.5 + spacing, side * np.eye(3)[int(axis)] * (1 + 2 * spacing))
        for axis, side in ways
    ]
    solid = without(union(ball(outer), *pipes), ball(inner), *bores)
    return Shape(spacing, solid, (1.0, 1.0, 1.0), 1, count - 1, {"wall": wall, "hole": 2 * inner})


def lattice(draw: np.random.Generator, spacing: float) -> Shape:
    """
    Struts along the edges of a grid.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    shape = np.array([(4, 3, 2), (3, 3, 3), (4, 4, 3)][draw.integers(3)])
    strut, opening = spacing * draw.uniform(4, 9), spacing * draw.uniform(NARROWEST + 1, WIDEST + 4)
    side = strut + opening
    far = side * (shape - 1) / 2
    struts = []
    for axis in range(3):
        others = [np.arange(shape[i]) * side - far[i] for i in range(3) if i != axis]
        for first, second in product(*others):
            ends = [np.insert([first, second], axis, end * far[axis]) for end in (-1, 1)]
            struts.append(capsule(*ends, strut / 2))
    nodes = int(shape.prod())
    edges = sum(nodes // int(size) * (int(size) - 1) for size in shape)
    x, y, z = far + strut / 2
    return Shape(spacing, union(*struts), (x, y, z), 1, edges - nodes + 1, {"hole": opening, "strut": strut})


def limbs(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A body with arms and legs that nearly touch; none, one or two hands are on its side, which makes handles.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    gap, loops = spacing * draw.uniform(NARROWEST, WIDEST), int(draw.integers(0, 3))
    leg, arm, chest, hand = 0.14, 0.1, 0.3, 0.08
    to_leg, to_arm = leg + gap / 2, chest + gap + arm
    parts = [capsule((0, 0, 0), (0, 0, 0.8), chest)]
    for i, side in enumerate((-1, 1)):
        parts.append(capsule((side * to_leg, 0, 0), (side * to_leg, 0, -1), leg))
        parts.append(capsule((0, 0, 0.8), (side * to_arm, 0, 0.8), arm))
        parts.append(capsule((side * to_arm, 0, 0.8), (side * to_arm, 0, 0.3), arm))
        if i < loops:
            parts.append(capsule((0, 0, 0.3), (side * to_arm, 0, 0.3), hand))
    width = to_arm + arm
    hand_to_leg = math.hypot(to_arm - to_leg, 0.3) - arm - leg
    widths = {"gap": gap, "hand to leg": hand_to_leg, "limb": 2 * arm, **({"hand": 2 * hand} if loops else {})}
    return Shape(spacing, union(*parts), (width, chest, 1.14), 1, loops, widths)


def bracket(draw: np.random.Generator, spacing: float) -> Shape:
    """
    A machined bracket with sharp edges: two plates at right angles, a gusset, and round holes or slots.

    :param draw: Source of randomness.
    :param spacing: h.
    :return: The shape.
    """
    thickness, hole = spacing * draw.uniform(4, 7), spacing * draw.uniform(NARROWEST, WIDEST)
    gusset, slot = spacing * draw.uniform(4, 7), draw.choice([0.0, 0.1])
    foot = box((0.8, 0.6, thickness / 2), (0, 0, thickness / 2 - 0.5))
    back = box((thickness / 2, 0.6, 0.5), (thickness / 2 - 0.8, 0, 0))
    rib = common(box((0.4, gusset / 2, 0.4), (-0.4, 0, -0.1)), below((1, 0, 1), -0.6 / math.sqrt(2)))
    holes = []
    for x, y in draw.permutation(list(product((0.15, 0.6), (-0.35, 0.35))))[: draw.integers(2, 5)]:
        bores = [cylinder(2, hole / 2, math.inf, (x, y + side * slot, 0)) for side in (-1, 1)]
        between = box((hole / 2, slot, 1), (x, y, 0))
        holes += [union(*bores, between) if slot else bores[0]]
    holes += [cylinder(0, hole / 2, 0.3, (-0.8, y, 0.15)) for y in (-0.35, 0.35)]
    solid = union(without(union(foot, back), *holes), rib)
    widths = {"hole": hole, "wall": thickness, "gusset": gusset}
    return Shape(spacing, solid, (0.8, 0.6, 0.5), 1, len(holes), widths)


FAMILIES: dict[str, tuple[Callable[[np.random.Generator, float], Shape], float, int]] = {
    "plate": (plate, 6.4, FEWEST),
    "ring": (ring, 5.6, FEWEST),
    "gear": (gear, 6.4, FEWEST),
    "fins": (fins, 11.0, FEWEST),
    "shells": (shells, 26.0, 18_000),
    "chain": (chain, 5.0, FEWEST),
    "tubes": (tubes, 13.0, 12_000),
    "lattice": (lattice, 9.0, FEWEST),
    "limbs": (limbs, 5.5, FEWEST),
    "bracket": (bracket, 7.5, FEWEST),
}
"""For each what makes it, about its area, and the fewest points that are drawn."""


def made(family: str, seed: int) -> Shape:
    """
    A shape of a family.

    :param family: One of :data:`FAMILIES`.
    :param seed: Which one, >= 0.
    :return: The shape, the same for the same seed.
    :raises ValueError: If there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    make, area, fewest = FAMILIES[family]
    draw = np.random.default_rng([seed, *family.encode()])
    points = math.exp(draw.uniform(math.log(fewest), math.log(MOST)))
    return make(draw, math.sqrt(area / points))
