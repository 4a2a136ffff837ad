"""Every help: examples that are commands, options in groups, within 80 columns, and without PyTorch."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from art_levelset import trainers
from art_levelset.adapters import catalogue
from art_levelset.arguments import Parser
from art_levelset.cli import main as command_line
from art_levelset.cli import options
from art_levelset.cli.main import EXAMPLES, PROGRAM, build_parser, main
from art_levelset.core import balls
from art_levelset.evaluation import datasets
from art_levelset.experiments import __main__ as experiments
from art_levelset.models import CLASSIFIERS

ROOT = Path(__file__).parents[2]
PARSERS: list[Parser] = [*build_parser().verbs.values(), build_parser(curve=True).verbs["recon"]]
VERBS = [parser.prog.split()[1:] for parser in PARSERS]
each_verb = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog.removeprefix(f"{PROGRAM} "))


def arguments(parser: Parser) -> list[argparse.Action]:
    return [action for actions in parser.parts().values() for action in actions]


def parsed(command: str) -> None:
    """Parse a command as the program does."""
    program, *argv = shlex.split(command)
    assert program == PROGRAM
    build_parser(curve="--curve" in argv).parse_args(argv)


@each_verb
def test_the_examples_are_commands(parser: Parser) -> None:
    assert len(parser.examples) >= 3
    for command, purpose in parser.examples:
        assert command.startswith(f"{parser.prog} ") or command == parser.prog
        assert purpose
        parsed(command)


def test_the_first_examples_are_commands() -> None:
    assert {command.split()[1] for command, _ in EXAMPLES} == set(build_parser().verbs) - {"exact", "merge"}
    for command, _ in EXAMPLES:
        if not command.endswith("--help"):
            parsed(command)


@each_verb
def test_the_help_fits_and_leads_to_what_is_asked_for(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*parser.prog.split()[1:], "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {parser.prog} ")
    assert max(map(len, text.splitlines())) <= 80
    usage, _, rest = text.partition("\n\n")
    assert len(usage.splitlines()) <= 2
    assert rest.index("\nexamples:\n") < rest.index(":\n  -")
    titles = [title for title in parser.parts() if title not in ("options", "positional arguments")]
    assert titles[-1] == "what is printed"
    assert [rest.count(f"\n{title}:\n") for title in titles] == [1] * len(titles)
    assert parser.parts().keys() == set(titles), "all options are in named groups"


@each_verb
def test_every_option_is_explained_and_says_its_default(parser: Parser) -> None:
    for action in (action for actions in parser.parts().values() for action in actions):
        assert action.help, action.option_strings
        assert action.metavar is not None or action.nargs == 0 or action.choices, (
            "an upper-case name stands for a value"
        )
        if action.default not in (None, False, 0, "==SUPPRESS==") and action.option_strings:
            assert "default: " in action.help % vars(action), action.option_strings


def test_the_names_in_the_help_are_those_of_the_package() -> None:
    assert tuple(CLASSIFIERS) == options.ARCHITECTURES
    assert options.ATTACKS == catalogue.NAMES
    assert tuple(balls.THREAT_MODELS) == options.THREAT_MODELS
    assert ("digits", *datasets.TORCHVISION) == options.DATA_SETS
    assert {name: set(known) for name, known in options.PRESETS.items()} == {
        "levelset": set(trainers.PRESETS),
        "geometric-svm": set(trainers.GEOMETRIC_SVM_PRESETS),
    }


def test_options_of_other_names_are_options() -> None:
    known = {
        name for parser in PARSERS for actions in parser.parts().values() for a in actions for name in a.option_strings
    }
    assert set(command_line.ALIASES.values()) < known


def test_help_and_version_need_no_pytorch() -> None:
    commands = [["--help"], ["--version"], *([*verb, "--help"] for verb in VERBS), ["evaluate", "--epss", "1"]]
    code = f"""
import contextlib, io, sys
from art_levelset.cli.main import main
from art_levelset.experiments.__main__ import main as experiments
heavy = {{"torch", "numpy", "art", "scipy", "matplotlib", "sklearn", "tqdm", "shtab"}}
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    runs = [(main, argv) for argv in {commands}] + [(experiments, ["--help"]), (experiments, ["figure9"])]
    for program, argv in runs:
        try:
            program(argv)
        except SystemExit:
            pass
        else:
            raise AssertionError(argv)
print(*heavy & sys.modules.keys())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_the_same_help_for_the_module_of_the_reconstruction() -> None:
    texts = [
        subprocess.run([sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in (["art_levelset.recon", "--curve"], ["art_levelset", "recon", "--curve"])
    ]
    assert texts[0] == texts[1]
    assert texts[0].startswith("usage: art-levelset recon --curve SCAN ")


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_the_examples_of_the_experiments_are_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = experiments.EXPERIMENTS[name]
    parser = experiments.build_parser(name)
    assert parser.parse_args([name, *experiment.example.split()]).name == name
    with pytest.raises(SystemExit):
        experiments.main([name, "--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.index("examples:\n") < text.index("options:\n")


def test_the_first_examples_of_the_experiments_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for command, _ in experiments.EXAMPLES:
        argv = command.removeprefix(f"{experiments.PROGRAM} ").split()
        if "--help" not in argv:
            assert experiments.build_parser(argv[0]).parse_args(argv).name == argv[0]
    with pytest.raises(SystemExit):
        experiments.main(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"\n    {name} " in text or f"\n    {name}\n" in text for name in experiments.EXPERIMENTS)


def page_tool() -> ModuleType:
    path = ROOT / "tools" / "command_line_page.py"
    spec = importlib.util.spec_from_file_location("command_line_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_verbs_of_the_parsers() -> None:
    tool = page_tool()
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.renewed(page) == page, "run python tools/command_line_page.py"
    assert tool.renewed(page.replace("--epss", "")) != page
    for parser in PARSERS:
        assert f"\n## {parser.prog}\n" in page
