"""Curves from raw, unordered point clouds, as zero level sets of networks with two outputs (eq. 13 with T = {0})."""

from __future__ import annotations

from art_levelset.recon.curves.fit import reconstruct_curve
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.result import CurveNetwork, CurveReconstruction, load_curve

__all__ = ["CurveNetwork", "CurveReconstruction", "Polyline", "load_curve", "reconstruct_curve"]
