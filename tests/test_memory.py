"""What is free, and refusals of what needs more."""

from __future__ import annotations

import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_levelset import memory
from art_levelset.memory import available, check_memory, size

GB = 10**9


def system(root: Path, **files: str) -> Path:
    """A folder with files of a system, whose names have `__` for `/`."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_machine(tmp_path: Path) -> None:
    root = system(tmp_path, proc__meminfo="MemTotal: 4000 kB\nMemFree: 10 kB\nMemAvailable:    3000 kB\n")
    assert available(root) == 3000 * 1024


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert available(tmp_path) == math.inf


def test_control_groups(tmp_path: Path) -> None:
    root = system(tmp_path, proc__self__cgroup="0::/a/b\n")
    for folder, most, used in (("a/b", "max", 500), ("a", "9000", 6000), (".", "20000", 7000)):
        group = root / "sys/fs/cgroup" / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(most + "\n")
        (group / "memory.current").write_text(f"{used}\n")
    assert available(root) == 3000
    (root / "sys/fs/cgroup/a/memory.stat").write_text("anon 7\ninactive_file 40\n")
    assert available(root) == 3040


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    root = system(tmp_path, proc__self__cgroup="5:cpu,cpuacct:/x\n4:memory:/outside/of/the/container\n")
    group = root / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.usage_in_bytes").write_text("600\n")
    (group / "memory.stat").write_text("total_inactive_file 100\n")
    (group / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    assert available(root) == math.inf
    (group / "memory.limit_in_bytes").write_text("1000\n")
    assert available(root) == 500
    (group / "memory.limit_in_bytes").write_text("100\n")
    assert available(root) == 0


LIMITED = """
import resource
from art_levelset.memory import available
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 50_000_000, resource.RLIM_INFINITY))
print(available())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_a_limit_on_addresses() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    found = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 40e6 < float(found.stdout) < 60e6


def cubic(value: int) -> float:
    return 1e6 + 10.0 * value**3


def test_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 21e9)
    check_memory("resolution", 1200, cubic)
    with pytest.raises(
        ValueError, match=r"^resolution: 4,096 needs about 687 GB of memory, 21 GB are free; 1,280 would"
    ):
        check_memory("resolution", 4096, cubic)
    with pytest.raises(ValueError, match=r"687 GB of memory, 21 GB are free; not even 2,000 would fit$"):
        check_memory("resolution", 4096, cubic, least=2000)


@given(value=st.integers(1, 10**7), free=st.floats(0, 1e20))
def test_what_would_fit_fits(value: int, free: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available", lambda: free)
        try:
            check_memory("points", value, cubic)
        except ValueError as error:
            assert cubic(value) > free
            fits = str(error).partition("; ")[2].removesuffix(" would fit").removeprefix("not even ").replace(",", "")
            if "not even" in str(error):
                assert cubic(int(fits)) > free
                assert int(fits) == 1
            else:
                assert cubic(int(fits)) <= free < cubic(int(fits) + 1)
        else:
            assert cubic(value) <= free


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 MB"),
        (15e6, "15 MB"),
        (999e6, "999 MB"),
        (1e9, "1 GB"),
        (2.14e10, "21 GB"),
        (4.3e12, "4.3 TB"),
        (1e16, "10,000 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


REFUSED = """
import resource
import numpy as np
from art_levelset.recon.cloud.clouds import check_cloud

points = np.broadcast_to(0.5, (10_000_000, 3))  # takes no memory
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 1_000_000_000, resource.RLIM_INFINITY))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check_cloud(points)
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_a_refusal_comes_before_the_memory_is_taken() -> None:
    found = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True)
    message, taken = found.stdout.splitlines()
    assert re.fullmatch(
        r"points: 10,000,000 needs about 4 GB of memory, 1 GB are free; 2,[45]\d\d,\d\d\d would fit", message
    )
    assert int(taken) < 50e6
