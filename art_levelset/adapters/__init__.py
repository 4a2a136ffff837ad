"""Attacks of other libraries, one library a file, one protocol: `attack(model, x, y) -> x_adv`."""
