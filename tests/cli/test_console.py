from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from art_levelset.cli.console import check_device, exit_status, in_one_line, number


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
        (torch.OutOfMemoryError("CUDA out of memory."), 2, "error: CUDA out of memory."),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_stops_a_command(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("art-levelset fly", raising(error)) == status
    assert capsys.readouterr() == ("", f"art-levelset fly: {line}\n")


@pytest.mark.parametrize("allocate", [lambda: torch.empty(1 << 60), lambda: np.empty(1 << 55)])
def test_too_little_memory_is_no_mistake(allocate: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("art-levelset fly", lambda: 1 if allocate() is None else 0) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "llocate" in line


@pytest.mark.parametrize("error", [ZeroDivisionError(), TypeError("x"), RuntimeError("out of ideas")])
def test_mistakes_of_ours_are_not_hidden(error: Exception) -> None:
    assert exit_status("art-levelset fly", lambda: 1) == 1
    with pytest.raises(type(error)):
        exit_status("art-levelset fly", raising(error))
    assert in_one_line(ZeroDivisionError("division by\nzero")) == "ZeroDivisionError: division by zero"


def test_devices() -> None:
    check_device("cpu")
    with pytest.raises(ValueError, match="^--device must be cpu, cuda or cuda:N, got 'abacus'$"):
        check_device("abacus")
    with pytest.raises(ValueError, match="^--device: there is no cuda:99, only [0-9]+ GPUs$"):
        check_device("cuda:99")
    with pytest.raises(ValueError, match="^--device: 'xpu' cannot be used: "):
        check_device("xpu")


def test_numbers() -> None:
    assert [number("--eps", text) for text in ("8/255", "0.3", "-1e-3")] == [8 / 255, 0.3, -0.001]


@pytest.mark.parametrize("text", ["1/0", "1e400", "1e2000000", f"{'9' * 400}/7", "inf", "nan", "0.1/3", "high", ""])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=f"^--eps must be a number such as 0.3 or 8/255, got '{text}'$"):
        number("--eps", text)
