"""
What a verb lets out: results and remarks for people, one JSON document for programs, and a log of what it does.

Results go to stdout, remarks too unless `--quiet` is given; bars, the log and errors go to stderr. With `--json`,
stdout has the document and nothing else: what people read goes to stderr, and nowhere with `--quiet`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from art_levelset import __version__
from art_levelset.arguments import Parser
from art_levelset.cli.console import PROGRAM
from art_levelset.files import check_place, write_text

STDOUT = Path("-")
"""The file of `--json` that is standard output."""

TITLE = "what is printed"

logger = logging.getLogger(__name__)


def add_options(parser: Parser, document: str) -> None:
    """
    Declare the options that every verb has, in a group of their own, the last one.

    :param parser: The verb's, made without the option `--help`.
    :param document: What the verb's JSON document has.
    """
    group = parser.add_argument_group(TITLE)
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="only results and errors; no progress bars")
    loudness.add_argument(
        "-v", "--verbose", action="count", default=0, help="say on stderr what is done; -vv: in detail"
    )
    group.add_argument(
        "--json",
        type=_json_file,
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help=f"write a JSON document ({document}) to FILE, a .json file; without FILE, or with -, to stdout, "
        "which then has nothing else",
    )
    group.add_argument("-h", "--help", action="help", help="show this help and exit")


@dataclass
class Output:
    """
    What a run lets out.

    :param verb: The verb.
    :param quiet: Whether only results and errors are wanted.
    :param json: Where the JSON document goes: :data:`STDOUT`, another file, or nowhere.
    :param stdout: The standard output.
    :param files: What has been written so far.
    """

    verb: str
    quiet: bool = False
    json: Path | None = None
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    files: list[Path] = field(default_factory=list)

    @property
    def bars(self) -> bool:
        """Whether progress bars are wanted."""
        return not self.quiet

    def result(self, text: str) -> None:
        """
        Print what was asked for.

        :param text: Lines for people.
        """
        if not (self.quiet and self.json == STDOUT):
            print(text, flush=True)

    def remark(self, text: str) -> None:
        """
        Print what else there is to say, unless only results are wanted.

        :param text: Lines for people.
        """
        if not self.quiet:
            print(text, flush=True)

    def wrote(self, *paths: Path) -> None:
        """
        Note that files have been written.

        :param paths: The files.
        """
        for path in paths:
            self.files.append(path)
            logger.info("wrote %s", path)

    def document(self, contents: Mapping[str, Any]) -> None:
        """
        Write the JSON document, if one is wanted.

        :param contents: The verb's own keys.
        :raises OSError: If the file cannot be written.
        """
        if self.json is None:
            return
        text = as_json({**envelope(self.verb, self.files), **contents})
        if self.json == STDOUT:
            self.stdout.write(text)
            self.stdout.flush()
        else:
            write_text(text, self.json)
            self.wrote(self.json)


def envelope(verb: str, files: Sequence[Path]) -> dict[str, Any]:
    """
    What all documents begin with.

    :param verb: The verb.
    :param files: The files that were written.
    :return: They and the version of the program.
    """
    return {"verb": verb, "version": __version__, "files": list(files)}


@contextmanager
def output_of(arguments: argparse.Namespace) -> Iterator[Output]:
    """
    Send what a verb lets out where its options say.

    :param arguments: `verb`, `quiet`, `verbose` and `json`, and the paths of the verb.
    :return: What the verb lets its results out by.
    :raises ValueError: If the JSON document cannot be written afterwards.
    """
    output = Output(arguments.verb, arguments.quiet, arguments.json)
    _check_json(arguments)
    with ExitStack() as stack:
        stack.enter_context(logging_on_stderr(arguments.verb, arguments.quiet, arguments.verbose))
        if output.json == STDOUT:
            stack.enter_context(redirect_stdout(sys.stderr))
        yield output


@contextmanager
def logging_on_stderr(verb: str, quiet: bool, verbose: int, subject: str = "") -> Iterator[None]:
    """
    Send the package's log to stderr, above the progress bars.

    :param verb: The verb.
    :param quiet: Whether only errors are wanted.
    :param verbose: 0 for warnings, 1 for what is done, 2 for details.
    :param subject: What the messages are about, with which they begin, where several processes write them.
    """
    package = logging.getLogger(__name__.partition(".")[0])
    handler, before = _Lines(), package.level
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {subject}%(name)s: %(message)s", "%H:%M:%S")
        if verbose
        else _Plain(f"{PROGRAM} {verb}: %(levelname)s: {subject}%(message)s")
    )
    handler.setLevel(logging.ERROR if quiet else logging.NOTSET)
    if verbose:
        package.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)


def as_json(document: Mapping[str, Any]) -> str:
    """
    A document as text.

    :param document: Numbers, texts, paths and collections of them.
    :return: JSON, indented; numbers that are not finite are null, paths are texts.
    """
    return json.dumps(_plain(document), indent=2) + "\n"


class _Plain(logging.Formatter):
    """Levels in small letters, as in the messages of errors."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(logging.makeLogRecord({**vars(record), "levelname": record.levelname.lower()}))


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _json_file(text: str) -> Path:
    path = Path(text)
    if path != STDOUT and path.suffix.lower() != ".json":
        raise argparse.ArgumentTypeError(
            f"must be a .json file or -, got {text!r}; put --json last, or write --json -, for standard output"
        )
    return path


def _check_json(arguments: argparse.Namespace) -> None:
    """Before the work: whether there is room for the document, beside the other files."""
    path: Path | None = arguments.json
    if path is None or path == STDOUT or "scans" in arguments:  # those of several scans are checked with their files
        return
    for name, other in vars(arguments).items():
        if name != "json" and isinstance(other, Path) and other.resolve() == path.resolve():
            raise ValueError(f"--json: {path} is also --{name.replace('_', '-')}")
    try:
        check_place(path)
    except OSError as error:
        raise ValueError(f"--json: {error}") from error
