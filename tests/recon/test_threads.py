from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from art_levelset.recon.threads import FEWEST, mapped, parts_of


def test_results_are_in_the_order_of_the_parts(threads: int) -> None:
    assert mapped(lambda part: part**2, range(100)) == [part**2 for part in range(100)]
    assert mapped(str, []) == []


def test_torch_has_one_thread_in_a_part_and_all_of_them_afterwards(threads: int) -> None:
    assert mapped(lambda _: torch.get_num_threads(), range(9)) == [1] * 9
    assert torch.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError):
        mapped(lambda part: 1 / part, [1, 0])
    assert torch.get_num_threads() == threads


def test_a_part_may_have_parts(threads: int) -> None:
    found = mapped(lambda part: mapped(lambda other: part * other, range(3)), range(4))
    assert found == [[part * other for other in range(3)] for part in range(4)]


@given(count=st.integers(0, 20 * FEWEST), most=st.integers(1, 3 * FEWEST), number=st.integers(1, 5))
def test_parts_are_the_rows_and_there_is_one_for_each_thread(count: int, most: int, number: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        parts = parts_of(count, most)
    finally:
        torch.set_num_threads(before)
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert all(0 < part.stop - part.start <= most for part in parts)
    assert len(parts) >= min(number, count // FEWEST)
