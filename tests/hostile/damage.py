"""Damage to files and to what is in them, as Hypothesis finds it, and the guard under which damaged files are read."""

from __future__ import annotations

import copy
import math
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from hypothesis import strategies as st

from art_levelset.cli.console import EXPECTED

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

SECONDS = 10
"""No reader may compute for longer with a small file; how fast it gets to compute is the machine's business."""

PATIENCE = 120
"""Seconds after which a reader is taken to wait for what never comes."""

MEMORY = 2 << 30
"""Nor take more bytes than this."""

TOKENS = [
    *(value.to_bytes(size, "little") for value in (0, 1, 2**31 - 1, 2**32 - 1) for size in (4, 8)),
    (2**63 - 1).to_bytes(8, "little"),
    (2**64 - 1).to_bytes(8, "little"),
    (10**12).to_bytes(8, "little"),
    (2**31 - 1).to_bytes(4, "big"),
    b"\0",
    b"\n",
    b"\r",
    b" ",
    b",",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b[31m",
    b"nan",
    b"-inf",
    b"1e999",
    b"-1",
    b"1000000000000",
    b"9" * 400,
    b"9" * 5000,
    b"null",
    b"{}",
    b"[" * 100,
    b'"',
    b"#",
    b"PK\x03\x04",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    b"cos\nsystem\n(S'true'\ntR.",
]
"""What stands in for counts, numbers, signs and beginnings."""

Edit: TypeAlias = tuple[str, float, int, bytes]
"""What is done, where (as a part of the file), to how much, and with what."""

_KINDS = ("flip", "write", "insert", "cut", "end", "repeat", "move", "splice", "count", "encode")

edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(_KINDS),
        st.floats(0, 1) | st.floats(0, 0.02) | st.floats(0.95, 1),
        st.integers(0, 300),
        st.sampled_from(TOKENS) | st.binary(max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, changes: list[Edit], other: bytes) -> bytes:
    """A file's content with changes; some take parts of another file."""
    for kind, where, size, token in changes:
        place = min(int(where * len(content)), max(len(content) - 1, 0))
        end = min(place + size, len(content))
        if kind == "flip" and content:
            content = content[:place] + bytes([content[place] ^ 1 << size % 8]) + content[place + 1 :]
        elif kind == "write":
            content = content[:place] + token + content[place + len(token) :]
        elif kind == "insert":
            content = content[:place] + token + content[place:]
        elif kind == "cut":
            content = content[:place] + content[end:]
        elif kind == "end":
            content = content[:place]
        elif kind == "repeat":
            content = content[:end] + content[place:end] * (1 + size % 5) + content[end:]
        elif kind == "move":
            content = content[:place] + content[end:] + content[place:end]
        elif kind == "splice":
            content = content[:place] + other[int(where * len(other)) :]
        elif kind == "count":
            content = _recounted(content, where, token)
        elif kind == "encode" and size % 10 == 0:
            content = content.decode("latin-1").encode(("utf-16", "utf-8-sig", "cp500")[size % 3])
    return content


def _recounted(content: bytes, where: float, token: bytes) -> bytes:
    """Another number in the place of one of those that are written in digits."""
    numbers = list(re.finditer(rb"-?\d+", content[: 1 << 16]))
    if not numbers:
        return content
    chosen = numbers[int(where * (len(numbers) - 1))]
    return content[: chosen.start()] + token + content[chosen.end() :]


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def _expanding() -> Any:
    value: Any = ["x"]
    for _ in range(60):
        value = [value, value]
    return value


HOSTILE: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        10**12,
        2**63,
        10**400,
        0.5,
        -1.5,
        1e308,
        math.nan,
        math.inf,
        "",
        "x",
        "nan",
        "\x1b[31m",
    ),
    *("<script>", "line\nbreak", "x" * 100_000, [], {}, [1, 2, 3], {"x": 1}, [[1.0, 2.0]], _deep(50), [0] * 10_000),
]
"""What JSON can say, and more than a reader may expect."""

TENSORS: list[Any] = [
    *(
        torch.zeros(0),
        torch.tensor(1.0),
        torch.tensor(-(2**40)),
        torch.zeros(1).expand(10**5),
        torch.full((3,), math.nan),
    ),
    *(
        torch.zeros(3, dtype=torch.float64),
        torch.zeros(2, 3),
        torch.zeros(5, 3, dtype=torch.float64),
        torch.zeros(1, 1, 1),
    ),
    *(torch.zeros(4, dtype=torch.complex64), torch.ones(3, 3, dtype=torch.bool), torch.arange(6).reshape(2, 3), {1: 2}),
    *((1, 2), _deep(500), _expanding(), b"bytes", torch.zeros(2, 3, dtype=torch.bfloat16)),
]
"""What else `torch.save` can write."""


Change: TypeAlias = tuple[list[int], int, int]
"""Where (which of the keys, level by level), what, and which value; numbers, for some of the values have no end."""

changes: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 200)),
    min_size=1,
    max_size=3,
)


def changed(content: Any, made: list[Change], values: list[Any]) -> Any:
    """A thing of dictionaries and lists, with some of what is in it replaced, left out or added."""
    content = copy.deepcopy(content)
    for path, what, number in made:
        place = content
        for level, choice in enumerate(path):
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = keys[choice % len(keys)]
            inner = place[key]
            if isinstance(inner, tuple):
                inner = place[key] = list(inner)
            if level == len(path) - 1 or not isinstance(inner, (dict, list)) or not inner:
                _change(place, key, what, copy.copy(values[number % len(values)]))
                break
            place = inner
    return content


def _change(place: Any, key: Any, what: int, value: Any) -> None:
    if what == 0:
        del place[key]
    elif what == 1 and isinstance(place, dict):
        place["another"] = value
    else:
        place[key] = value


class Hang(BaseException):
    """Raised where a reader is busy for too long; no reader can take it for an error of the file."""


@contextmanager
def guarded() -> Iterator[None]:
    """Neither for ever nor with all of the memory."""
    size = _address_space()
    before = resource.getrlimit(resource.RLIMIT_AS) if size is not None else None
    handlers = {number: signal.signal(number, _hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(PATIENCE)
    if size is not None and before is not None:
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if before is not None:
            resource.setrlimit(resource.RLIMIT_AS, before)


def _hang(*_: object) -> None:
    raise Hang("still busy")


def _address_space() -> int | None:
    """Bytes of this process; None where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def outcome(read: Callable[[], Any], name: str) -> tuple[bool, Any]:
    """
    What a reader makes of a file: an answer, or one clear error.

    :return: Whether there is an answer, and what it is.
    """
    with guarded():
        try:
            return True, read()
        except EXPECTED as error:
            refusal: Exception = error
    message = str(refusal)
    assert not isinstance(refusal, MemoryError), "the memory was to be taken"
    assert "can't allocate" not in message, "the memory was to be taken"
    assert name in message, f"the file is not named: {message[:300]}"
    assert len(message) < 2000, f"a message of {len(message)} characters"
    return False, message
