"""What the trainers take as data, checked at the door: numpy arrays, and labels in any form that ART takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_inputs(x: Any, input_shape: tuple[int, ...], name: str = "x") -> NDArray[Any]:
    """
    Check the inputs of a classifier.

    :param x: Inputs, (n, *input_shape), n >= 1, real numbers, all finite.
    :param input_shape: The shape of one input.
    :param name: What the caller calls them.
    :return: The inputs as an array, not copied where they are one.
    :raises TypeError: If they are not numbers.
    :raises ValueError: If the shape is another or a number is not finite.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.shape[1:] != tuple(input_shape) or len(array) == 0:
        raise ValueError(f"{name} must have the shape (n >= 1, {', '.join(map(str, input_shape))}), got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
    return array


def integer_labels(y: Any, count: int, nb_classes: int, name: str = "y") -> NDArray[np.int64]:
    """
    Labels as integers, from any form that ART takes.

    :param y: Integers (n,) or (n, 1), or one-hot rows (n, nb_classes).
    :param count: n, the number of inputs that they belong to.
    :param nb_classes: The number of classes.
    :param name: What the caller calls them.
    :return: Labels in [0, nb_classes), (n,).
    :raises ValueError: If their number, shape or range is another, or they are not whole numbers.
    """
    array = np.asarray(y)
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise ValueError(f"{name} must be whole numbers or one-hot rows")
    if array.ndim == 2 and array.shape[1] == nb_classes and nb_classes > 1:
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise ValueError(f"{name} has rows that are not one-hot")
        array = array.argmax(axis=1)
    elif array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must have the shape (n,), (n, 1) or (n, {nb_classes}), got {array.shape}")
    if len(array) != count:
        raise ValueError(f"{name} must have one label an input: {count} inputs, {len(array)} labels")
    labels = array.astype(np.int64)
    if (labels != array).any():
        raise ValueError(f"{name} must be whole numbers")
    if labels.size and not (labels.min() >= 0 and labels.max() < nb_classes):
        raise ValueError(f"{name} must be in [0, {nb_classes}), got values from {labels.min()} to {labels.max()}")
    return labels
