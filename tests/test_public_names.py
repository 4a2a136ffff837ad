"""The public names, frozen: a change here is a change for every user."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

import art_levelset

PUBLIC = [
    "Field",
    "GeometricSVMTrainer",
    "LevelSetMarginTrainer",
    "LevelSetSamples",
    "MadryTrainer",
    "SampleNetwork",
    "Status",
    "TRADESTrainer",
    "benchmark",
    "cover",
    "descend",
    "diagnose",
    "evaluate",
    "exact_network",
    "false_position",
    "layer_field",
    "logit_field",
    "margin_field",
    "mean_curvature",
    "network_field",
    "pgd",
    "project",
    "read_cloud",
    "reconstruct",
    "reconstruct_curve",
    "sample_network",
    "soft_margin_field",
]


PACKAGES = ["adapters", "attacks", "cli", "core", "evaluation", "experiments", "models", "recon", "trainers"]


def test_the_list() -> None:
    assert sorted(art_levelset.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(art_levelset))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_has_an_example(name: str) -> None:
    """In its docstring, or that of one of its methods; the tests of docstrings run it."""
    assert examples_of(getattr(art_levelset, name), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_is_in_it_with_an_example(package: str) -> None:
    assert examples_of(importlib.import_module(f"art_levelset.{package}"), package)


def examples_of(value: Any, name: str) -> list[doctest.DocTest]:
    """The examples in the docstrings of a function, of a class and what it defines, or of a package."""
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=not inspect.ismodule(value))
    return [test for test in finder.find(value, name, globs={}) if test.examples]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = art_levelset.nothing


def test_the_trainers_load_when_they_are_asked_for() -> None:
    code = (
        "import sys, art_levelset; assert 'art' not in sys.modules; "
        "from art_levelset import LevelSetMarginTrainer; assert 'art' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
