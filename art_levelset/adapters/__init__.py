"""
Attacks of other libraries, one library a file, one protocol: `attack(model, x, y) -> x_adv`.

ART, AdverTorch, Torchattacks and AutoAttack, and RobustBench's own benchmark on a network of ours. The libraries are
optional: each is imported by the function that makes the attack, and a missing one raises an ImportError that says what
to install. :func:`art_levelset.adapters.catalogue.attack_by_name` makes an attack by its name.

>>> import torch
>>> from art_levelset.adapters.catalogue import attack_by_name
>>> attack = attack_by_name("pgd-margin", eps=0.3, max_iter=10)
>>> attack(torch.nn.Linear(2, 2), torch.rand(4, 2), torch.tensor([0, 1, 0, 1])).shape
torch.Size([4, 2])
"""
