"""Progress bars: on a terminal and in a notebook, and nowhere else."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm

_IN_NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)


def shown(verbose: bool) -> bool:
    """
    Whether there are bars.

    :param verbose: Whether they are wanted.
    :return: Whether somebody can see them, too: in a file they are thousands of lines.
    """
    return verbose and (_IN_NOTEBOOK or sys.stderr.isatty())


def progress_bar(iterable: Any = None, *, verbose: bool = True, **options: Any) -> tqdm[Any]:
    """
    Show how far the work is.

    :param iterable: What to go through, if anything.
    :param verbose: Whether a bar is wanted.
    :param options: Those of :class:`tqdm.tqdm`.
    :return: The bar, on stderr, or in the notebook; silent where nobody can see it.
    """
    return tqdm(iterable, disable=not shown(verbose), **options)
