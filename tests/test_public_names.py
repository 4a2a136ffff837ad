"""The public names, frozen: a change here is a change for every user."""

from __future__ import annotations

import subprocess
import sys

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
    "descend",
    "diagnose",
    "evaluate",
    "false_position",
    "logit_field",
    "margin_field",
    "network_field",
    "pgd",
    "project",
    "read_cloud",
    "reconstruct",
    "reconstruct_curve",
    "sample_network",
    "soft_margin_field",
]


def test_the_list() -> None:
    assert sorted(art_levelset.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(art_levelset))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert (getattr(art_levelset, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = art_levelset.nothing


def test_the_trainers_load_when_they_are_asked_for() -> None:
    code = (
        "import sys, art_levelset; assert 'art' not in sys.modules; "
        "from art_levelset import LevelSetMarginTrainer; assert 'art' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
