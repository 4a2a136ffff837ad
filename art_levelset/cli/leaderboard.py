"""`art-levelset leaderboard`: folders of records as a table, in Markdown and as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from art_levelset.cli.console import Verbs
from art_levelset.cli.places import outputs


def add_parser(verbs: Verbs) -> None:
    """
    Declare the verb and its arguments.

    :param verbs: The verbs of the command line.
    """
    parser = verbs.add_parser(
        "leaderboard",
        help="rank evaluated models",
        description="Ranks the models of folders of records by their worst-case accuracy, for each data set, threat "
        "model and radius, and prints the table.",
    )
    parser.add_argument("records", type=Path, nargs="+", metavar="FOLDER", help="folders of records (*.json)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table in Markdown")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with everything the records hold")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Print the leaderboard and write what is asked for.

    :param arguments: `records`, `markdown` and `html`.
    :return: The exit status.
    """
    from art_levelset.evaluation.leaderboard import markdown, text
    from art_levelset.evaluation.page import html
    from art_levelset.evaluation.record import read_records
    from art_levelset.files import write_text

    with outputs({"--markdown": arguments.markdown, "--html": arguments.html}):
        records = [record for folder in arguments.records for record in read_records(folder)]
        wanted = [(path, render) for path, render in ((arguments.markdown, markdown), (arguments.html, html)) if path]
        for path, content in [(path, render(records)) for path, render in wanted]:
            write_text(content, path)
    print(text(records))
    return 0
