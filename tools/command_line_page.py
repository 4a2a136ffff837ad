"""
Writes the part of docs/command_line.md that lists the verbs, with the examples and options that their parsers have.

    python tools/command_line_page.py

A test fails while the page is another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from art_levelset.arguments import Parser
from art_levelset.cli.main import build_parser
from art_levelset.cli.output import TITLE
from art_levelset.experiments.__main__ import EXPERIMENTS, PROGRAM

PAGE = Path(__file__).parent.parent / "docs" / "command_line.md"
BEGIN, END = "<!-- begin: tools/command_line_page.py -->\n", "<!-- end: tools/command_line_page.py -->\n"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def renewed(page: str) -> str:
    """
    The page as it has to be.

    :param page: The page as it is.
    :return: The same with the verbs of the parsers.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{verbs()}\n{END}{after}"


def verbs() -> str:
    """
    The verbs, and the experiments.

    :return: Markdown.
    """
    surfaces, curves = build_parser(), build_parser(curve=True)
    parsers = [*surfaces.verbs.values(), curves.verbs["recon"]]
    parts = [*(part for parser in parsers for part in section(parser)), *experiments()]
    return "\n\n".join(parts) + "\n"


def section(parser: Parser) -> Iterator[str]:
    """
    A verb.

    :param parser: Its parser.
    :return: Its paragraphs.
    """
    yield f"## {parser.prog}"
    yield parser.summary
    yield "\n".join(["```bash", *(line for example in parser.examples for line in lines_of(*example)), "```"])
    for title, actions in parser.parts().items():
        if title != TITLE:
            rows = [f"| {invocation(action)} | {described(action, parser)} |" for action in actions]
            yield "\n".join([f"| {title} | |", "|---|---|", *rows])
    if parser.remarks:
        yield parser.remarks


def lines_of(command: str, purpose: str) -> list[str]:
    """
    An example.

    :param command: The command.
    :param purpose: What it does.
    :return: A comment and the command, for a shell.
    """
    return [f"# {purpose}", command]


def invocation(action: argparse.Action) -> str:
    """
    How an argument is given.

    :param action: The argument.
    :return: Its names and its value.
    """
    value = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices and not value:
        value = " or ".join(map(str, action.choices))
    if action.nargs in ("+", "*"):
        value = f"{value} ..."
    names = " ".join(f"`{name}`" for name in action.option_strings)
    return f"{names} {value}".strip() if action.nargs != 0 else names


def described(action: argparse.Action, parser: Parser) -> str:
    """
    What an argument is for.

    :param action: The argument.
    :param parser: Its parser.
    :return: Its help as a cell of a table.
    """
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    needed = "; **needed**" if action.required and action.option_strings else ""
    return text.replace("|", "\\|").replace("*", "\\*") + needed


def experiments() -> Iterator[str]:
    """
    The experiments.

    :return: Paragraphs.
    """
    yield f"## {PROGRAM}"
    yield "The paper's tables and figures, and what else was measured: see [the results](results/README.md)."
    rows = [f"| `{name}` | {one.summary} | `{one.example}`: {one.purpose} |" for name, one in EXPERIMENTS.items()]
    yield "\n".join(["| NAME | what it finds out | for example |", "|---|---|---|", *rows])


if __name__ == "__main__":
    main()
