"""
Curvature penalties, measured: on a noisy scan's reconstruction, and on decision boundaries while they are trained.

*recon*: a surface is sampled with noise of 1% of its diagonal and reconstructed with several weights of `curvature=`,
the same steps for all. *moons*: a smooth network is trained on a few noisy points of two half-moons, with several
weights of :class:`art_levelset.trainers.curvature.CurvatureTrainer`, for fixed points of the boundary and for points
that move with it. *digits*: the same for ConvNet-2a, whose boundaries are piecewise flat, on scikit-learn's digits.

Each part has its own file beside `--output`: FILE_recon.json and so on, and a picture. Rows that are there are kept.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.core.curvature import mean_curvature
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import Field, margin_field
from art_levelset.core.normal_curvature import most_curved_directions, normal_curvature
from art_levelset.core.projection import project
from art_levelset.evaluation import accuracy, pgd, robust_accuracy
from art_levelset.evaluation.datasets import Split, digits
from art_levelset.experiments.rows import Rows, add_common_arguments
from art_levelset.files import beside, replacing
from art_levelset.models.convnets import convnet_2a
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import compare, nearest_on_surface, sample_surface
from art_levelset.recon.inspect.preview import draw_beside
from art_levelset.recon.io.meshes import read_mesh, write_mesh
from art_levelset.recon.pipeline import reconstruct
from art_levelset.trainers.curvature import CurvatureTrainer

if TYPE_CHECKING:
    from trimesh import Trimesh

NOISE = 0.01
"""Of a scan, as a part of the diagonal."""

REACH = 0.01
"""The distance over which a mesh's curvature is measured, as a part of the reference's diagonal."""

DECAYS = 1e-3, 1e-2, 3e-2
"""Weight decays of Adam: what else keeps a network from following its noise."""

_LIMITS = (-1.8, 2.8), (-1.4, 1.9)
"""Of the picture of the moons."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """
    Declare the arguments.

    :param parser: The experiment's parser.
    """
    add_common_arguments(parser, "curvature")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all of them")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: 0 1 for recon, else 0 1 2")
    parser.add_argument("--reference", type=Path, metavar="MESH", help="the surface of recon (default: a torus)")


def run(arguments: argparse.Namespace) -> str:
    """
    Measure what is not yet in the files, and draw.

    :param arguments: As :func:`add_parser` declares them.
    :return: The tables, in Markdown.
    :raises ValueError: If a seed is negative, or a file has rows of other settings.
    :raises OSError: If a file cannot be read or written.
    """
    if arguments.seeds is not None and min(arguments.seeds) < 0:
        raise ValueError(f"seeds must be >= 0, got {min(arguments.seeds)}")
    return "\n\n".join(PARTS[part](arguments) for part in arguments.parts)


def _rows(arguments: argparse.Namespace, part: str, settings: Mapping[str, Any]) -> Rows:
    output: Path = arguments.output
    return Rows(output.with_stem(f"{output.stem}_{part}"), settings)


def measure_reconstructions(arguments: argparse.Namespace) -> str:
    """
    The part *recon*.

    :param arguments: Those of the experiment.
    :return: Its table.
    """
    from trimesh.creation import torus

    reference: Trimesh = (
        torus(1.0, 0.4) if arguments.reference is None else read_mesh(arguments.reference, "--reference")
    )
    fast = arguments.fast
    settings: dict[str, Any] = {
        "reference": "torus" if arguments.reference is None else arguments.reference.stem,
        "points": 400 if fast else 10_000,
        "steps": 20 if fast else 200,
        "batch_size": 64 if fast else 2048,
        "resolution": 24 if fast else 128,
        "weights": [0.0, 1e-3] if fast else [0.0, 1e-4, 3e-4, 1e-3, 3e-3],
        "noise": NOISE,
        "reach": REACH,
    }
    rows = _rows(arguments, "recon", settings)
    diagonal = float(np.linalg.norm(reference.extents))
    measured = partial(mesh_curvature, reach=REACH * diagonal, count=50 if fast else 4000)
    if rows.find(name="reference", seed=0) is None:
        rows.add({"name": "reference", "seed": 0, "curvature": diagonal * measured(reference)})
    shown: dict[str, Points | Trimesh] = {}
    for seed in (0, 1) if arguments.seeds is None else arguments.seeds:
        points = noisy_scan(reference, settings["points"], seed)
        for weight in settings["weights"]:
            path = _mesh_path(rows, weight)
            if rows.find(name=f"{weight:g}", seed=seed) is None:
                found = reconstruct(
                    points,
                    steps=settings["steps"],
                    batch_size=settings["batch_size"],
                    curvature=weight,
                    seed=seed,
                    verbose=False,
                ).mesh(settings["resolution"])
                distances = compare(found, reference, samples=200 if fast else 30_000)
                relative = distances.relative()
                rows.add(
                    {
                        "name": f"{weight:g}",
                        "seed": seed,
                        "chamfer": relative["chamfer_to_surface"],
                        "hausdorff": relative["hausdorff_to_surface"],
                        "normals": distances.normal_consistency,
                        "curvature": diagonal * measured(found),
                        "euler": int(found.euler_number),
                    }
                )
                if seed == 0:
                    write_mesh(found, path)
            if seed == 0 and path.exists():
                shown[f"weight {weight:g}"] = read_mesh(path, "output")
        if seed == 0:
            shown = {"scan": points, **shown, "reference": reference}
    if len(shown) == len(settings["weights"]) + 2:
        with replacing(beside(rows.path, ".png")) as unfinished:
            draw_beside(unfinished, [shown])
        for weight in settings["weights"]:
            _mesh_path(rows, weight).unlink()
    true = rows.select(name="reference")[0]["curvature"]
    head = f"| {settings['reference']}, {100 * NOISE:g}% noise: weight | Chamfer x 10^3 | Hausdorff x 10^3 | normals"
    lines = [f"{head} | mean abs. H x diagonal (true: {true:.1f}) | Euler | seeds |", "|---" * 7 + "|"]
    for weight in settings["weights"]:
        runs = rows.select(name=f"{weight:g}")
        cells = [_spread(runs, key, digits) for key, digits in (("chamfer", 2), ("hausdorff", 1), ("normals", 4))]
        euler = ", ".join(str(row["euler"]) for row in runs)
        lines.append(f"| {weight:g} | {' | '.join(cells)} | {_spread(runs, 'curvature', 1)} | {euler} | {len(runs)} |")
    return "\n".join(lines)


def _mesh_path(rows: Rows, weight: float) -> Path:
    """Where a mesh of the first seed is until all of them are drawn."""
    return rows.path.with_name(f"{rows.path.stem}_{weight:g}.ply")


def noisy_scan(reference: Trimesh, count: int, seed: int) -> Points:
    """
    Points of a surface with noise in all directions.

    :param reference: The surface.
    :param count: How many.
    :param seed: The seed.
    :return: (count, 3).
    """
    generator = np.random.default_rng(seed)
    spread = NOISE * float(np.linalg.norm(reference.extents))
    return sample_surface(reference, count, generator) + spread * generator.standard_normal((count, 3))


def mesh_curvature(mesh: Trimesh, reach: float, count: int) -> float:
    """
    The mean absolute value of a mesh's mean curvature over a distance, at uniformly distributed points of it: that of
    its signed distance function.

    :param mesh: The mesh, whose normals point outwards.
    :param reach: The distance.
    :param count: The number of points.
    :return: In 1 / length.
    """
    points = torch.as_tensor(sample_surface(mesh, count, np.random.default_rng(0)))
    field = Field(lambda x: _SignedDistance.apply(x, mesh))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        found = mean_curvature(field, points, directions=4, scale=reach, generator=generator)
    return float(found.abs().nanmean())


class _SignedDistance(torch.autograd.Function):
    """The distance to a mesh, negative inside; its gradient is the normal of the nearest triangle."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, mesh: Trimesh) -> Tensor:
        queries = points.detach().numpy()
        distances, faces = nearest_on_surface(queries, mesh)
        normals = torch.as_tensor(np.array(mesh.face_normals[faces]))
        ctx.save_for_backward(normals)
        heights = ((points - torch.as_tensor(np.array(mesh.triangles_center[faces]))) * normals).sum(dim=1)
        return torch.as_tensor(distances) * torch.where(heights < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (normals,) = ctx.saved_tensors
        return gradients[0][:, None] * normals, None


def _spread(runs: Sequence[Mapping[str, Any]], key: str, digits: int) -> str:
    """The mean over the seeds and the extremes."""
    values = [run[key] for run in runs]
    return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def measure_moons(arguments: argparse.Namespace) -> str:
    """
    The part *moons*.

    :param arguments: Those of the experiment.
    :return: Its table.
    """
    settings: dict[str, Any] = {
        "samples": 60,
        "noise": 0.3,
        "nb_epochs": 3 if arguments.fast else 400,
        "learning_rate": 1e-2,
        "eps": 0.15,
        "test": 100 if arguments.fast else 2000,
        "weights": [0.0, 1e-2] if arguments.fast else [0.0, 1e-3, 1e-2, 1e-1],
    }
    rows = _rows(arguments, "moons", settings)
    for seed in _seeds(arguments):
        training, test = (
            _moons(count, settings["noise"], seed + part)
            for count, part in ((settings["samples"], 0), (settings["test"], 10_000))
        )
        for name, weight, moving, decay in _variants(settings["weights"]):
            if rows.find(name=name, seed=seed) is None:
                torch.manual_seed(seed)
                model = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
                options = {"weight": weight, "moving": moving, "reach": 1.0, "seed": seed}
                _train(model, training, None, settings, options, batch_size=settings["samples"], decay=decay)
                measured = _measured(model, test, None, settings["eps"], norm=2)
                line = _boundary(model) if seed == 0 else []
                rows.add({"name": name, "seed": seed, **measured, "boundary": line})
    _draw_moons(rows, _moons(settings["samples"], settings["noise"], 0))
    return _training_table(rows, f"moons, PGD L_2 {settings['eps']}")


def measure_digits(arguments: argparse.Namespace) -> str:
    """
    The part *digits*.

    :param arguments: Those of the experiment.
    :return: Its table.
    """
    settings: dict[str, Any] = {
        "nb_epochs": 1 if arguments.fast else 15,
        "learning_rate": 4e-3,
        "eps": 0.1,
        "scale": 0.5,
        "test": 50 if arguments.fast else 500,
        "weights": [0.0, 1e-2] if arguments.fast else [0.0, 1e-3, 1e-2, 1e-1],
    }
    rows = _rows(arguments, "digits", settings)
    for seed in _seeds(arguments):
        training, (x, y) = digits(seed)
        if arguments.fast:
            training = training[0][:128], training[1][:128]
        for weight in settings["weights"]:
            if rows.find(name=f"{weight:g}", seed=seed) is None:
                torch.manual_seed(seed)
                model = convnet_2a(10, (1, 8, 8))
                options = {"weight": weight, "scale": settings["scale"], "reach": 2.0, "max_iter": 5, "seed": seed}
                _train(model, training, (0.0, 1.0), settings, options, batch_size=64)
                test = x[: settings["test"]], y[: settings["test"]]
                measured = _measured(model, test, settings["scale"], settings["eps"], norm=math.inf)
                rows.add({"name": f"{weight:g}", "seed": seed, **measured})
    return _training_table(rows, f"digits, PGD L_inf {settings['eps']}")


def _seeds(arguments: argparse.Namespace) -> Sequence[int]:
    return range(3) if arguments.seeds is None else arguments.seeds


def _variants(weights: Sequence[float]) -> Iterator[tuple[str, float, bool, float]]:
    """Names, weights of the penalty, whether the points move, and weight decays."""
    for weight in weights:
        yield f"{weight:g}", weight, False, 0.0
        if weight:
            yield f"{weight:g}, moving", weight, True, 0.0
    for decay in DECAYS:
        yield f"weight decay {decay:g}", 0.0, False, decay


def _moons(count: int, noise: float, seed: int) -> Split:
    from sklearn.datasets import make_moons

    x, y = make_moons(count, noise=noise, random_state=seed)
    return x.astype(np.float32), y.astype(np.int64)


def _train(
    model: nn.Module,
    training: Split,
    clip_values: tuple[float, float] | None,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    batch_size: int,
    decay: float = 0.0,
) -> None:
    x, y = training
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"], weight_decay=decay)
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        x.shape[1:],
        int(y.max()) + 1,
        optimizer=optimizer,
        clip_values=clip_values,
        device_type="cpu",
    )
    nb_epochs = settings["nb_epochs"]
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, nb_epochs)
    trainer = CurvatureTrainer(classifier, **options)
    trainer.fit(x, y, batch_size=batch_size, nb_epochs=nb_epochs, scheduler=scheduler, verbose=False)


def _measured(model: nn.Module, test: Split, scale: float | None, eps: float, norm: float) -> dict[str, float]:
    """Accuracies, and the largest curvatures at the boundary points of the test samples."""
    x, y = (torch.as_tensor(part) for part in test)
    samples = project(margin_field(model, y), x, max_iter=50, tol=1e-3, backtracking=True)
    found = samples.converged
    field, points = margin_field(model, y[found]), samples.points[found]
    start = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    directions = most_curved_directions(field, points, start, max_iter=5, scale=scale)
    with torch.no_grad():
        largest, any_one = (normal_curvature(field, points, along, scale=scale).abs() for along in (directions, start))
    clip_values = None if scale is None else (0.0, 1.0)
    attack = partial(pgd, eps=eps, norm=norm, max_iter=20, loss="margin", clip_values=clip_values, verbose=False)
    return {
        "clean": accuracy(model, *test),
        "robust": robust_accuracy(model, *test, partial(attack, stop_when_broken=True, seed=0)),
        "curvature": float(largest.nanmean()),
        "median": float(largest.nanmedian()),
        "random": float(any_one.nanmean()),
        "distance": float(lp_distance(x[found], points).mean()),
    }


def _training_table(rows: Rows, title: str) -> str:
    head = f"| {title}: weight | clean | robust | mean abs. curvature | median | in a random direction | seeds |"
    lines = [head, "|---" + "|--:" * 6 + "|"]
    for name in dict.fromkeys(row["name"] for row in rows.rows):
        runs = rows.select(name=name)
        shares = [_spread([{key: 100 * run[key]} for run in runs], key, 1) for key in ("clean", "robust")]
        bends = [_spread(runs, key, 2) for key in ("curvature", "median", "random")]
        lines.append(f"| {name} | {' | '.join(shares + bends)} | {len(runs)} |")
    return "\n".join(lines)


def _boundary(model: nn.Module) -> list[list[list[float]]]:
    """The lines in the plane where both classes are as likely."""
    from skimage.measure import find_contours

    (left, right), (low, high) = _LIMITS
    grid = np.stack(np.meshgrid(np.linspace(left, right, 121), np.linspace(low, high, 91)), axis=-1)
    with torch.no_grad():
        logits = model(torch.as_tensor(grid.reshape(-1, 2), dtype=torch.float32)).numpy()
    lines = find_contours((logits[:, 1] - logits[:, 0]).reshape(91, 121), 0.0)
    steps = np.array([(high - low) / 90, (right - left) / 120])
    return [np.round((line * steps + [low, left])[:, ::-1], 3).tolist() for line in lines]


def _draw_moons(rows: Rows, training: Split) -> None:
    """The training points, and the boundaries of the first seed."""
    from matplotlib.figure import Figure

    shown = [row for row in rows.select(seed=0) if "decay" not in row["name"]]
    figure = Figure(figsize=(2.4 * len(shown), 2.3), layout="constrained")
    for axes, row in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False):
        for label, colour in enumerate(("#c0392b", "#2264a8")):
            axes.scatter(*training[0][training[1] == label].T, s=6, color=colour)
        for line in row["boundary"]:
            axes.plot(*np.array(line).T, color="black", linewidth=1.2)
        axes.set(xlim=_LIMITS[0], ylim=_LIMITS[1], xticks=[], yticks=[])
        axes.set_title(f"{row['name']}: {row['clean']:.1%}, {row['robust']:.1%}", fontsize=9)
    with replacing(beside(rows.path, ".png")) as unfinished:
        figure.savefig(unfinished, dpi=100, format="png")


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "recon": measure_reconstructions,
    "moons": measure_moons,
    "digits": measure_digits,
}
