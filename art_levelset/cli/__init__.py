"""The command line: thin verbs over the package, one a file."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a verb adds its parser to."""


def number(option: str, text: str) -> float:
    """
    A number of the command line, which may be a fraction.

    :param option: The option that has it.
    :param text: The number: "0.3" or "8/255".
    :return: The number.
    :raises ValueError: If it is none.
    """
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{option} must be a number such as 0.3 or 8/255, got {text!r}") from None
