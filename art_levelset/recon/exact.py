"""
Exact networks beside meshes: to files and back, to meshes and back, and how well the two agree.

The files hold numbers only: the entries of each layer's matrix that are not zero, its bias, and the mesh's box.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from art_levelset.checks import check_count, check_seed
from art_levelset.core.circuits import DENSE, SparseLinear
from art_levelset.core.hypersurfaces import hypersurface, is_inside
from art_levelset.core.universality import ExactNetwork, Size
from art_levelset.files import write_bytes
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.contents import numbers
from art_levelset.recon.meshing.extract import zero_set
from art_levelset.tensors import has_format, load_tensors
from art_levelset.untrusted import opened

if TYPE_CHECKING:
    from trimesh import Trimesh

FORMAT = "art-levelset exact network 1"

SLOPE = 1.001
"""F is nowhere steeper than 1, but for rounding: marching misses nothing."""

_POINT = 600.0
"""Bytes that a point takes where F is evaluated: few, for the network takes a part of the points at a time."""

_MARGIN = 0.05
_NEAR = (-6.0, -1.0)


@dataclass(frozen=True)
class Agreement:
    """
    How well a network agrees with the mesh that it was made of.

    :param on_surface: The largest |F| at random points of the surface, as a part of the mesh's diagonal.
    :param wrong: At how many points off the surface F has the wrong sign.
    :param points: Of how many.
    """

    on_surface: float
    wrong: int
    points: int


def agreement(network: nn.Module, mesh: Any, *, samples: int = 10_000, seed: int = 0) -> Agreement:
    """
    Compare the signs of F with rays through the mesh, at points of which half are 10^-6 to 10^-1 diagonals from it.

    :param network: F, (batch, d) -> (batch, 1), float64.
    :param mesh: As for :func:`art_levelset.core.universality.exact_network`.
    :param samples: Number of points on the surface, and off it, >= 2.
    :param seed: Seed of the points, >= 0.
    :return: What was found.
    :raises ValueError: If a number is out of range, or the mesh is none.
    """
    check_count("samples", samples, least=2)
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    random = partial(torch.rand, generator=generator, dtype=torch.float64)
    surface = hypersurface(mesh)
    simplices = surface.simplices + surface.origin
    d = simplices.shape[1]
    areas = torch.linalg.svdvals(simplices[:, 1:] - simplices[:, :1]).prod(dim=1)
    chosen = torch.multinomial(areas, samples, replacement=True, generator=generator)
    weights = -random(samples, d).log()  # after division by their sums, uniform on a simplex
    on = ((weights / weights.sum(dim=1, keepdim=True))[..., None] * simplices[chosen]).sum(dim=1)
    half = samples // 2
    directions = torch.randn(half, d, generator=generator, dtype=torch.float64)
    lengths = surface.diagonal * 10 ** (_NEAR[0] + (_NEAR[1] - _NEAR[0]) * random(half, 1))
    low, high = simplices.amin(dim=(0, 1)), simplices.amax(dim=(0, 1))
    box = low + (high - low) * (1.2 * random(samples - half, d) - 0.1)
    points = torch.cat([on[:half] + lengths * torch.nn.functional.normalize(directions, dim=1), box])
    with torch.no_grad():
        wrong = (network(points)[:, 0] > 0) != is_inside(points, mesh)
        largest = float(network(on).abs().max())
    return Agreement(largest / surface.diagonal, int(wrong.sum()), len(points))


def march(network: nn.Module, low: Points, high: Points, resolution: int, *, verbose: bool = True) -> Trimesh:
    """
    The zero level set of an exact network as a mesh, by marching cubes: what it should be, to about a cell.

    :param network: F, (batch, 3) -> (batch, 1), float64.
    :param low: One corner of the box of the mesh that it was made of, (3,).
    :param high: The opposite corner.
    :param resolution: Number of grid cells along the longest side of the box, >= 8.
    :param verbose: Whether to show a progress bar.
    :return: The mesh; its normals point outwards.
    :raises ValueError: If the resolution is too small, there is not the memory, the box is none of this network's, or
            not one in space.
    """
    from trimesh import Trimesh

    if len(low) != 3:
        raise ValueError(f"network: only surfaces in space are marched, this is a hypersurface of R^{len(low)}")
    margin = _MARGIN * (high - low).max()
    vertices, faces = zero_set(
        lambda points: -_values(network, points).astype(np.float32),
        low - margin,
        high + margin,
        resolution,
        slope=SLOPE,
        point=_POINT,
        verbose=verbose,
    )
    return Trimesh(vertices, faces, process=False)


def save_exact(path: str | Path, network: ExactNetwork, low: Points, high: Points) -> None:
    """
    Write an exact network to a file, which appears when it is complete.

    :param path: The file.
    :param network: The network.
    :param low: One corner of the box of the mesh that it was made of, (d,).
    :param high: The opposite corner.
    :raises OSError: If it cannot be written.
    """
    contents = {
        "format": FORMAT,
        "layers": [_entries(layer) for layer in network if isinstance(layer, nn.Linear)],
        "size": asdict(network.size),
        "box": torch.tensor([low.tolist(), high.tolist()], dtype=torch.float64),
    }
    packed = io.BytesIO()
    torch.save(contents, packed)
    write_bytes(packed.getvalue(), path)


def load_exact(path: str | Path) -> tuple[ExactNetwork, Points, Points]:
    """
    Read an exact network.

    :param path: The file.
    :return: The network, and two opposite corners of the box of the mesh that it was made of, (d,) each.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it holds no exact network.
    """
    with opened(path) as file:
        try:
            contents = load_tensors(file)
        except ValueError as error:
            raise ValueError(f"{path}: is not an exact network: {error}") from error
    if not has_format(contents, FORMAT):
        raise ValueError(f"{path}: is not an exact network of this version")
    try:
        return _network(contents)
    except Exception as error:  # a file may say anything
        raise ValueError(f"{path}: is a damaged exact network ({type(error).__name__}: {error!s:.200})") from error


def _network(contents: dict[str, Any]) -> tuple[ExactNetwork, Points, Points]:
    """What a file says, checked: PyTorch does not look whether the entries of a sparse matrix lie in it."""
    low, high = numbers("box", contents["box"].numpy(), (2, None))
    if not len(low) or not (low < high).all():
        raise ValueError("box must have two opposite corners")
    modules: list[nn.Module] = []
    width = len(low)
    for entry in contents["layers"]:
        positions, values, bias = entry["positions"], entry["values"], entry["bias"]
        numbers("values", values.numpy(), (None,))
        numbers("bias", bias.numpy(), (None,))
        if values.dtype != torch.float64 or bias.dtype != torch.float64 or not len(bias) or entry["inputs"] != width:
            raise ValueError("a layer must have float64 weights, and the outputs of the one before as its inputs")
        if positions.dtype != torch.int64 or positions.shape != (2, len(values)):
            raise ValueError("positions must be two whole numbers for each value")
        order = positions[0] * width + positions[1]
        last = torch.tensor([[len(bias)], [width]])
        if not ((positions >= 0) & (positions < last)).all() or not (order.diff() > 0).all():
            raise ValueError("positions must lie in the matrix, row by row")
        if not entry["sparse"] and width * len(bias) > DENSE:
            raise ValueError(f"a matrix with its zeros must not have more than {DENSE:,} numbers")
        layer = SparseLinear(positions, values, bias, width)
        modules += [layer if entry["sparse"] else layer.dense(), nn.ReLU()]
        width = len(bias)
    if not modules or width != 1:
        raise ValueError("the last layer must have one output")
    for name, count in contents["size"].items():
        check_count(name, count, least=0)
    network = ExactNetwork(*modules[:-1])
    network.size = Size(**contents["size"])
    return network, low, high


def _entries(layer: nn.Linear) -> dict[str, Any]:
    """What it takes to make a layer again."""
    sparse = isinstance(layer, SparseLinear)
    positions = layer.get_buffer("positions") if sparse else layer.weight.detach().nonzero().T.contiguous()
    return {
        "positions": positions,
        "values": layer.weight.detach()[tuple(positions)],
        "bias": layer.bias.detach(),
        "inputs": layer.in_features,
        "sparse": sparse,
    }


def _values(network: nn.Module, points: Points) -> NDArray[np.float64]:
    """F at points."""
    with torch.no_grad():
        found: NDArray[np.float64] = network(torch.from_numpy(np.ascontiguousarray(points))).squeeze(1).numpy()
    return found
