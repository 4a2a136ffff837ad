"""What a command line does with all its scans: with one alone, with several, or with the share of a rank."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from art_levelset.cli.console import check_device, print_error
from art_levelset.cli.recon.batch import outcomes, place_among_ranks, summary, wait_for_ranks
from art_levelset.cli.recon.result import Result


def work_on_all(
    arguments: Namespace, arguments_of_each: Callable[[Namespace], list[Namespace]], work: Callable[[Namespace], Result]
) -> int:
    """
    Work on all scans and print what became of them.

    :param arguments: What the parser returns.
    :param arguments_of_each: Makes the arguments of each scan of them, and checks them.
    :param work: What to do with one scan; a function of a module.
    :return: The exit status: 0, or 1 if one of several scans failed.
    :raises ValueError: If an argument or the contents of a single file are bad.
    :raises OSError: If a single file cannot be read or written.
    :raises ImportError: If a library is missing.
    """
    if arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    if arguments.seed < 0:
        raise ValueError(f"--seed must be >= 0, got {arguments.seed}")
    check_device(arguments.device)
    rank, size = place_among_ranks()
    jobs = arguments_of_each(arguments)
    if len(jobs) == 1 and size == 1:
        print(*work(jobs[0]).lines(), sep="\n")
        return 0
    share = jobs[rank::size]
    for job in share:
        job.quiet |= size > 1 or arguments.jobs > 1  # bars of several processes overwrite each other
    ends = []
    for end in outcomes(share, work, arguments.jobs):
        ends.append(end)
        print(f"[{len(ends)} of {len(share)}] {end}", flush=True)
    if ends:
        print(*summary(ends), sep="\n", flush=True)
    failed = [end for end in ends if end.result is None]
    for end in failed:
        print_error(end.error if str(end.scan) in end.error else f"{end.scan}: {end.error}")
    wait_for_ranks()
    return 1 if failed else 0
