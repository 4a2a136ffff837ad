"""The clouds of the reconstruction's own tests."""

from ...recon.conftest import _prepared_once, far_away, few_points, one_error, scan, sphere_points
from ...recon.curves.conftest import known, ring_cloud

__all__ = ["_prepared_once", "far_away", "few_points", "known", "one_error", "ring_cloud", "scan", "sphere_points"]
