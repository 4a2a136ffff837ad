"""
A network from a Torchattacks workflow: the library's attacks as ever, and beside ours in one evaluation.

    pip install "art-levelset[torchattacks]"
    python examples/torchattacks_attack.py            # 8 seconds of one core
"""

import argparse
from functools import partial

import torch
import torchattacks

from art_levelset import evaluate, pgd
from art_levelset.adapters.torchattacks import from_torchattacks
from art_levelset.evaluation.datasets import digits
from art_levelset.models import convnet_2a

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--fast", action="store_true", help="two epochs, 20 images: only shows that it works")
fast = parser.parse_args().fast

EPS = 0.05
(x, y), (x_test, y_test) = (tuple(map(torch.from_numpy, split)) for split in digits())
epochs, shown = (2, 20) if fast else (30, 500)
x_test, y_test = x_test[:shown], y_test[:shown]

# A network of yours: plain PyTorch, trained as you like.
torch.manual_seed(0)
model = convnet_2a(nb_classes=10, input_shape=(1, 8, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
for _ in range(epochs):
    for rows in torch.randperm(len(x)).split(64):
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()

# Torchattacks by itself, as you know it.
attacked = torchattacks.PGD(model, eps=EPS, alpha=EPS / 10, steps=40)(x_test, y_test)
print(f"torchattacks.PGD leaves {(model(attacked).argmax(dim=1) == y_test).float().mean():.1%}")

# Any of its attacks by its name, checked at the door, seeded, and next to ours. The worst case is what counts.
attacks = {
    "Torchattacks APGD": from_torchattacks("APGD", eps=EPS, steps=10 if fast else 50),
    "Torchattacks Square": from_torchattacks("Square", eps=EPS, n_queries=20 if fast else 500),
    "ours, margin": partial(pgd, eps=EPS, max_iter=10 if fast else 40, loss="margin", stop_when_broken=True),
}
report = evaluate(model, x_test, y_test, attacks, verbose=False)
print(report.table())
