from __future__ import annotations

from pathlib import Path

import pytest

from art_levelset.arguments import Parser, did_you_mean


def fly() -> Parser:
    parser = Parser(
        "fly",
        description="Fly somewhere, over hills and valleys and whatever else there is on the way to the other side.",
        examples=[("fly --output-dir somewhere --height 3000 --name bird --speed 100 --colour red", "far")],
        remarks="Birds only.",
    )
    group = parser.add_argument_group("the flight")
    group.add_argument("--height", type=float, metavar="M", required=True, help="in metres")
    group.add_argument("--speed", type=int, default=100, help="in percent (default: %(default)s)")
    group.add_argument("--colour", choices=("red", "green"))
    group.add_argument("-o", "--output-dir", type=Path, metavar="DIR")
    group.add_argument("-v", action="count")
    return parser


def stopped(parser: Parser, argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(argv)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line.removeprefix("fly: error: ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--heigth", "3"], "there is no option --heigth: did you mean --height?"),
        (["--heigth=3"], "there is no option --heigth: did you mean --height?"),
        (["--spee", "3"], "there is no option --spee: did you mean --speed?"),
        (["-height", "3"], "there is no option -height: did you mean --height?"),
        (["-output-dir", "x"], "there is no option -output-dir: did you mean --output-dir?"),
        (["--height", "3", "--zzz"], "there is no option --zzz; fly --help lists them"),
        (["--height", "3", "-x"], "there is no option -x; fly --help lists them"),
        (["--height", "3", "--colour", "gren"], "--colour must be one of red, green, got 'gren': did you mean green?"),
        (["--height", "3", "--colour", "xyz"], "--colour must be one of red, green, got 'xyz'"),
        (["--height", "high"], "--height must be a number, got 'high'"),
        (["--height", "3", "--speed", "0.5"], "--speed must be an integer, got '0.5'"),
        (["--speed", "3"], "the following arguments are required: --height"),
        (["--height", "3", "bird"], "unrecognized arguments: bird"),
    ],
)
def test_a_mistake_is_one_line_with_what_was_meant(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stopped(fly(), argv, capsys) == message


def test_what_is_no_mistake() -> None:
    found = fly().parse_args(["--height", "-3", "-osomewhere", "-vv", "--speed=-5"])
    assert (found.height, found.output_dir, found.v, found.speed) == (-3.0, Path("somewhere"), 2, -5)
    assert fly().parse_args(["--height", "1", "-o", "-"]).output_dir == Path("-")
    assert fly().parse_args(["--height", "1", "-o", ""]).output_dir == Path()


@pytest.mark.parametrize("text", ["-5", "-5.", "-.5", "-1e-3", "-1.2E+5", "-inf", "-Infinity", "-1e400"])
@pytest.mark.parametrize("intermixed", [False, True])
def test_negative_numbers_are_values(text: str, intermixed: bool) -> None:
    parser = Parser("fly", intermixed=intermixed)
    parser.add_argument("to", type=float)
    parser.add_argument("-o", "--over", type=float, nargs=3)
    found = parser.parse_args(["--over", text, "0", text, text])
    assert found.over == [float(text), 0, float(text)]
    assert found.to == float(text)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--height", "-1x"], "--height must be a number, got '-1x'"),
        (["--height", "-3/4"], "--height must be a number, got '-3/4'"),
        (["--height", "-info"], "there is no option -info; fly --help lists them"),
    ],
)
def test_what_is_no_negative_number(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(fly(), argv, capsys) == message


def test_the_options_of_a_verb_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("fly")
    parser.add_argument("--version", action="store_true")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, prog="fly")
    north = verbs.add_parser("north")
    north.add_argument("--height")
    assert parser.parse_args(["north", "--height", "3"]).height == "3"
    assert parser.verbs == {"north": north}
    assert "fly north: error: there is no option --hight: did you mean --height?" in stopped(
        parser, ["north", "--hight", "3"], capsys
    )
    assert stopped(parser, ["--versoin", "north"], capsys) == "there is no option --versoin: did you mean --version?"
    assert stopped(parser, ["nort"], capsys) == "VERB must be one of north, got 'nort': did you mean north?"


def test_options_between_positional_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser("fly")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--quiet", action="store_true")
    assert stopped(parser, ["a", "--quiet", "b"], capsys) == "unrecognized arguments: b"
    parser.intermixed = True
    assert parser.parse_args(["a", "--quiet", "b"]).names == ["a", "b"]
    assert parser.parse_args(["a", "b"]).names == ["a", "b"]
    assert "did you mean --quiet?" in stopped(parser, ["a", "--quite", "b"], capsys)


@pytest.mark.parametrize(("columns", "widest"), [("20", 58), ("80", 78), ("300", 98)])
def test_the_help_has_examples_before_options_and_fits(
    columns: str, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = fly().format_help()
    lines = text.splitlines()
    assert lines[0] == "usage: fly --height M [options]"
    assert max(map(len, lines)) <= widest
    assert text.index("Fly somewhere") < text.index("examples:") < text.index("the flight:") < text.index("Birds only.")
    assert "  -o, --output-dir DIR" in lines
    assert "(default: 100)" in text
    first = lines.index("examples:") + 1
    command = [line.strip() for line in lines[first : first + 3] if line.startswith("  ")]
    joined = "\n".join(command).replace(" \\\n", " ").splitlines()[0]
    assert joined == "fly --output-dir somewhere --height 3000 --name bird --speed 100 --colour red"


def test_options_are_taken_over_where_they_are_lacking() -> None:
    one, other = Parser("fly", add_help=False), fly()
    one.add_argument("--height", help="one's own")
    one.adopt(other)
    titles = {
        name: action.help for actions in one.parts().values() for action in actions for name in action.option_strings
    }
    assert titles["--height"] == "one's own"
    assert {"--speed", "--colour", "-o", "--output-dir"} < titles.keys()
    assert one.parse_args(["--speed", "3"]).speed == 3


def test_suggestions() -> None:
    assert did_you_mean("--epss", ["--eps", "--eps-step"]) == ": did you mean --eps?"
    assert did_you_mean("anything", ["else"]) == ""
