"""
From an unordered cloud to ordered polylines: the classical way, which the network is initialised with.

The cloud is moved onto its moving least squares lines and thinned; a minimal spanning tree whose edges cost more across
the lines than along them orders what is left. The longest path of the tree is a piece of the curve, and so are its
branches that are long enough. Ends that look at each other over a gap are joined.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations, count, islice

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline, spread

logger = logging.getLogger(__name__)

MOST_POINTS = 6000
"""Of larger clouds a random part is looked at and ordered: more points would not change the order."""

QUERIES = 300
GROWTH = 1.25
FEWEST = 6
"""A neighbourhood of fewer points says nothing about a direction."""

LINEAR = 0.75
"""Neighbourhoods of this linearity have a direction; a larger radius would only cut the bends."""

NEARLY = 0.9
"""Where no radius is that linear, the smallest that is nearly as linear as the best."""

VOTES = 3
MORE_VOTES = 8
"""If the first ones differ."""

RADII = (0.6, 0.8, 1.0)
"""Parts of the largest radius at which a cloud is ordered."""

REPEATS = 3
SPACING = 0.4
"""Distance of the nodes of the tree, in radii of the neighbourhoods."""

REACH = 1.6
"""The longest edge of the tree, in radii."""

ACROSS = 4.0
SHORTEST = 2.5
"""A branch or part shorter than this, in radii, is noise."""

NEAR = 4.0
"""Ends within this many radii are joined if they do not turn back; further ones must look at each other."""

TURN_BACK = np.deg2rad(100.0)
TURN = np.deg2rad(60.0)
WIDEST = 0.5
"""The widest gap that is closed unasked, as a part of the length of the pieces beside it."""


@dataclass(frozen=True, eq=False)
class Lines:
    """
    Lines fitted to neighbourhoods of a cloud.

    :param centres: A point on each line, (n, 3).
    :param directions: Unit directions of arbitrary sign, (n, 3).
    :param spectra: The variances of the neighbourhood along its principal axes, ascending, (n, 3).
    :param counts: Number of points in the neighbourhood, (n,).
    """

    centres: Points
    directions: Points
    spectra: Points
    counts: NDArray[np.int64]

    @property
    def linearity(self) -> NDArray[np.float64]:
        """The share of the variance that is along the line, (n,), from 1/3 (a ball) to 1."""
        return np.asarray(self.spectra[:, 2] / np.maximum(self.spectra.sum(axis=1), 1e-300))


def fit_lines(queries: Points, cloud: Points, radius: float) -> Lines:
    """
    Fit a line to the points around each query point, with the weights (1 - (distance / radius)^2)^2.

    :param queries: (n, 3).
    :param cloud: (m, 3).
    :param radius: Radius of the neighbourhoods, > 0.
    :return: The lines; a query point without neighbours is its own centre, with a spectrum of zeros.
    """
    pairs = cKDTree(queries).sparse_distance_matrix(cKDTree(cloud), radius, output_type="ndarray")
    row, column = pairs["i"], pairs["j"]
    weights = (1 - (pairs["v"] / radius) ** 2) ** 2
    total = np.maximum(_sums(row, weights, len(queries)), 1e-300)
    offsets = cloud[column] - queries[row]
    shift = np.stack([_sums(row, weights * part, len(queries)) for part in offsets.T], axis=1) / total[:, None]
    offsets -= shift[row]
    covariances = np.empty((len(queries), 3, 3))
    for a in range(3):
        for b in range(a, 3):
            covariances[:, a, b] = _sums(row, weights * offsets[:, a] * offsets[:, b], len(queries)) / total
            covariances[:, b, a] = covariances[:, a, b]
    spectra, axes = np.linalg.eigh(covariances)
    counts = np.bincount(row, minlength=len(queries))
    return Lines(queries + shift, axes[:, :, 2], np.maximum(spectra, 0.0), counts)


def onto_lines(points: Points, cloud: Points, radius: float, repeats: int) -> tuple[Points, Lines]:
    """
    Move points to the lines of their neighbourhoods, again and again: the moving least squares curve.

    :param points: (n, 3).
    :param cloud: (m, 3).
    :param radius: Radius of the neighbourhoods.
    :param repeats: How often, >= 1.
    :return: The moved points, (n, 3), and the last lines.
    """
    for _ in range(repeats):
        lines = fit_lines(points, cloud, radius)
        along = ((points - lines.centres) * lines.directions).sum(axis=1, keepdims=True)
        points = lines.centres + along * lines.directions
    return points, lines


def linear_radius(cloud: Points, generator: np.random.Generator) -> float:
    """
    The radius at which the neighbourhoods of a cloud look most like lines: wider than the noise, straighter than bends.

    :param cloud: (n, 3) in the unit frame.
    :param generator: Picks the neighbourhoods that are looked at.
    :return: The radius.
    """
    cloud = cloud[generator.permutation(len(cloud))[:MOST_POINTS]]
    queries = cloud[:QUERIES]
    tree = cKDTree(cloud)
    reach = np.asarray(tree.query(queries, k=[min(FEWEST, len(cloud))])[0])
    smallest = max(float(np.quantile(reach, 0.9)), 1e-6)
    radii = smallest * GROWTH ** np.arange(max(np.ceil(np.log(1.0 / smallest) / np.log(GROWTH)), 1))
    scores = np.zeros(len(radii))
    for index, radius in enumerate(radii):
        lines = fit_lines(queries, cloud, float(radius))
        scores[index] = float(np.median(np.where(lines.counts >= FEWEST, lines.linearity, 0.0)))
        if scores[index] < 0.85 * scores.max():
            break  # far beyond the bends
    return float(radii[np.argmax(scores >= min(LINEAR, NEARLY * scores.max()))])


def _sums(row: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.bincount(row, weights=values, minlength=size).astype(np.float64)


def orders_at_radius(
    cloud: Points, radius: float, closed: bool | None, generator: np.random.Generator
) -> Iterator[list[Polyline]]:
    """
    Order a cloud again and again, each time with its points in another sequence.

    :param cloud: (n, 3), n >= 10.
    :param radius: Radius of the neighbourhoods in which it looks like a line (:func:`linear_radius`).
    :param closed: Whether the pieces are closed: True closes every one over whatever gap, False leaves every one open,
           None closes those whose ends look at each other over a gap that is not too wide.
    :param generator: Source of randomness.
    :return: The pieces each time, without end.
    :raises ValueError: If nothing in the cloud looks like a curve.
    """
    cloud = cloud[generator.permutation(len(cloud))[:MOST_POINTS]]
    moved, lines = onto_lines(cloud, cloud, radius, REPEATS)
    typical = np.median(lines.counts)
    moved = moved[lines.counts >= typical / 8]
    while True:
        yield _ordered(generator.permutation(moved), cloud, radius, closed)


def _ordered(moved: Points, cloud: Points, radius: float, closed: bool | None) -> list[Polyline]:
    """The pieces through points that were moved onto the curve."""
    nodes = moved[spread(moved, SPACING * radius)]
    pieces = _pieces(nodes, fit_lines(nodes, cloud, radius).directions, radius)
    if not pieces:
        raise ValueError("points: no curve can be seen in them, there are too few or they have no direction")
    logger.info("neighbourhoods of radius %.4f, %d nodes in %d pieces", radius, len(nodes), len(pieces))
    return join_ends(pieces, radius, closed)


def order_points(
    cloud: Points, radius: float, closed: bool | None, generator: np.random.Generator
) -> tuple[list[Polyline], float]:
    """
    Order a cloud at several radii, several times each with its points in another sequence.

    In noise the tree can take a short cut; by chance, so the usual result counts, and where results differ there are
    more of them. A small radius follows bends best, but in much noise the curve falls to pieces there, or its ends miss
    each other: of all results those with the fewest pieces vote which are closed, and the smallest radius at which most
    agree is taken. What jumps from strand to strand is longer than what does not: the shortest result there is it.

    :param cloud: As for :func:`orders_at_radius`, which has the other parameters, too.
    :param radius: The largest radius.
    :param closed: See there.
    :param generator: See there.
    :return: The pieces, and the radius at which they were found.
    :raises ValueError: If nothing in the cloud looks like a curve.
    """
    results: list[tuple[list[Polyline], float]] = []
    tries: Counter[float] = Counter()
    for part in RADII:
        try:
            orders = orders_at_radius(cloud, part * radius, closed, generator)
            found = list(islice(orders, VOTES))
            if len({_kind(lines) for lines in found}) > 1:
                found += islice(orders, MORE_VOTES)
        except ValueError:
            if part == RADII[-1] and not results:
                raise
            continue
        results += [(lines, part * radius) for lines in found]
        tries[part * radius] = len(found)
    fewest = min(len(lines) for lines, _ in results)
    kinds = Counter(_kind(lines) for lines, _ in results if len(lines) == fewest)
    wanted = max(kinds, key=lambda kind: kinds[kind])
    agreeing = [(lines, at) for lines, at in results if _kind(lines) == wanted]
    votes = Counter(at for _, at in agreeing)
    smallest = min([at for at in votes if 2 * votes[at] > tries[at]] or [max(votes, key=lambda at: votes[at])])
    there = (result for result in agreeing if result[1] == smallest)
    return min(there, key=lambda result: sum(line.length for line in result[0]))


def _kind(lines: list[Polyline]) -> tuple[bool, ...]:
    """Which pieces are closed."""
    return tuple(sorted(line.closed for line in lines))


def _pieces(nodes: Points, directions: Points, radius: float) -> list[Points]:
    """The longest paths of the spanning forest."""
    pairs = cKDTree(nodes).query_pairs(REACH * radius, output_type="ndarray")
    edges = nodes[pairs[:, 1]] - nodes[pairs[:, 0]]
    lengths = np.linalg.norm(edges, axis=1)
    across = np.zeros(len(pairs))
    for end in range(2):
        along = np.abs((edges * directions[pairs[:, end]]).sum(axis=1)) / lengths
        across += 1 - np.minimum(along, 1.0) ** 2
    costs = lengths * (1 + ACROSS * across)
    size = (len(nodes), len(nodes))
    tree = minimum_spanning_tree(coo_matrix((costs, pairs.T), shape=size)).tocoo()
    lengths = np.linalg.norm(nodes[tree.row] - nodes[tree.col], axis=1)
    forest = coo_matrix((lengths, (tree.row, tree.col)), shape=size).tocsr()
    return [nodes[path] for path in _longest_paths(csr_matrix(forest + forest.T), SHORTEST * radius)]


def _longest_paths(forest: csr_matrix, shortest: float) -> Iterator[NDArray[np.int64]]:
    """The longest path of a forest, the longest of what is left without it, and so on while there is one so long."""
    order = count()  # paths cannot be compared
    left = [(-length, next(order), path, part) for length, path, part in _paths(forest, np.arange(forest.shape[0]))]
    heapify(left)
    while left and -left[0][0] >= shortest:
        _, _, path, part = heappop(left)
        yield path
        for length, next_path, rest in _paths(forest, np.setdiff1d(part, path)):
            heappush(left, (-length, next(order), next_path, rest))


def _paths(
    forest: csr_matrix, nodes: NDArray[np.int64]
) -> Iterator[tuple[float, NDArray[np.int64], NDArray[np.int64]]]:
    """The longest path of each tree of a part of a forest, if it has an edge: its length, itself, the tree's nodes."""
    inner = forest[nodes][:, nodes]
    amount, part = connected_components(inner, directed=False)
    members = np.argsort(part, kind="stable")
    for tree in np.split(members, np.cumsum(np.bincount(part, minlength=amount))[:-1]):
        if len(tree) < 2:
            continue
        end = _farthest(dijkstra(inner, indices=np.array(tree[0])))
        distances, before = dijkstra(inner, indices=np.array(end), return_predecessors=True)
        path = [_farthest(distances)]
        while path[-1] != end:
            path.append(int(before[path[-1]]))
        yield float(distances[path[0]]), nodes[path], nodes[tree]


def _farthest(distances: NDArray[np.float64]) -> int:
    """Which node is the farthest of those that can be reached."""
    return int(np.argmax(np.where(np.isfinite(distances), distances, -1.0)))


def join_ends(pieces: list[Points], radius: float, closed: bool | None) -> list[Polyline]:
    """
    Join the ends of pieces over gaps, the nearest and straightest first.

    :param pieces: Ordered points, (m_i, 3) each.
    :param radius: The radius of the neighbourhoods; gaps of a few radii are no gaps.
    :param closed: As for :func:`orders_at_radius`.
    :return: The longer pieces.
    """
    ends = _Ends(pieces, radius)
    for first, second in ends.by_cost():
        if closed is False and ends.same_piece(first, second):
            continue
        if ends.free(first, second) and ends.see(first, second):
            ends.connect(first, second)
    if closed:
        for first, second in ends.by_cost():
            if ends.free(first, second):
                ends.connect(first, second)
    return ends.chains()


class _Ends:
    """The two ends of each piece: number 2 i is the first point of piece i, 2 i + 1 its last."""

    def __init__(self, pieces: list[Points], radius: float) -> None:
        self._pieces = pieces
        self._radius = radius
        self._partner = np.full(2 * len(pieces), -1)
        lines = [Polyline(piece, False) for piece in pieces]
        self._lengths = np.array([line.length for line in lines])
        back = np.minimum(2 * radius, self._lengths / 2)
        self._points = np.array([piece[end] for piece in pieces for end in (0, -1)])
        inner = [line.at(np.array([d, line.length - d])) for line, d in zip(lines, back, strict=True)]
        outward = self._points - np.concatenate(inner)
        self._outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)

    def by_cost(self) -> list[tuple[int, int]]:
        """All pairs of ends, the cheapest first."""
        pairs = list(combinations(range(len(self._partner)), 2))
        gaps = [self._gap(*pair) for pair in pairs]
        order = np.argsort([gap * (1 + sum(turns)) for gap, *turns in gaps], kind="stable")
        return [pairs[index] for index in order]

    def same_piece(self, first: int, second: int) -> bool:
        """Whether joining two ends would close a line."""
        piece = first
        while True:
            other = piece ^ 1
            if second in (other, piece):
                return True
            if self._partner[other] < 0:
                return False
            piece = int(self._partner[other])

    def free(self, first: int, second: int) -> bool:
        """Whether neither end is joined yet."""
        return bool(self._partner[first] < 0 and self._partner[second] < 0)

    def see(self, first: int, second: int) -> bool:
        """Whether two ends are close, or look at each other."""
        gap, *turns = self._gap(first, second)
        if gap <= NEAR * self._radius:
            return gap <= self._radius / 2 or max(turns) <= TURN_BACK
        beside = self._lengths[[*{first // 2, second // 2}]].sum()
        return bool(max(turns) <= TURN and gap <= WIDEST * beside)

    def connect(self, first: int, second: int) -> None:
        """Join two ends."""
        self._partner[first], self._partner[second] = second, first

    def chains(self) -> list[Polyline]:
        """The pieces, joined."""
        left = set(range(len(self._pieces)))
        # Chains that have a free end are followed from there; what is left then is closed.
        starts = [end for end in range(len(self._partner)) if self._partner[end] < 0]
        found = []
        for start in [*starts, *range(0, len(self._partner), 2)]:
            if start // 2 not in left:
                continue
            parts = []
            end = start
            while end >= 0 and end // 2 in left:
                left.remove(end // 2)
                piece = self._pieces[end // 2]
                parts.append(piece if end % 2 == 0 else piece[::-1])
                end = int(self._partner[end ^ 1])
            found.append(Polyline(np.concatenate(parts), closed=end >= 0))
        return found

    def _gap(self, first: int, second: int) -> tuple[float, float, float]:
        """The distance of two ends, and how much the line turns at each of them."""
        across = self._points[second] - self._points[first]
        gap = float(np.linalg.norm(across))
        direction = across / max(gap, 1e-300)
        cosines = direction @ self._outward[first], -direction @ self._outward[second]
        turn_there, turn_back = (float(np.arccos(np.clip(cosine, -1, 1))) for cosine in cosines)
        return gap, turn_there, turn_back
