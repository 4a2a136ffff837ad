"""What comes from files stays text: in pages, which a browser shows, in Markdown, in pictures and on the terminal."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.cli.console import in_one_line, print_error
from art_levelset.cli.main import main
from art_levelset.evaluation.figures import plot_history
from art_levelset.evaluation.leaderboard import markdown, text
from art_levelset.evaluation.page import html
from art_levelset.evaluation.record import read_record
from art_levelset.evaluation.rendering import web_address
from art_levelset.evaluation.transfer import TransferMatrix
from art_levelset.recon.inspect.preview import draw
from art_levelset.recon.inspect.viewer import write_page
from art_levelset.untrusted import printable

from ..browser import Page
from ..evaluation.invented import attack, curve, masking, record

PAYLOADS = [
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    "</title></style></svg><img src=x onerror='window.ran = 1'>",
    '" onmouseover="window.ran = 1" autofocus onfocus="window.ran = 1" x="',
    "' onclick='window.ran = 1' x='",
    "<svg onload=window.ran=1>",
    "<iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "<a href=javascript:window.ran=1>click</a>",
    "<link rel=stylesheet href=https://example.org/a.css><base href=https://example.org/>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "${data} $title {{ 7 * 7 }} {% include 'x' %} <!-- --!>",
    "&lt;script&gt; &#60;script&#62; &amp;",
    "<form action=https://example.org/><input name=search id=filters>",
    "<img src=https://example.org/a.png srcset='https://example.org/b.png 2x'>",
]

LINKS = [
    "javascript:window.ran=1",
    "JaVaScRiPt:window.ran=1",
    " javascript:window.ran=1",
    "data:text/html,<script>window.ran=1</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//example.org/a",
    "https:javascript:1",
    "http://",
    'https://example.org/"onmouseover="window.ran=1',
    "https://example.org/'><script>window.ran=1</script>",
    "https://example.org/a)](javascript:window.ran=1)",
]


def hostile(payload: str, link: str) -> dict[str, Any]:
    """A record with a payload in every text, as JSON."""
    made = record(
        payload,
        0.5,
        link=link,
        authors=payload,
        dataset=payload,
        venue=payload,
        architecture=payload,
        footnote=payload,
        attacks=(attack(payload, 0.5, parameters={payload: {payload: [payload]}}, notes=(payload,)),),
        margin_curves=(curve(payload),),
        masking=[{"check": payload, "verdict": "fail", "statement": payload}, *masking()],
        versions={payload: payload},
        created="2026-11-22T12:00:00Z",
        unreliable=True,
    )
    return {"format": "art-levelset/evaluation", "version": 1, **json.loads(made.model_dump_json())}


def folder_of(payloads: list[str], folder: Path) -> Path:
    folder.mkdir()
    for number, payload in enumerate(payloads):
        content = hostile(payload, LINKS[number % len(LINKS)])
        (folder / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_browser_shows_payloads_as_text(tab: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In every text of a record: no script runs, nothing is asked for, every link leads to the web."""
    records = folder_of(PAYLOADS, tmp_path / "records")
    path = tmp_path / "board.html"
    assert main(["leaderboard", str(records), "--html", str(path)]) == 0
    tab.open(path)
    tab.evaluate("document.querySelectorAll('button').forEach((button) => button.click())")
    tab.evaluate(
        "for (const element of document.querySelectorAll('*'))"
        " for (const kind of ['mouseover', 'focus', 'load', 'error'])"
        " element.dispatchEvent(new Event(kind, { bubbles: true }))"
    )
    assert tab.evaluate("window.ran") is None
    assert tab.requests == [path.as_uri()]
    assert tab.complaints == []
    assert tab.evaluate("document.querySelectorAll('script').length") == 1
    assert tab.evaluate("document.querySelectorAll('img, iframe, base, object, embed').length") == 0
    addresses = tab.evaluate("[...document.querySelectorAll('a')].map((link) => link.href)")
    assert addresses
    assert all(re.match("https?://", address) for address in addresses), addresses
    attributes = tab.evaluate("[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())")
    assert [name for name in attributes if name.startswith("on")] == []
    shown = tab.evaluate("document.body.textContent")
    for payload in PAYLOADS:
        assert shown.count(payload) >= 5, payload


def test_the_page_of_a_scan_shows_its_name_as_text(tab: Page, tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    path = tmp_path / "a.html"
    title = " ".join(PAYLOADS)
    write_page(path, ball, np.asarray(ball.vertices), title=title)
    tab.open(path, width=400, height=300)
    assert tab.evaluate("window.ran") is None
    assert tab.requests == [path.as_uri()]
    assert tab.evaluate("document.querySelector('#panel div').textContent") == title
    assert tab.evaluate("document.title") == title


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


MARKS = [
    *PAYLOADS,
    "a | b || c",
    "`code` ``` ~~~",
    "[link](https://example.org/) ![image](https://example.org/a.png) <https://example.org/>",
    "[a]: https://example.org/",
    "# heading > quote - list 1. item",
    "**bold** __bold__ ~~struck~~ *x*",
    "\\| \\` \\",
    "&copy; &#124;",
    "$x$ $$y$$",
    "https://example.org/ www.example.org",
    "| --- | --- |",
]


def rendered(content: str) -> Elements:
    """What a renderer of GitHub's kind makes of it."""
    markdown_it = pytest.importorskip("markdown_it")
    return Elements(markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(content))


@pytest.mark.parametrize("mark", MARKS)
def test_markdown_shows_marks_as_text(mark: str, tmp_path: Path) -> None:
    """As a renderer of GitHub's kind understands the table: the same cells, one name each, no element but links."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(hostile(mark, "https://example.org/a|b)>]<script>")), encoding="utf-8")
    content = markdown([read_record(path), record("plain", 0.4)])
    table = [line for line in content.splitlines() if line.startswith("|")]
    page = rendered(content)
    tags = [tag for tag, _ in page.found]
    assert {*tags} <= {"h3", "table", "thead", "tbody", "tr", "th", "td", "a", "p"}
    assert tags.count("td") == 8 * (len(table) - 4)
    links = [str(attributes["href"]) for tag, attributes in page.found if tag == "a"]
    assert links == ["https://example.org/a%7Cb%29%3E%5D%3Cscript%3E"]
    assert page.text.count(mark) >= 2, "the name and the data set"


@pytest.mark.parametrize("mark", [*MARKS, "two\nlines", "a\tb"])
def test_other_tables_in_markdown_keep_their_cells(mark: str) -> None:
    right = np.ones((1, 1, 4), dtype=bool)
    matrix = TransferMatrix((mark,), (mark,), right, right[0])
    page = rendered(matrix.markdown())
    assert [tag for tag, _ in page.found if tag in ("th", "td")] == ["th"] * 3 + ["td"] * 3
    assert {tag for tag, _ in page.found} <= {"table", "thead", "tbody", "tr", "th", "td", "strong"}
    assert page.text.count(" ".join(mark.split())) == 2


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=30))
def test_only_the_web_is_linked(link: str) -> None:
    for start in ("", "javascript:", "https://example.org/", "http:", "HTTPS://example.org"):
        address = web_address(start + link)
        assert address is None or re.fullmatch(r"(?i)https?://[!-~]+", address)
        assert address is None or not set("\"'<>()`| ") & set(address)


ESCAPES = [
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "\x08\x08",
    "\u202eabc",
    "\x00",
    "a\udcff",
    "\x7f",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_steers_the_terminal(
    escape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printable(escape).isprintable()
    print_error("art-levelset", in_one_line(ValueError(f"{escape}: is bad")))
    assert capsys.readouterr().err.strip().isprintable()
    fields = hostile("plain", "")
    for change in (
        {"name": escape},
        {"dataset": escape},
        {escape: 1},
        {"attacks": [{**fields["attacks"][0], "name": escape}]},
    ):
        (tmp_path / "a.json").write_text(json.dumps({**fields, **change}), encoding="utf-8")
        assert main(["leaderboard", str(tmp_path)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.strip().isprintable()
        assert len(shown.err.splitlines()) == 1


def test_tables_are_as_wide_as_they_look() -> None:
    wide = record("\N{CJK UNIFIED IDEOGRAPH-6F22}" * 200, 0.5, dataset="x" * 5000)
    assert max(map(len, text([wide, record("short", 0.4)]).splitlines())) <= 120
    assert html([wide]).count("x" * 5000) >= 1


@pytest.mark.parametrize("title", ["$\\frac{a$", "a$b$c", "$", "\\alpha_{", "a\\$b"])
def test_titles_are_no_mathematics(title: str, tmp_path: Path) -> None:
    plot_history([{"epoch": 1, "loss": 0.5, "accuracy": 0.5}], tmp_path / "b.png", title=title)
    right = np.ones((1, 1, 4), dtype=bool)
    TransferMatrix((title,), (title,), right, right[0]).plot(tmp_path / "c.png", title=title)
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in "bc")


def test_nor_is_the_title_of_a_scan(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    draw(tmp_path / "a.png", ball, np.asarray(ball.vertices), title="$\\frac{a$")
    assert (tmp_path / "a.png").stat().st_size > 1000
