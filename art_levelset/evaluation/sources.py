"""
Labelled samples from what PyTorch's users have: pairs of arrays, data sets and loaders, torchvision's data sets by
name, and folders of images.

All of it is brought into memory, as the samples of an evaluation are passed over many times.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from art_levelset.arguments import did_you_mean
from art_levelset.attacks.inputs import labels, samples
from art_levelset.attacks.network import seeded
from art_levelset.checks import check_count
from art_levelset.evaluation.datasets import Dataset
from art_levelset.memory import check_memory
from art_levelset.untrusted import printable

BATCH = 256
"""Samples that are read from a data set at a time."""


def gather(source: Any, *, name: str, most: int | None = None, seed: int = 0) -> Dataset:
    """
    Bring labelled samples into memory.

    :param source: A pair (x, y) of tensors or arrays, a data set of PyTorch with pairs (sample, label), a `DataLoader`
           of such batches, or a :class:`art_levelset.evaluation.datasets.Dataset`. Samples are floating point, or
           bytes, which become numbers in [0, 1]; or PIL images, which do as well.
    :param name: The name that they shall have.
    :param most: How many are read at most, the first ones; all by default.
    :param seed: Seed of what the source draws at random, as a loader that shuffles does, >= 0.
    :return: The samples, (n, ...), as they are, with their labels.
    :raises ValueError: If it is none of these, or holds anything else.

    >>> gather((torch.zeros(5, 2), torch.tensor([0, 1, 2, 0, 0])), name="points", most=3).y.tolist()
    [0, 1, 2]
    """
    if most is not None:
        check_count("most", most)
    if isinstance(source, Dataset):
        x, y = torch.from_numpy(source.x), torch.from_numpy(source.y)
    elif isinstance(source, (tuple, list)) and len(source) == 2:
        x, y = source
    elif isinstance(source, (DataLoader, TorchDataset)):
        with seeded(seed, torch.device("cpu")):
            x, y = _read(source, most)
    else:
        raise ValueError(f"data must be a pair (x, y), a data set or a DataLoader, got {_kind(source)}")
    try:
        points = samples(_scaled(x))
        points = points if points.dtype == torch.float64 else points.float()
        targets = labels(y, len(points))
    except TypeError as error:
        raise ValueError(str(error)) from error
    points, targets = points[:most], targets[:most]
    if not len(points):
        raise ValueError("data holds no sample")
    known = _classes(source)
    shown = int(targets.max()) + 1
    classes = known if isinstance(known, int) else len(known) if isinstance(known, (list, tuple)) else shown
    return Dataset(name, points.cpu().numpy(), targets.cpu().numpy(), max(classes, shown))


def image_folder(
    path: str | PathLike[str], *, resize: int | None = None, crop: int | None = None, most: int | None = None
) -> Dataset:
    """
    Read a folder with a folder of images for each class, in the order of their names.

    :param path: The folder.
    :param resize: What to resize the shorter side of each image to, in pixels; as they are by default.
    :param crop: The side of the square that is cut from the middle of each; all of it by default.
    :param most: How many images are read at most, evenly spaced over the folder; all by default.
    :return: The images, (n, 3, height, width) in [0, 1]; named like the folder.
    :raises OSError: If there is no such folder.
    :raises ValueError: If it holds no image, one cannot be read, or they have several sizes.
    """
    from PIL import Image
    from torchvision.datasets import ImageFolder

    folder = Path(path)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    transform = _transform(resize, crop)
    try:
        found = ImageFolder(str(folder), transform)
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: {' '.join(str(error).split()):.200}") from error
    if most is not None and most < len(found):  # the first ones would be of the first class
        chosen = torch.linspace(0, len(found) - 1, most, dtype=torch.float64).round().long().tolist()
        found.samples = [found.samples[row] for row in chosen]
    try:
        return gather(found, name=printable(folder.resolve().name).strip() or "images", most=most)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{folder}: {error}") from error


def torchvision_data(
    name: str,
    *,
    data_root: str | PathLike[str] | None = None,
    train: bool = False,
    download: bool = False,
    resize: int | None = None,
    crop: int | None = None,
    most: int | None = None,
    **arguments: Any,
) -> Dataset:
    """
    Read one of torchvision's data sets of labelled images.

    :param name: The name of its class: "CIFAR100", "SVHN", "ImageNet", ...
    :param data_root: The folder of its files.
    :param train: Whether to read its training part rather than its test part, where it has both.
    :param download: Whether they are downloaded if they are not there.
    :param resize: What to resize the shorter side of each image to, in pixels; as they are by default.
    :param crop: The side of the square that is cut from the middle of each; all of it by default.
    :param most: How many images are read at most, the first ones; all by default.
    :param arguments: Other arguments of the class, as `split`.
    :return: The images, (n, channels, height, width) in [0, 1].
    :raises OSError: If the files are not there.
    :raises ValueError: If there is no such data set, or it is none of labelled images, of one size.
    """
    from torchvision import datasets

    kinds = [known for known in datasets.__all__ if inspect.isclass(getattr(datasets, known))]
    if name not in kinds:
        raise ValueError(f"torchvision has no data set {name!r}{did_you_mean(name, kinds)}")
    kind = getattr(datasets, name)
    takes = _parameters(kind)
    usual: dict[str, Any] = {
        "root": data_root,
        "train": train,
        "split": "train" if train else "test",
        "download": download,
    }
    given = {key: value for key, value in usual.items() if key in takes and key not in arguments}
    if "root" in given and data_root is None:
        raise ValueError(f"data_root must name the folder of torchvision's data sets to load {name!r}")
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            found = kind(**given, **arguments, transform=_transform(resize, crop))
    except (RuntimeError, OSError) as error:
        remedy = "and cannot be downloaded" if download else "--download, or download=True, fetches it"
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"data_root: {name} is not in {data_root}, {remedy} ({reason:.200})") from error
    except Exception as error:
        raise ValueError(f"{name}: {' '.join(str(error).split()):.300}") from error
    return gather(found, name=name, most=most)


def _parameters(kind: type) -> set[str]:
    """What a class can be called with: also what it hands on to the class that it extends, as EMNIST does to MNIST."""
    found: set[str] = set()
    for known in inspect.getmro(kind):
        parameters = inspect.signature(known).parameters.values()
        found.update(parameter.name for parameter in parameters)
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _classes(source: Any) -> Any:
    """What a data set says of its classes, itself or as that of a loader or a subset."""
    while not hasattr(source, "classes") and hasattr(source, "dataset"):
        source = source.dataset
    return getattr(source, "classes", None)


def _read(source: Any, most: int | None) -> tuple[Tensor, Tensor]:
    """The first batches of a data set or a loader, as one."""
    try:
        length = len(source)
    except TypeError:  # a stream
        length = None
    loader = source if isinstance(source, DataLoader) else DataLoader(source, batch_size=BATCH, collate_fn=_collated)
    parts: list[tuple[Tensor, Tensor]] = []
    read = 0
    for x, y in _pairs(loader):
        if not parts and length is not None:
            total = length * (len(x) if isinstance(source, DataLoader) else 1)
            needed = partial(_joined_bytes, x.element_size() * x[:1].numel())
            check_memory("nb_examples", min(total, most or total), needed)
        parts.append((x, y))
        read += len(x)
        if most is not None and read >= most:
            break
    if not parts:
        raise ValueError("data holds no sample")
    shapes = {tuple(x.shape[1:]) for x, _ in parts}
    if len(shapes) > 1:
        raise ValueError(_several(shapes))
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def _pairs(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches, checked; what the data set's own code raises is what it was."""
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(f"data must give pairs (sample, label), got {_kind(batch)}")
        x, y = (torch.as_tensor(part) if not isinstance(part, (tuple, list)) else part for part in batch[:2])
        if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.dim() or not y.dim():
            raise ValueError(f"data must give samples and integer labels, got {_kind(batch[0])} and {_kind(batch[1])}")
        yield _scaled(x), y


def _collated(items: list[Any]) -> Any:
    """Pairs as a batch: PIL images become tensors, and different sizes are said."""
    from torch.utils.data import default_collate
    from torchvision.transforms.functional import pil_to_tensor

    pairs = []
    for item in items:
        if isinstance(item, (tuple, list)) and item and hasattr(item[0], "getbands"):
            item = (pil_to_tensor(item[0]), *item[1:])
        pairs.append(item)
    shapes = {tuple(item[0].shape) for item in pairs if isinstance(item, (tuple, list)) and hasattr(item[0], "shape")}
    if len(shapes) > 1:
        raise ValueError(_several(shapes))
    try:
        return default_collate(pairs)
    except TypeError as error:
        raise ValueError(f"data must give samples and integer labels, got {_kind(items[0])}: {error}") from error


def _joined_bytes(each: int, count: int) -> float:
    """What so many samples take while the batches are joined: twice their bytes."""
    return 2.0 * each * count


def _several(shapes: set[tuple[int, ...]]) -> str:
    shown = ", ".join(map(str, sorted(shapes)[:3]))
    return f"data holds samples of several shapes ({shown}): resize and crop make images equal"


def _transform(resize: int | None, crop: int | None) -> Any:
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    steps: list[Any] = []
    for name, value, step in (("resize", resize, Resize), ("crop", crop, CenterCrop)):
        if value is not None:
            check_count(name, value)
            steps.append(step(value))
    return Compose([*steps, PILToTensor()])


def _scaled(x: Any) -> Any:
    """Bytes as numbers in [0, 1]."""
    tensor = torch.as_tensor(x) if str(getattr(x, "dtype", "")) == "uint8" else x
    return tensor.float() / 255 if isinstance(tensor, Tensor) and tensor.dtype == torch.uint8 else tensor


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(repr, value)):.100}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
