from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor

from art_levelset.attacks.squares import descend_by_squares


@pytest.fixture
def quick_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyautoattack, where it is installed, with few iterations: enough to test how it is called."""
    try:
        import pyautoattack
    except ImportError:
        return

    class Quick(pyautoattack.AutoAttack):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 6
            self.apgd.n_restarts = self.fab.n_restarts = min(self.fab.n_restarts, 2)
            self.apgd.eot_iter = min(self.apgd.eot_iter, 2)
            self.apgd_targeted.n_target_classes = self.fab.n_target_classes = 2
            self.square.n_queries = 20

    monkeypatch.setattr(pyautoattack, "AutoAttack", Quick)


@pytest.fixture
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares make a tenth of their queries."""

    def search(*given: Any, queries: int, halvings: Sequence[int] = (), **options: Any) -> tuple[Tensor, Tensor]:
        return descend_by_squares(*given, queries=queries // 10, halvings=[at // 10 for at in halvings], **options)

    monkeypatch.setattr("art_levelset.attacks.guided.descend_by_squares", search)
