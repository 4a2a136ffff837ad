from __future__ import annotations

import importlib.metadata
import math
import sys
import types
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from art_levelset.adapters.adv_lib import from_adv_lib
from art_levelset.adapters.advertorch import advertorch_pgd
from art_levelset.adapters.autoattack import AutoAttack
from art_levelset.adapters.foolbox import foolbox_pgd
from art_levelset.adapters.libraries import accepted_parameters, attack_named, kept_within, library, step_length
from art_levelset.adapters.robustbench import robustbench_library
from art_levelset.adapters.torchattacks import torchattacks_pgd

from ..attacks.tiny import needs

USES = {
    "adv_lib": lambda: from_adv_lib("fmn", eps=0.1),
    "advertorch": lambda: advertorch_pgd(eps=0.1),
    "foolbox": lambda: foolbox_pgd(eps=0.1),
    "pyautoattack": lambda: AutoAttack(eps=0.1),
    "robustbench": robustbench_library,
    "torchattacks": lambda: torchattacks_pgd(eps=0.1),
}
EXTRAS = {"adv_lib": "adv-lib", "pyautoattack": "autoattack"}


@needs("pyautoattack")
@pytest.mark.parametrize("name", USES)
def test_a_missing_library_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = importlib.metadata.version

    def version(distribution: str) -> str:
        if distribution == name:
            raise importlib.metadata.PackageNotFoundError(name)
        return own(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    extra = EXTRAS.get(name, name)
    with pytest.raises(ImportError, match=rf'^{name} is not installed: pip install "art-levelset\[{extra}\]"'):
        USES[name]()


@needs("pyautoattack")
@pytest.mark.parametrize("name", USES)
def test_a_library_that_is_too_old_is_named_with_its_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda each: "0.1.9" if each == name else own(each))
    with pytest.raises(ImportError, match=rf"^{name} 0.1.9 is too old, \d[.\d]* or newer is needed: pip install"):
        USES[name]()


@pytest.fixture
def noisy_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that warns when it is imported."""
    (tmp_path / "noisy_library.py").write_text(
        'import warnings\nwarnings.warn("known: a")\nwarnings.warn("other: b")\n'
    )
    folder = tmp_path / "noisy_library-2.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy_library\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "noisy_library", raising=False)
    return "noisy_library"


def test_the_warnings_that_an_import_is_known_to_give_are_silent_and_no_others(noisy_library: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = library(noisy_library, "noisy", "1.10", silence=["known: "])
        warnings.warn("known: later", stacklevel=1)
    assert module.__name__ == "noisy_library"
    assert [str(warning.message) for warning in caught] == ["other: b", "known: later"]


class Base:
    pass


class Attack(Base):
    def __init__(self, model: Any, eps: float = 0.1, steps: int = 3) -> None:
        pass


class Abstract(Base, ABC):
    @abstractmethod
    def run(self) -> None:
        """What a subclass does."""


def test_attacks_are_found_by_name() -> None:
    module = types.ModuleType("attacks")
    module.__dict__.update({"Attack": Attack, "Base": Base, "Path": Path, "math": types, "Abstract": Abstract})
    assert attack_named("Attack", module, Base) is Attack
    for wrong in ("Base", "Path", "math", "Missing", "Abstract"):
        with pytest.raises(ValueError, match=f"name must be one of Attack, got '{wrong}'"):
            attack_named(wrong, module, Base)


def test_parameters_are_checked() -> None:
    assert accepted_parameters(Attack, ["eps"]) == ["eps", "steps"]
    assert accepted_parameters(Attack, ["steps"], first=0, without=["eps"]) == ["model", "steps"]
    with pytest.raises(TypeError, match="Attack has no parameter model, iterations, but eps, steps"):
        accepted_parameters(Attack, ["model", "eps", "iterations"])


@pytest.mark.parametrize("norm", [math.inf, 2, 1])
def test_what_was_found_outside_of_the_ball_counts_as_nothing(norm: float) -> None:
    x = torch.zeros(4, 1, 2)
    near, far = torch.tensor([[0.3, 0.0]]), torch.tensor([[0.0, -0.6]])
    points = torch.stack([near, far, torch.full((1, 2), torch.nan), x[0]])
    assert torch.equal(kept_within(points, x, 0.5, norm), torch.stack([near, x[0], x[0], x[0]]))
    assert torch.equal(kept_within(near[None], x[:1], 0.3, norm), near[None])


def test_the_default_step_crosses_the_ball() -> None:
    assert step_length(0.4, None, 10) == pytest.approx(0.1)
    assert step_length(0.4, 0.03, 10) == 0.03
    with pytest.raises(ValueError, match="max_iter must be an integer >= 1, got 0"):
        step_length(0.4, None, 0)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="eps_step must be a finite number > 0"):
            step_length(0.4, wrong, 10)
