"""The leaderboard as one HTML page that needs nothing else: no network, no library, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files

from art_levelset.evaluation.leaderboard import web_address
from art_levelset.evaluation.margin_plot import COLOURS, Line, colour_class, lowest, margin_plot
from art_levelset.evaluation.markup import Markup, element
from art_levelset.evaluation.ranking import Board, boards, interval_in_percent
from art_levelset.evaluation.record import AttackResult, MaskingCheck, Record, percent

TITLE = "Robustness leaderboard"

_NORMS = {"Linf": "L∞", "L2": "L2", "L1": "L1"}
_COLUMNS = (("rank", "#"), ("name", "Model"), ("clean", "Clean"), ("worst", "Worst case"), ("autoattack", "AutoAttack"))
_VERDICTS = {"pass": ("✓", "passes"), "fail": ("✕", "fails"), "not judged": ("–", "not judged")}


def html(records: Iterable[Record]) -> str:
    """
    The leaderboard as a page: a sortable table for each data set, threat model and radius, filters, and everything that
    a record holds at a click on the model.

    Whatever comes from a record is escaped; links lead to http and https addresses only. The page forbids the browser
    every script and style but its own, and every connection.

    :param records: At least one.
    :return: The page.
    :raises ValueError: If there is no record.
    """
    ranked = boards(records)
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=f"{policy}; form-action 'none'"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", TITLE),
        element("style", Markup(style)),
        element("script", Markup(script)),
    )
    body = element(
        "body",
        element("header", element("h1", TITLE), _explanation(), _filters(ranked)),
        element("main", *(_section(board, number) for number, board in enumerate(ranked))),
        element("p", "No model matches.", id="nothing", hidden=True),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _explanation() -> Markup:
    return element(
        "p",
        "Worst case: the share of samples that are classified right under every attack, with its 95% interval. "
        "A flag marks models that fail a check for masked gradients: they may be less robust than they look.",
        class_="muted",
    )


def _filters(ranked: list[Board]) -> Markup:
    datasets = dict.fromkeys(board.dataset for board in ranked)
    norms = dict.fromkeys(board.threat_model for board in ranked)
    return element(
        "form",
        _choice("dataset", "Data set", {name: name for name in datasets}),
        _choice("threat", "Threat model", {name: _NORMS[name] for name in norms}),
        element(
            "label",
            element("span", "Search"),
            element("input", type="search", name="search", placeholder="name, author, attack", autocomplete="off"),
        ),
        element("output", name="count"),
        id="filters",
        role="search",
    )


def _choice(name: str, label: str, options: dict[str, str]) -> Markup:
    items = [element("option", "all", value="")]
    items += [element("option", text, value=value) for value, text in options.items()]
    return element("label", element("span", label), element("select", *items, name=name))


def _section(board: Board, number: int) -> Markup:
    title = f"board-{number}"
    what = f"{_NORMS[board.threat_model]}, eps {board.eps}"
    models = [f"model-{number}-{i}" for i in range(len(board.entries))]
    rows = [
        _model(model, rank, record, i)
        for i, (model, (rank, record)) in enumerate(zip(models, board.entries, strict=True))
    ]
    heading = element("h2", board.dataset, " ", element("span", what, class_="muted"), id=title)
    table = element("table", _headings(), *rows, aria_labelledby=title)
    return element(
        "section",
        heading,
        element("div", element("div", table, class_="table"), _comparison(board, models), class_="columns"),
        class_="board",
        data_dataset=board.dataset,
        data_threat=board.threat_model,
        aria_labelledby=title,
    )


def _headings() -> Markup:
    cells = [
        element(
            "th",
            element("button", label, type="button"),
            scope="col",
            class_=key,
            data_key=key,
            aria_sort="ascending" if key == "rank" else "none",
        )
        for key, label in _COLUMNS
    ]
    return element("thead", element("tr", *cells))


def _comparison(board: Board, models: list[str]) -> Markup:
    lines = [
        Line(lowest(record.margin_curves), i, models[i])
        for i, (_, record) in enumerate(board.entries[:COLOURS])
        if record.margin_curves
    ]
    if not lines:
        return Markup("")
    caption = (
        "Accuracy by radius, in the colours of the table: the lowest of each model's margin curves. The dashed line "
        "marks eps."
    )
    if len(board.entries) > COLOURS:
        caption += f" The best {COLOURS} models are drawn."
    picture = margin_plot(lines, board.entries[0][1].radius, f"Margin curves of the models on {board.dataset}")
    return element("figure", picture, element("figcaption", caption, class_="muted"), class_="comparison")


def _model(model: str, rank: int, record: Record, number: int) -> Markup:
    more = f"{model}-more"
    drawn = record.margin_curves and number < COLOURS
    key = element("span", class_=f"key {colour_class(number)}", aria_hidden="true") if drawn else Markup("")
    name = element(
        "button", key, record.name, type="button", aria_expanded="false", aria_controls=more, class_="unfold"
    )
    facts = filter(None, (record.architecture, record.venue, f"{record.n_examples:,}\N{NO-BREAK SPACE}samples"))
    about = element("span", " · ".join(facts), class_="muted about")
    worst = record.worst_case
    summary = element(
        "tr",
        element("td", str(rank), class_="rank"),
        element("th", name, *_flags(record), about, scope="row"),
        element("td", record.clean_acc, class_="clean"),
        element(
            "td", element("b", percent(worst.accuracy)), " ", _interval(worst.interval), _bar(record), class_="worst"
        ),
        element("td", record.autoattack_acc or "–", class_="autoattack"),
        class_="summary",
    )
    return element(
        "tbody",
        summary,
        element("tr", element("td", _details(record), colspan=str(len(_COLUMNS))), class_="more", id=more),
        id=model,
        data_rank=str(rank),
        data_name=record.name,
        data_clean=record.clean_acc,
        data_worst=str(worst.accuracy),
        data_autoattack=record.autoattack_acc,
        data_search=" ".join((record.authors, record.footnote, *(attack.name for attack in record.attacks))),
    )


def _flags(record: Record) -> list[Markup]:
    flags = []
    if record.failed_checks:
        flags.append(element("span", "⚑ masked gradients?", class_="flag"))
    if record.unreliable:
        flags.append(element("span", "⚑ unreliable", class_="flag"))
    return flags


def _interval(interval: tuple[float, float]) -> Markup:
    return element("span", interval_in_percent(interval), class_="muted interval")


def _bar(record: Record) -> Markup:
    """The clean accuracy as a pale bar, the worst case as a dark one, and its interval."""
    low, high = (100 * bound for bound in record.worst_case.interval)
    return element(
        "svg",
        element("rect", class_="track", width="100", height="6"),
        element("rect", class_="to-clean", width=f"{100 * record.clean:.2f}", height="6"),
        element("rect", class_="to-worst", width=f"{100 * record.worst_case.accuracy:.2f}", height="6"),
        element("rect", class_="whisker", x=f"{low:.2f}", width=f"{high - low:.2f}", y="2", height="2"),
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _details(record: Record) -> Markup:
    return element("div", _attacks(record), _curves(record), _masking(record), _facts(record), class_="details")


def _attacks(record: Record) -> Markup:
    headings = ("Attack", "Accuracy", "95% interval", "Deviation", "Samples", "Cost")
    head = element("thead", element("tr", *(element("th", heading, scope="col") for heading in headings)))
    rows = [_attack(attack, headings) for attack in record.attacks]
    return element("div", element("h3", "Attacks"), element("table", head, element("tbody", *rows)), class_="attacks")


def _attack(attack: AttackResult, headings: tuple[str, ...]) -> Markup:
    parameters = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in attack.parameters.items()
    )
    notes = element("ul", *(element("li", note) for note in attack.notes)) if attack.notes else Markup("")
    samples = f"{attack.n_examples:,}" + (f" × {attack.repeats} runs" if attack.repeats > 1 else "")
    cost = (
        f"{_duration(attack.seconds)}, {_count(attack.forward_passes)} forward passes, "
        f"{_count(attack.gradient_evaluations)} gradients"
    )
    deviation = "–" if attack.deviation is None else f"{100 * attack.deviation:.2f}"
    cells = (percent(attack.accuracy), interval_in_percent(attack.interval), deviation, samples, cost)
    name = element("th", attack.name, element("span", parameters, class_="muted parameters"), notes, scope="row")
    named = zip(headings[1:], cells, strict=True)
    return element("tr", name, *(element("td", cell, data_label=heading) for heading, cell in named))


def _curves(record: Record) -> Markup:
    if not record.margin_curves:
        return Markup("")
    lines = [Line(curve, i) for i, curve in enumerate(record.margin_curves)]
    keys = [
        element("li", element("span", class_=f"key {colour_class(i)}", aria_hidden="true"), curve.name)
        for i, curve in enumerate(record.margin_curves)
    ]
    picture = margin_plot(lines, record.radius, f"Margin curves of {record.name}")
    return element("div", element("h3", "Margin curves"), picture, element("ul", *keys, class_="keys"))


def _masking(record: Record) -> Markup:
    heading = element("h3", "Masked gradients")
    if record.masking is None:
        return element("div", heading, element("p", "Not checked.", class_="muted"))
    return element("div", heading, element("ul", *map(_check, record.masking), class_="checks"))


def _check(check: MaskingCheck) -> Markup:
    sign, verdict = _VERDICTS[check.verdict]
    return element(
        "li",
        element("span", sign, class_="sign", role="img", aria_label=verdict),
        element("b", check.check),
        " ",
        element("span", check.statement, class_="muted"),
        class_=verdict.replace(" ", "-"),
    )


def _facts(record: Record) -> Markup:
    last = record.data.first + record.n_examples - 1
    facts = {
        "Link": _link(record.link),
        "Authors": record.authors,
        "Venue": record.venue,
        "Architecture": record.architecture,
        "Additional data": "yes" if record.additional_data else "no",
        "Forward passes a prediction": str(record.number_forward_passes),
        "Clean accuracy": f"{record.clean_acc} {interval_in_percent(record.clean_interval)}",
        "Reported by the authors": record.reported,
        "AutoAttack": record.autoattack_acc,
        "Calibration": record.calibration.text() if record.calibration else "",
        "Remark": record.footnote,
        "Samples": f"{record.n_examples:,}, {record.data.first} to {last}",
        "Samples, SHA-256": _code(record.data.sha256),
        "Weights, SHA-256": _code(record.weights.sha256) if record.weights else "",
        "Seed": str(record.seed),
        "Made with": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "Date": record.created,
    }
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items() if value]
    return element("div", element("h3", "Record"), element("dl", *pairs), class_="facts")


def _link(link: str) -> str:
    address = web_address(link)
    return element("a", link, href=address, rel="noopener noreferrer") if address else link


def _code(value: str) -> Markup:
    return element("code", value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _count(number: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
