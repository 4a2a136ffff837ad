"""The page: what a record says stays text; in a real browser it sorts, filters, unfolds and asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.evaluation.page import html
from art_levelset.evaluation.rendering import COLOURS

from ..browser import Page
from .invented import attack, curve, masking, record

TEXT = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='alert(3)' &lt;"

HOSTILE = record(
    TEXT,
    0.1,
    link='https://example.org/"onclick="alert(4)',
    authors=TEXT,
    dataset=TEXT,
    venue=TEXT,
    architecture=TEXT,
    footnote=TEXT,
    attacks=(attack(TEXT, 0.1, parameters={TEXT: 1}, notes=(TEXT,)),),
    margin_curves=(curve(TEXT),),
    masking=[{"check": TEXT, "verdict": "fail", "statement": TEXT}],
    versions={"x": TEXT},
)
RECORDS = [
    record(
        "Robust",
        0.9,
        clean_acc="98.50",
        autoattack_acc="89.00",
        authors="Ada Lovelace",
        margin_curves=(curve("PGD"), curve("bracketing", 0.99)),
        masking=masking(),
        weights={"sha256": "cd" * 32},
    ),
    record("Middling", 0.5, clean_acc="99.40", link="https://example.org/", footnote="a remark"),
    record("Tenfold", 0.1, masking=masking("zero gradients"), margin_curves=(curve(),), autoattack_acc="9.50"),
    record("Other norm", 0.7, threat_model="L2", eps="2"),
    record("Other data", 0.6, dataset="cifar10", eps="8/255", unreliable=True),
    record("Script link", 0.2, link="javascript:alert(5)", dataset="cifar10", eps="8/255"),
]


class Reader(HTMLParser):
    """The elements of a page and the text that it shows."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def values(self, attribute: str) -> list[str | None]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def test_what_a_record_says_stays_text() -> None:
    found = Reader(html([HOSTILE]))
    tags = [tag for tag, _ in found.elements]
    assert found.open == []
    assert [tags.count(tag) for tag in ("script", "style", "img", "h1", "tbody")] == [1, 1, 0, 1, 2]
    assert [name for _, attributes in found.elements for name in attributes if name.startswith("on")] == []
    assert found.values("src") == []
    assert found.text.count(TEXT) >= 10, (
        "name, data set twice, attack, note, curve, check twice, authors, venue, remark"
    )


texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=20) | (
    st.sampled_from(["<script>", "</p>", '"><img src=x>', "&lt;", "' onclick='", "<!--", "{{ 1 + 1 }}", "{% raw %}"])
)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(texts.filter(str.strip))
def test_names_stay_what_they_are_as_text_and_in_attributes(name: str) -> None:
    found = Reader(html([record(name, attacks=(attack(name),), margin_curves=(curve(name),), masking=masking())]))
    assert found.values("data-name") == [name]
    assert f"Margin curves of {name}" in found.values("aria-label")
    assert "".join(found.text).count(name) >= 3, "the model, its attack and its curve"


def test_only_web_addresses_are_linked() -> None:
    assert Reader(html(RECORDS)).values("href") == ["data:,", "https://example.org/"]
    assert Reader(html([HOSTILE])).values("href") == ["data:,", "https://example.org/%22onclick=%22alert%284%29"]


def test_ids_are_unique_and_what_refers_to_them_exists() -> None:
    found = Reader(html(RECORDS))
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    references = [*found.values("aria-controls"), *found.values("aria-labelledby"), *found.values("data-model")]
    assert len(references) == 6 + 2 * 3 + 2
    assert set(references) <= set(ids)


def test_everything_a_record_holds_is_there() -> None:
    text = " ".join(Reader(html(RECORDS)).text)
    for shown in (
        *(
            "Robust",
            "Ada Lovelace",
            "98.50",
            "90.00",
            "[87.0, 93.0]",
            "89.00",
            "ConvNet-4a",
            "L∞, eps 0.3",
            "L2, eps 2",
        ),
        *("[98.0, 99.5]", "1,000", "eps=0.3, max_iter=40", "12.5 s, 40k forward passes, 39k gradients", "bracketing"),
        *("zero gradients: judged by", "⚑ masked gradients?", "⚑ unreliable", "Not checked.", "a remark"),
        *("ab" * 32, "cd" * 32, "2026-11-22T12:00:00Z", "torch 2.15.0", "javascript:alert(5)"),
    ):
        assert shown in text


def test_a_lower_figure_of_others_stands_before_the_own_with_its_source() -> None:
    refuted = record("Refuted", 0.9, external="70.00", external_source="<b>A. Nobody</b>, 2026")
    page = html([refuted, record("Honest", 0.8)])
    text = " ".join(" ".join(Reader(page).text).split())
    assert text.index("Honest") < text.index("Refuted")
    assert text.index("70.00") < text.index("found by others: <b>A. Nobody</b>, 2026; here 90.00")
    assert "<b>A. Nobody" not in page


def test_deviations_and_long_costs() -> None:
    repeated = attack(repeats=3, deviation=0.0012, seconds=5234, forward_passes=1_230_000, gradient_evaluations=7)
    long = attack("AutoAttack", seconds=90_000, forward_passes=2 * 10**9, notes=("a note",))
    text = Reader(html([record(attacks=(repeated, long))])).text
    assert {"0.12", "1,000 × 3 runs", "87 min, 1.23M forward passes, 7 gradients", "a note"} <= set(text)
    assert "25.0 h, 2G forward passes, 39k gradients" in text


def test_the_comparison_draws_the_best_models() -> None:
    many = [record(f"M{i}", 0.9 - i / 100, margin_curves=(curve(),)) for i in range(COLOURS + 2)]
    found = Reader(html(many))
    assert found.values("data-model") == [f"model-0-{i}" for i in reversed(range(COLOURS))]
    assert f"The best {COLOURS} models are drawn." in " ".join(found.text)


def test_no_record() -> None:
    with pytest.raises(ValueError, match="records must not be empty"):
        html([])


# In a browser.


@pytest.fixture
def page(tab: Page, tmp_path: Path) -> Iterator[Page]:
    """The leaderboard, open; in the end the browser must not have complained, nor asked for anything else."""
    path = tmp_path / "page.html"
    path.write_text(html(RECORDS), encoding="utf-8")
    tab.open(path)
    yield tab
    assert tab.complaints == []
    assert tab.requests == [path.as_uri()]


def shown(page: Page) -> list[str]:
    """The models that can be seen, from top to bottom."""
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('tbody[id]')].filter(m => m.checkVisibility()).map(m => m.dataset.name)"
    )
    return names


def sorting(page: Page) -> list[str]:
    values: list[str] = page.evaluate(
        "[...document.querySelectorAll('section:nth-of-type(2) th[data-key]')].map(h => h.ariaSort)"
    )
    return values


def heading(key: str) -> str:
    return f"section:nth-of-type(2) th[data-key={key}] button"


def test_the_best_are_on_top(page: Page) -> None:
    assert shown(page) == ["Other data", "Script link", "Robust", "Middling", "Tenfold", "Other norm"]
    assert sorting(page) == ["ascending", "none", "none", "none", "none"]


@pytest.mark.parametrize(
    ("key", "first", "order", "second"),
    [
        ("rank", "descending", "Tenfold Middling Robust", "Robust Middling Tenfold"),
        ("name", "ascending", "Middling Robust Tenfold", "Tenfold Robust Middling"),
        ("clean", "descending", "Middling Tenfold Robust", "Robust Tenfold Middling"),
        ("worst", "descending", "Robust Middling Tenfold", "Tenfold Middling Robust"),
        ("autoattack", "descending", "Robust Tenfold Middling", "Tenfold Robust Middling"),
    ],
)
def test_a_click_on_a_heading_sorts(page: Page, key: str, first: str, order: str, second: str) -> None:
    page.click(heading(key))
    assert shown(page) == ["Other data", "Script link", *order.split(), "Other norm"]
    assert [value for value in sorting(page) if value != "none"] == [first]
    page.click(heading(key))
    assert shown(page)[2:5] == second.split()
    assert [value for value in sorting(page) if value not in ("none", first)] != []


def test_the_keyboard_sorts_and_unfolds(page: Page) -> None:
    page.evaluate(f"document.querySelector({heading('name')!r}).focus()")
    page.press("Enter", 13, "\r")
    assert shown(page)[2:5] == ["Middling", "Robust", "Tenfold"]
    for _ in range(3):
        page.press("Tab", 9)
    assert page.evaluate("document.activeElement.closest('th').dataset.key") == "autoattack"
    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.textContent") == "Middling"
    page.press(" ", 32, " ")
    assert unfolded(page) == ["Middling"]
    page.press("Enter", 13, "\r")
    assert unfolded(page) == []


def unfolded(page: Page) -> list[str]:
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('.more')].filter(m => m.checkVisibility()).map(m => m.parentNode.dataset.name)"
    )
    expanded = page.evaluate("[...document.querySelectorAll('[aria-expanded=true]')].map(b => b.textContent)")
    assert names == expanded
    return names


def test_a_click_on_a_model_shows_its_details(page: Page) -> None:
    assert unfolded(page) == []
    page.click("tbody[data-name=Robust] button")
    page.click("tbody[data-name=Tenfold] td.clean")
    assert unfolded(page) == ["Robust", "Tenfold"]
    assert page.evaluate("document.querySelectorAll('tbody[data-name=Robust] .details path.line').length") == 2
    assert page.evaluate("document.querySelector('tbody[data-name=Tenfold] .checks .fails').innerText") == (
        "✕\nzero gradients\nzero gradients: judged by what was measured."
    )
    page.click("tbody[data-name=Robust] button")
    assert unfolded(page) == ["Tenfold"]


def choose(page: Page, name: str, value: str) -> None:
    page.evaluate(
        f"(select => {{ select.value = {value!r}; select.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.querySelector('select[name={name}]'))"
    )


def count(page: Page) -> str:
    text: str = page.evaluate("document.querySelector('output').value")
    return text


def test_filters(page: Page) -> None:
    assert count(page) == "6 models"
    choose(page, "dataset", "mnist")
    assert shown(page) == ["Robust", "Middling", "Tenfold", "Other norm"]
    choose(page, "threat", "L2")
    assert shown(page) == ["Other norm"]
    assert count(page) == "1 of 6 models"
    choose(page, "dataset", "cifar10")
    assert shown(page) == []
    assert page.evaluate("document.getElementById('nothing').checkVisibility()")
    choose(page, "threat", "")
    choose(page, "dataset", "")
    assert len(shown(page)) == 6
    assert not page.evaluate("document.getElementById('nothing').checkVisibility()")


def test_the_search_finds_words_of_names_and_authors_and_hides_the_curves_of_the_others(page: Page) -> None:
    page.click("input[name=search]")
    page.type("LOVELACE  rob")
    assert shown(page) == ["Robust"]
    drawn = "[...document.querySelectorAll('[data-model]')].filter(p => p.checkVisibility()).map(p => p.dataset.model)"
    assert page.evaluate(drawn) == ["model-1-0"]
    page.press("Enter", 13, "\r")
    assert shown(page) == ["Robust"], "a form that is not sent"
    page.type(" nobody")
    assert shown(page) == []


def test_the_pointer_lights_up_a_models_curve(page: Page) -> None:
    lit = "[...document.querySelectorAll('.lit')].map(p => p.dataset.model)"
    page.click("tbody[data-name=Tenfold] td.clean")
    assert page.evaluate(lit) == ["model-1-2"]
    page.click("h1")
    assert page.evaluate(lit) == []


@pytest.mark.parametrize("width", [320, 390, 700, 1000, 1280])
def test_nothing_is_wider_than_the_window(tab: Page, tmp_path: Path, width: int) -> None:
    path = tmp_path / "page.html"
    path.write_text(html([*RECORDS, HOSTILE, record("W" * 300, 0.3, dataset="W" * 300)]), encoding="utf-8")
    tab.open(path, width=width)
    names = "[...document.querySelectorAll('.summary th')].map(cell => cell.clientWidth)"
    folded = tab.evaluate(names)
    tab.evaluate("document.querySelectorAll('button.unfold').forEach(b => b.click())")
    assert tab.evaluate(names) == folded
    tab.evaluate("document.querySelectorAll('th.worst button').forEach(b => b.click())")
    assert len(unfolded(tab)) == 8
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert tab.evaluate(f"{wide}.map(e => e.outerHTML.slice(0, 80))") == []
    assert tab.complaints == []
    assert tab.requests == [path.as_uri()]


def test_dark_and_light(tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(RECORDS), encoding="utf-8")
    brightness = []
    for dark in (False, True):
        tab.open(path, dark=dark)
        style = tab.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        brightness.append([sum(map(int, colour[4:-1].split(","))) for colour in style])
    (light_page, light_text), (dark_page, dark_text) = brightness
    assert light_page > 600 > 200 > light_text
    assert dark_page < 200 < 600 < dark_text


def test_without_scripts_everything_can_be_read(tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(RECORDS), encoding="utf-8")
    tab.open(path, scripts=False)
    visible = "[...document.querySelectorAll('.summary, .more')].filter(m => m.checkVisibility()).length"
    assert tab.evaluate(visible) == 12
    assert not tab.evaluate("document.getElementById('filters').checkVisibility()")


def test_the_page_runs_no_script_but_its_own(tab: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    injected = "<script>document.title = 'owned'</script><img src='https://example.org/x.png'>"
    path.write_text(html([HOSTILE]).replace("<main>", f"<main>{injected}"), encoding="utf-8")
    tab.open(path)
    assert tab.evaluate("document.title") == "Robustness leaderboard"
    assert len(tab.complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in tab.complaints)
