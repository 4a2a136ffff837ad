"""`art-levelset leaderboard`: folders of records as a table, in Markdown and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from art_levelset.arguments import Verbs
from art_levelset.cli import output as what_is_printed
from art_levelset.cli.output import Output
from art_levelset.cli.places import outputs

EXAMPLES = (
    ("art-levelset leaderboard records", "prints the table of the records in a folder"),
    ("art-levelset leaderboard mine theirs --html board.html", "ranks two folders together, and writes a page"),
    ("art-levelset leaderboard records --markdown board.md", "writes the table for a README"),
    ("art-levelset leaderboard records --json board.json", "writes the rows for another program"),
)


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "leaderboard",
        help="rank evaluated models",
        description="Rank the models of folders of records by their worst-case accuracy, for each data set, threat "
        "model and radius, and print the table.",
        examples=EXAMPLES,
        intermixed=True,
        add_help=False,
    )
    group = parser.add_argument_group("what is ranked")
    group.add_argument(
        "records", type=Path, nargs="+", metavar="FOLDER", help="folders of records (*.json), as evaluate writes them"
    )
    group = parser.add_argument_group("files")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="write the table in Markdown")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a page with everything the records hold")
    what_is_printed.add_options(parser, "boards and their rows")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """
    Print the leaderboard and write what is asked for.

    :param arguments: `records`, `markdown`, `html` and `json`.
    :param output: What lets the results out.
    :return: The exit status.
    :raises ValueError: If a file to write would be taken for a record the next time.
    """
    from art_levelset.evaluation.leaderboard import boards, markdown, text
    from art_levelset.evaluation.page import html
    from art_levelset.evaluation.record import read_records
    from art_levelset.files import write_text

    folders = {folder.resolve(): folder for folder in arguments.records}  # each once
    files = {"--markdown": arguments.markdown, "--html": arguments.html}
    for option, path in {**files, "--json": arguments.json}.items():
        if path is not None and path.suffix.lower() == ".json" and path.resolve().parent in folders:
            raise ValueError(f"{option} must not be among the records, where every .json file is one, got {path}")
    with outputs(files):
        records = [record for folder in folders.values() for record in read_records(folder)]
        wanted = [(path, render) for path, render in ((arguments.markdown, markdown), (arguments.html, html)) if path]
        for path, content in [(path, render(records)) for path, render in wanted]:
            write_text(content, path)
            output.wrote(path)
    output.result(text(records))
    output.document({"boards": [board.as_dict() for board in boards(records)]})
    return 0
