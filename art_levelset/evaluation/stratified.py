r"""
How many of a finite population have a property, from random samples of its strata: estimate, interval and sample sizes.

Here the population are the images of a test set, and the property is that AutoAttack breaks them. A stratum has N
images, of which m are drawn without replacement and k of these are broken. The estimate of the total

    T = sum_h N_h k_h / m_h

is unbiased, as each k_h / m_h is, as long as no size m_h depends on the k_h.

**The interval** must be honest where all that is drawn of a stratum agrees, which is usual: the usual formula has no
width there. What is unknown are the N_h - m_h others. Given k of m, the number broken among them is taken to be
beta-binomial with the parameters (k, m - k), which has the mean and nearly the spread of the estimate, and is exact in
how much of the stratum is left; the strata's are added up by convolution. It is a single point where k is 0 or m. As in
the gamma intervals of Fay and Feuer for weighted sums of counts, one image more is therefore imagined to be broken (and
one more to stand), in the one stratum in which that changes most: one in all, not one in each, so that dividing a
stratum does not make the interval longer. The interval's ends are the quantiles of an equal mixture of the
distributions without and with that image, which is the mid-P form. For one stratum it is the mid-P interval of the
hypergeometric distribution; with nothing broken among m of many, it reaches to 3 / m.

**The sizes** are Neyman's: as N_h sqrt(q_h (1 - q_h) / c_h), with the share q_h expected to be broken and the cost c_h
of an image, times the smallest factor for which the interval is expected to be as short as is asked for.

| Paper link: https://doi.org/10.1002/(SICI)1097-0258(19970415)16:7%3C791::AID-SIM500%3E3.0.CO;2-%23
| Paper link: https://doi.org/10.1111/biom.12584
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""The confidence of intervals."""

_BISECTIONS = 25


@dataclass(frozen=True)
class Draw:
    """
    A stratum and what was drawn of it.

    :param size: Images in the stratum, N >= 0.
    :param drawn: How many were drawn at random, 0 <= m <= N; > 0 where N is.
    :param broken: How many of these are broken, 0 <= k <= m; no whole number where it is only expected.
    """

    size: int
    drawn: int
    broken: float

    @property
    def total(self) -> float:
        """The estimated number of broken images in the stratum."""
        return self.size * self.broken / self.drawn if self.drawn else 0.0

    @property
    def left(self) -> int:
        """How many images were not drawn."""
        return self.size - self.drawn

    def leverage(self, some: float) -> float:
        """
        How much one more image changes the estimate.

        :param some: How many of those that were drawn are unlike it.
        :return: The change of the number of broken images among those that were not drawn.
        """
        return self.left * some / (self.drawn * (self.drawn + 1)) if self.drawn else 0.0


def total_interval(draws: Sequence[Draw], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """
    The interval of the number of broken images in all strata.

    :param draws: The strata, independent of each other.
    :param confidence: In (0, 1).
    :return: Low and high; the estimate lies between them.

    >>> total_interval([Draw(10_000, 300, 0)])  # 3 / 300 of 10,000, and a little less since 300 are known
    (0.0, 97.0)
    >>> total_interval([Draw(50, 50, 7), Draw(20, 20, 0)])
    (7.0, 7.0)
    """
    return _interval(tuple(draws), confidence)


@functools.lru_cache(maxsize=4096)
def _interval(draws: tuple[Draw, ...], confidence: float) -> tuple[float, float]:
    known, estimate = sum((draw.broken for draw in draws), 0.0), sum((draw.total for draw in draws), 0.0)
    unknown = [draw for draw in draws if draw.left]
    if not unknown:
        return known, known
    length = 1 << sum(draw.left for draw in unknown).bit_length()  # of all lengths Fourier transforms like these best
    total = np.cumsum(_mixture(unknown, length))
    tail = (1 - confidence) / 2
    low, high = np.searchsorted(total, [tail + 1e-12, 1 - tail - 1e-12])
    return min(known + float(low), estimate), max(known + float(high), estimate)


def sizes(
    strata: Sequence[int], expected: Sequence[float], costs: Sequence[float], reach: float, least: int
) -> list[int]:
    """
    How many images to draw of each stratum, so that the interval is expected to be short enough.

    :param strata: Images in each stratum, >= 0.
    :param expected: The share of each that is expected to be broken, in (0, 1).
    :param costs: What an image of each costs, > 0.
    :param reach: Half the length of the interval that is asked for, in images, >= 0.
    :param least: The fewest images of a stratum, where there are so many, >= 1.
    :return: A number for each stratum.
    """
    return list(_sizes(tuple(strata), tuple(expected), tuple(costs), reach, least))


@functools.lru_cache(maxsize=4096)
def _sizes(
    strata: tuple[int, ...], expected: tuple[float, ...], costs: tuple[float, ...], reach: float, least: int
) -> list[int]:
    weights = [np.sqrt(share * (1 - share) / cost) for share, cost in zip(expected, costs, strict=True)]

    def drawn(factor: float) -> list[int]:
        return [
            min(size, max(least, int(np.ceil(factor * size * weight))))
            for size, weight in zip(strata, weights, strict=True)
        ]

    def too_long(factor: float) -> bool:
        made = zip(strata, drawn(factor), expected, strict=True)
        low, high = total_interval([Draw(size, count, share * count) for size, count, share in made])
        return bool(high - low > 2 * reach)

    few, many = 0.0, 1 / min(weights)  # of which the latter draws all
    if not too_long(few):
        return drawn(few)
    for _ in range(_BISECTIONS):
        middle = (few + many) / 2
        few, many = (middle, many) if too_long(middle) else (few, middle)
    return drawn(many)


def _mixture(unknown: Sequence[Draw], length: int) -> NDArray[np.float64]:
    """The distribution of the number of broken images among those that were not drawn: (length,), its sum is 1."""
    more_broken = max(range(len(unknown)), key=lambda i: unknown[i].leverage(unknown[i].drawn - unknown[i].broken))
    more_standing = max(range(len(unknown)), key=lambda i: unknown[i].leverage(unknown[i].broken))
    mixed = np.zeros(length // 2 + 1, dtype=np.complex128)
    for broken in (0, 1):
        for standing in (0, 1):
            product = np.full(len(mixed), 0.25, dtype=np.complex128)
            for i, draw in enumerate(unknown):
                a = draw.broken + broken * (i == more_broken)
                b = draw.drawn - draw.broken + standing * (i == more_standing and draw.broken > 0)
                product *= _spectrum(draw.left, a, b, length)
            mixed += product
    return np.fft.irfft(mixed, length)


@functools.lru_cache(maxsize=512)
def _spectrum(left: int, a: float, b: float, length: int) -> NDArray[np.complex128]:
    """The Fourier transform of the beta-binomial distribution with the parameters a and b among so many images."""
    chances = np.zeros(length)
    if a <= 0 or b <= 0:
        chances[left if a > 0 else 0] = 1.0
    else:
        from scipy.special import betaln, gammaln

        count = np.arange(left + 1)
        ways = gammaln(left + 1) - gammaln(count + 1) - gammaln(left - count + 1)
        chances[: left + 1] = np.exp(ways + betaln(count + a, left - count + b) - betaln(a, b))
    return np.fft.rfft(chances)
