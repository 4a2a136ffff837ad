"""`art-levelset VERB ...`, and `python -m art_levelset VERB ...`: the command line as a process."""

from __future__ import annotations

import sys

from art_levelset.cli.signals import as_process


def run() -> int:
    """
    Run the command line of the process. From here on a signal is one line, during the imports too.

    :return: The exit status.
    """
    return as_process("art-levelset", _command)


def _command() -> int:
    from art_levelset.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
