"""Exact tests of shares and of paired outcomes: what sampling noise alone would do, without approximation."""

from __future__ import annotations

import math


def binomial_tail(successes: int, n: int, share: float) -> float:
    """
    The probability of at least so many successes in n trials.

    :param successes: In [0, n].
    :param n: Number of trials, >= 0.
    :param share: Probability that a trial succeeds, in (0, 1).
    :return: The p-value of the one-sided binomial test, in [0, 1].
    """
    odds = math.log(share) - math.log1p(-share)
    total = math.lgamma(n + 1) + n * math.log1p(-share)
    logs = (total - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * odds for k in range(successes, n + 1))
    return min(1.0, math.fsum(map(math.exp, logs)))


def mcnemar(only_first: int, only_second: int) -> float:
    """
    The probability that chance alone favours the first of two equal treatments so much.

    Where both do the same to a sample, it says nothing; of the other samples, half should go to each.

    | Paper link: https://doi.org/10.1007/BF02295996

    :param only_first: Samples on which only the first one succeeds, >= 0.
    :param only_second: Samples on which only the second one succeeds, >= 0.
    :return: The p-value of the one-sided exact test, in [0, 1].
    """
    return binomial_tail(only_first, only_first + only_second, 0.5)
