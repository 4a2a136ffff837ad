"""Attacks on PyTorch classifiers, one protocol: `attack(model, x, y) -> x_adv`."""
