"""The curves of the benchmark, and one small reconstruction that several tests look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from art_levelset.experiments import known_curves
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import CurveReconstruction, reconstruct_curve


@pytest.fixture(scope="session")
def known() -> Any:
    """The module of known curves."""
    return known_curves


@pytest.fixture(scope="session")
def ring_cloud(known: Any, far_away: Points) -> Points:
    """400 points with 1% noise of a circle of radius 5 far from the origin, a fifth of which is missing."""
    cloud: Points = known.sample(known.circle(), 400, 0.01, np.random.default_rng(0), gap=(0.3, 0.5))
    return 5 * cloud + far_away


@pytest.fixture(scope="session")
def ring(ring_cloud: Points) -> CurveReconstruction:
    """The reconstruction of that circle."""
    return reconstruct_curve(ring_cloud, verbose=False)
