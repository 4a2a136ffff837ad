"""The versions that a figure depends on."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

_DISTRIBUTIONS = (
    "art-levelset",
    "torch",
    "numpy",
    "adversarial-robustness-toolbox",
    "advertorch",
    "pyautoattack",
    "torchattacks",
)


def computing() -> list[str]:
    """
    The versions with which other ones might compute other results: part of what finished work is kept under.

    :return: This package's and PyTorch's.
    """
    return [versions()[name] for name in ("art-levelset", "torch")]


@functools.cache
def versions() -> dict[str, str]:
    """
    What is installed here of the libraries that attacks come from.

    :return: Versions by distribution, and Python's.
    """
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
