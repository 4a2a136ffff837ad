"""`art-levelset exact`: a watertight mesh as the zero level set of a ReLU network, and back."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from art_levelset.arguments import Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.output import Output
from art_levelset.cli.places import keep_all, outputs

NETWORK = ".pt"
"""The suffix of networks; all others are those of meshes."""

MOST = 1e-9
"""The largest |F| on the surface, as a part of the mesh's diagonal."""


EXAMPLES = (
    ("art-levelset exact mesh.ply -o network.pt", "writes the network whose zero level set the mesh is"),
    ("art-levelset exact network.pt -o back.ply --resolution 256", "writes that level set as a mesh again"),
    (
        "art-levelset exact mesh.stl -o network.pt --max-units 50000 --json",
        "at most so large; prints its sizes as JSON",
    ),
)


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "exact",
        help="turn a mesh into a network whose zero level set it is, and back",
        description="Given a watertight mesh, write a network of Linear and ReLU layers that is positive inside of "
        "the mesh, negative outside and zero on it (Theorem 1). Given such a network (*.pt), write its zero level set "
        "as a mesh, by marching cubes.",
        examples=EXAMPLES,
        intermixed=True,
        add_help=False,
    )
    group = parser.add_argument_group("files")
    group.add_argument("input", type=Path, metavar="FILE", help="a watertight mesh, or a network (*.pt)")
    group.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the network (*.pt), or the mesh, to write"
    )
    group = parser.add_argument_group("size")
    group.add_argument(
        "--max-units", type=int, metavar="N", help="of meshes: the largest number of hidden units (default: 200000)"
    )
    group.add_argument(
        "--resolution", type=int, metavar="N", help="of networks: grid cells along the longest side (default: 128)"
    )
    what_is_printed.add_options(parser, "sizes, and how exact the network is")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Turn a mesh into a network, or a network into a mesh.

    :param arguments: `input`, `output`, `max_units` and `resolution`.
    :param output: What lets the results out.
    :return: The exit status: 1 if the network was found not to agree with the mesh.
    """
    from_network, to_network = (path.suffix.lower() == NETWORK for path in (arguments.input, arguments.output))
    if from_network == to_network:
        raise ValueError(f"--output: one of {arguments.input} and {arguments.output} must be a network (*{NETWORK})")
    foreign = "max_units" if from_network else "resolution"
    if getattr(arguments, foreign) is not None:
        kind = "meshes" if from_network else "networks"
        raise ValueError(f"--{foreign.replace('_', '-')} is for {kind}, and {arguments.input} is none")
    with outputs({"--output": arguments.output}):
        return _to_mesh(arguments, output) if from_network else _to_network(arguments, output)


def _to_network(arguments: argparse.Namespace, output: Output) -> int:
    from art_levelset.core.universality import MAX_UNITS, exact_network
    from art_levelset.recon.exact import agreement, save_exact
    from art_levelset.recon.io.meshes import read_mesh

    mesh = read_mesh(arguments.input, "mesh")
    start = time.perf_counter()
    network = exact_network(mesh, max_units=MAX_UNITS if arguments.max_units is None else arguments.max_units)
    seconds = time.perf_counter() - start
    keep_all([(arguments.output, lambda path: save_exact(path, network, *mesh.bounds))])
    output.wrote(arguments.output)
    size, found = network.size, agreement(network, mesh)
    output.result(
        f"faces {size.faces}, planes {size.planes}, pieces {size.pieces}\n"
        f"hidden units {size.units} in {size.depth} layers, parameters {size.weights} (not zero), {seconds:.1f} s\n"
        f"on the surface: |F| <= {found.on_surface:.1e} of the diagonal\n"
        f"off the surface: {found.wrong} wrong signs at {found.points} points"
    )
    output.document({"size": asdict(size), "seconds": seconds, "agreement": asdict(found)})
    if found.wrong or found.on_surface > MOST:
        print("the network does not agree with the mesh, which may overlap itself", file=sys.stderr)
        return 1
    return 0


def _to_mesh(arguments: argparse.Namespace, output: Output) -> int:
    from art_levelset.recon.exact import load_exact, march
    from art_levelset.recon.io.meshes import write_mesh

    network, low, high = load_exact(arguments.input)
    resolution = 128 if arguments.resolution is None else arguments.resolution
    mesh = march(network, low, high, resolution, verbose=output.bars)
    keep_all([(arguments.output, lambda path: write_mesh(mesh, path))])
    output.wrote(arguments.output)
    size = {"vertices": len(mesh.vertices), "triangles": len(mesh.faces), "components": int(mesh.body_count)}
    output.result(", ".join(f"{name} {count}" for name, count in size.items()))
    output.document({"mesh": size})
    return 0
