"""
A test set in strata of how near misclassified points were found, and the images of each that are drawn for AutoAttack.

What a search for the boundary has found tells where AutoAttack's verdict is in doubt. With the distance d of the
nearest misclassified point found, the strata are the images that some attack has broken already, and those that stand,
by d / eps. Images that are misclassified as they are belong to none: no attack is needed.

The drawing has two phases (:func:`draw`). The *pilot* takes the same share of every stratum, and all of what is
nearest. The *rest* takes as many of each stratum as the pilot's outcomes say that the interval needs, and at least
some. For the images that are left after the pilot, the rest alone is a stratified random sample whose sizes were fixed
before it, so it estimates their total without bias; the pilot's images are known. Were the two phases thrown together,
a stratum that was drawn more often because the pilot found a broken image there would count too low.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from art_levelset.evaluation.stratified import Draw, sizes, total_interval

EDGES = (1.01, 1.05, 1.1, 1.2)
"""Where the strata of images that stand end, in radii."""

EXPECTED = (0.3, 0.02, 0.006, 0.002, 0.001)
"""The share of each that AutoAttack is expected to break, before the pilot."""

STANDING = 0.005
"""The share of the images broken by other attacks that is expected to stand against AutoAttack, before the pilot."""

STRENGTH = 20
"""How many images of the pilot weigh as much as these expectations."""

POOLED = 0.7
"""The least that is expected of a stratum that stands, as a share of what the pilot broke in all of these."""

CHEAP = 0.1
"""What AutoAttack costs on an image that others have broken, to which its first attack is usually enough."""

LEAST = 10
"""The fewest images of a stratum in each phase; a stratum of not more than two times as many is drawn whole."""

SMALL = 0.02
"""A stratum with a smaller share of the images than this is joined with the next farther one."""

NEAREST = 0.02
"""The nearest stratum is drawn whole if it has not more than this share of the images."""

PILOT = 0.5
"""The pilot's size, as a share of what the interval needs if AutoAttack breaks none that stand."""


@dataclass(frozen=True, eq=False)
class Stratum:
    """
    Images that are drawn alike.

    :param name: What they have in common.
    :param rows: Their places, (N,), N >= 1.
    :param expected: The share that AutoAttack is expected to break, in (0, 1).
    :param broken: Whether other attacks have broken them.
    :param whole: Whether all of them are drawn.
    """

    name: str
    rows: NDArray[np.intp]
    expected: float
    broken: bool = False
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Drawn:
    """
    A stratum with what was drawn of it.

    :param stratum: The stratum.
    :param pilot: The rows of the pilot, (m,).
    :param rest: The rows drawn after it, (m',), > 0 where some were left.
    :param right: Whether the network withstands AutoAttack there, (m + m',).
    """

    stratum: Stratum
    pilot: NDArray[np.intp]
    rest: NDArray[np.intp]
    right: NDArray[np.bool_]

    @property
    def known(self) -> int:
        """How many of the pilot are broken."""
        return int((~self.right[: len(self.pilot)]).sum())

    @property
    def draw(self) -> Draw:
        """The draw from what the pilot has left."""
        broken = int((~self.right[len(self.pilot) :]).sum())
        return Draw(len(self.stratum.rows) - len(self.pilot), len(self.rest), broken)


def strata_of(
    clean: NDArray[np.bool_], worst: NDArray[np.bool_], distances: NDArray[np.floating], eps: float
) -> list[Stratum]:
    """
    The strata of a test set.

    :param clean: Whether each image is classified right as it is, (n,).
    :param worst: Whether it is so after every attack, (n,).
    :param distances: The distance of each to the nearest misclassified point found, (n,), infinite where none was.
    :param eps: The radius, > 0.
    :return: The strata that have an image, those broken already at first, then from near to far.
    """
    found = [Stratum("broken by other attacks", np.flatnonzero(clean & ~worst), 1 - STANDING, broken=True)]
    ratios, near = distances / eps, 0.0
    for i, (far, expected) in enumerate(zip((*EDGES, np.inf), EXPECTED, strict=True)):
        rows = np.flatnonzero(worst & (ratios >= near) & ((ratios < far) | (far == np.inf)))
        if 0 < i < len(EDGES) and len(rows) < SMALL * len(clean):
            continue
        name = f"beyond {near:g} eps" if far == np.inf else f"{near:g} to {far:g} eps" if near else f"up to {far:g} eps"
        found.append(Stratum(name, rows, expected, whole=not i and len(rows) <= NEAREST * len(clean)))
        near = far
    return [stratum for stratum in found if len(stratum.rows)]


def draw(
    strata: Sequence[Stratum],
    n: int,
    reach: float,
    attack: Callable[[Sequence[NDArray[np.intp]]], list[NDArray[np.bool_]]],
    seed: int,
) -> list[Drawn]:
    """
    Draw images of each stratum and attack them, as many as an interval needs.

    :param strata: The strata.
    :param n: Images in the test set, >= 1.
    :param reach: Half the length of the interval of the accuracy that is asked for, > 0.
    :param attack: Called once for each phase, with rows of each stratum; returns whether the network withstands
           AutoAttack there.
    :param seed: Seed of the drawing, >= 0.
    :return: What was drawn, for each stratum.
    """
    if not strata:
        return []
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(stratum.rows) for stratum in strata]
    share = min(1.0, PILOT * 1.5 / (reach * n))
    first = [_pilot(stratum, share) for stratum in strata]
    pilots = [order[:count] for order, count in zip(orders, first, strict=True)]
    right = attack(pilots)
    left = [len(order) - count for order, count in zip(orders, first, strict=True)]
    expected = _expected(strata, right)
    costs = [CHEAP if stratum.broken else 1.0 for stratum in strata]
    second = sizes(left, expected, costs, reach * n, LEAST)
    rests = [order[a : a + b] for order, a, b in zip(orders, first, second, strict=True)]
    more = attack(rests)
    return [
        Drawn(stratum, pilot, rest, np.concatenate([good, later]))
        for stratum, pilot, rest, good, later in zip(strata, pilots, rests, right, more, strict=True)
    ]


def accuracies(drawn: Sequence[Drawn], n: int) -> tuple[tuple[float, tuple[float, float]], ...]:
    """
    What is estimated of the whole test set, with 95% intervals.

    :param drawn: What was drawn of each stratum.
    :param n: Images in the test set, >= 1; those of no stratum are misclassified as they are.
    :return: AutoAttack's own accuracy; then that under AutoAttack and the other attacks together, for which what these
             have broken is broken.
    """
    inside = sum(len(one.stratum.rows) for one in drawn)
    standing = [one for one in drawn if not one.stratum.broken]
    alone = _accuracy(drawn, inside, n)
    return alone, _accuracy(standing, sum(len(one.stratum.rows) for one in standing), n)


def _accuracy(drawn: Sequence[Drawn], inside: int, n: int) -> tuple[float, tuple[float, float]]:
    known, draws = sum(one.known for one in drawn), [one.draw for one in drawn]
    low, high = total_interval(draws)
    total = sum(one.total for one in draws)
    return (inside - known - total) / n, ((inside - known - high) / n, (inside - known - low) / n)


def _expected(strata: Sequence[Stratum], right: Sequence[NDArray[np.bool_]]) -> list[float]:
    """
    The share of each stratum that AutoAttack is expected to break, after the pilot: between what was expected before
    and what was found. Of strata that stand it is not much below that of all of them: masked gradients hide what is
    near, and then distances say little.
    """
    sampled = [good for stratum, good in zip(strata, right, strict=True) if not (stratum.broken or stratum.whole)]
    broken, count = sum(int((~good).sum()) for good in sampled), sum(len(good) for good in sampled)
    floor = POOLED * broken / max(count, 1)
    return [
        max(
            0.0 if stratum.broken else floor,
            (int((~good).sum()) + STRENGTH * stratum.expected) / (len(good) + STRENGTH),
        )
        for stratum, good in zip(strata, right, strict=True)
    ]


def _pilot(stratum: Stratum, share: float) -> int:
    size = len(stratum.rows)
    count = max(LEAST, int(np.ceil(share * size)))
    return size if stratum.whole or size <= count + LEAST else count
