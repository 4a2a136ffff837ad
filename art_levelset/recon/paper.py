"""
Section 5.3 and Appendix B.4 of the paper to the letter: eq. 13 with the distance to the nearest point, and no more.

Each step draws a batch of the cloud. Half of it, jittered by N(0, 0.1), one in five replaced by a uniform point of the
box, is projected to the zero level set by up to ten generalized Newton steps; where a sample does not arrive it counts
with the level it has reached. The other half, jittered by N(0, 0.01) or N(0, 0.2), samples the level sets t = F(x) that
it lies on. The loss is

    mean_{S_0} |d(x, X) - |t|| + mean_{S_t} |d(x, X) - |t|| + lambda/N sum_j |F(x_j)|.

Lambda grows from 1 to 5 over the first fifth of the training, and the learning rate is halved after a tenth, three
tenths and seven tenths of it: the paper's epochs 1000 and 500, 1500, 3500 of 5000.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.fields import Field, as_field
from art_levelset.core.losses import reconstruction_loss
from art_levelset.core.projection import project
from art_levelset.core.sample_network import sample_network
from art_levelset.models.mlps import fc_2
from art_levelset.progress import progress_bar
from art_levelset.recon.cloud.clouds import Points, check_cloud, neighbours, unit_frame
from art_levelset.recon.cloud.planes import fit_planes
from art_levelset.recon.fitting.progress import Budget
from art_levelset.recon.reconstruction import Reconstruction

WALL = 1.1
"""Uniform samples come from [-WALL, WALL]^3 of the unit frame."""

UNIFORM = 0.2
SPREADS = 0.01, 0.2
NEWTON_STEPS = 10
STEPS = 5000
FIRST_LAMBDA, LAST_LAMBDA, GROWTH = 1.0, 5.0, 0.2
HALVINGS = 0.1, 0.3, 0.7


def reconstruct_as_paper(
    points: object,
    *,
    network: nn.Module | None = None,
    steps: int | None = None,
    time_budget: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    batch_size: int = 10_000,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "cpu",
    verbose: bool = True,
) -> Reconstruction:
    """
    Reconstruct a surface as the paper did. Hours on a CPU, and for comparison:
    :func:`art_levelset.recon.pipeline.reconstruct` is for use.

    | Paper link: https://arxiv.org/abs/1905.11911

    :param points: The cloud, (n, 3), in any units, n >= 10.
    :param network: The network to fit in place, (batch, 3) -> (batch, 1), in the unit frame; None for FC-2, eight
           layers of 512 units, which starts as a sphere.
    :param steps: The most optimisation steps, >= 1. None for 5000, or, with a time budget, for as many as it allows.
    :param time_budget: The most wall seconds for the steps, > 0, which then stand for all 5000 in the schedules.
    :param clock: What tells the seconds, as for :func:`art_levelset.recon.pipeline.reconstruct`.
    :param batch_size: Points of the cloud a step, >= 2.
    :param learning_rate: The first learning rate of Adam, > 0.
    :param seed: Seed of the initialisation and of the samples, >= 0.
    :param device: Where to compute.
    :param verbose: Whether to show a progress bar.
    :return: The reconstruction.
    :raises ValueError: If the points cannot be a scan, or a number is out of range.
    """
    if steps is not None:
        check_count("steps", steps)
    if time_budget is not None:
        check_positive("time_budget", time_budget)
    check_count("batch_size", batch_size, least=2)
    check_positive("learning_rate", learning_rate)
    check_seed(seed)
    budget = Budget(STEPS if steps is None and time_budget is None else steps, time_budget, clock)
    cloud = check_cloud(points)
    frame = unit_frame(cloud)
    cloud = frame.to_unit(cloud)
    if network is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = fc_2(radius=0.7)
    network = network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    draw = _Batches(cloud, min(batch_size, len(cloud)), torch.Generator().manual_seed(seed), torch.device(device))
    field = as_field(network)
    budget.begin()
    part = budget.part()
    with progress_bar(desc="fit as in the paper", unit="step", total=budget.steps, verbose=verbose) as bar:
        while part < 1:
            lam = FIRST_LAMBDA + (LAST_LAMBDA - FIRST_LAMBDA) * min(part / GROWTH, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate / 2 ** sum(part >= halving for halving in HALVINGS)
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(field, draw, lam)
            torch.autograd.backward(loss)
            optimizer.step()
            budget.step += 1
            part = budget.part()
            bar.total = round(budget.step / part)
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            bar.update()
    return Reconstruction(network, frame, fit_planes(cloud))


class _Batches:
    """The random batches of the cloud, and d(x, X)."""

    def __init__(self, cloud: Points, size: int, generator: torch.Generator, device: torch.device) -> None:
        self.cloud = torch.as_tensor(cloud, dtype=torch.float32, device=device)
        self.size, self.generator = size, generator
        self._tree = cKDTree(cloud)

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        """Points of the cloud, and the samples that start the two halves."""
        rows = torch.randperm(len(self.cloud), generator=self.generator)[: self.size]
        points = self.cloud[rows.to(self.cloud.device)]
        some, others = points[: self.size // 2], points[self.size // 2 :]
        uniform = WALL * (2 * self._uniform(len(some), 3) - 1)
        start = torch.where(self._uniform(len(some), 1) < UNIFORM, uniform, some + 0.1 * self._normal(some))
        small, large = SPREADS
        spread = torch.where(self._uniform(len(others), 1) < 0.5, small, large)
        return points, start, others + spread * self._normal(others)

    def distances(self, points: Tensor) -> Tensor:
        """The distance of points, (n, 3), to the nearest of the cloud, differentiable, (n,)."""
        nearest = neighbours(self._tree, points.detach().cpu().double().numpy(), 1)[1][:, 0]
        offsets = points - self.cloud[torch.as_tensor(nearest, device=points.device)]
        distances: Tensor = torch.linalg.vector_norm(offsets, dim=1)
        return distances

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(self.cloud.device)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(*like.shape, generator=self.generator).to(like.device)


def _loss(field: Field, draw: _Batches, lam: float) -> Tensor:
    points, start, elsewhere = draw()
    sets = [project(field, start, max_iter=NEWTON_STEPS, tol=1e-5), project(field, elsewhere, max_iter=0)]
    positions = [sample_network(field, samples.points, samples.jacobians) for samples in sets]
    distances = [draw.distances(attached) for attached in positions]
    levels = [samples.values.squeeze(1) for samples in sets]
    return reconstruction_loss(distances, levels, field(points), lam)
