"""
PyTorch alone, without ART: bend the zero level set of a network into a shape by a loss of the level set's own points.

    python examples/torch_only.py            # 12 seconds of one core; writes star.png
"""

import argparse

import torch
from matplotlib import pyplot as plt

from art_levelset import LevelSetSamples, SampleNetwork, project

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--fast", action="store_true", help="a few steps: only shows that it works")
parser.add_argument("-o", "--output", default="star.png")
arguments = parser.parse_args()

torch.manual_seed(0)
smooth = torch.nn.Softplus(20)
network = torch.nn.Sequential(torch.nn.Linear(2, 64), smooth, torch.nn.Linear(64, 64), smooth, torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)


def on_level_set(count: int) -> LevelSetSamples:
    """Points of {F = 0}: from anywhere in the square, by generalized Newton steps (eq. 4)."""
    samples = project(network, 3 * torch.rand(count, 2) - 1.5, level=0.0, backtracking=True)
    return samples.select(samples.converged)


# First, by ordinary regression, the distance to a circle.
for _ in range(50 if arguments.fast else 400):
    x = 3 * torch.rand(400, 2) - 1.5
    optimizer.zero_grad()
    (network(x)[:, 0] - (x.norm(dim=1) - 0.8)).square().mean().backward()
    optimizer.step()
circle = on_level_set(2000).points

# Then eq. 9: the samples as functions of the parameters. Each is asked to be where the star's outline is.
for step in range(5 if arguments.fast else 500):
    points = SampleNetwork(network)(on_level_set(500))
    outline = 0.8 + 0.25 * torch.cos(5 * torch.atan2(points[:, 1], points[:, 0]))
    loss = (points.norm(dim=1) - outline).square().mean()
    # Away from the level set the network stays what it is, a distance: |grad F| = 1.
    x = (3 * torch.rand(200, 2) - 1.5).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    optimizer.zero_grad()
    (loss + 0.01 * (gradient.norm(dim=1) - 1).square().mean()).backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step:3}: the points are off by {loss.detach().sqrt():.4f}")

plt.figure(figsize=(4, 4))
for name, points in {"before": circle, "after": on_level_set(2000).points}.items():
    plt.scatter(*points.T, s=2, label=name)
plt.axis("equal")
plt.legend()
plt.savefig(arguments.output, dpi=90)
print(f"off by {loss.detach().sqrt():.4f} at the end; wrote {arguments.output}")
