from __future__ import annotations

from collections.abc import Callable

import pytest

from art_levelset.cli.console import FORMATS, PROGRAM, check_device, exit_status, in_one_line
from art_levelset.recon.io.reading import read_cloud


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("two\n  lines"), 2, "error: two lines"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (ImportError("needs laspy"), 2, "error: needs laspy"),
        (MemoryError(), 2, "error: MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_stops_a_command(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(raising(error)) == status
    assert capsys.readouterr() == ("", f"{PROGRAM}: {line}\n")


def test_mistakes_of_ours_are_not_hidden() -> None:
    assert exit_status(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        exit_status(raising(ZeroDivisionError()))
    assert in_one_line(ZeroDivisionError("division by\nzero")) == "ZeroDivisionError: division by zero"


def test_devices() -> None:
    check_device("cpu")
    with pytest.raises(ValueError, match="^--device: 'abacus' cannot be used: "):
        check_device("abacus")


def test_the_help_names_what_can_be_read() -> None:
    with pytest.raises(ValueError, match=f"use one of {FORMATS}$"):
        read_cloud("a.jpg")
