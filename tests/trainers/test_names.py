"""The face of the trainers: every name is there and documented, and nothing is loaded before it is asked for."""

from __future__ import annotations

import subprocess
import sys
from types import FunctionType
from typing import get_origin

import pytest

from art_levelset import trainers
from art_levelset.trainers.base import LoopTrainer


@pytest.mark.parametrize("name", trainers.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(trainers, name)
    if isinstance(found, (type, FunctionType)) and get_origin(found) is None:  # an alias of a type has no docstring
        assert (found.__doc__ or "").strip()


def test_trainers_and_their_base():
    names = [name for name in trainers.__all__ if name.endswith("Trainer")]
    assert set(names) == {
        "CurvatureTrainer",
        "FGSMPGITrainer",
        "GeometricSVMTrainer",
        "LevelSetMarginTrainer",
        "LoopTrainer",
        "MMATrainer",
        "MadryAWPTrainer",
        "MadryTrainer",
        "NFGSMTrainer",
        "NuATTrainer",
        "PGDTrainer",
        "TRADESAWPTrainer",
        "TRADESTrainer",
        "WeightPerturbationTrainer",
    }
    for name in names:
        assert issubclass(getattr(trainers, name), trainers.LoopTrainer)
    assert trainers.LoopTrainer is LoopTrainer


def test_nothing_is_loaded_before_it_is_asked_for():
    code = "import sys, art_levelset.trainers; assert not {'art', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
