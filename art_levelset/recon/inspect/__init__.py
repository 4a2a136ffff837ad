"""
What a reconstruction is like.

`metrics` measures distances to a reference and to the cloud, `accounting` tells which points the mesh lacks; `colours`
paints a mesh with distances or with the colours of the scan; `preview` draws pictures and `viewer` writes a page to
turn it in a browser, of fewer triangles by `coarsening` where there are too many.
"""
