"""
Trainers: the level-set losses, and baselines, inside an ordinary workflow of the Adversarial Robustness Toolbox.

Each trains an ART classifier's own model with its own optimizer: :class:`LevelSetMarginTrainer` (eq. 12),
:class:`GeometricSVMTrainer` (eq. 11), :class:`MadryTrainer`, :class:`TRADESTrainer`, and those that docs/training.md
lists as baselines. They share one loop, :class:`LoopTrainer`, with callbacks, schedules, checkpoints and several
processes; a trainer of one's own adds a loss.

>>> import numpy as np, torch
>>> from art.estimators.classification import PyTorchClassifier
>>> from art_levelset.trainers import LevelSetMarginTrainer, Trapezoid
>>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
>>> y = (x.sum(axis=1) > 1).astype(int)
>>> _ = torch.manual_seed(0)
>>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
>>> optimizer = torch.optim.Adam(model.parameters())
>>> classifier = PyTorchClassifier(
...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
... )
>>> trainer = LevelSetMarginTrainer(classifier, eps=0.05, seed=0)
>>> trainer.fit(x, y, batch_size=16, nb_epochs=10, callbacks=[Trapezoid(0.05)], verbose=False)
>>> len(trainer.history), bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
(10, True)
"""

import lazy_loader

# The names are those of the stub beside this file; each loads what it needs when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
