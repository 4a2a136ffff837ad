"""
In a workflow of ART: AdversarialTrainerMadryPGD out, LevelSetMarginTrainer in. Everything else stays as it was.

    python examples/art_dropin.py            # 25 seconds of one core
"""

import argparse
import time

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainerMadryPGD
from art.estimators.classification import PyTorchClassifier

from art_levelset import LevelSetMarginTrainer
from art_levelset.evaluation.datasets import digits
from art_levelset.models import convnet_2a

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--fast", action="store_true", help="two epochs, ten images: only shows that it works")
fast = parser.parse_args().fast

EPS = 0.15  # the radius that the attacks have; pixels are in [0, 1]
(x, y), (x_test, y_test) = digits()  # 1,297 training and 500 test images of scikit-learn's, 8 x 8 pixels
epochs, shown = (2, 10) if fast else (20, 500)


def new_classifier() -> PyTorchClassifier:
    """A small network as ART knows it, the same one each time."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # ART shuffles with it
    model = convnet_2a(nb_classes=10, input_shape=(1, 8, 8))
    return PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=4e-3),
        input_shape=(1, 8, 8),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )


before, after = new_classifier(), new_classifier()
old = AdversarialTrainerMadryPGD(before, nb_epochs=epochs, eps=EPS, eps_step=EPS / 4, max_iter=7)
new = LevelSetMarginTrainer(after, eps=0.2, seed=0)  # eps is the distance to keep: a third more than the attacks have
for trainer, options in [(old, {}), (new, {"nb_epochs": epochs, "verbose": False})]:
    started = time.perf_counter()
    trainer.fit(x, y, batch_size=64, **options)
    seconds = time.perf_counter() - started
    classifier = trainer.get_classifier()  # both are ART's trainers: ART's attacks work as ever
    attack = ProjectedGradientDescent(classifier, eps=EPS, eps_step=EPS / 10, max_iter=40, verbose=False)
    images = x_test[:shown], attack.generate(x_test[:shown], y_test[:shown])
    clean, robust = ((classifier.predict(shots).argmax(axis=1) == y_test[:shown]).mean() for shots in images)
    print(f"{type(trainer).__name__:28} clean {clean:6.1%}   PGD-40 {robust:6.1%}   trained in {seconds:5.1f} s")
