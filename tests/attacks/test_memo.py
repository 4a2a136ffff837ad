from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Attack, LibraryAttack
from art_levelset.evaluation import evaluate

from .tiny import data, network

ARRAYS = {"examples": np.linspace(0, 1, 300, dtype=np.float32).reshape(3, 100), "names": np.array(["a", "bc"])}


@pytest.mark.parametrize("on_disk", [True, False])
def test_recalls_what_was_stored(on_disk: bool, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo" if on_disk else None)
    assert memo.recall("0" * 64) is None
    memo.store("0" * 64, **ARRAYS)
    memo.store("1" * 64, other=np.zeros(2))
    again = Memo(tmp_path / "memo") if on_disk else memo
    found = again.recall("0" * 64)
    assert found is not None
    np.testing.assert_equal(found, ARRAYS)
    assert again.recall("2" * 64) is None
    if on_disk:
        with np.load(tmp_path / "memo" / f"{'0' * 64}.npz") as arrays:  # numpy alone can read it
            np.testing.assert_equal(dict(arrays), ARRAYS)


def test_stores_completely_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memo = Memo(tmp_path)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        memo.store("0" * 64, **ARRAYS)
    assert "cannot be kept" in caplog.text
    np.testing.assert_equal(memo.recall("0" * 64), ARRAYS)  # in this process
    assert Memo(tmp_path).recall("0" * 64) is None
    assert list(tmp_path.iterdir()) == []


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(place=st.floats(0, 0.9999), change=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_counts_as_missing(place: float, change: int, cut: bool, tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.store("0" * 64, **ARRAYS)
    file = tmp_path / f"{'0' * 64}.npz"
    contents = bytearray(file.read_bytes())
    index = int(place * len(contents))
    contents[index] ^= change
    file.write_bytes(contents[:index] if cut else contents)
    assert memo.recall("0" * 64) is None


def test_keys_depend_on_parts_versions_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path)
    parts = ("attacked", network(), torch.ones(2), partial(pgd, eps=0.1), math.inf, 0)
    key = memo.key(*parts)
    assert key is not None
    assert len(key) == 64
    assert Memo().key(*parts) == key
    for other in [
        ("attacked", network(), torch.ones(2), partial(pgd, eps=0.2), math.inf, 0),
        ("attacked", network(), torch.ones(2), partial(pgd, eps=0.1), math.inf, 1),
        ("attacked", network(), torch.zeros(2), partial(pgd, eps=0.1), math.inf, 0),
        ("attacked", nn.Linear(2, 2), torch.ones(2), partial(pgd, eps=0.1), math.inf, 0),
    ]:
        assert memo.key(*other) not in (key, None)
    monkeypatch.setattr("art_levelset.attacks.memo.computing", lambda: ["another version or code"])
    assert memo.key(*parts) not in (key, None)


def test_what_is_known_by_its_name_alone_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def closure(eps: float) -> Attack:
        return lambda model, x, y: pgd(model, x, y, eps=eps)

    def run(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        return x

    class Loss(nn.Module):
        """Another one may have its name and structure."""

    memo = Memo(tmp_path)
    unknown = [
        closure(0.1),
        closure(0.5),
        LibraryAttack("a", run, {}, 0.1),
        partial(pgd, eps=0.1, loss=Loss()),
    ]
    for attack in unknown:
        key = memo.key(attack)
        assert key is None
        memo.store(key, **ARRAYS)
        assert memo.recall(key) is None
    assert list(tmp_path.iterdir()) == []
    assert len(caplog.messages) == len(unknown) - 1, "each once, and two of a name as one"
    assert all("finished work is not kept in" in message for message in caplog.messages)
    caplog.clear()
    assert Memo().key(closure(0.1)) is None
    assert caplog.messages == []


def test_a_closure_is_not_taken_for_another(tmp_path: Path) -> None:
    model = network()
    x, y = data(model, 20)
    for eps in (0.01, 0.5):
        attacks = {"pgd": lambda model, x, y, eps=eps: pgd(model, x, y, eps=eps)}
        fresh = evaluate(model, x, y, attacks, verbose=False)
        kept = evaluate(model, x, y, attacks, memo=Memo(tmp_path), verbose=False)
        assert kept.attacks[0].accuracy == fresh.attacks[0].accuracy
    assert kept.attacks[0].accuracy < 0.2
