"""Labelled images at the door: `.npz` files, torchvision's MNIST, Fashion-MNIST and CIFAR10, scikit-learn's digits."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from art_levelset.arguments import did_you_mean
from art_levelset.identity import digest
from art_levelset.untrusted import Arrays, opened, printable

Split: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
"""Data sets by their names here, and torchvision's classes."""

CHANNELS = (1, 3, 4)

MOST = 1 << 28
"""Torchvision's files have no more bytes: 256 MiB."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """
    Labelled samples: images, but for :mod:`art_levelset.evaluation.sources`.

    :param name: The data set's name; of a file its name without ending.
    :param x: Images, (n, channels, height, width), float32 in [0, 1].
    :param y: Labels, (n,), int64, in [0, classes).
    :param classes: Number of classes; of a file, as many as its labels show, which may lack the last ones.
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: int

    @property
    def sha256(self) -> str:
        """The SHA-256 of images and labels, 64 hexadecimal digits."""
        return digest(self.x, self.y)


def load(
    name_or_path: str | PathLike[str],
    *,
    data_root: str | PathLike[str] | None = None,
    train: bool = False,
    download: bool = True,
) -> Dataset:
    """
    Load a data set.

    :param name_or_path: An `.npz` file, or "mnist", "fashion_mnist", "cifar10" (read by torchvision) or "digits"
           (scikit-learn's). The file holds x_train and y_train, or x_test and y_test, or all four: images, (n, height,
           width) or (n, height, width, channels), uint8 or floating point in [0, 1], and integer labels, (n,).
    :param data_root: The folder of torchvision's data sets.
    :param train: Whether to load the training images rather than the test images.
    :param download: Whether what is missing there is downloaded.
    :return: The images and labels.
    :raises ValueError: If there is no data set of that name, `data_root` is missing, or an array is none of these; the
            message names the file and the array.
    :raises OSError: If a file cannot be read, or a data set is missing and cannot be downloaded.
    """
    if name_or_path == "digits":
        x, y = digits()[0 if train else 1]
        return Dataset("digits", x, y, 10)
    if name_or_path in TORCHVISION:
        return _from_torchvision(str(name_or_path), data_root, train, download)
    path = Path(name_or_path)
    if path.suffix != ".npz":
        known = ["digits", *TORCHVISION]
        raise ValueError(
            f"name_or_path must be an .npz file or one of {', '.join(known)}, got {str(name_or_path)!r}"
            f"{did_you_mean(str(name_or_path), known)}"
        )
    return _from_npz(path, train)


def digits(seed: int = 0) -> tuple[Split, Split]:
    """
    Scikit-learn's 1,797 handwritten digits, split at random into 1,297 for training and 500 for testing.

    :param seed: Seed of the split.
    :return: Training and test images, (n, 1, 8, 8) in [0, 1], with their labels, (n,).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    x, x_test, y, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=500, random_state=seed, stratify=labels
    )
    return (x, y), (x_test, y_test)


def _from_torchvision(name: str, data_root: str | PathLike[str] | None, train: bool, download: bool) -> Dataset:
    if data_root is None:
        raise ValueError(f"data_root must name the folder of torchvision's data sets to load {name!r}")
    from torchvision import datasets

    known: Any = getattr(datasets, TORCHVISION[name])
    for path in Path(data_root, getattr(known, "base_folder", known.__name__)).rglob("*"):
        if path.is_file() and path.stat().st_size > MOST:
            raise ValueError(f"data_root: {path} is larger than any file of {name}")
    try:
        found = known(data_root, train=train, download=False)
    except RuntimeError:
        if not download:
            remedy = "--download, or download=True, fetches it"
            raise FileNotFoundError(f"data_root: {name} is not in {data_root}; {remedy}") from None
        logger.info("%s is not in %s: it is downloaded", name, data_root)
        found = _downloaded(known, name, data_root, train)
    except OSError:
        raise
    except Exception as error:  # torchvision asserts what its files hold
        raise ValueError(f"data_root: the files of {name} in {data_root} are damaged") from error
    x = _images(np.asarray(found.data), f"{name}: images")
    return Dataset(name, x, _labels(np.asarray(found.targets), f"{name}: labels", len(x)), 10)


def _downloaded(known: Any, name: str, data_root: str | PathLike[str], train: bool) -> Any:
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return known(data_root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise OSError(
            f"data_root: {name} is not in {data_root} and cannot be downloaded ({reason:.200}); "
            f"put torchvision's files there, or give an .npz file"
        ) from error


def _from_npz(path: Path, train: bool) -> Dataset:
    part = "train" if train else "test"
    with opened(path) as file:
        try:
            archive = Arrays(file)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error
        with archive as arrays:
            x = _images(_array(arrays, path, f"x_{part}"), f"{path}: x_{part}")
            y = _labels(_array(arrays, path, f"y_{part}"), f"{path}: y_{part}", len(x))
            other = "y_test" if train else "y_train"
            others = [_labels(_array(arrays, path, other), f"{path}: {other}")] if other in arrays else []
    return Dataset(printable(path.stem).strip() or "data", x, y, 1 + max(int(labels.max()) for labels in (y, *others)))


def _array(arrays: Mapping[str, NDArray[Any]], path: Path, key: str) -> NDArray[Any]:
    try:
        array = arrays[key]
    except KeyError:
        raise ValueError(f"{path} holds no array {key}, only {', '.join(arrays) or 'none':.200}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {key} cannot be read: {error}") from error
    return array


def _images(array: NDArray[Any], what: str) -> NDArray[np.float32]:
    """Images as files have them, (n, height, width) or with the channels last, to (n, channels, height, width)."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or not array.size or array.shape[3] not in CHANNELS:
        wanted = "(n, height, width) or (n, height, width, channels) with 1, 3 or 4 channels"
        raise ValueError(f"{what} must be images {wanted}, got the shape {array.shape}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"{what} must lie in [0, 1], got values from {array.min():.4g} to {array.max():.4g}")
        images = array.astype(np.float32)
    elif array.dtype == np.uint8:
        images = array.astype(np.float32) / np.float32(255)
    else:
        raise ValueError(f"{what} must be uint8, or floating point in [0, 1], got {array.dtype}")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _labels(array: NDArray[Any], what: str, count: int | None = None) -> NDArray[np.int64]:
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integer labels (n,), got {array.dtype} of shape {array.shape}")
    if count is not None and len(array) != count:
        raise ValueError(f"{what} must have a label for each of the {count} images, got {len(array)}")
    if array.min() < 0:
        raise ValueError(f"{what} must not be negative, got {array.min()}")
    return array.astype(np.int64)
