"""
Figure A1: how well projected samples cover the level set of a classifier in the plane, and samples made for that.

FC-1 is trained with cross-entropy on points of two classes in [-0.25, 0.25]^2, and F = f_1 - f_0. With the level set S
in the box [-0.35, 0.35]^2, found on a fine grid, and n samples P

    Chamfer   = 1/2 (mean_{x in S} min_{p in P} |x - p| + mean_{p in P} min_{x in S} |x - p|),
    Hausdorff = max(max_{x in S} min_{p in P} |x - p|, max_{p in P} min_{x in S} |x - p|).

The rows of the paper are starts that are projected by up to 20 generalized Newton steps: uniform points of the box, and
samples of the level set disturbed by N(0, sigma^2 I). Where the paper got those it does not say; here they are uniform
points of the true S, which cost nothing, so the normal rows know more than one who has only F. The rows *of own
samples* do not: they disturb what the uniform starts have led to, and pay for it. Samples that leave the box are drawn
again, and samples that do not converge count. *Evenly* is `sample_evenly`, which gets F and the box; with
1.6 n samples it costs about as much as the uniform starts.

The cost is counted in passes of one point: a forward pass is 1, a value with its gradient 2.

Beside the table: samples with a guarantee (`cover`), asked for a radius, what can be proved of the even ones
(`certify`; a cell costs 4 passes), and how often the 95% intervals of the part of S that samples leave out
(`drop_needles`) contain the true part.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree
from skimage.measure import find_contours
from torch import Tensor, nn

from art_levelset.checks import check_count, check_seed
from art_levelset.core.coverage import certify, cover
from art_levelset.core.enclosures import network_enclosure
from art_levelset.core.fields import Field
from art_levelset.core.needles import drop_needles
from art_levelset.core.projection import project
from art_levelset.core.spreading import sample_evenly
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.models import fc_1
from art_levelset.progress import progress_bar
from art_levelset.recon.cloud.clouds import neighbours

WALL, SPREAD = 0.35, 0.25
STEPS, RATE = 500, 1e-3
NEWTON_STEPS = 20
RADII = {"cover 0.02": 0.02, "cover 0.01": 0.01}
"""What covers are asked for."""

PAPER = {"uniform": (0.011, 0.141), "normal 0.01": (0.006, 0.017), "normal 0.05": (0.010, 0.132)}
"""Chamfer and Hausdorff distance in the paper's table."""

FACTOR = 1.6
EVENLY, MORE = "evenly (ours)", f"evenly (ours), {FACTOR:g} n"
CERTIFIED, INTERVALS = "evenly, and certified", "intervals"
NAMES = (*PAPER, "normal 0.01, own samples", "normal 0.05, own samples", EVENLY, MORE)
ALL = (*NAMES, *RADII, CERTIFIED, INTERVALS)


@dataclass(frozen=True)
class Size:
    """
    How much is computed.

    :param points: That are trained on.
    :param steps: Of the training.
    :param width: Of FC-1.
    :param grid: Nodes of the grid of S, along an axis.
    :param samples: n.
    :param draws: Of the samples, whose figures are averaged.
    :param repeats: Of the interval, for each network.
    :param needles: For each of these.
    :param proof: The radius that is asked for when the even samples are certified.
    """

    points: int
    steps: int
    width: int
    grid: int
    samples: int
    draws: int
    repeats: int
    needles: int
    proof: float


FULL, FAST = Size(16, STEPS, 512, 701, 500, 2, 13, 5000, 0.006), Size(8, 100, 32, 141, 60, 1, 3, 1000, 0.06)


@dataclass(frozen=True, eq=False)
class Truth:
    """
    A trained network and its level set in the box.

    :param points: What it was trained on, (n, 2).
    :param labels: Their classes, (n,).
    :param network: F, (batch, 2) -> (batch, 1).
    :param curves: The connected components of S, (k, 2) each, k points that follow each other.
    """

    points: Tensor
    labels: Tensor
    network: nn.Sequential
    curves: list[NDArray[np.float64]]

    @property
    def dense(self) -> NDArray[np.float64]:
        """Points on S, twenty a segment, (n, 2)."""
        fractions = np.linspace(0, 1, 20, endpoint=False)[:, None, None]
        return np.concatenate([(c[:-1] + fractions * np.diff(c, axis=0)).reshape(-1, 2) for c in self.curves])

    @property
    def length(self) -> float:
        """The length of S."""
        return float(sum(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum() for curve in self.curves))

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of S, uniform with respect to its length, (count, 2)."""
        starts = np.concatenate([curve[:-1] for curve in self.curves])
        ways = np.concatenate([np.diff(curve, axis=0) for curve in self.curves])
        lengths = torch.as_tensor(np.linalg.norm(ways, axis=1))
        rows = torch.multinomial(lengths, count, replacement=True, generator=generator).numpy()
        fractions = torch.rand(count, 1, generator=generator, dtype=torch.float64).numpy()
        return torch.as_tensor(starts[rows] + fractions * ways[rows], dtype=torch.float32)


class _Counted:
    """A field that counts the passes of its points."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.passes = network, 0
        self.field = Field(self._values, network)

    def _values(self, points: Tensor) -> Tensor:
        self.passes += len(points) * (2 if points.requires_grad else 1)
        values: Tensor = self.network(points)
        return values


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    parser.add_argument("--seeds", type=int, default=8, help="networks (default: 8)")
    add_common_arguments(parser, "figureA1")


def run(arguments: argparse.Namespace) -> str:
    """
    Train what is not yet in the output, sample its level set in all ways, and draw the first one.

    :param arguments: As :func:`add_parser` declares them.
    :return: The tables in Markdown.
    :raises ValueError: If a number is out of range or the output is of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    check_count("seeds", arguments.seeds)
    size = FAST if arguments.fast else FULL
    settings = {"fast": arguments.fast, "samples": size.samples, "draws": size.draws, "steps": size.steps}
    rows = Rows(arguments.output, settings)
    torch.set_num_threads(1)
    for seed in progress_bar(range(arguments.seeds), unit="network", verbose=not arguments.fast):
        if missing := [name for name in ALL if rows.find(name=name, seed=seed) is None]:
            truth = train(seed, size)
            known = {"seed": seed, "length": truth.length, "components": len(truth.curves)}
            for name in missing:
                rows.add({"name": name, **known, **measure(name, truth, seed, size)})
    draw(train(0, size), size, beside(arguments.output, ".png"))
    return table([row for row in rows.rows if row["seed"] < arguments.seeds], size)


def train(seed: int, size: Size) -> Truth:
    """
    Train a network with cross-entropy, and find its level set in the box.

    :param seed: Seed of the points, their labels and the network, >= 0.
    :param size: How much is computed.
    :return: The network and its level set.
    :raises ValueError: If it has none.
    """
    check_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        points, labels = SPREAD * (2 * torch.rand(size.points, 2) - 1), torch.arange(size.points) % 2
        network = fc_1(2, 2, size.width)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(size.steps):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.cross_entropy(network(points), labels))
        optimizer.step()
    *hidden, last = network
    if not isinstance(last, nn.Linear):
        raise TypeError("the last layer is to be linear")
    head = nn.Linear(size.width, 1)
    with torch.no_grad():
        head.weight.copy_(last.weight[1:] - last.weight[:1])
        head.bias.copy_(last.bias[1:] - last.bias[:1])
    margin = nn.Sequential(*hidden, head).requires_grad_(False)
    ticks = torch.linspace(-WALL, WALL, size.grid)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        values = torch.cat([margin(part) for part in torch.split(grid, 8192)]).reshape(size.grid, -1).numpy()
    curves = []
    for curve in find_contours(values, 0.0):
        nodes = torch.as_tensor(2 * WALL / (size.grid - 1) * curve[:, ::-1] - WALL)
        curves.append(project(margin, nodes.float(), box=(-WALL, WALL)).points.double().numpy())
    if not curves:
        raise ValueError(f"seeds: the network of seed {seed} has no level set in the box")
    return Truth(points, labels, margin, curves)


def starts_and_samples(name: str, truth: Truth, count: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """
    Samples of a row.

    :param name: One of :data:`NAMES`.
    :param truth: The network and its level set.
    :param count: n.
    :param seed: Seed of the samples, >= 0.
    :return: Where they started (for *evenly*: the samples), the samples, (n, 2) each, and the passes that they cost.
    """
    counted = _Counted(truth.network)
    if name in (EVENLY, MORE):
        even = sample_evenly(counted.field, (-WALL, WALL), count, like=truth.points, seed=seed).points
        return even, even, counted.passes
    generator = torch.Generator().manual_seed(seed)

    def box(n: int) -> Tensor:
        return WALL * (2 * torch.rand(n, 2, generator=generator) - 1)

    draws: Callable[[int], Tensor] = box
    if name != "uniform":
        sigma = float(name.split()[1].rstrip(","))
        own = _projected(counted.field, box, count)[1] if "own" in name else None

        def near(n: int) -> Tensor:
            there = truth.uniform(n, generator) if own is None else own[torch.arange(n) % count]
            return there + sigma * torch.randn(n, 2, generator=generator)

        draws = near
    starts, samples = _projected(counted.field, draws, count)
    return starts, samples, counted.passes


def distances(samples: Tensor, dense: NDArray[np.float64]) -> dict[str, float]:
    """
    Chamfer and Hausdorff distance.

    :param samples: P, (n, 2).
    :param dense: S, (m, 2).
    :return: "chamfer" and "hausdorff", as this module defines them, and "covering", the mean distance from S to P.
    """
    found = samples.double().numpy()
    there, back = neighbours(cKDTree(found), dense, 1)[0], neighbours(cKDTree(dense), found, 1)[0]
    return {
        "chamfer": float(there.mean() + back.mean()) / 2,
        "hausdorff": float(max(there.max(), back.max())),
        "covering": float(there.mean()),
    }


def measure(name: str, truth: Truth, seed: int, size: Size) -> dict[str, Any]:
    """
    A row of one network.

    :param name: One of :data:`ALL`.
    :param truth: The network and its level set.
    :param seed: Seed of all samples, >= 0.
    :param size: How much is computed.
    :return: The row's figures.
    """
    dense, first = truth.dense, size.draws * seed
    if name == INTERVALS:
        return _intervals(truth, dense, seed, size)
    if name in NAMES:
        count = size.samples if name != MORE else round(FACTOR * size.samples)
        found: list[dict[str, float]] = []
        for number in range(first, first + size.draws):
            _, samples, passes = starts_and_samples(name, truth, count, number)
            found.append({**distances(samples, dense), "passes": passes, "n": len(samples)})
        return {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    counted = _Counted(deepcopy(truth.network).double())
    enclosure = network_enclosure(counted.network)
    if name == CERTIFIED:
        _, samples, passes = starts_and_samples(EVENLY, truth, size.samples, first)
        proved = certify(enclosure, samples.double(), (-WALL, WALL), size.proof)
    else:
        covered = cover(counted.field, enclosure, (-WALL, WALL), RADII[name], like=truth.points.double())
        samples, passes, proved = covered.samples.points, counted.passes, covered.certificate
    return {
        **distances(samples, dense),
        "n": len(samples),
        "certified": proved.radius,
        "reached": proved.reached,
        "passes": passes + 4 * proved.nb_cells,
    }


def table(rows: list[dict[str, Any]], size: Size) -> str:
    """
    The means and standard deviations over the networks.

    :param rows: The rows of the output.
    :param size: How much was computed.
    :return: Markdown; all distances times 10^3.
    """
    titles = ("Chamfer", "Hausdorff", "passes", "the paper's Chamfer", "Hausdorff")
    lines = [f"| n = {size.samples} | {' | '.join(titles)} |", "|---" * 6 + "|"]
    for name in NAMES:
        runs = [row for row in rows if row["name"] == name]
        cells = [_spread([row[key] for row in runs]) for key in ("chamfer", "hausdorff")]
        cells.append(f"{np.mean([row['passes'] for row in runs]) / size.samples:.1f} n")
        cells += [f"{1e3 * value:.0f}" for value in PAPER.get(name, ())] or ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for name in NAMES[:-2]:
        ratios = [_ratios(rows, name, key) for key in ("chamfer", "hausdorff")]
        told = [f"{np.mean(some):.2f} (least {min(some):.2f})" for some in ratios]
        lines.append(f"{name} / {EVENLY}: Chamfer {told[0]}, Hausdorff {told[1]}")
    titles = ("proved", "Hausdorff", "samples", "passes a sample", "radius reached")
    lines += ["", f"| with a proof | {' | '.join(titles)} |", "|---" * 6 + "|"]
    for name in (*RADII, CERTIFIED):
        runs = [row for row in rows if row["name"] == name]
        cells = [_spread([row[key] for row in runs]) for key in ("certified", "hausdorff")]
        cells += [f"{np.mean([row['n'] for row in runs]):.0f}"]
        cells += [f"{np.mean([row['passes'] / row['n'] for row in runs]):.1f}"]
        cells += [f"{sum(row['reached'] for row in runs)} of {len(runs)}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    runs = [row for row in rows if row["name"] == INTERVALS]
    hits, repeats = (sum(row[key] for row in runs) for key in ("contained", "repeats"))
    lines += ["", f"95% intervals of the part left out that contain the true part: {hits} of {repeats}"]
    return "\n".join(lines)


def draw(truth: Truth, size: Size, path: Path) -> None:
    """
    Draw the starts (grey), the samples (red) and the level set of the paper's rows and of ours.

    :param truth: The network and its level set.
    :param size: How much is computed.
    :param path: The picture to write.
    """
    figure = Figure(figsize=(16, 4.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 4), (*PAPER, EVENLY), strict=True):
        starts, samples, _ = starts_and_samples(name, truth, min(size.samples, 100), 0)
        for curve in truth.curves:
            axes.plot(*curve.T, color="0.2", linewidth=0.8)
        if name != EVENLY:
            axes.scatter(*starts.T, color="0.7", s=6)
        axes.scatter(*samples.T, color="#c0392b", s=7, zorder=3)
        found = distances(samples, truth.dense)
        axes.set_title(name)
        axes.set_xlabel(f"Chamfer {found['chamfer']:.4f}, Hausdorff {found['hausdorff']:.3f}", fontsize=9)
        limits = (-1.05 * WALL, 1.05 * WALL)
        axes.set(aspect="equal", xlim=limits, ylim=limits, xticks=[-0.35, 0, 0.35], yticks=[-0.35, 0, 0.35])
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=80)
        with Image.open(unfinished) as image:
            image.quantize(64).save(unfinished)


def _projected(field: Field, draws: Callable[[int], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The first so many starts whose projections are in the box, and these."""
    starts, samples = torch.zeros(0, 2), torch.zeros(0, 2)
    while len(samples) < count:
        new = draws(count - len(samples))
        found = project(field, new, max_iter=NEWTON_STEPS).points
        inside = (found.abs() <= WALL).all(dim=1)
        starts, samples = torch.cat([starts, new[inside]]), torch.cat([samples, found[inside]])
    return starts, samples


def _intervals(truth: Truth, dense: NDArray[np.float64], seed: int, size: Size) -> dict[str, Any]:
    """How often the interval of the part that the samples of *normal 0.01* leave out contains it."""
    samples = starts_and_samples("normal 0.01", truth, size.samples, size.draws * seed)[1]
    gaps = neighbours(cKDTree(samples.double().numpy()), dense, 1)[0]
    radius = float(np.quantile(gaps, 0.9))
    part, contained, widths = float((gaps > radius).mean()), 0, []
    for repeat in range(size.repeats):
        crossed = drop_needles(
            truth.network, (-WALL, WALL), size.needles, like=samples, nb_pieces=64, seed=1000 * seed + repeat
        )
        found = crossed.uncovered(samples, radius)
        contained += found.low <= part <= found.high
        widths.append(found.high - found.low)
    return {"true": part, "contained": contained, "repeats": size.repeats, "width": float(np.mean(widths))}


def _ratios(rows: list[dict[str, Any]], name: str, key: str) -> list[float]:
    """How many times larger a distance is than that of our samples, for each network."""
    ours = {row["seed"]: row[key] for row in rows if row["name"] == EVENLY}
    return [row[key] / ours[row["seed"]] for row in rows if row["name"] == name]


def _spread(values: list[float]) -> str:
    return f"{1e3 * np.mean(values):.2f} ± {1e3 * np.std(values):.2f}"
