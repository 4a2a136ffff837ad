"""What tells one fit from another in its checkpoint; that interrupted fits go on is tested with the fit."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import torch

from art_levelset.recon import GridNetwork
from art_levelset.recon.fitting.checkpoint import describe_input


def network(channels: int = 2) -> GridNetwork:
    return GridNetwork((8, 16), (2, channels), width=16, generator=torch.Generator().manual_seed(0))


def test_arrays_are_told_by_their_values() -> None:
    """The text is that of all versions: a checkpoint of an earlier one goes on."""
    assert describe_input(np.zeros((4, 3))) == "4 points 2ea9ab9198d16380"
    assert describe_input(np.zeros((4, 3))) != describe_input(np.full((4, 3), -0.0))


def test_networks_are_told_by_their_structure() -> None:
    """By a text that all versions make in this way."""
    shapes = [(name, tuple(tensor.shape)) for name, tensor in network().state_dict().items()]
    text = repr((re.sub(r" at 0x[0-9a-f]+", "", str(network())), shapes))
    assert describe_input(network()) == f"GridNetwork {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    assert describe_input(network()) != describe_input(network(channels=3))
