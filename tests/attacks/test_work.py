from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_levelset.attacks.memo import Memo, Share
from art_levelset.attacks.work import Arrays, MissingPieces, Piece, batches_of, check_complete, finished

WANTED = {"square": ("i", (1,))}


class Pieces:
    """The squares of the first numbers, and the order in which they are computed."""

    def __init__(self, count: int, before: dict[int, Callable[[], None]] | None = None) -> None:
        self.computed: list[int] = []
        self.before = before or {}
        self.all = [Piece(f"{number:064x}", number, self._computes(number), WANTED) for number in range(count)]

    def _computes(self, number: int) -> Callable[[], Arrays]:
        def compute() -> Arrays:
            self.computed.append(number)
            self.before.get(number, lambda: None)()
            return square(number)

        return compute


def square(number: int) -> Arrays:
    return {"square": np.array([number**2])}


def values(results: Sequence[Arrays | None]) -> list[int | None]:
    return [None if result is None else int(result["square"][0]) for result in results]


@pytest.mark.parametrize("on_disk", [True, False])
def test_each_piece_is_done_once_and_in_order(on_disk: bool, tmp_path: Path) -> None:
    memo, pieces = Memo(tmp_path if on_disk else None), Pieces(5)
    assert values([*finished(pieces.all, memo)]) == [0, 1, 4, 9, 16]
    assert values([*finished(pieces.all, memo)]) == [0, 1, 4, 9, 16]
    assert pieces.computed == [0, 1, 2, 3, 4]
    check_complete(memo)
    assert len([*tmp_path.iterdir()]) == 5 * on_disk, "the claims are gone"


def test_what_another_process_has_begun_is_waited_for_while_there_is_other_work(tmp_path: Path) -> None:
    """The other one finishes the first piece when this one has come to the last."""
    other, claims = Memo(tmp_path), ExitStack()
    assert claims.enter_context(other.claimed(f"{0:064x}"))

    def finish() -> None:
        other.store(f"{0:064x}", **square(10))
        claims.close()

    pieces = Pieces(4, {3: finish})
    assert values([*finished(pieces.all, Memo(tmp_path))]) == [100, 1, 4, 9]
    assert pieces.computed == [1, 2, 3]


def test_what_a_dead_process_had_begun_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ExitStack()
    assert claims.enter_context(Memo(tmp_path).claimed(f"{0:064x}"))
    monkeypatch.setattr(
        "art_levelset.attacks.work.time.sleep", lambda seconds: claims.close()
    )  # while it is waited for
    pieces = Pieces(1)
    assert values([*finished(pieces.all, Memo(tmp_path))]) == [0]
    assert pieces.computed == [0]


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_begins_with_its_share_and_takes_the_others_work_from_the_end(
    rank: int, has_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_locks:
        monkeypatch.setattr("art_levelset.files._lock", lambda handle, **options: None)
    pieces = Pieces(6)
    assert values([*finished(pieces.all, Memo(tmp_path, share=Share(rank, 2)))]) == [0, 1, 4, 9, 16, 25]
    assert pieces.computed == ([0, 2, 4, 5, 3, 1] if rank == 0 else [1, 3, 5, 4, 2, 0])


def test_a_failure_comes_in_its_turn(tmp_path: Path) -> None:
    """Ahead of its turn it is noted only: results before it are given, and another process may be luckier."""
    other, claims = Memo(tmp_path), ExitStack()
    assert claims.enter_context(other.claimed(f"{0:064x}"))

    def finish() -> None:
        other.store(f"{0:064x}", **square(0))
        claims.close()

    def fail() -> None:
        raise MemoryError("too large")

    pieces = Pieces(4, {1: fail, 3: finish})
    results = finished(pieces.all, Memo(tmp_path))
    assert values([next(results)]) == [0]
    with pytest.raises(MemoryError, match="too large"):
        next(results)
    assert pieces.computed == [1, 2, 3, 1]
    other.store(f"{1:064x}", **square(1))
    assert values([*finished(pieces.all, Memo(tmp_path))]) == [0, 1, 4, 9]


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    pieces = Pieces(3)
    assert values([*finished(pieces.all, Memo(tmp_path))]) == [0, 1, 4]
    (tmp_path / f"{1:064x}.npz").write_bytes(b"damaged")
    assert values([*finished(pieces.all, Memo(tmp_path))]) == [0, 1, 4]
    assert pieces.computed == [0, 1, 2, 1]


def test_without_room_each_process_does_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError("no space left")

    memo, pieces = Memo(tmp_path, share=Share(1, 2)), Pieces(3)
    monkeypatch.setattr("art_levelset.attacks.memo.claim", full)
    monkeypatch.setattr("art_levelset.attacks.memo.write_bytes", full)
    assert values([*finished(pieces.all, memo)]) == [0, 1, 4]
    assert sorted(pieces.computed) == [0, 1, 2]


def test_what_cannot_be_kept_is_not_shared(tmp_path: Path) -> None:
    nameless = [Piece(None, number, lambda number=number: square(number), WANTED) for number in range(3)]
    assert values([*finished(nameless, Memo(tmp_path, share=Share(1, 2)))]) == [0, 1, 4]
    with pytest.raises(ValueError, match="not known by value cannot be shared by shards"):
        next(finished(nameless, Memo(tmp_path, share=Share(1, 2, fixed=True))))


def test_fixed_shares(tmp_path: Path) -> None:
    done = []
    for rank in (1, 0):
        memo, pieces = Memo(tmp_path / str(rank), share=Share(rank, 3, fixed=True)), Pieces(5)
        assert values([*finished(pieces.all, memo)]) == [n**2 if n % 3 == rank else None for n in range(5)]
        done += pieces.computed
        with pytest.raises(MissingPieces):
            check_complete(memo)
    assert sorted(done) == [0, 1, 3, 4]
    pieces = Pieces(5)
    reader = Memo(tmp_path / "0", share=Share(None, 3, fixed=True), others=[tmp_path / "1"])
    assert values([*finished(pieces.all, reader)]) == [0, 1, None, 9, 16]
    with pytest.raises(MissingPieces, match=r"^1 of 5 pieces are missing: of 3 shards, shard 3 lacks 1 of 1$"):
        check_complete(reader)
    assert pieces.computed == []


def test_batches_and_shares() -> None:
    assert [rows.tolist() for rows in batches_of(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert batches_of(np.arange(0), 2) == []
    with pytest.raises(ValueError, match=r"rank must be in \[0, size\), got 2 of 2"):
        Share(2, 2)
    with pytest.raises(ValueError, match="folder must be given for work that processes share"):
        Memo(share=Share(0, 2))
