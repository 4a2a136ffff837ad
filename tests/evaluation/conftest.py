from __future__ import annotations

import pytest

from ..adapters.conftest import quick_autoattack as quick_autoattack


@pytest.fixture
def as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks that a test defines count as those of an installed library: as known by their names."""
    monkeypatch.setattr("art_levelset.identity.is_importable", lambda known: True)
