"""The curves of the benchmark, and one small reconstruction that several tests look at."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import CurveReconstruction, reconstruct_curve

FOLDER = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="session")
def known() -> Any:
    """The module of known curves."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module("known_curves")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="session")
def ring_cloud(known: Any, far_away: Points) -> Points:
    """400 points with 1% noise of a circle of radius 5 far from the origin, a fifth of which is missing."""
    cloud: Points = known.sample(known.circle(), 400, 0.01, np.random.default_rng(0), gap=(0.3, 0.5))
    return 5 * cloud + far_away


@pytest.fixture(scope="session")
def ring(ring_cloud: Points) -> CurveReconstruction:
    """The reconstruction of that circle."""
    return reconstruct_curve(ring_cloud, steps=150, verbose=False)
