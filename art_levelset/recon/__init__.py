"""
Surfaces and curves from raw, unoriented point clouds, as zero level sets of networks (eq. 13).

`pipeline` walks from the points to a :class:`Reconstruction`, through the rooms in this order: `io` reads the points,
`cloud` prepares them, `fitting` fits the network, `meshing` extracts the surface. `inspect` measures and draws what
comes out, `curves` is the same for curves, and `paper` is the paper's own setting. On the command line:
`python -m art_levelset.recon scan.ply`.

>>> from art_levelset.recon import demo_scan_path, read_cloud, reconstruct
>>> points = read_cloud(demo_scan_path()).points[::12]
>>> reconstruction = reconstruct(points, steps=5, batch_size=64, verbose=False)  # all points and 200 steps for use
>>> mesh = reconstruction.mesh(resolution=16)
>>> type(mesh).__name__, mesh.faces.shape[1]
('Trimesh', 3)

| Paper link: https://arxiv.org/abs/1905.11911
"""

import lazy_loader

# The names are those of the stub beside this file; scipy and the mesh libraries load when one of them is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
