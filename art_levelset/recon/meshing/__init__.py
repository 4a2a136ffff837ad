"""
From the fitted function to the mesh.

`twicing` and `surface` correct the surface beside the data; `handles` removes the handles that no data speak for;
`bricks` finds the cells that the surface crosses and `extract` meshes them, where values that are known already are
`remembered`; `topology` tells which triangles to keep; `refine` moves the vertices onto the surface and projects points
to it.
"""
