"""
The level-set core, which knows torch only: fields F and their Jacobians (`fields`), also on intermediate layers
(`layers`), points moved to level sets (`projection`, `bracketing`, `ascent`) with a status each (`samples`), and points
that follow the parameters (`sample_network`, `pseudo_inverse`; through BatchNorm: `statistics`). `balls`, `distances`
and `losses` are what is measured and trained with them, and `modes` restores the network that all of them pass through.

Samples that are to be all over a level set: `spreading`, with bounds of F over cells (`enclosures`) and a proof
`coverage`, and uniform ones in any dimension by `needles` and `walks`. How level sets bend: `curvature`, in a direction
`normal_curvature`. Theorem 1, networks whose zero level set is a given mesh: `universality`, from `hypersurfaces` cut
by a `partition` to the layers of `circuits`.

>>> import torch
>>> from art_levelset.core.projection import project
>>> project(torch.nn.Linear(2, 1), torch.zeros(3, 2)).converged
tensor([True, True, True])
"""
