"""Files that claim more than they have, or unpack to more than there is: refused before memory is taken for them."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from .readers import content_of, readers

READERS = {each.name: each for each in readers()}

BOMB = bytes(4 * 10**8)
"""400 megabytes, which are two when they are packed."""


def npy(shape: tuple[int, ...], kind: str = "<f8", content: bytes = b"") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=6) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def arrays_of(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    return packed({f"{name}.npy": content for name in ("x_test", "y_test", "x_train", "y_train", "points")}, method)


def tensors_of(right: bytes, change: Callable[[bytes], bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    """A file of `torch.save` with another pickle."""
    with zipfile.ZipFile(io.BytesIO(right)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return packed({name: change(part) if name.endswith("data.pkl") else part for name, part in members.items()}, method)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _huge_storage(pickled: bytes) -> bytes:
    """Four numbers become a billion."""
    return pickled.replace(b"K\x04t", b"J\x00\x00\x00\x40t").replace(b"K\x04\x85", b"J\x00\x00\x00\x40\x85")


def _tuples(_: bytes) -> bytes:
    """A tuple in a tuple ..., a million times, as a key: to hash it takes the whole stack."""
    return b"\x80\x02}(K\x01" + b"\x85" * 10**6 + b"K\x01u."


def _memo(_: bytes) -> bytes:
    """The word for the place 2^31 of the memory."""
    return b"\x80\x02]r\xff\xff\xff\x7f."


def _bytearray(_: bytes) -> bytes:
    return b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x20\x85R."


def arrays() -> dict[str, bytes]:
    return {
        "a billion zeros": packed({"x_test.npy": npy((len(BOMB),), "|u1", BOMB), "y_test.npy": npy((1,), "|u1", b"0")}),
        "10^12 numbers": arrays_of(npy((10**12,))),
        "10^4000 numbers": arrays_of(npy((10**400, 10**400))),
        "texts of a billion signs": arrays_of(npy((3,), "<U1000000000")),
        "10^12 nothings": arrays_of(npy((10**12,), "|V0")),
        "a negative number": arrays_of(npy((-(10**12),))),
        "a long header": arrays_of(npy((1,), "<f8" + " " * 60_000)),
        "deep brackets": arrays_of(b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000),
        "another method": arrays_of(npy((10,), "|u1", bytes(10)), zipfile.ZIP_LZMA),
        "no header": arrays_of(b""),
    }


def tensors() -> dict[str, bytes]:
    four = saved({"model_state_dict": {"x": torch.arange(4.0)}})
    return {
        "four numbers that claim to be a billion": tensors_of(four, _huge_storage),
        "a million tuples": tensors_of(four, _tuples),
        "a far place": tensors_of(four, _memo),
        "half a terabyte of nothing": tensors_of(four, _bytearray),
        "zeros that are packed": packed({"archive/data.pkl": BOMB, "archive/version": b"3"}),
        "many views of one number": saved(
            {"model_state_dict": {str(i): torch.zeros(1).expand(10**8) for i in range(50)}}
        ),
        "an integer of a million digits": saved({"model_state_dict": 1 << 3_000_000}),
        "layers without end": saved(
            {
                "format": 1,
                "pieces": [],
                "sizes": {"width": 10**9, "depth": 10**9},
                "weights": {},
                "centre": torch.zeros(3),
            }
        ),
        "grids of 10^15 nodes": saved(
            {
                "format": "art-levelset reconstruction 3",
                "network": "GridNetwork",
                "settings": {"resolutions": [100_000], "channels": [1000], "width": 10**6},
                "weights": {},
                "frame": {"centre": torch.zeros(3), "scale": 1.0},
                "planes": {"centres": torch.zeros(1, 3), "normals": torch.zeros(1, 3), "reach": 1.0, "error": 0.0},
                "correction": 0.0,
                "repairs": {"places": torch.zeros(0, 3), "shifts": torch.zeros(0)},
            }
        ),
        "a matrix of 10^12 zeros": saved(
            {
                "format": "art-levelset exact network 1",
                "box": torch.tensor([[0.0] * 10**6, [1.0] * 10**6], dtype=torch.float64),
                "layers": [
                    {
                        "positions": torch.zeros(2, 0, dtype=torch.int64),
                        "values": torch.zeros(0, dtype=torch.float64),
                        "bias": torch.zeros(10**6, dtype=torch.float64),
                        "inputs": 10**6,
                        "sparse": False,
                    }
                ],
                "size": {},
            }
        ),
        "an entry outside of its matrix": saved(
            {
                "format": "art-levelset exact network 1",
                "box": torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64),
                "layers": [
                    {
                        "positions": torch.tensor([[10**9], [10**9]]),
                        "values": torch.ones(1, dtype=torch.float64),
                        "bias": torch.zeros(1, dtype=torch.float64),
                        "inputs": 3,
                        "sparse": True,
                    }
                ],
                "size": {},
            }
        ),
    }


def texts() -> dict[str, bytes]:
    return {
        "brackets": b"[" * 10**6,
        "objects": b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
        "digits": b'{"format": ' + b"9" * 10**6 + b"}",
        "a long name": json.dumps({"x" * 10**7: 1}).encode(),
        "spaces": b" " * 2 * 10**7,
    }


IN_A_CHILD = """
import resource, sys, types, warnings
from pathlib import Path
sys.modules["tests"] = types.ModuleType("tests")  # others install modules of this name
sys.modules["tests"].__path__ = [sys.argv[2]]
from tests.hostile.damage import outcome
from tests.hostile.readers import readers
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for reader in readers():
    if "command" in reader.name or "goes on" in reader.name:
        continue
    for path in sorted(folder.glob(f"*{reader.suffix}")):
        is_read, message = outcome(lambda: reader.read(path), str(path.with_suffix("")))
        assert not is_read or reader.name == "training checkpoint", (reader.name, path)  # that takes any plain state
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_they_are_refused_within_a_bound(tmp_path: Path) -> None:
    """In a process of its own, which tells by how much they made it grow."""
    for suffixes, files in (([".npz"], arrays()), ([".pt", ".pth"], tensors()), ([".json"], texts())):
        for (name, content), suffix in itertools.product(files.items(), suffixes):
            (tmp_path / f"{name}{suffix}").write_bytes(content)
    child = subprocess.run(
        [sys.executable, "-c", IN_A_CHILD, str(tmp_path), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert int(child.stdout.split()[-1]) < 300_000, "kilobytes more than without a file"


@pytest.mark.parametrize("name", [name for name, each in READERS.items() if each.suffix in (".pt", ".pth")])
def test_one_wrong_bit_of_a_tensor_is_noticed(name: str, tmp_path: Path) -> None:
    """PyTorch compares no checksums."""
    if name == "weights before 1.6":
        pytest.skip("such files have none")
    reader = READERS[name]
    content = content_of(reader)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = next(each for each in archive.infolist() if "/data/" in each.filename and each.file_size)
    start = content.index(member.filename.encode()) + len(member.filename)
    place = start + 64 + 4 * ((member.file_size - 1) // 8)
    path = tmp_path / f"file{reader.suffix}"
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    if reader.name == "training checkpoint":  # whose own checksum is computed of the damaged file here
        with pytest.raises(ValueError, match="checksum"):
            reader.read(path)
        return
    with pytest.raises(ValueError, match="checksum"):
        reader.read(path)


def test_large_right_files_are_still_read(tmp_path: Path) -> None:
    """What compresses well may be right: labels of one class, dark images, weights that are zero."""
    from art_levelset.evaluation.datasets import load

    np.savez_compressed(tmp_path / "a.npz", x_test=np.zeros((3000, 28, 28), np.uint8), y_test=np.zeros(3000, int))
    assert load(tmp_path / "a.npz").x.shape == (3000, 1, 28, 28)
