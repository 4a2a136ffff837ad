from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from art_levelset.evaluation.datasets import Dataset, load
from art_levelset.evaluation.sources import gather, image_folder, torchvision_data

X = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 3


class Items(TorchDataset[Any]):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        for pair in zip(X, Y, strict=True):
            self.read += 1
            yield pair


@pytest.mark.parametrize(
    "source",
    [
        (X, Y),
        [X.numpy(), Y.numpy()],
        (X, torch.eye(3)[Y]),
        TensorDataset(X, Y),
        Items(*zip(X.numpy(), Y.tolist(), strict=True)),
        Stream(),
        DataLoader(TensorDataset(X, Y), batch_size=4),
        DataLoader(Stream(), batch_size=3),
        Dataset("given", X.numpy(), Y.numpy(), 3),
    ],
    ids=lambda source: type(source).__name__,
)
def test_the_same_samples_of_all_that_pytorch_has(source: Any) -> None:
    data = gather(source, name="own")
    np.testing.assert_array_equal(data.x, X.numpy())
    np.testing.assert_array_equal(data.y, Y.numpy())
    assert (data.name, data.classes) == ("own", 3)
    assert gather(source, name="own", most=4).y.tolist() == Y[:4].tolist()


def test_no_more_is_read_than_is_asked_for() -> None:
    stream = Stream()
    assert len(gather(DataLoader(stream, batch_size=2), name="own", most=3).x) == 3
    assert stream.read == 4


def test_a_data_set_says_how_many_classes_there_are() -> None:
    class Named(TensorDataset):
        classes = ("a", "b", "c", "d", "e")

    named = Named(X, Y)
    part = Subset(named, [0, 1])
    for source in (named, part, DataLoader(part), Subset(part, [0])):
        assert gather(source, name="own").classes == 5
    assert gather(Subset(TensorDataset(X, Y), [0, 1]), name="own").classes == 2


def test_bytes_and_pictures_become_numbers_between_0_and_1() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    expected = pixels.transpose(0, 3, 1, 2) / np.float32(255)
    pictures = Items(*((Image.fromarray(one), 1) for one in pixels))
    np.testing.assert_allclose(gather(pictures, name="own").x, expected, rtol=1e-6)
    given = (pixels.transpose(0, 3, 1, 2), np.array([0, 1]))
    np.testing.assert_allclose(gather(given, name="own").x, expected, rtol=1e-6)


def test_numbers_are_single_or_double() -> None:
    assert gather((X.double(), Y), name="own").x.dtype == np.float64
    assert gather((X.half(), Y), name="own").x.dtype == np.float32
    assert gather((X.bfloat16(), Y), name="own").x.dtype == np.float32


def test_a_loader_that_shuffles_depends_on_the_seed_alone() -> None:
    source = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)
    one, again, other = (gather(source, name="own", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.x, again.x)
    assert (one.x != other.x).any()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "^data must be a pair .* got int$"),
        ((X, Y, Y), "^data must be a pair .* got a tuple of 3$"),
        ((X, Y[:3]), r"^y must have the shape \(10,\)"),
        ((X, Y - 1), "^y must not be negative"),
        ((X.long(), Y), "^x must hold floating-point numbers"),
        ((X * torch.nan, Y), "^x holds values that are not finite"),
        ((X[:0], Y[:0]), "^data holds no sample$|^y"),
        (Items({"image": X[0], "label": 1}), "^data must give pairs .* a dictionary with 'image', 'label'$"),
        (Items((X[0], "cat")), "^data must give samples and integer labels"),
        (Items((object(), 1)), "^data must give samples and integer labels"),
        (Items((X[0], 1), (X[0, :, :2], 1)), "^data holds samples of several shapes"),
        (DataLoader(TensorDataset(X, Y, Y)), None),
        (Items(), "^data holds no sample$"),
    ],
)
def test_what_are_no_labelled_samples_is_refused(source: Any, message: str | None) -> None:
    if message is None:
        assert len(gather(source, name="own").x) == 10  # what follows the label is left
        return
    with pytest.raises(ValueError, match=message):
        gather(source, name="own")


def test_what_does_not_fit_into_memory_is_refused_at_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art_levelset.memory.available", lambda: 700.0)
    with pytest.raises(ValueError, match="^nb_examples: 10 needs about .*; 5 would fit$"):
        gather(TensorDataset(X, Y), name="own")
    assert len(gather(TensorDataset(X, Y), name="own", most=5).x) == 5


def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((6, 8, 3), 100 * label + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_folder_of_images(tmp_path: Path) -> None:
    data = image_folder(folder(tmp_path))
    assert (data.name, data.x.shape, data.classes) == ("pets", (6, 3, 6, 8), 2)
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(data.x[:, 0, 0, 0] * 255, [0, 1, 2, 100, 101, 102], rtol=1e-5)
    assert image_folder(tmp_path / "pets", resize=4, crop=3).x.shape == (6, 3, 3, 3)
    assert image_folder(tmp_path / "pets", most=2).y.tolist() == [0, 1]


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="none is no folder"):
        image_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: Couldn't find any class folder"):
        image_folder(tmp_path / "empty")
    (folder(tmp_path) / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot identify image file"):
        image_folder(tmp_path / "pets")
    with pytest.raises(ValueError, match="resize must be an integer >= 1"):
        image_folder(tmp_path / "pets", resize=0)


def test_torchvisions_data_by_name(tmp_path: Path) -> None:
    data = torchvision_data("FakeData", size=4, image_size=(1, 5, 5), num_classes=7, most=3)
    assert (data.name, data.x.shape) == ("FakeData", (3, 1, 5, 5))
    with pytest.raises(ValueError, match="no data set 'CIFAR11': did you mean CIFAR1"):
        torchvision_data("CIFAR11")
    with pytest.raises(ValueError, match="^data_root must name the folder"):
        torchvision_data("SVHN")
    with pytest.raises(ValueError, match="SVHN: "):
        torchvision_data("SVHN", data_root=tmp_path, split="all")
    with pytest.raises(ValueError, match="FakeData: .*unexpected keyword"):
        torchvision_data("FakeData", sizes=3)


class ByTrain(Items):
    """A data set of torchvision with an argument `train`."""

    def __init__(self, root: Any, train: bool = True, transform: Any = None, download: bool = False) -> None:
        super().__init__((X[0], int(train)))


class BySplit(Items):
    """One with an argument `split`."""

    def __init__(self, root: Any, split: str = "train", transform: Any = None) -> None:
        super().__init__((X[0], ("test", "train").index(split)))


class Extended(ByTrain):
    """One that hands on arguments, as EMNIST does."""

    def __init__(self, root: Any, **others: Any) -> None:
        super().__init__(root, **others)


@pytest.mark.parametrize("kind", [ByTrain, BySplit, Extended])
def test_the_part_for_training_and_that_for_testing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.setattr("torchvision.datasets.SVHN", kind)
    assert torchvision_data("SVHN", data_root=tmp_path).y.tolist() == [0]
    assert torchvision_data("SVHN", data_root=tmp_path, train=True).y.tolist() == [1]


@pytest.mark.parametrize("name", ["SVHN", "CIFAR100", "EMNIST", "ImageNet"])
def test_nothing_is_downloaded_without_being_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it is downloaded")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    given = {"EMNIST": {"split": "letters"}, "ImageNet": {"split": "val"}}.get(name, {})
    with pytest.raises(FileNotFoundError, match=f"^data_root: {name} is not in .*, --download, or download=True"):
        torchvision_data(name, data_root=tmp_path, **given)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="^data_root: mnist is not in .*; --download, or download=True"):
        load("mnist", data_root=tmp_path, download=False)
