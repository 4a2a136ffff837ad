from __future__ import annotations

import sys
from pathlib import Path

import pytest

from art_levelset.cli.python_path import called, errors_named, imported, is_python_path, json_arguments


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.py:name", True),
        ("C:\\nets\\b.py:name", True),
        ("package.module:name", True),
        ("none", False),
        ("a/b.py", False),
        ("package.module:", False),
        ("package.module:a b", False),
        ("a/b:name", False),
        ("1a:name", False),
    ],
)
def test_what_is_a_python_path(text: str, expected: bool) -> None:
    assert is_python_path(text) is expected


def test_two_files_of_one_name_are_two_modules() -> None:
    """And neither takes the place of a module of that name."""
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "json.py").write_text(f"where = {folder!r}")
    assert [imported("--arch", f"{folder}/json.py:where") for folder in ("a", "b", "a")] == ["a", "b", "a"]
    assert not hasattr(sys.modules["json"], "where")


def test_a_file_imports_what_is_beside_it() -> None:
    Path("deep").mkdir()
    Path("deep", "beside_it.py").write_text("value = 3")
    Path("deep", "one.py").write_text("from beside_it import value\ndef make(more): return value + more")
    assert called("--arch", "deep/one.py:make", {"more": 2}) == 5
    del sys.modules["beside_it"]


def test_a_failed_import_says_where_and_is_made_again() -> None:
    file = Path("broken.py")
    for text, message in (
        ("x = 1\ny = 1 / 0", r"^--arch: the import of broken.py failed: ZeroDivisionError: .* \(broken.py, line 2\)$"),
        ("x = (", r"failed: SyntaxError: .* \(broken.py, line 1\)$"),
        ("import no_such_library", r"failed: ModuleNotFoundError: No module named 'no_such_library' \(broken.py, line"),
        ("def x(: pass", "failed: SyntaxError"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            imported("--arch", "broken.py:x")
    file.write_text("x = 'whole'  # again")
    assert imported("--arch", "broken.py:x") == "whole"


def test_a_module_that_lacks_a_library_is_not_called_missing() -> None:
    Path("lacking_one.py").write_text("import no_such_library")
    with pytest.raises(ValueError, match="the import of lacking_one failed: .* 'no_such_library'"):
        imported("--arch", "lacking_one:x")
    with pytest.raises(ValueError, match="^--arch: there is no module no_such_package$"):
        imported("--arch", "no_such_package.deep:x")


def test_where_the_user_s_code_failed_is_said_and_not_where_a_library_did() -> None:
    Path("calls.py").write_text("import json\ndef f():\n    return json.loads('{')")
    with pytest.raises(ValueError, match=r"calls.py:f failed: JSONDecodeError: .* \(calls.py, line 3\)$"):
        called("--arch", "calls.py:f", {})


def test_an_error_that_names_the_option_stays() -> None:
    with pytest.raises(ValueError, match="^--arch: x$"), errors_named("--arch", "y"):
        raise ValueError("--arch: x")


def test_deep_json_is_one_line() -> None:
    assert json_arguments("--arch-args", None) == {}
    with pytest.raises(ValueError, match="^--arch-args must be a JSON object"):
        json_arguments("--arch-args", "[" * 100_000)
