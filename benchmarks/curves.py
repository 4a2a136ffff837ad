"""
Curves from noisy clouds: eq. 13 beside the classical way, a moving least squares line ordered by a spanning tree.

    OMP_NUM_THREADS=1 python benchmarks/curves.py [--curves trefoil protein ...] [--noise 0.002 0.005] [--points N]

For each curve and noise (standard deviation in each coordinate, in diagonals of the curve's bounding box): Chamfer and
Hausdorff distance to the truth x 10^3 of that diagonal, number of pieces, ratio of the lengths, and CPU seconds.

- "least squares" is the classical way with the radius that the package chooses;
- "... best radius" the same with the one of five radii (that one times 0.35 to 1.4) whose Chamfer distance is least,
  which nobody knows without the truth;
- "spline" is the principal curve that the targets of eq. 13 lie on, if that is in one piece;
- "eq. 13" is the result of `reconstruct_curve` with its default settings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from art_levelset.experiments import known_curves as known
from art_levelset.recon.cloud.clouds import Points, check_cloud, unit_frame, without_outliers
from art_levelset.recon.curves import Polyline, reconstruct_curve
from art_levelset.recon.curves.ordering import linear_radius, order_points, orders_at_radius
from art_levelset.recon.curves.spline import principal_curve

CURVES = {
    "circle": known.circle(),
    "trefoil": known.trefoil(),
    "figure_eight": known.figure_eight(),
    "torus_2_5": known.torus_knot(2, 5),
    "torus_3_4": known.torus_knot(3, 4),
    "spline_0": known.through_points(0),
    "spline_1": known.through_points(1),
    "protein": known.protein(),
}
FACTORS = (0.35, 0.5, 0.7, 1.0, 1.4)


def row(method: str, lines: Sequence[Polyline], truth: Polyline, seconds: float) -> str:
    """
    Judge a result.

    :param method: The name of the method.
    :param lines: The result.
    :param truth: The truth.
    :param seconds: What it took.
    :return: A row of the table.
    """
    found = known.errors(lines, truth)
    kinds = f"{sum(line.closed for line in lines)} + {sum(not line.closed for line in lines)}"
    return (
        f"  {method:<26}{1e3 * found.chamfer:>9.2f}{1e3 * found.hausdorff:>11.1f}{kinds:>15}{found.length:>9.3f}"
        f"{seconds:>9.1f}"
    )


def classical(cloud: Points, truth: Polyline) -> list[str]:
    """
    The rows of the classical ways.

    :param cloud: (n, 3).
    :param truth: The truth.
    :return: Two rows.
    """
    frame = unit_frame(cloud)
    unit = frame.to_unit(without_outliers(cloud))

    def ordered(radius: float) -> list[Polyline]:
        try:
            return next(orders_at_radius(unit, radius, None, np.random.default_rng(0)))
        except ValueError:  # no curve is seen at this radius
            return []

    def away(lines: Sequence[Polyline]) -> list[Polyline]:
        return [Polyline(frame.from_unit(line.points), line.closed) for line in lines]

    started = time.process_time()
    radius = linear_radius(unit, np.random.default_rng(0))
    lines = ordered(radius)
    seconds = time.process_time() - started
    tried = [away(ordered(factor * radius)) for factor in FACTORS]
    best = min(tried, key=lambda result: known.errors(result, truth).chamfer)
    return [row("least squares", away(lines), truth, seconds), row("... best radius", best, truth, seconds)]


def spline(cloud: Points, truth: Polyline, seed: int) -> list[str]:
    """
    The row of the principal curve.

    :param cloud: (n, 3).
    :param truth: The truth.
    :param seed: That of the reconstruction.
    :return: One row; none if the order has several pieces.
    """
    started = time.process_time()
    cloud = without_outliers(check_cloud(cloud))
    frame = unit_frame(cloud)
    unit = frame.to_unit(cloud)
    generator = np.random.default_rng(seed)
    lines, radius = order_points(unit, linear_radius(unit, generator), None, generator)
    if len(lines) > 1:
        return []
    smooth = principal_curve(unit, lines[0], radius).line
    found = Polyline(frame.from_unit(smooth.points), smooth.closed)
    return [row("spline", [found], truth, time.process_time() - started)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Curves from noisy clouds: eq. 13 beside the classical way.")
    parser.add_argument("--curves", nargs="+", choices=sorted(CURVES), default=list(CURVES))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.002, 0.005, 0.015])
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    header = f"{'Chamfer':>9}{'Hausdorff':>11}{'closed + open':>15}{'length':>9}{'seconds':>9}"
    print(f"{arguments.points} points; x 10^3 of the diagonal\n{'':28}{header}")
    for noise in arguments.noise:
        for name in arguments.curves:
            truth = CURVES[name]
            cloud = known.sample(truth, arguments.points, noise, np.random.default_rng(arguments.seed))
            print(f"{name}, noise {100 * noise:g}%", flush=True)
            print(*classical(cloud, truth), *spline(cloud, truth, arguments.seed), sep="\n", flush=True)
            started = time.process_time()
            result = reconstruct_curve(cloud, seed=arguments.seed, verbose=False)
            print(row("eq. 13", result.pieces, truth, time.process_time() - started), flush=True)


if __name__ == "__main__":
    main()
