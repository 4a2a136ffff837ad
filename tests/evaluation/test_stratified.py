"""Estimates from strata: known answers, exactness, and how often the intervals hold the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import hypergeom

from art_levelset.evaluation.stratified import Draw, sizes, total_interval


def coverage(strata: Sequence[tuple[int, int, int]], most: int = 4000) -> float:
    """The exact probability that the interval holds the truth; strata are (images, broken, drawn)."""
    total, held = sum(broken for _, broken, _ in strata), 0.0
    outcomes = []
    for size, broken, drawn in strata:
        chances = hypergeom(size, broken, drawn).pmf(np.arange(drawn + 1))
        outcomes.append([(k, chance) for k, chance in enumerate(chances.tolist()) if chance > 1e-5])
    assert np.prod([len(one) for one in outcomes]) < most
    for found in itertools.product(*outcomes):
        draws = [Draw(size, drawn, k) for (size, _, drawn), (k, _) in zip(strata, found, strict=True)]
        low, high = total_interval(draws)
        held += (low <= total <= high) * float(np.prod([chance for _, chance in found]))
    return held


class TestInterval:
    def test_a_census_leaves_no_doubt(self) -> None:
        assert total_interval([Draw(50, 50, 7), Draw(0, 0, 0)]) == (7, 7)
        assert total_interval([]) == (0, 0)

    def test_where_all_agree_it_has_a_length(self) -> None:
        """The rule of three: of very many, half the chance of none among m at 3 / m is 2.5%."""
        low, high = total_interval([Draw(50_000, 300, 0)])
        assert low == 0
        assert high / 50_000 == pytest.approx(3 / 300, rel=0.02)
        low, high = total_interval([Draw(50_000, 300, 300)])
        assert high == 50_000
        assert 1 - low / 50_000 == pytest.approx(3 / 300, rel=0.02)

    def test_dividing_a_stratum_in_which_all_agree_changes_nothing(self) -> None:
        whole = total_interval([Draw(9000, 300, 0)])
        parts = total_interval([Draw(3000, 100, 0)] * 3)
        assert parts[1] == pytest.approx(whole[1], rel=0.03)

    def test_the_least_drawn_stratum_decides_where_all_agree(self) -> None:
        far, near = Draw(8000, 80, 0), Draw(1000, 500, 0)
        assert total_interval([far, near]) == total_interval([far])

    def test_many_of_a_few_strata_are_as_the_normal_approximation_has_them(self) -> None:
        draws = [Draw(5000, 500, 100), Draw(5000, 1000, 500)]
        variance = sum(
            one.size**2 * (1 - one.drawn / one.size) * (share := one.broken / one.drawn) * (1 - share) / one.drawn
            for one in draws
        )
        low, high = total_interval(draws)
        assert (high - low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.02)
        assert low < sum(one.total for one in draws) < high

    @pytest.mark.parametrize(
        "strata",
        [
            [(200, 60, 40)],
            [(400, 40, 60)],
            [(60, 30, 20), (300, 12, 60)],
            [(40, 10, 12), (60, 6, 12), (200, 8, 40)],
        ],
    )
    def test_it_holds_the_truth_as_often_as_it_says(self, strata: list[tuple[int, int, int]]) -> None:
        """Exactly, all outcomes counted."""
        assert 0.93 <= coverage(strata) <= 0.975

    @pytest.mark.parametrize("strata", [[(1000, 4, 100)], [(1000, 12, 100)], [(60, 1, 20), (500, 3, 60)], [(90, 0, 9)]])
    def test_where_next_to_none_are_broken_it_is_longer_but_never_shorter_than_it_says(
        self, strata: list[tuple[int, int, int]]
    ) -> None:
        """It can miss on one side only."""
        assert coverage(strata) >= 0.95


class TestSizes:
    def test_uncertain_and_cheap_images_are_drawn_more(self) -> None:
        doubtful, certain, cheap = sizes([1000, 1000, 1000], [0.2, 0.01, 0.01], [1, 1, 0.1], 60, 5)
        assert doubtful / certain == pytest.approx((0.16 / 0.0099) ** 0.5, rel=0.05)
        assert cheap / certain == pytest.approx(10**0.5, rel=0.05)

    def test_as_many_as_the_interval_needs(self) -> None:
        for reach in (20, 50, 100):
            strata, expected = [2000, 3000], [0.05, 0.01]
            drawn = sizes(strata, expected, [1, 1], reach, 5)
            made = zip(strata, drawn, expected, strict=True)
            low, high = total_interval([Draw(size, count, share * count) for size, count, share in made])
            assert 0.9 * reach <= (high - low) / 2 <= reach

    def test_all_where_the_interval_is_nothing_and_some_where_it_is_everything(self) -> None:
        assert sizes([30, 4, 0], [0.1, 0.1, 0.1], [1, 1, 1], 0.0, 5) == [30, 4, 0]
        assert sizes([30, 4, 0], [0.1, 0.1, 0.1], [1, 1, 1], 30.0, 5) == [5, 4, 0]
