"""
How much memory this process may still take, and refusals of what needs more, before it is taken.

What is free is asked of the system: what the machine can give without swapping, less where a control group (a
container) or a limit on addresses (`ulimit -v`) allows less. Only Linux tells; elsewhere nothing is refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_ROOT = Path("/")
_UNLIMITED = 1 << 60
"""A control group of the first version without a limit has one of almost 2^63."""


def available(root: Path = _ROOT) -> float:
    """
    The memory that this process may still take.

    :param root: Where the system's folders `proc` and `sys` are.
    :return: Bytes, >= 0; infinite where the system does not tell.
    """
    return max(0.0, min(_of_machine(root), *_of_groups(root), _of_addresses(root)))


def check_memory(name: str, value: int, needed: Callable[[int], float], *, least: int = 1) -> None:
    """
    Check that there is memory for a step of a certain size.

    >>> check_memory("resolution", 8, lambda resolution: 1e3 * resolution**2)

    :param name: The name of the argument that is the size.
    :param value: Its value, >= `least`.
    :param needed: The bytes that each size needs, which do not fall as the size grows.
    :param least: The smallest size that there is.
    :raises ValueError: If there is not: it says how much is needed, how much is free, and which size would fit.
    """
    free = available()
    if needed(value) <= free:
        return
    if needed(least) > free:
        fitting = f"not even {least:,} would fit"
    else:
        fits, too_large = least, value
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            fits, too_large = (middle, too_large) if needed(middle) <= free else (fits, middle)
        fitting = f"{fits:,} would fit"
    raise ValueError(f"{name}: {value:,} needs about {size(needed(value))} of memory, {size(free)} are free; {fitting}")


def size(count: float) -> str:
    """
    A number of bytes for a message.

    >>> size(180.4e9), size(2.5e6), size(999.7e6)
    ('180 GB', '2.5 MB', '1 GB')

    :param count: The bytes, >= 0.
    :return: The same as text.
    """
    unit, bytes_of_it = next(
        ((unit, scale) for unit, scale in (("TB", 1e12), ("GB", 1e9)) if count >= 0.9995 * scale), ("MB", 1e6)
    )
    number = count / bytes_of_it
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.2g} {unit}"


def _of_machine(root: Path) -> float:
    """What the machine can give without swapping."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return 1024 * int(found[1]) if found else math.inf


def _of_addresses(root: Path) -> float:
    """What the limit on addresses leaves."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, AttributeError):  # of systems that have none
        return math.inf
    mapped = _number(_text(root / "proc/self/statm").partition(" ")[0])
    if limit == resource.RLIM_INFINITY or mapped is None:
        return math.inf
    return limit - mapped * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[float]:
    """What each control group that the process is in leaves; what files occupy and may be dropped counts as free."""
    yield math.inf
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, kinds, group = [*line.split(":", 2), "", ""][:3]
        if kinds and "memory" not in kinds.split(","):
            continue
        mount, limit, usage, dropped = (
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if kinds
            else ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
        )
        inside = Path(group.lstrip("/"))
        for path in (inside, *inside.parents):
            folder = root / mount / path
            most, used = _number(_text(folder / limit)), _number(_text(folder / usage))
            if most is not None and used is not None and most < _UNLIMITED:
                found = re.search(rf"^{dropped} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
                yield most - used + (int(found[1]) if found else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):  # there is none, or it may not be read
        return ""


def _number(text: str) -> int | None:
    """A whole number; "max" is none."""
    return int(text) if text.strip().isdecimal() else None
