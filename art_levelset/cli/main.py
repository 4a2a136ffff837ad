"""
`art-levelset VERB ...`: finds the verb and runs it; :mod:`art_levelset.cli.console` says what becomes of errors.

A verb is a module with `add_parser(verbs)`, which declares its arguments, and `run(arguments, output)`, which does the
work and returns the exit status. Status 0 is success, 1 that a part of the work failed, 2 bad input, 3 that a fit was
rejected, 130 an interrupt.
"""

from __future__ import annotations

import argparse
import logging
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from art_levelset import __version__
from art_levelset.arguments import Parser
from art_levelset.checks import check_seed
from art_levelset.cli import demo, evaluate, exact, leaderboard, merge, recon, train
from art_levelset.cli.console import BAD_INPUT, PROGRAM, check_device, exit_status, in_one_line, print_error
from art_levelset.cli.output import output_of
from art_levelset.cli.settings import with_settings

SHELLS = ("bash", "zsh", "tcsh")
"""Those whose completion there is a script for."""

DESCRIPTION = (
    "Networks whose level sets are where they should be: classifiers that withstand attacks, and surfaces and curves "
    "from raw point clouds."
)

EXAMPLES = (
    (f"{PROGRAM} demo", "everything once, on data that come along, in about a minute"),
    (
        f"{PROGRAM} train --data digits --arch convnet2a --eps 0.15 -o robust.pth",
        "train a network that withstands changes of every pixel by 0.15",
    ),
    (
        f"{PROGRAM} evaluate --model robust.pth --arch convnet2a --data digits --eps 0.15",
        "attack it, and write record.json",
    ),
    (f"{PROGRAM} leaderboard records --html board.html", "rank the models of a folder of records"),
    (f"{PROGRAM} recon scan.ply", "make a mesh of a scan: scan.mesh.ply"),
    (f"{PROGRAM} recon --help", "the options of a verb"),
)

ALIASES = {"name_or_path": "--data", "norm": "--threat-model", "ema_decay": "--ema", "model_dir": "--model-root"}
"""The options of arguments that have another name."""

logger = logging.getLogger(__name__)


def build_parser(*, curve: bool = False) -> Parser:
    """
    Build the parser of the whole command line.

    :param curve: Whether `recon` has the options of curves rather than those of surfaces.
    :return: The parser; parsed arguments have the verb's `run`.
    """
    parser = Parser(
        PROGRAM,
        description=DESCRIPTION,
        examples=EXAMPLES,
        remarks="Exit status: 0 success, 1 a part of the work failed, 2 bad input, 3 a fit of recon was rejected, "
        "130 an interrupt, 143 SIGTERM.",
        add_help=False,
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True, prog=PROGRAM)
    for verb in (demo, train, evaluate, merge, leaderboard, exact):
        verb.add_parser(verbs)
    recon.add_parser(verbs, curve=curve)
    others = parser.add_argument_group("other options")
    others.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="show the versions and exit"
    )
    others.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        default=argparse.SUPPRESS,
        metavar="SHELL",
        help="print the script that completes commands in bash, zsh or tcsh, and exit",
    )
    others.add_argument("-h", "--help", action="help", help="show this help and exit")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: The arguments; those of the process by default.
    :return: The exit status.
    """
    given = sys.argv[1:] if argv is None else argv
    parser = build_parser(curve=recon.wants_curves(given))
    try:
        arguments = parser.parse_args(with_settings(given) if given[:1] == ["train"] else given)
    except ValueError as error:
        print_error(f"{PROGRAM} train", in_one_line(error))
        return BAD_INPUT
    arguments.given = [*given]
    own = (action for actions in parser.verbs[arguments.verb].parts().values() for action in actions)
    options = {action.dest: action.option_strings[-1] for action in own if action.option_strings}
    return exit_status(f"{PROGRAM} {arguments.verb}", partial(_run, arguments, options))


def versions() -> str:
    """
    The versions of this program and of what it stands on.

    :return: They on one line.
    """
    from importlib.metadata import version

    return (
        f"{PROGRAM} {__version__} (torch {version('torch')}, ART {version('adversarial-robustness-toolbox')}, "
        f"Python {platform.python_version()})"
    )


def _run(arguments: argparse.Namespace, options: Mapping[str, str]) -> int:
    """Check what many verbs have, and do the work."""
    with output_of(arguments) as output:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s", versions())
            logger.debug(
                "%s", ", ".join(f"{option} {getattr(arguments, name, '')}" for name, option in options.items())
            )
        if "seed" in arguments:
            check_seed(arguments.seed, "--seed")
        if "device" in arguments:
            check_device(arguments.device)
        try:
            status: int = arguments.run(arguments, output)
        except (ValueError, OSError) as error:
            message = _in_options(error, arguments, options)
            if message is None:
                raise
            raise ValueError(message) from error
    return status


def _in_options(error: ValueError | OSError, arguments: argparse.Namespace, options: Mapping[str, str]) -> str | None:
    """What an error says of an option, by the name of its argument or of its file; None if it says nothing."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = str(error)
        named = re.match(r"(\w+)(?= must |: )", message)
        known = {**ALIASES, **options}
        if "model" in arguments and arguments.model is None:
            known["model"] = "--arch"  # which alone has brought the network
        if named and named[1] in known:
            return f"{known[named[1]]}{message[named.end() :]}"
    for name, option in options.items():
        value = getattr(arguments, name, None)
        if isinstance(value, (str, Path)) and message.startswith((f"{value}: ", f"{value} ")):
            return f"{option}: {message}"
    return None if message == str(error) else message


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(versions())
        parser.exit()


class _Completion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: object, shell: Any, *_: Any) -> None:
        from art_levelset.cli.completion import script

        print(script(build_parser(), build_parser(curve=True), shell))
        parser.exit()
