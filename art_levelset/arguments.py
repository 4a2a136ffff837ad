"""
The parser of the command lines: examples before the options, nothing guessed, and of a mistake what was probably meant.

>>> parser = Parser("fly", description="Fly somewhere.", examples=[("fly north", "until it is cold")])
>>> _ = parser.add_argument("--height", help="in metres")
>>> parser.summary, list(parser.parts())
('Fly somewhere.', ['options'])
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias

from art_levelset.untrusted import printable

NARROWEST, WIDEST = 60, 100
"""The columns that a help may have, on whatever terminal."""

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"
"""What a verb adds its parser to."""

Group: TypeAlias = argparse._ArgumentGroup
"""Options that stand together in the help."""

_NEGATIVE = re.compile(r"-(\.?\d|(inf|infinity|nan)$)", re.IGNORECASE)
"""Begins what is a value and no option: "-5.", "-1e-3", "-3/4", "-inf"."""


def _wanted(found: re.Match[str]) -> str:
    return f"{found[1]} must be {'an integer' if found[2] == 'int' else 'a number'}, got "


class Parser(argparse.ArgumentParser):
    """
    Begins its help with examples, and reports a wrong argument in one line, with a suggestion.

    Options are not abbreviated: what an abbreviation means may change with the next option.

    :param examples: Command lines, each with what it does.
    :param remarks: What else is to be said, below the options.
    :param intermixed: Whether options may stand between the positional arguments.
    """

    def __init__(
        self,
        prog: str | None = None,
        *,
        description: str = "",
        examples: Sequence[tuple[str, str]] = (),
        remarks: str = "",
        intermixed: bool = False,
        **options: Any,
    ) -> None:
        self.summary, self.examples, self.remarks, self.intermixed = description, examples, remarks, intermixed
        width = _columns() - 2
        super().__init__(
            prog,
            description="\n\n".join(filter(None, [_wrapped(description, width), _block(examples, width)])),
            epilog=_wrapped(remarks, width),
            formatter_class=_Help,
            allow_abbrev=False,
            **options,
        )
        self._negative_number_matcher = _NEGATIVE  # that of argparse knows no exponents

    def error(self, message: str) -> NoReturn:
        """
        Stop.

        :param message: What is wrong.
        """
        message = re.sub(r"^argument (\S+): (?=must )", r"\1 ", message)
        message = re.sub(r"^argument (\S+): invalid (int|float) value: ", _wanted, message)
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """
        Parse the arguments that the parser knows.

        :param args: The arguments; those of the process by default.
        :param namespace: Where to put their values; a new one by default.
        :return: The values, and the other arguments.
        """
        given = sys.argv[1:] if args is None else list(args)
        self._check_options(given)
        self._shorten_usage()  # before the method below makes a long one
        if not self.intermixed:
            return super().parse_known_args(given, namespace)
        self.intermixed = False  # the method below calls this one
        try:
            return self.parse_known_intermixed_args(given, namespace)
        finally:
            self.intermixed = True

    def format_help(self) -> str:
        """
        The help.

        :return: A short usage, what the program does, examples, and the options in their groups.
        """
        self._shorten_usage()
        return super().format_help()

    @property
    def verbs(self) -> dict[str, Parser]:
        """The parsers of the verbs, by name."""
        groups = [] if self._subparsers is None else self._subparsers._group_actions
        return {name: parser for group in groups for name, parser in (group.choices or {}).items()}  # type: ignore[attr-defined]

    def parts(self) -> dict[str, list[argparse.Action]]:
        """
        What can be given.

        :return: The positional arguments and the options, by the titles of their groups, in the order of the help.
        """
        groups = ((group.title or "", group._group_actions) for group in self._action_groups)
        return {title: actions for title, actions in groups if actions}

    def adopt(self, other: Parser) -> None:
        """
        Take over the options of another parser that this one lacks.

        :param other: The other one.
        """
        for action in (action for actions in other.parts().values() for action in actions):
            if action.option_strings and not {*action.option_strings} & {*self._option_string_actions}:
                self._add_action(action)

    def _shorten_usage(self) -> None:
        words = _words(self.usage) if self.usage else [self.prog, *self._needed(), "[options]"]
        indent = len("usage: ")
        self.usage = f"\n{' ' * indent}  ".join(_joined(words, _columns() - indent - 3))

    def _needed(self) -> Iterator[str]:
        """What must be given: positional arguments, and options with their values."""
        for action in (action for actions in self.parts().values() for action in actions):
            name = str(action.metavar or action.dest.upper())
            if not action.option_strings:
                yield f"{name} ..." if action.nargs in ("+", "*") else name
            elif action.required:
                yield f"{action.option_strings[0]} {name}"

    def _check_options(self, given: Sequence[str]) -> None:
        """Before anything else is found to be wrong: whether there are such options."""
        known = self._option_string_actions
        for text in given:
            if text == "--" or (self._subparsers is not None and not text.startswith("-")):
                return  # what follows is no option, or the verb's own affair
            name = text.partition("=")[0]
            if len(text) == 1 or not text.startswith("-") or " " in text or _NEGATIVE.match(text) or name in known:
                continue
            if not name.startswith("--") and name[:2] in known and f"-{name}" not in known:
                continue  # a letter with its value, or several letters
            meant = did_you_mean(f"-{name}" if len(name) > 2 and name[1] != "-" else name, known)
            self.error(f"there is no option {name}{meant or f'; {self.prog} --help lists them'}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = ", ".join(map(str, action.choices))
            meant = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"must be one of {names}, got {value!r}{meant}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    A suggestion, to end a message with.

    :param word: What was given.
    :param known: What could have been.
    :return: ": did you mean ...?", or nothing where nothing is near.

    >>> did_you_mean("mnst", ["digits", "mnist"])
    ': did you mean mnist?'
    """
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean {near[0]}?" if near else ""


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{**options, "max_help_position": 26, "width": _columns() - 2})

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if action.nargs == argparse.PARSER else text  # the verbs without a heading

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """With the value once: `-o, --output FILE`."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


def _columns() -> int:
    return max(NARROWEST, min(shutil.get_terminal_size().columns, WIDEST))


def _words(command: str) -> list[str]:
    """The words of a command; an option and its value are one."""
    return re.findall(r"-\S+ (?!-)\S+|\S+", command)


def _joined(words: Iterable[str], width: int) -> list[str]:
    """Lines of words, which may have spaces in them."""
    solid = " ".join(word.replace(" ", "\0") for word in words)
    lines = textwrap.wrap(solid, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def _block(examples: Sequence[tuple[str, str]], width: int) -> str:
    """The examples with what they do, each command in lines that a shell joins again."""
    lines = []
    for command, purpose in examples:
        lines.append("  " + " \\\n        ".join(_joined(_words(command), width - 8)))
        lines.append(textwrap.indent(_wrapped(purpose, width - 6), " " * 6))
    return "\n".join(["examples:", *lines]) if lines else ""
