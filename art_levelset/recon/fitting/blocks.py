"""
A large scan in blocks: a network for each part of it, in a frame of its own.

Blocks are the cells of a k-d division (:mod:`art_levelset.recon.cloud.division`) with equal numbers of planes, which
are evenly spread: so each network has an equal part of the surface. Beyond its cell a network has a say as far as
:data:`OVERLAP` reaches of the planes, and is fitted to what is there as well. Planes, their sides and the indicator
function are those of the whole scan, so that blocks do not disagree. The function of all is
:class:`art_levelset.recon.patchwork.Patchwork`.

Processes that work together (:mod:`art_levelset.recon.fitting.ranks`) share the fits, block by block.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from art_levelset.distributed import world
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.division import divide
from art_levelset.recon.cloud.scan import Scan
from art_levelset.recon.fitting.attempts import Options, fit_scan
from art_levelset.recon.fitting.checkpoint import Checkpoint
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.fitting.progress import Budget
from art_levelset.recon.fitting.ranks import from_each, share_weights
from art_levelset.recon.fitting.samples import WALL
from art_levelset.recon.patchwork import Patchwork

logger = logging.getLogger(__name__)

OVERLAP = 4.0
"""How far a block has a say beyond its cell, in reaches of the planes."""

BORDER = 0.08
"""How far its box goes beyond its data, where no other block follows, in halves of their longest side."""

FEWEST_PLANES = 100
"""A block has so many, or there are too many blocks."""


@dataclass(frozen=True, eq=False)
class Block:
    """
    A part of a scan with a network of its own.

    :param low: The corner of its box with the smallest coordinates, (3,), in the scan's coordinates.
    :param high: The opposite one.
    :param planes: How many planes its network was fitted to.
    :param attempts: How the attempts at the fit were judged, in their order; empty where nothing was judged.
    """

    low: Points
    high: Points
    planes: int
    attempts: tuple[Judgement, ...] = ()

    @property
    def rank(self) -> float:
        """
        For comparisons.

        :return: That of the best attempt; 0 where nothing was judged.
        """
        return min((attempt.rank for attempt in self.attempts), default=0.0)


def block_file(checkpoint: str | Path, number: int) -> Path:
    """
    Where the state of the fit of a block is kept.

    :param checkpoint: Where that of one network would be.
    :param number: The block, counted from 0.
    :return: A file beside it: fit.checkpoint.block3 for the third.
    """
    path = Path(checkpoint)
    return path.with_name(f"{path.name}.block{number + 1}")


def fit_blocks(
    scan: Scan,
    number: int,
    options: Options,
    steps: int,
    device: torch.device,
    checkpoints: Sequence[Checkpoint] | None = None,
) -> tuple[Patchwork, tuple[Block, ...]]:
    """
    Fit a network to each block of a scan.

    :param scan: The scan.
    :param number: How many blocks, >= 2.
    :param options: What is the same in all fits.
    :param steps: Of an attempt at a block.
    :param device: Where the networks are.
    :param checkpoints: Where the state of the fit of each block is kept; None for nowhere.
    :return: The function of all, and the blocks.
    :raises ValueError: If there are too many blocks, or a checkpoint is damaged or that of another fit.
    :raises OSError: If a checkpoint cannot be read.
    """
    centres = scan.planes.centres
    if len(centres) < number * FEWEST_PLANES:
        raise ValueError(
            f"blocks: {number} are too many for {len(centres)} local planes, {FEWEST_PLANES} each at least"
        )
    low, high = divide(centres, number)
    overlap = OVERLAP * scan.planes.reach
    supports = zip(low - overlap, high + overlap, strict=True)
    boxes = [_box(centres, *support, overlap / 2) for support in supports]
    frames = [_frame(*box) for box in boxes]
    patchwork = Patchwork(
        np.hstack([low, high]).tolist(),
        [np.concatenate(box).tolist() for box in boxes],
        [[*frame.centre.tolist(), frame.scale] for frame in frames],
        overlap,
        torch.Generator(),
    ).to(device)
    ranks = world()
    scan = replace(scan, indicator=replace(scan.indicator, nodes=scan.indicator.nodes.to(device)))

    def own() -> list[Block]:
        """What this process has fitted."""
        found = []
        for i in range(number)[ranks.share(number)]:
            part = scan.part(boxes[i][0] - scan.planes.reach, boxes[i][1] + scan.planes.reach, frames[i])
            inner = tuple(torch.as_tensor(frames[i].to_unit(corner), dtype=torch.float32) for corner in boxes[i])
            file = None if checkpoints is None else checkpoints[i]
            state = None if file is None else file.read()
            name = f"fit of block {i + 1} of {number}"
            network, budget = patchwork.networks[i], Budget(steps, None)
            judged = fit_scan(network, None, part, options, budget, file, state, (inner[0], inner[1]), name)
            low_corner, high_corner = (scan.frame.from_unit(corner) for corner in boxes[i])
            found.append(Block(low_corner, high_corner, len(part.planes), judged))
        return found

    shares = from_each(own)
    share_weights(patchwork.networks)
    blocks = [shares[i % ranks.size][i // ranks.size] for i in range(number)]
    logger.info("%d blocks of %s planes", number, ", ".join(str(block.planes) for block in blocks))
    return patchwork, tuple(blocks)


def _box(centres: Points, low: Points, high: Points, least_border: float) -> tuple[Points, Points]:
    """The box of the planes in a support, with a border where the support does not end."""
    inside = centres[((centres >= low) & (centres <= high)).all(axis=1)]
    least, most = inside.min(axis=0), inside.max(axis=0)
    border = max(BORDER * float((most - least).max()) / 2, least_border)
    return np.maximum(low, least - border), np.minimum(high, most + border)


def _frame(low: Points, high: Points) -> Frame:
    """The frame in which a box has its longest side from -WALL to WALL."""
    return Frame((low + high) / 2, float((high - low).max()) / (2 * WALL))
