"""
Surfaces from raw, unoriented point clouds, as zero level sets of networks (eq. 13).

    reconstruction = reconstruct(points)
    reconstruction.mesh(resolution=256).export("scan.mesh.ply")

On the command line: `python -m art_levelset.recon scan.ply`.

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art_levelset.recon.clouds import demo_scan_path
    from art_levelset.recon.curves import CurveReconstruction, load_curve, reconstruct_curve
    from art_levelset.recon.fit import reconstruct
    from art_levelset.recon.metrics import SurfaceDistances, compare
    from art_levelset.recon.network import GridNetwork
    from art_levelset.recon.preview import draw
    from art_levelset.recon.reading import Cloud, read_cloud, read_points
    from art_levelset.recon.reconstruction import Reconstruction

__all__ = [
    "Cloud",
    "CurveReconstruction",
    "GridNetwork",
    "Reconstruction",
    "SurfaceDistances",
    "compare",
    "demo_scan_path",
    "draw",
    "load_curve",
    "read_cloud",
    "read_points",
    "reconstruct",
    "reconstruct_curve",
]

_LAZY = {
    "Cloud": "reading",
    "CurveReconstruction": "curves",
    "GridNetwork": "network",
    "Reconstruction": "reconstruction",
    "SurfaceDistances": "metrics",
    "compare": "metrics",
    "demo_scan_path": "clouds",
    "draw": "preview",
    "load_curve": "curves",
    "read_cloud": "reading",
    "read_points": "reading",
    "reconstruct": "fit",
    "reconstruct_curve": "curves",
}


def __getattr__(name: str) -> Any:
    """Import the parts, and with them scipy and the mesh libraries, only when they are asked for."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"art_levelset.recon.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
