"""
Direct control over the level sets of any PyTorch network, inside IBM's Adversarial Robustness Toolbox.

| Paper link: https://arxiv.org/abs/1905.11911
"""

import lazy_loader

__version__ = "0.1.0"

# The names are those of the stub beside this file; each loads what it needs when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
