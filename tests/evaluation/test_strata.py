"""Strata and what is drawn of them: the estimates are unbiased, and the intervals hold the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from art_levelset.evaluation import strata as module
from art_levelset.evaluation.strata import LEAST, Drawn, Stratum, accuracies, draw, strata_of

RATIOS = np.array([0.9, 1.005, 1.03, 1.07, 1.15, 2.0, np.inf])


def population(
    n: int, rates: Sequence[float], shares: Sequence[float], standing: float = 0.0
) -> tuple[list[Stratum], NDArray[np.bool_], NDArray[np.bool_]]:
    """Images whose nearest points are as far as `RATIOS` in these shares, and what stands against AutoAttack."""
    generator = np.random.default_rng(0)
    kind = generator.choice(len(RATIOS), n, p=np.array(shares) / sum(shares))
    clean = generator.random(n) < 0.98
    worst = clean & (kind > 0)
    right = clean & (generator.random(n) >= np.array([1 - standing, *rates])[kind])
    return strata_of(clean, worst, np.where(clean, RATIOS[kind], 0.0), 1.0), right, worst


class TestStrata:
    def test_each_image_is_in_one_and_those_that_need_no_attack_in_none(self) -> None:
        strata, _, worst = population(3000, [0] * 6, [1, 1, 1, 1, 1, 1, 1])
        rows = np.concatenate([one.rows for one in strata])
        assert len(np.unique(rows)) == len(rows) < 3000
        assert [one.broken for one in strata] == [True, *[False] * 5]
        assert not worst[strata[0].rows].any()
        assert worst[np.concatenate([one.rows for one in strata[1:]])].all()

    def test_by_distance_in_radii(self) -> None:
        clean = np.ones(200, dtype=bool)
        distances = np.repeat([0.3, 0.31, 0.324, 0.35, 0.5], 40)
        found = strata_of(clean, clean, distances, 0.3)
        assert [one.name for one in found] == [
            "up to 1.01 eps", "1.01 to 1.05 eps", "1.05 to 1.1 eps", "1.1 to 1.2 eps", "beyond 1.2 eps",
        ]  # fmt: skip
        assert [one.rows[0] for one in found] == [0, 40, 80, 120, 160]

    def test_small_ones_join_the_next_farther(self) -> None:
        clean = np.ones(1000, dtype=bool)
        distances = np.concatenate([np.full(5, 1.0), np.full(5, 1.03), np.full(5, 1.07), np.full(985, 9.0)])
        assert [len(one.rows) for one in strata_of(clean, clean, distances, 1.0)] == [5, 995]

    def test_nothing_found_is_beyond_everything(self) -> None:
        clean = np.ones(50, dtype=bool)
        (one,) = strata_of(clean, clean, np.full(50, np.inf), 1.0)
        assert len(one.rows) == 50

    def test_no_image_stands(self) -> None:
        nothing = np.zeros(9, dtype=bool)
        strata = strata_of(nothing, nothing, np.zeros(9), 1.0)
        assert strata == []
        assert accuracies(draw(strata, 9, 0.01, lambda rows: [], 0), 9) == ((0.0, (0.0, 0.0)),) * 2


class TestDrawing:
    def test_nearest_images_are_all_drawn_and_others_at_random(self) -> None:
        strata, right, _ = population(5000, [0.2, 0.01, 0, 0, 0, 0], [4, 1, 5, 10, 20, 50, 10])
        drawn = [draw(strata, 5000, 0.01, lambda rows: [right[some] for some in rows], seed) for seed in (0, 0, 1)]
        for one in drawn[0]:
            rows = np.concatenate([one.pilot, one.rest])
            assert len(np.unique(rows)) == len(rows) >= min(len(one.stratum.rows), 2 * LEAST)
            assert np.isin(rows, one.stratum.rows).all()
            assert one.right.tolist() == right[rows].tolist()
            assert (len(rows) == len(one.stratum.rows)) == one.stratum.whole
        assert [one.stratum.whole for one in drawn[0]] == [False, True, False, False, False, False]
        first, again, other = ([one.rest.tolist() for one in some] for some in drawn)
        assert first == again != other

    def test_the_pilot_does_not_know_the_outcomes_and_the_rest_does_not_know_its_own(self) -> None:
        """Sizes of the rest depend on the pilot's outcomes alone: that is what makes the estimate unbiased."""
        strata, right, _ = population(5000, [0.2, 0.01, 0, 0, 0, 0], [4, 1, 5, 10, 20, 50, 10])
        calls: list[list[int]] = []

        def run(outcomes: NDArray[np.bool_], later: NDArray[np.bool_]) -> list[list[int]]:
            calls.clear()

            def attack(rows: Sequence[NDArray[np.intp]]) -> list[NDArray[np.bool_]]:
                calls.append([len(some) for some in rows])
                return [(outcomes if len(calls) == 1 else later)[some] for some in rows]

            draw(strata, 5000, 0.01, attack, 0)
            return [*calls]

        none = np.zeros_like(right)
        assert run(right, right) == run(right, none)
        assert run(right, right)[0] == run(none, none)[0]
        assert run(right, right)[1] != run(none, none)[1]

    def test_a_shorter_interval_takes_more(self) -> None:
        strata, right, _ = population(5000, [0.2, 0.05, 0.01, 0, 0, 0], [4, 1, 5, 10, 20, 50, 10])
        counts = []
        for reach in (0.03, 0.01, 0.003):
            drawn = draw(strata, 5000, reach, lambda rows: [right[some] for some in rows], 0)
            counts.append(sum(len(one.right) for one in drawn))
        assert counts == sorted(set(counts))

    def test_an_interval_of_next_to_nothing_takes_all(self) -> None:
        strata, right, worst = population(300, [0.2, 0.05, 0.01, 0, 0, 0], [4, 1, 5, 10, 20, 50, 10], standing=0.5)
        drawn = draw(strata, 300, 1e-9, lambda rows: [right[some] for some in rows], 0)
        own, both = accuracies(drawn, 300)
        assert [own[0], *own[1]] == pytest.approx([right.mean()] * 3)
        assert both[0] == pytest.approx((right & worst).mean())


def drawings(
    strata: list[Stratum], right: NDArray[np.bool_], reach: float, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The estimates, (draws, 2), and the intervals' ends, (draws, 2, 2), of so many drawings."""
    found = [
        accuracies(draw(strata, len(right), reach, lambda rows: [right[some] for some in rows], seed), len(right))
        for seed in range(count)
    ]
    estimates = [[accuracy for accuracy, _ in both] for both in found]
    return np.array(estimates), np.array([[interval for _, interval in both] for both in found])


@pytest.mark.parametrize(
    ("rates", "standing"),
    [
        ([0.3, 0.1, 0.05, 0.03, 0.02, 0.02], 0.05),
        ([0.05, 0.05, 0.05, 0.05, 0.05, 0.05], 0.0),  # distances that say nothing, as with masked gradients
    ],
)
def test_estimates_are_unbiased_and_intervals_hold_the_truth(rates: list[float], standing: float) -> None:
    """Where AutoAttack breaks something everywhere, so that the intervals can miss on both sides."""
    strata, right, worst = population(1000, rates, [8, 2, 5, 10, 20, 50, 5], standing)
    truth = np.array([right.mean(), (right & worst).mean()])
    estimates, ends = drawings(strata, right, 0.02, 400)
    errors = estimates - truth
    assert (np.abs(errors.mean(axis=0)) < 3.5 * errors.std(axis=0) / 20).all()
    held = ((ends[:, :, 0] <= truth + 1e-9) & (truth <= ends[:, :, 1] + 1e-9)).mean(axis=0)
    assert (held >= 0.925).all()  # 95%, less two and a half standard errors
    assert (held <= 0.985).all()
    assert 0.01 < (ends[:, 0, 1] - ends[:, 0, 0]).mean() / 2 < 0.025


def test_phases_thrown_together_would_be_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard of the claim: the same draws, with the pilot counted as if its outcomes had decided nothing."""

    def together(drawn: Sequence[Drawn]) -> float:
        return sum(len(one.stratum.rows) * (~one.right).mean() for one in drawn)

    monkeypatch.setattr(module, "STRENGTH", 0.2)
    strata, right, _ = population(1000, [0.02] * 6, [0, 0, 0, 0, 0, 50, 50])
    attack = lambda rows: [right[some] for some in rows]  # noqa: E731
    drawn = [draw(strata, 1000, 0.02, attack, seed) for seed in range(400)]
    truth = float(right.mean())
    inside = sum(len(one.rows) for one in strata) / 1000
    wrong = np.array([inside - together(one) / 1000 for one in drawn]) - truth
    good = np.array([accuracies(one, 1000)[0][0] for one in drawn]) - truth
    assert abs(good.mean()) < 3 * good.std() / 20
    assert wrong.mean() > 3 * wrong.std() / 20
    assert len({len(one[0].rest) for one in drawn}) > 1


def test_every_outcome_of_a_small_population_weighs_what_it_should() -> None:
    """Exactly unbiased: all drawings of a stratum of six, by their orders, add up to the truth."""
    right = np.array([True, False, True, True, False, True])
    estimates = []
    for order in itertools.permutations(range(6)):
        pilot, rest = np.array(order[:2]), np.array(order[2 : 3 + (not right[order[0]])])
        drawn = Drawn(Stratum("all", np.arange(6), 0.5), pilot, rest, right[np.concatenate([pilot, rest])])
        estimates.append(accuracies([drawn], 6)[0][0])
    assert np.mean(estimates) == pytest.approx(right.mean())
    assert len(set(np.round(estimates, 9))) > 3
