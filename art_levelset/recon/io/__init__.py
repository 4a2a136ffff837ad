"""
Point clouds and meshes from and to files.

`reading` reads clouds of all formats, with `ply` and `tables` for two of them, `packed` for what gzip has packed and
`poses` for several scans of one object; `meshes` reads and writes meshes.
"""
