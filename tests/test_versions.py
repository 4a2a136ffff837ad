from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from art_levelset import versions as module


def fresh(monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]) -> dict[str, str]:
    def version(name: str) -> str:
        if name in missing:
            raise PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(module, "version", version)
    return module.versions.__wrapped__()


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fresh(monkeypatch, ("advertorch", "art-levelset"))
    assert found["torch"] == "1.2"
    assert not {"advertorch", "art-levelset"} & set(found)


def test_keys_can_be_made_where_the_distribution_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fresh(monkeypatch, ("art-levelset", "torch"))
    monkeypatch.setattr(module, "versions", lambda: found)
    assert all(isinstance(part, str) for part in module.computing())


def test_other_code_makes_other_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "versions.py"))
    (tmp_path / "a.py").write_text("EPS = 0.1\n")
    before = module._code.__wrapped__()
    assert before == module._code.__wrapped__()
    (tmp_path / "a.py").write_text("EPS = 0.2\n")
    assert module._code.__wrapped__() != before
