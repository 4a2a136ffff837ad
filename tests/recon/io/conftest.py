"""Files for the tests of readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from .forms import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, contents: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        return path

    return write_file
