"""Completion in shells: the scripts that shtab makes of the parser, with what files and folders are."""

from __future__ import annotations

from pathlib import Path

import shtab

from art_levelset.arguments import Parser
from art_levelset.cli.options import ARCHITECTURES, DATA_SETS

FOLDERS = ("DIR", "FOLDER")
"""How the help calls what is a folder."""

NAMES = {"data": DATA_SETS, "arch": ARCHITECTURES}
"""Options that take names, and files as well, of whatever kind."""

_PREAMBLE = {
    "bash": "".join(
        f"""
_art_levelset_{option}() {{
  compgen -W "{" ".join(names)}" -- "$1"
  _shtab_compgen_files "$1"
}}
"""
        for option, names in NAMES.items()
    ),
    "zsh": "".join(
        f"""
_art_levelset_{option}() {{
  _alternative "names:name:({" ".join(names)})" "files:file:_files"
}}
"""
        for option, names in NAMES.items()
    ),
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
            if action.dest in NAMES and not action.choices:
                function = f"_art_levelset_{action.dest}"
                action.complete = {"bash": function, "zsh": function, "tcsh": "f"}  # type: ignore[attr-defined]
            elif action.type is Path or action.dest == "json":
                kind = shtab.DIRECTORY if action.metavar in FOLDERS else shtab.FILE
                action.complete = kind  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, preamble=_PREAMBLE.get(shell, ""))
