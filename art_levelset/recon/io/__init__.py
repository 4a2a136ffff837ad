"""
Point clouds and meshes from and to files.

`reading` reads clouds of all formats, with `ply` and `tables` for two of them; `meshes` reads and writes meshes.
"""
