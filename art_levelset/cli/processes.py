"""
Several processes that do the work of one: where each stands, the folder in which they meet, and shards.

Those that torchrun starts, or anything that sets RANK and WORLD_SIZE, share the work as it comes; the first one alone
prints and writes. A shard, `--shard i/n`, is a process that needs to know nothing of the others: it does a fixed share,
and leaves a mark beside it, by which `art-levelset merge` knows what was asked for.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from art_levelset.arguments import Group
from art_levelset.cli.console import in_one_line, is_expected
from art_levelset.cli.signals import interrupted
from art_levelset.files import common_folder, write_text
from art_levelset.untrusted import read_bytes

if TYPE_CHECKING:
    from art_levelset.attacks.memo import Memo

FORMAT = "art-levelset shard"
"""What a mark says it is."""

MARK = "shard-{}-of-{}.json"

SLOWEST = timedelta(days=30)
"""How long a rank waits for the others."""

logger = logging.getLogger(__name__)


def add_shard(group: Group) -> None:
    """
    Declare the option of a shard.

    :param group: What to add it to.
    """
    group.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="do the I-th of N shares of the work only, and keep it in the folder of --resume; art-levelset merge "
        "makes the record when all are done",
    )


def place_among_ranks() -> tuple[int, int]:
    """
    The place of this process among those that torchrun (or anything that sets the same variables) has started.

    :return: Its rank and how many there are: 0 and 1 where there is nothing of the kind.
    :raises ValueError: If the variables RANK and WORLD_SIZE make no sense.
    """
    rank, size = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise ValueError(f"RANK must be a number in [0, WORLD_SIZE), got RANK={rank} and WORLD_SIZE={size}")
    return int(rank), int(size)


def meet_ranks() -> None:
    """Join the group of all ranks, if this process has not done so."""
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=SLOWEST)


def wait_for_ranks() -> None:
    """Under torchrun, which stops all processes as soon as one has failed: wait until all have done their share."""
    import torch

    if "TORCHELASTIC_RUN_ID" in os.environ:
        meet_ranks()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@contextmanager
def shared_memo(folder: Path | None, shard: tuple[int, int] | None) -> Iterator[Memo]:
    """
    The memory of finished work that this process shares with the others.

    :param folder: What `--resume` names; where it is missing, processes of one torchrun have a temporary folder.
    :param shard: The number of a shard, from 1 on, and how many there are.
    :return: The memory, with the share of this process.
    :raises ValueError: If the processes have no folder to meet in.
    :raises OSError: If the folder cannot be made.
    """
    from art_levelset.attacks.memo import Memo, Share

    rank, size = place_among_ranks()
    if shard is not None:
        if size > 1:
            raise ValueError(f"--shard must be given to single processes, which torchrun has not started, got {size}")
        if folder is None:
            raise ValueError("--resume must name the folder that keeps the work of a --shard")
        yield Memo(folder, share=Share(shard[0] - 1, shard[1], fixed=True))
    elif size == 1 or folder is not None:
        yield Memo(folder, share=Share(rank, size))
    elif "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        with common_folder(f"art-levelset-{os.getppid()}-{os.environ.get('MASTER_PORT', 0)}") as common:
            yield Memo(common, share=Share(rank, size))
    else:
        raise ValueError(f"--resume must name a folder that all {size} processes see")


def own_device(name: str) -> str:
    """
    Where this process computes, of several on a machine.

    :param name: What `--device` names.
    :return: That; for "cuda" the GPU of the process's local rank.
    """
    _, size = place_among_ranks()
    if size == 1 or name != "cuda":
        return name
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def status_of_rank(command: Callable[[], int]) -> int:
    """
    Run a command in one of several processes: what stops one of them does not stop the others.

    :param command: It returns the exit status.
    :return: That; 0 where it was stopped in a process other than the first one, whose share the others do.
    """
    rank, size = place_among_ranks()
    try:
        return command()
    except Exception as error:
        if rank == 0 or interrupted() or not is_expected(error):
            raise
        logger.warning("process %d of %d has stopped, the others do its share: %s", rank + 1, size, in_one_line(error))
        return 0


def leave_mark(folder: Path, shard: tuple[int, int], given: Sequence[str]) -> None:
    """
    Note in its folder that a shard is finished.

    :param folder: The folder.
    :param shard: The number of the shard, from 1 on, and how many there are.
    :param given: The arguments of its command line.
    :raises OSError: If it cannot be written.
    """
    mark = {"format": FORMAT, "shard": shard[0], "of": shard[1], "arguments": list(given)}
    write_text(json.dumps(mark, indent=2) + "\n", folder / MARK.format(*shard))


def marks_of(folders: Sequence[Path]) -> dict[tuple[int, int], list[str]]:
    """
    What finished shards have left in folders.

    :param folders: The folders.
    :return: The arguments of the command line of each shard, by its number, from 1 on, and how many there are.
    :raises ValueError: If no folder has a mark, or one is none.
    :raises OSError: If a folder is none.
    """
    found: dict[tuple[int, int], list[str]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder")
        for path in sorted(folder.glob(MARK.format("*", "*"))):
            found.setdefault(*_mark(path))
    if not found:
        raise ValueError(f"there is no finished shard in {', '.join(map(str, folders))}")
    return found


def finished_shards(arguments: argparse.Namespace) -> str:
    """
    What to do when all shards are done.

    :param arguments: Those of a shard.
    :return: The command.
    """
    return f"art-levelset merge {arguments.resume} -o {arguments.output}"


def _mark(path: Path) -> tuple[tuple[int, int], list[str]]:
    try:
        mark = json.loads(read_bytes(path))
        shard, of, arguments = mark["shard"], mark["of"], mark["arguments"]
        right = mark["format"] == FORMAT and type(shard) is type(of) is int and 1 <= shard <= of
        right = right and isinstance(arguments, list) and all(isinstance(one, str) for one in arguments)
    except (ValueError, TypeError, KeyError, RecursionError):
        right = False
    if not right:
        raise ValueError(f"{path} is no mark of a shard")
    return (shard, of), arguments


def _shard(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise argparse.ArgumentTypeError(f"must be I/N with 1 <= I <= N, such as 2/8, got {text!r}")
    return int(parts[1]), int(parts[2])
