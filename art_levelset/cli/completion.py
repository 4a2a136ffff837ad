"""Completion in shells: the scripts that shtab makes of the parser, with what files and folders are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shtab

from art_levelset.arguments import Parser
from art_levelset.cli.options import DATA_SETS

FOLDERS = ("DIR", "FOLDER")
"""How the help calls what is a folder."""

_DATA: dict[str, Any] = {
    "bash": "_art_levelset_data",
    "zsh": "_art_levelset_data",
    "tcsh": "f",
}
"""Data sets by name, and files."""

_PREAMBLE = {
    "bash": f"""
_art_levelset_data() {{
  compgen -W "{" ".join(DATA_SETS)}" -- "$1"
  _shtab_compgen_files "$1"
}}
""",
    "zsh": f"""
_art_levelset_data() {{
  _alternative "names:data set:({" ".join(DATA_SETS)})" "files:file:_files"
}}
""",
}


def script(parser: Parser, curves: Parser, shell: str) -> str:
    """
    The script that completes the commands.

    :param parser: The parser of the command line.
    :param curves: The same with the options of curves, which `recon` has with `--curve`.
    :param shell: "bash", "zsh" or "tcsh".
    :return: The script, for `eval` or a file.
    """
    parser.verbs["recon"].adopt(curves.verbs["recon"])
    for verb in parser.verbs.values():
        verb.description = None  # the shorter help describes it
        for action in (action for actions in verb.parts().values() for action in actions):
            if action.dest == "data":
                action.complete = _DATA  # type: ignore[attr-defined]
            elif action.type is Path or action.dest == "json":
                kind = shtab.DIRECTORY if action.metavar in FOLDERS else shtab.FILE
                action.complete = kind  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, preamble=_PREAMBLE.get(shell, ""))
