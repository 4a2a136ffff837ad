"""What a figure depends on besides its inputs: the versions of the libraries, and the code of this package."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_DISTRIBUTIONS = (
    "art-levelset",
    "torch",
    "numpy",
    "adversarial-robustness-toolbox",
    "adv-lib",
    "advertorch",
    "foolbox",
    "pyautoattack",
    "torchattacks",
)


def computing() -> list[str]:
    """
    What other results might come from, were it another: part of the key that finished work is kept under.

    :return: A hash of this package's code, PyTorch's version, and those of the libraries that attacks come from.
    """
    return [_code(), torch.__version__, *(f"{name} {number}" for name, number in sorted(versions().items()))]


@functools.cache
def versions() -> dict[str, str]:
    """
    What is installed here of the libraries that attacks come from.

    :return: Versions by distribution, and Python's. What is not installed as a distribution is left out.
    """
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def _code() -> str:
    """SHA-256 of the package's modules, in the order of their names."""
    package = Path(__file__).parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(path.relative_to(package).as_posix().encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
