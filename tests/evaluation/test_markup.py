from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.evaluation.markup import Markup, element, joined


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


texts = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["<script>", "</p>", '"><img src=x>', "&lt;", "' onclick='", "<!--"]
)


@settings(deadline=None, derandomize=True, database=None)
@given(texts, texts)
def test_text_and_attributes_stay_what_they_are(text: str, value: str) -> None:
    found = Reader(element("p", text, title=value))
    assert found.tags == [("p", [("title", value)])]
    assert found.text == text


def test_elements() -> None:
    assert element("a", "x & y", href="h", class_="c", aria_label='"q"', hidden=True, id=False) == (
        '<a href="h" class="c" aria-label="&quot;q&quot;" hidden>x &amp; y</a>'
    )
    assert element("link", rel="icon") == '<link rel="icon">'
    assert element("ul", element("li", "1"), element("li", "2")) == "<ul><li>1</li><li>2</li></ul>"
    assert joined("<", Markup("<br>")) == "&lt;<br>"


def test_what_python_makes_of_markup_is_text_again() -> None:
    assert element("p", Markup("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"
