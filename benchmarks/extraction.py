"""
Marching cubes by bricks beside marching cubes on the full grid, of the same function.

    OMP_NUM_THREADS=1 python benchmarks/extraction.py [--resolutions 128 256 512] [--rounds 3] [--largest 1024]

The functions are a network of the reconstruction (the sphere that it starts as: its cost does not depend on its
weights) and a torus, which costs next to nothing, so that only the bookkeeping is compared. The two ways alternate in
one process, on one thread, and CPU seconds are counted.
The full grid is evaluated in chunks as large as the bricks' and meshed by one call of scikit-image. The peak memory is
that of a child process that does nothing else, its libraries included; also of `Reconstruction.mesh` as a whole, whose
vertices are moved onto the network's zero set.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.meshing.bricks import CHUNK, Function
from art_levelset.recon.meshing.extract import zero_set
from art_levelset.recon.network import GridNetwork
from art_levelset.recon.reconstruction import Reconstruction

LOW, HIGH = np.full(3, -1.0), np.full(3, 1.0)

WHOLE = "whole mesh"


def torus(points: Points) -> NDArray[np.float32]:
    """The signed distance to a torus of the radii 0.6 and 0.25."""
    ring = np.hypot(points[:, 0], points[:, 1]) - 0.6
    return (np.hypot(ring, points[:, 2]) - 0.25).astype(np.float32)


def network() -> Function:
    """The reconstruction's network as it starts."""
    module = GridNetwork(generator=torch.Generator().manual_seed(0)).eval()

    def function(points: Points) -> NDArray[np.float32]:
        with torch.no_grad():
            values: NDArray[np.float32] = module(torch.as_tensor(points, dtype=torch.float32)).squeeze(1).numpy()
        return values

    return function


FUNCTIONS: dict[str, Callable[[], Function]] = {"network": network, "torus": lambda: torus}


def by_bricks(function: Function, resolution: int) -> int:
    """
    Mesh by bricks.

    :param function: F.
    :param resolution: Cells along each axis.
    :return: The number of triangles.
    """
    return len(zero_set(function, LOW, HIGH, resolution, verbose=False)[1])


def whole_mesh(resolution: int) -> int:
    """
    Make the mesh of a reconstruction that is the network as it starts, with points of a sphere for a cloud.

    :param resolution: Cells along each axis.
    :return: The number of triangles.
    """
    directions = np.random.default_rng(0).standard_normal((50_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    module = GridNetwork(generator=torch.Generator().manual_seed(0))
    reconstruction = Reconstruction(module, Frame(np.zeros(3), 1.0), Planes(0.7 * directions, directions, 0.01))
    return len(reconstruction.mesh(resolution).faces)


def on_the_full_grid(function: Function, resolution: int) -> int:
    """
    Mesh the values at all nodes.

    :param function: F.
    :param resolution: Cells along each axis.
    :return: The number of triangles.
    """
    shape = (resolution + 1,) * 3
    values = np.empty(np.prod(shape), dtype=np.float32)
    for start in range(0, len(values), CHUNK):
        nodes = np.unravel_index(np.arange(start, min(start + CHUNK, len(values))), shape)
        values[start : start + CHUNK] = function(np.stack(nodes, axis=1) * (2.0 / resolution) + LOW)
    return len(marching_cubes(values.reshape(shape), 0.0)[1])


def cpu_seconds(run: Callable[[], int]) -> tuple[float, int]:
    """
    Time a run.

    :param run: What to do.
    :return: Its CPU seconds and what it returns.
    """
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def compare(name: str, resolution: int, rounds: int) -> str:
    """
    Run both ways alternately.

    :param name: The function.
    :param resolution: Cells along each axis.
    :param rounds: How often.
    :return: A row of the table.
    """
    function = FUNCTIONS[name]()
    full, bricks = [], []
    for _ in range(rounds):
        seconds, expected = cpu_seconds(lambda: on_the_full_grid(function, resolution))
        full.append(seconds)
        seconds, count = cpu_seconds(lambda: by_bricks(function, resolution))
        bricks.append(seconds)
        # The network's last digit depends on the batch, so a node where F is nearly zero may change its sign.
        if abs(count - expected) > 1e-4 * expected:
            raise RuntimeError(f"{name} at {resolution}: {count} triangles by bricks, {expected} on the full grid")
    ratios = [one / other for one, other in zip(full, bricks, strict=True)]
    cells = "".join(f"{value:>10.2f}" for value in (min(ratios), statistics.median(ratios), max(ratios)))
    return f"{name:<10}{resolution:>6}{statistics.median(full):>12.2f}{statistics.median(bricks):>10.2f}{cells}"


def peak(name: str, resolution: int) -> str:
    """
    Measure a child process that meshes by bricks.

    :param name: The function, or :data:`WHOLE`.
    :param resolution: Cells along each axis.
    :return: A line of text.
    """
    command = [sys.executable, str(Path(__file__)), "--child", name, str(resolution)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def child(name: str, resolution: int) -> None:
    """
    What the child process does.

    :param name: The function, or :data:`WHOLE`.
    :param resolution: Cells along each axis.
    """
    before = peak_memory()
    seconds, count = cpu_seconds(
        lambda: whole_mesh(resolution) if name == WHOLE else by_bricks(FUNCTIONS[name](), resolution)
    )
    print(
        f"{name} at {resolution}: {count:,} triangles, {seconds:.1f} CPU s, "
        f"peak {peak_memory():.2f} GB ({before:.2f} GB after the imports)"
    )


def peak_memory() -> float:
    """
    The largest resident memory of this process so far, on Linux: getrusage would count the parent's as well.

    :return: GB.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Marching cubes by bricks beside the full grid.")
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--resolutions", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=1024, help="the resolution of the child process, 0 for none")
    parser.add_argument("--child", nargs=2, metavar=("FUNCTION", "RESOLUTION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], int(arguments.child[1]))
        return
    from measuring import machine  # not in the child, whose memory counts: it brings libraries along

    print(machine())
    titles = "".join(f"{title:>10}" for title in ("bricks s", "min", "median", "max"))
    print(f"{'function':<10}{'n':>6}{'full grid s':>12}{titles}  (full grid / bricks)")
    for name in arguments.functions:
        for resolution in arguments.resolutions:
            print(compare(name, resolution, arguments.rounds), flush=True)
    for name in (*arguments.functions, WHOLE) if arguments.largest else ():
        print(peak(name, arguments.largest), flush=True)


if __name__ == "__main__":
    main()
