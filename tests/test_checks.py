from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from art_levelset.checks import check_count, check_not_negative, check_positive, check_seed


@pytest.mark.parametrize("value", [1, 7, np.int64(3), 2**70])
def test_counts(value: Any) -> None:
    check_count("steps", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, math.nan])
def test_no_counts(value: Any) -> None:
    with pytest.raises(ValueError, match=r"steps must be an integer >= 1, got "):
        check_count("steps", value)


def test_other_least_counts() -> None:
    check_count("max_iter", 0, least=0)
    with pytest.raises(ValueError, match="resolution must be an integer >= 8, got 7"):
        check_count("resolution", 7, least=8)


def test_seeds() -> None:
    check_seed(0)
    check_seed(np.uint8(3))
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        check_seed(-1)
    with pytest.raises(ValueError, match="--seed must be"):
        check_seed(0.5, "--seed")
    check_seed(2**63 - 1)
    with pytest.raises(ValueError, match=r"seed must be at most 2\^63 - 1, got 9"):
        check_seed(2**63)


@pytest.mark.parametrize("value", [1e-300, 1, np.float32(0.5)])
def test_positive_numbers(value: Any) -> None:
    check_positive("eps", value)
    check_not_negative("eps", value)


@pytest.mark.parametrize("value", [-1e-300, math.inf, math.nan, "1", True, None])
def test_numbers_that_are_neither(value: Any) -> None:
    with pytest.raises(ValueError, match="eps must be a finite number > 0"):
        check_positive("eps", value)
    with pytest.raises(ValueError, match="eps must be a finite number >= 0"):
        check_not_negative("eps", value)


def test_zero() -> None:
    check_not_negative("eps", 0.0)
    with pytest.raises(ValueError, match="> 0"):
        check_positive("eps", 0)
