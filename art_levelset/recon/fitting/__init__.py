"""
The fit of a network to a prepared cloud.

`fit` makes the steps of one attempt, of which `quality` says how many and how long; `loss` is eq. 13 and what is added
to it, on the random points of `samples`; `judgement` tells a failed attempt without labels; `progress` has the budget
and what is reported; `checkpoint` keeps the state of an unfinished fit in a file.
"""
