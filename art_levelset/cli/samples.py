"""
The labelled samples that `--data` names: a file, a known data set, torchvision's, a folder of images, the user's own.

A file or a data set has a part for training and one for testing, and each verb takes its own. What the user's callable
returns, and what is in a folder, is taken as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from art_levelset.cli.networks import with_arguments
from art_levelset.cli.python_path import called, errors_named, is_python_path, json_arguments, short_name
from art_levelset.untrusted import printable

if TYPE_CHECKING:
    from art_levelset.evaluation.datasets import Dataset

IMAGE_FOLDER, TORCHVISION = "imagefolder:", "torchvision:"
"""What names of folders of images, and of torchvision's data sets, begin with."""


def is_own_data(data: str) -> bool:
    """
    Whether `--data` names a callable of the user's own.

    :param data: What it names.
    :return: Whether it is a Python path.
    """
    return not data.startswith((IMAGE_FOLDER, TORCHVISION)) and is_python_path(data)


def read_data(data: str, arguments: argparse.Namespace, *, train: bool = False, most: int | None = None) -> Dataset:
    """
    The samples, in memory.

    :param data: What `--data` names.
    :param arguments: The options `data_args`, `data_root`, `download` and `seed`.
    :param train: Whether they are those to train on, where the data have both.
    :param most: How many are needed at most; all by default.
    :return: The samples.
    :raises ValueError: If there are no such data, or they are none of labelled samples; the message names the option.
    :raises OSError: If a file cannot be read.
    """
    from art_levelset.evaluation.datasets import load
    from art_levelset.evaluation.sources import gather, image_folder, torchvision_data

    given = json_arguments("--data-args", arguments.data_args)
    if is_own_data(data):
        name = printable(with_arguments(short_name(data), given))
        source = called("--data", data, given)
        with errors_named("--data", name):
            return gather(source, name=name, most=most, seed=arguments.seed)
    if data.startswith(IMAGE_FOLDER):
        if unknown := given.keys() - {"resize", "crop"}:
            raise ValueError(f"--data-args of imagefolder are resize and crop, got {min(unknown)!r}")
        try:
            return image_folder(data.removeprefix(IMAGE_FOLDER), most=most, **given)
        except ValueError as error:
            raise ValueError(f"--data: {error}") from error
    if data.startswith(TORCHVISION):
        if reserved := given.keys() & {"name", "data_root", "download", "most", "root", "transform"}:
            raise ValueError(f"--data-args must not have {min(reserved)!r}")
        options = {"data_root": arguments.data_root, "download": arguments.download, "most": most}
        return torchvision_data(data.removeprefix(TORCHVISION), **{**options, "train": train, **given})
    if given:
        raise ValueError("--data-args are for data of your own, torchvision:NAME and imagefolder:DIR")
    return load(data, data_root=arguments.data_root, train=train, download=arguments.download)


def options_of_test(data: str, given: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """
    The options that name the test samples which belong to training samples.

    :param data: What `--data` has named for training.
    :param given: The arguments of `--data-args`.
    :return: The options and their values; and, where only the user knows the samples, what is to be put in the place of
             a word in them.

    >>> options_of_test("torchvision:CIFAR100", {"resize": 16})
    ({'--data': 'torchvision:CIFAR100', '--data-args': '{"resize": 16}'}, None)
    >>> options_of_test("mine.py:training", {})
    ({'--data': 'DATA'}, 'test data for DATA')
    """
    if is_own_data(data) or given.keys() & {"train", "split"}:
        return {"--data": "DATA"}, "test data for DATA"
    arguments = {"--data-args": json.dumps(given)} if given else {}
    if data.startswith(IMAGE_FOLDER):
        return {"--data": f"{IMAGE_FOLDER}DIR", **arguments}, "a folder of test images for DIR"
    return {"--data": data, **arguments}, None
