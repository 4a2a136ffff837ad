"""
The paper's experiments and the demonstration, one module each.

`python -m art_levelset.experiments NAME` runs one and writes its numbers and pictures; `demo` and `figure1` belong to
`art-levelset demo`. Their functions serve in Python as well:

>>> from art_levelset.experiments.demo import digits
>>> (x, y), (x_test, y_test) = digits(seed=0)
>>> x.shape, x_test.shape
((1297, 1, 8, 8), (500, 1, 8, 8))
"""
