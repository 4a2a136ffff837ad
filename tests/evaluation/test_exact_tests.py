from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from art_levelset.evaluation.exact_tests import binomial_tail, mcnemar


@given(n=st.integers(0, 3000), part=st.floats(0, 1), share=st.floats(0.001, 0.999))
def test_the_tail_is_that_of_the_binomial_distribution(n: int, part: float, share: float) -> None:
    successes = round(part * n)
    expected = binomtest(successes, n, share, alternative="greater").pvalue if n else 1.0
    found = binomial_tail(successes, n, share)
    if expected == 0:  # the other one underflows early
        assert 0 <= found < 1e-250
    else:
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_known_tails() -> None:
    assert binomial_tail(0, 50, 0.01) == pytest.approx(1)
    assert binomial_tail(50, 50, 0.01) == pytest.approx(1e-100)
    assert mcnemar(0, 0) == 1
    assert mcnemar(10, 0) == pytest.approx(2**-10)
    assert mcnemar(3, 1) == pytest.approx(5 / 16)
    assert mcnemar(20_000, 20_000) == pytest.approx(0.5, abs=0.01)
