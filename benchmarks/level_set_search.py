"""
Speed of the two level-set searches of the core, against the same mathematics without an active set and against ART's
DeepFool.

One run, the contenders alternating on the same samples, ratios of wall times with their minimum, median and maximum:

    python benchmarks/level_set_search.py --threads 2

Projection: `project` (generalized Newton, eqs. 4 and 5, on the margin of the predicted label) against a loop that
evaluates the whole batch until the last sample has converged, and against ART's DeepFool, whose step in L_2 is the
same for two classes. Bracketing: `false_position` (Illinois, unfinished samples only, one forward pass an iteration)
against plain false position over the whole batch with three forward passes an iteration, both to the same tolerance
and at most 40 iterations.

The network is a ConvNet-2a trained for one epoch on scikit-learn's digits, enlarged to 28 x 28: real images, no
download.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from art.attacks.evasion import DeepFool
from art.estimators.classification import PyTorchClassifier
from sklearn.datasets import load_digits
from torch import Tensor, nn

from art_levelset import false_position, margin_field, project
from art_levelset.core.ascent import seek_crossing
from art_levelset.core.fields import Field, values_and_jacobians
from art_levelset.models import convnet_2a


def trained_network() -> tuple[nn.Module, Tensor]:
    """A network with real decision boundaries, and the images it was trained on."""
    data = load_digits()
    images = torch.as_tensor(data.images[:, None] / 16, dtype=torch.float32)
    images = nn.functional.interpolate(images, size=28, mode="bilinear", align_corners=False)
    torch.manual_seed(0)
    module = convnet_2a()
    optimizer = torch.optim.Adam(module.parameters())
    for _ in range(5):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[rows]), torch.as_tensor(data.target)[rows]).backward()
            optimizer.step()
    return module.eval(), images


def whole_batch_newton(field: Field, points: Tensor, max_iter: int, tol: float) -> Tensor:
    """Eqs. 4 and 5 over the whole batch until the last sample has converged."""
    for _ in range(max_iter):
        values, jacobians = values_and_jacobians(field, points)
        if bool((values.abs() <= tol).all()):
            break
        gradient = jacobians.squeeze(1)
        points = points - gradient * (values / gradient.flatten(1).square().sum(1, keepdim=True))[..., None, None]
    return points


@torch.no_grad()
def whole_batch_false_position(field: Field, start: Tensor, end: Tensor, max_iter: int, tol: float) -> Tensor:
    """Plain false position over the whole batch, three forward passes an iteration."""
    low, high = start.clone(), end.clone()
    middle = start
    for _ in range(max_iter):
        at_low, at_high = field(low), field(high)
        share = (at_low / (at_low - at_high))[..., None, None]
        middle = low + share * (high - low)
        value = field(middle)
        if bool((value.abs() <= tol).all()):
            break
        same = ((value > 0) == (at_low > 0))[..., None, None]
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return middle


def ratios(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float, float, float]:
    """Theirs over ours, alternating: minimum, median, maximum; and the median seconds of ours."""
    found, seconds = [], []
    for round_ in range(rounds + 1):
        times = []
        for run in (ours, theirs):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        if round_:  # the first is a warm-up
            seconds.append(times[0])
            found.append(times[1] / times[0])
    return min(found), statistics.median(found), max(found), statistics.median(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    module, images = trained_network()
    points = images[: args.batch]
    labels = module(points).argmax(1)
    field = margin_field(module, labels)
    samples = project(field, points, max_iter=50)
    print(f"projection of {len(points)} samples: {int(samples.converged.sum())} converged, ", end="")
    print(f"{samples.iterations.double().mean():.1f} steps on average, at most {int(samples.iterations.max())}")

    classifier = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(-1e6, 1e6), device_type="cpu"
    )
    deepfool = DeepFool(classifier, max_iter=50, epsilon=0.0, nb_grads=10, batch_size=args.batch, verbose=False)
    array = points.numpy()
    rounds = args.rounds
    rows: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (
            "whole-batch Newton / project",
            lambda: project(field, points, max_iter=50),
            lambda: whole_batch_newton(field, points, 50, 1e-5),
        ),
        ("ART DeepFool / project", lambda: project(field, points, max_iter=50), lambda: deepfool.generate(array)),
    ]
    ends, crossed = seek_crossing(field, points, eps=0.5, step=0.05, max_iter=20, box=(0.0, 1.0))
    start, end, part = points[crossed], ends[crossed], field.select(crossed)
    zeros = false_position(part, start, end)
    rows.append(
        (
            "whole-batch false position / false_position",
            lambda: false_position(part, start, end),
            lambda: whole_batch_false_position(part, start, end, 40, 1e-5),
        )
    )
    print(f"bracketing of {len(start)} samples: {int(zeros.converged.sum())} converged, ", end="")
    print(f"{2 + zeros.iterations.double().mean():.1f} forward passes a sample")
    print(f"{'time ratio':46} {'min':>7} {'median':>7} {'max':>7}   ours, s")
    for name, ours, theirs in rows:
        least, median, most, seconds = ratios(ours, theirs, rounds)
        print(f"{name:46} {least:7.2f} {median:7.2f} {most:7.2f} {seconds:9.4f}")


if __name__ == "__main__":
    main()
