"""A reconstruction as one file, which holds numbers only: loading it runs no code that the file brings."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from art_levelset.checks import check_not_negative, check_positive
from art_levelset.files import write_bytes
from art_levelset.recon.cloud.clouds import FEWEST_POINTS, Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.contents import built, fill, numbers
from art_levelset.recon.meshing.surface import HandleRemoval
from art_levelset.recon.network import GridNetwork
from art_levelset.recon.patchwork import Patchwork
from art_levelset.tensors import has_format, load_tensors
from art_levelset.untrusted import opened

FORMAT = "art-levelset reconstruction 3"

NETWORKS: tuple[type[nn.Module], ...] = (GridNetwork, Patchwork)
"""Those that keep their settings."""

Parts = tuple[Frame, Planes, float, HandleRemoval, Points]
"""What a file has beside the network: the frame, the planes, the correction, the handle removal and the points."""

FARTHEST = 10.0
"""Lengths in the unit frame, where a cloud lies in [-1, 1]^3, are not larger."""


def save(
    path: str | Path,
    network: nn.Module,
    frame: Frame,
    planes: Planes,
    correction: float,
    handle_removal: HandleRemoval,
    points: Points,
) -> None:
    """
    Write a reconstruction to a file, which appears when it is complete.

    :param path: The file.
    :param network: F. Its weights are written, and, for :data:`NETWORKS`, what it
           takes to build it again.
    :param frame: The map between the scan's coordinates and the unit frame.
    :param planes: The local planes of the cloud.
    :param correction: By how much F may be corrected beside the data.
    :param handle_removal: The shifts that remove handles.
    :param points: The points that sharp edges are found with, which are written as float32.
    :raises OSError: If it cannot be written.
    """
    own = _class_named(type(network).__name__) is type(network)
    contents = {
        "format": FORMAT,
        "network": type(network).__name__ if own else None,
        "settings": network.settings if own else {},
        "weights": {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()},
        "frame": _fields(frame),
        "planes": _fields(planes),
        "correction": correction,
        "repairs": {
            "places": torch.as_tensor(handle_removal.centres),
            "shifts": torch.as_tensor(handle_removal.shifts),
        },
        "points": torch.as_tensor(points, dtype=torch.float32),
    }
    packed = io.BytesIO()  # given a file, torch.save does not say by an OSError that it is full
    torch.save(contents, packed)
    write_bytes(packed.getvalue(), path)


def load(path: str | Path, network: nn.Module | None = None) -> tuple[nn.Module, Parts]:
    """
    Read a reconstruction.

    :param path: The file.
    :param network: The network to fill with the weights, for one that is none of this package's.
    :return: The network, on the CPU, and the others.
    :raises OSError: If the file cannot be read.
    :raises ValueError: If it is no reconstruction, or needs a network.
    """
    path = Path(path)
    with opened(path) as file:
        try:
            contents = load_tensors(file)
        except ValueError as error:
            raise ValueError(f"{path}: is not a reconstruction: {error}") from error
    if not has_format(contents, FORMAT):
        raise ValueError(f"{path}: is not a reconstruction of this version")
    try:
        parts = _parts(contents)
    except Exception as error:  # a file may say anything
        raise ValueError(f"{path}: is a damaged reconstruction ({type(error).__name__}: {error!s:.200})") from error
    weights = contents.get("weights")
    if network is None:
        kind = _class_named(contents.get("network"))
        if kind is None:
            raise ValueError(f"network: {path} has the weights of a network of your own, give the network")
        network = built(kind, contents.get("settings"), weights, path)
    fill(network, weights, path)
    return network, parts


def _parts(contents: dict[str, Any]) -> Parts:
    """All but the network, checked."""
    frame, planes, repairs = (_arrays(contents[name]) for name in ("frame", "planes", "repairs"))
    centre = numbers("frame.centre", frame["centre"], (3,))
    scale, reach = float(frame["scale"]), float(planes["reach"])
    check_positive("frame.scale", scale)
    check_positive("planes.reach", reach)
    check_not_negative("planes.error", planes["error"])
    check_not_negative("correction", contents["correction"])
    if max(reach, planes["error"], contents["correction"]) > FARTHEST:
        raise ValueError("reach, error and correction must be lengths of the unit frame")
    centres = numbers("planes.centres", planes["centres"], (None, 3))
    normals = numbers("planes.normals", planes["normals"], (len(centres), 3))
    if not len(centres):
        raise ValueError("planes.centres must not be empty")
    places = numbers("repairs.places", repairs["places"], (None, 3))
    shifts = numbers("repairs.shifts", repairs["shifts"], (len(places),))
    removal = HandleRemoval(places, shifts)
    found = contents.get("points", torch.zeros(0, 3))  # files of earlier versions have none
    points = numbers("points", found.numpy(), (None, 3)).astype(np.float64)
    if 0 < len(points) < FEWEST_POINTS or np.abs(points).max(initial=0) > FARTHEST:
        raise ValueError(f"points must be none, or {FEWEST_POINTS} and more, in the unit frame")
    own = Planes(centres, normals, reach, planes["error"])
    return Frame(centre, scale), own, contents["correction"], removal, points


def _class_named(name: Any) -> type[nn.Module] | None:
    """A network of this package that keeps its settings, to be built again from them."""
    return next((kind for kind in NETWORKS if kind.__name__ == name), None)


def _fields(record: Any) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: torch.as_tensor(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _arrays(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
