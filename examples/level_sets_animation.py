"""
The level sets of a toy network while LevelSetMarginTrainer moves them, as an animation.

    python examples/level_sets_animation.py            # 12 seconds of one core; writes level_sets.gif
"""

import argparse

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from matplotlib import pyplot as plt
from matplotlib.animation import FuncAnimation
from sklearn.datasets import make_moons

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers import Callback

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--fast", action="store_true", help="three frames: only shows that it works")
fast = parser.parse_args().fast
epochs, cells = (3, 40) if fast else (200, 120)
EPS = 0.06
x, y = make_moons(60, noise=0.08, random_state=0)
x = ((x - x.min(axis=0)) / np.ptp(x, axis=0) * 0.7 + 0.15).astype(np.float32)  # into the unit square

torch.manual_seed(0)
relu = torch.nn.ReLU()
model = torch.nn.Sequential(torch.nn.Linear(2, 64), relu, torch.nn.Linear(64, 64), relu, torch.nn.Linear(64, 2))
optimizer, loss = torch.optim.Adam(model.parameters(), lr=5e-3), torch.nn.CrossEntropyLoss()
classifier = PyTorchClassifier(model, loss, (2,), 2, optimizer, clip_values=(0, 1), device_type="cpu")
side = torch.linspace(0, 1, cells)
grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
margins = []


class Film(Callback):
    def on_epoch_end(self, trainer, metrics):
        with torch.no_grad():
            margins.append((model(grid) @ torch.tensor([-1.0, 1.0])).numpy())


trainer = LevelSetMarginTrainer(classifier, eps=EPS, norm=2, seed=0)
trainer.fit(x, y, batch_size=60, nb_epochs=epochs, callbacks=[Film()], verbose=False)
figure, axes = plt.subplots(figsize=(4, 4))


def show(margin):
    axes.clear()
    axes.contourf(side, side, margin, levels=np.linspace(-6, 6, 25), cmap="RdBu", extend="both")
    axes.contour(side, side, margin, levels=[0])
    axes.scatter(*x.T, c=y, cmap="RdBu", edgecolors="black", s=18, zorder=3)
    for centre in x:  # what the boundary shall keep out of
        axes.add_patch(plt.Circle(centre, EPS, fill=False, linewidth=0.4))


frames = margins[:: 1 if fast else 4]
FuncAnimation(figure, show, frames).save("level_sets.gif", writer="pillow", fps=10, dpi=70)
print(f"wrote level_sets.gif, {len(frames)} frames")
