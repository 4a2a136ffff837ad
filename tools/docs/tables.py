"""Tables that can be read on a phone: columns of prose get a least width, and the table scrolls."""

from __future__ import annotations

import re

LONG = 40
"""Characters of a cell that is prose."""

WIDTH = "11rem"


def with_widths(page: str) -> str:
    """
    Give the columns of prose of a page's tables a least width.

    :param page: HTML as Markdown's tables are.
    :return: The HTML.
    """
    return re.sub(r"<table>.*?</table>", lambda match: _with_widths(match[0]), page, flags=re.DOTALL)


def _with_widths(table: str) -> str:
    rows = [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("</tr>")]
    lengths = [[len(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in rows if row]
    if not lengths or max(map(len, lengths)) < 3:
        return table
    columns = range(len(lengths[0]))
    prose = [max(row[i] for row in lengths if i < len(row)) > LONG for i in columns]
    wide = iter(prose)

    def head(match: re.Match[str]) -> str:
        if not next(wide, False):
            return match[0]
        if match[1]:
            return f'<th style="{match[1]} min-width: {WIDTH};">'
        return f'<th style="min-width: {WIDTH};">'

    return re.sub(r'<th(?: style="([^"]*)")?>', head, table)
