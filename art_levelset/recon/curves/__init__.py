"""
Curves from raw, unordered point clouds, as zero level sets of networks with two outputs (eq. 13 with T = {0}).

The cloud is ordered (`ordering`) and averaged (`spline`), open curves become `loops`, the network learns to wind around
them and then eq. 13 (`samples`, `fit`), its zero set is followed (`trace`), and kept with it (`result`, `preview`).

>>> import numpy as np
>>> from art_levelset.recon.curves import Polyline
>>> square = Polyline(np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), closed=True)
>>> square.length
4.0
"""

from __future__ import annotations

from art_levelset.recon.curves.fit import reconstruct_curve
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.result import CurveNetwork, CurveReconstruction, load_curve

__all__ = ["CurveNetwork", "CurveReconstruction", "Polyline", "load_curve", "reconstruct_curve"]
