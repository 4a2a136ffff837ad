"""
The paper's experiments and the demonstration, one module each.

`python -m art_levelset.experiments NAME` runs one and writes its numbers and pictures; `demo` belongs to
`art-levelset demo`, which draws a short version of `figure1`. Their functions serve in Python as well:

>>> from art_levelset.experiments.demo import digits
>>> (x, y), (x_test, y_test) = digits(seed=0)
>>> x.shape, x_test.shape
((1297, 1, 8, 8), (500, 1, 8, 8))
"""
