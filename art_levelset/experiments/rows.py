"""
The rows of an experiment in a JSON file: found again by their keys, so that a killed experiment goes on.

The file holds `{"settings": {...}, "rows": [...]}` and is written anew, in one piece, after each row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art_levelset.files import check_place, write_text
from art_levelset.untrusted import read_json


class Rows:
    """
    The rows in a file.

    :param path: The JSON file; it need not exist yet, its folder is made.
    :param settings: What all rows have in common, as JSON has it: a file of other settings is refused.
    :param keys: The columns by which a row is known; a row of the same keys takes the other's place.
    :raises ValueError: If the file has rows of other settings, or is no file of rows.
    :raises OSError: If the file cannot be read, or nothing can be written in its place.

    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> rows = Rows(Path(folder.name) / "table.json", {"steps": 3}, keys=("name", "seed"))
    >>> rows.add({"name": "ours", "seed": 0, "accuracy": 0.5})
    >>> Rows(Path(folder.name) / "table.json", {"steps": 3}, keys=("name", "seed")).find(name="ours", seed=0)
    {'name': 'ours', 'seed': 0, 'accuracy': 0.5}
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, keys: tuple[str, ...] = ("name", "seed")) -> None:
        self.path, self.settings, self.keys = path, json.loads(json.dumps(settings)), keys
        self.rows: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        check_place(path)
        if path.exists():
            try:
                found = read_json(path)
                there, rows = found["settings"], list(found["rows"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"output: {path} is no file of an experiment's rows") from error
            if there != self.settings:
                raise ValueError(f"output: {path} has rows of other settings: {json.dumps(there):.300}")
            if not all(isinstance(row, dict) and {*keys} <= {*row} for row in rows):
                raise ValueError(f"output: {path} has rows without {', '.join(keys)}")
            self.rows = rows

    def find(self, **key: Any) -> dict[str, Any] | None:
        """
        The row of a key.

        :param key: A value for each of the keys.
        :return: The row, or None.
        """
        return next((row for row in self.rows if all(row[name] == key[name] for name in self.keys)), None)

    def select(self, **columns: Any) -> list[dict[str, Any]]:
        """
        The rows with these values.

        :param columns: Values by column.
        :return: The rows, in the file's order.
        """
        return [row for row in self.rows if all(row.get(name) == value for name, value in columns.items())]

    def add(self, row: Mapping[str, Any]) -> None:
        """
        Put a row into the file, in place of one of the same key.

        :param row: The row, with its keys.
        """
        old = self.find(**{name: row[name] for name in self.keys})
        if old is None:
            self.rows.append(dict(row))
        else:
            self.rows[self.rows.index(old)] = dict(row)
        write_text(json.dumps({"settings": self.settings, "rows": self.rows}, indent=2) + "\n", self.path)


def add_common_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """
    Declare what every experiment that fills a file of rows has: where it goes, and a short version.

    :param parser: The experiment's parser.
    :param name: The experiment's name.
    """
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=default_output(name),
        metavar="FILE",
        help="the rows, JSON; the picture beside it ends in .png (default: %(default)s; with --fast in demo-output)",
    )
    parser.add_argument("--fast", action="store_true", help="a version of seconds, that shows that all of it works")


def default_output(name: str, *, fast: bool = False) -> Path:
    """
    Where an experiment's rows go by default; those of its short version elsewhere, for they are no results.

    :param name: The experiment's name.
    :param fast: Whether it is the short version.
    :return: The file.
    """
    return Path("demo-output" if fast else "results") / name / f"{name}.json"
