from __future__ import annotations

import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray

from art_levelset.evaluation.datasets import digits, load

Arrays = dict[str, NDArray[Any]]


def four_arrays(shape: tuple[int, ...] = (5, 4), count: int = 6) -> Arrays:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (count, *shape), dtype=np.uint8),
        "y_train": np.arange(count, dtype=np.uint8),
        "x_test": random.integers(0, 256, (3, *shape), dtype=np.uint8),
        "y_test": np.array([2, 0, 1], dtype=np.uint8),
    }


def saved(folder: Path, arrays: Arrays, name: str = "some.npz") -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def test_grey_images_of_a_file(tmp_path: Path) -> None:
    arrays = four_arrays()
    path = saved(tmp_path, arrays)
    data = load(path)
    assert data.name == "some"
    assert data.classes == 6  # of all labels in the file
    assert data.x.dtype == np.float32
    assert data.y.dtype == np.int64
    np.testing.assert_array_equal(data.x, arrays["x_test"][:, None] / np.float32(255))
    np.testing.assert_array_equal(data.y, [2, 0, 1])
    training = load(str(path), train=True)
    np.testing.assert_array_equal(np.rint(255 * training.x[:, 0]), arrays["x_train"])
    assert training.sha256 != data.sha256 == load(path).sha256
    assert len(data.sha256) == 64


def test_coloured_images_are_brought_to_channels_first(tmp_path: Path) -> None:
    arrays = four_arrays((5, 4, 3))
    data = load(saved(tmp_path, arrays))
    assert data.x.shape == (3, 3, 5, 4)
    assert data.x.flags.c_contiguous
    np.testing.assert_array_equal(data.x[1, 2], arrays["x_test"][1, :, :, 2] / np.float32(255))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_images_stay_as_they_are(tmp_path: Path, dtype: type) -> None:
    images = np.random.default_rng(0).random((4, 3, 3)).astype(dtype)
    data = load(saved(tmp_path, {"x_test": images, "y_test": np.array([0, 1, 0, 1])}))
    np.testing.assert_array_equal(data.x[:, 0], images.astype(np.float32))
    assert data.classes == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "holds no array x_test, only x_train, y_train, y_test"),
        ({"y_test": None}, "holds no array y_test"),
        ({"x_test": np.zeros((3, 20), np.uint8)}, r"x_test must be images \(n, height, width\) or .*\(3, 20\)"),
        ({"x_test": np.zeros((3, 1, 28, 28), np.uint8)}, r"x_test must be images .* with 1, 3 or 4 channels"),
        ({"x_test": np.zeros((0, 5, 4), np.uint8)}, "x_test must be images"),
        ({"x_test": np.full((3, 5, 4), 200.0)}, r"x_test must lie in \[0, 1\], got values from 200 to 200"),
        ({"x_test": np.full((3, 5, 4), np.nan)}, r"x_test must lie in \[0, 1\]"),
        ({"x_test": np.zeros((3, 5, 4), np.int64)}, "x_test must be uint8, or floating point in .*int64"),
        ({"x_test": np.full((3, 5, 4), None)}, "x_test cannot be read: it holds Python objects"),
        ({"y_test": np.zeros(2, int)}, "y_test must have a label for each of the 3 images, got 2"),
        ({"y_test": np.eye(3)}, r"y_test must be integer labels \(n,\), got float64 of shape \(3, 3\)"),
        ({"y_test": np.array([0, 1, -1])}, "y_test must not be negative, got -1"),
        ({"y_train": np.zeros(6)}, "y_train must be integer labels"),
    ],
)
def test_a_wrong_array_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arrays = {key: value for key, value in {**four_arrays(), **changes}.items() if value is not None}
    path = saved(tmp_path, arrays)
    with pytest.raises(ValueError, match=f"^{path}:? {message}"):
        load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    text, array, cut = (tmp_path / name for name in ("text.npz", "array.npz", "cut.npz"))
    text.write_text("no images")
    with array.open("wb") as file:
        np.save(file, np.zeros(3))
    cut.write_bytes(saved(tmp_path, four_arrays()).read_bytes()[:400])
    for path in (text, array, cut):
        with pytest.raises(ValueError, match=f"^{path} is not an .npz file$"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez_compressed(path, **four_arrays((40, 40)))
    content = bytearray(path.read_bytes())
    middle = content.index(b"x_test.npy") + 400
    content[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: x_test cannot be read"):
        load(path)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="name_or_path must be an .npz file or one of digits, mnist, .*'letters'"):
        load("letters")
    with pytest.raises(ValueError, match="data_root must name the folder .* 'mnist'"):
        load("mnist")


def test_the_digits() -> None:
    train, test = digits()
    data = load("digits")
    assert (data.name, data.classes, data.x.shape) == ("digits", 10, (500, 1, 8, 8))
    np.testing.assert_array_equal(data.x, test[0])
    np.testing.assert_array_equal(load("digits", train=True).y, train[1])


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_what_torchvision_keeps_is_read(tmp_path: Path, name: str, folder: str) -> None:
    arrays = four_arrays()
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(arrays[f"x_{part}"]))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(arrays[f"y_{part}"]))
    for part in ("train", "test"):
        data = load(name, data_root=tmp_path, train=part == "train")
        assert (data.name, data.classes) == (name, 10)
        np.testing.assert_array_equal(data.x, arrays[f"x_{part}"][:, None] / np.float32(255))
        np.testing.assert_array_equal(data.y, arrays[f"y_{part}"])


def test_torchvisions_cifar10_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = torchvision.datasets.CIFAR10
    folder = tmp_path / known.base_folder
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    for file in [name for name, _ in known.train_list + known.test_list]:
        (folder / file).write_bytes(pickle.dumps({"data": rows.reshape(2, -1), "labels": [3, 9]}))
    (folder / known.meta["filename"]).write_bytes(pickle.dumps({known.meta["key"]: list("abcdefghij")}))
    # Its sums are those of the real files.
    monkeypatch.setattr(sys.modules[known.__module__], "check_integrity", lambda path, md5=None: Path(path).is_file())
    data = load("cifar10", data_root=tmp_path)
    np.testing.assert_array_equal(data.x, rows / np.float32(255))
    np.testing.assert_array_equal(data.y, [3, 9])
    assert load("cifar10", data_root=tmp_path, train=True).x.shape == (10, 3, 32, 32)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_download_that_is_impossible_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    nowhere = "http://127.0.0.1:9/"  # the port where everything is discarded, or nobody listens
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", nowhere + "cifar-10-python.tar.gz")
    with pytest.raises(OSError, match=f"^data_root: {name} is not in .* and cannot be downloaded") as caught:
        load(name, data_root=tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_real_files(data_dir: Path) -> None:
    data = load(data_dir / "mnist.npz")
    assert data.x.shape == (10000, 1, 28, 28)
    assert data.classes == 10
    assert np.bincount(data.y).sum() == 10000
    assert data.x.min() == 0
    assert data.x.max() == 1
