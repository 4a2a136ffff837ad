"""
What a reconstruction is like.

`metrics` measures distances to a reference and to the cloud; `colours` paints a mesh with them or with those of the
scan; `preview` draws pictures and `viewer` writes a page to turn it in a browser.
"""
