"""
Surfaces and curves from raw, unoriented point clouds, as zero level sets of networks (eq. 13).

`cloud` prepares the points, `fitting` fits the network, `meshing` extracts the surface, `curves` is the same for
curves, `io` reads and writes, `inspect` measures and draws. The result is a :class:`Reconstruction`.

    reconstruction = reconstruct(points)
    reconstruction.mesh(resolution=256).export("scan.mesh.ply")

On the command line: `python -m art_levelset.recon scan.ply`.

| Paper link: https://arxiv.org/abs/1905.11911
"""

import lazy_loader

# The names are those of the stub beside this file; scipy and the mesh libraries load when one of them is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
