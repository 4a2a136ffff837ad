"""Presets: complete, and scaled with the radius that the network shall withstand."""

from __future__ import annotations

import pytest

from art_levelset.models import CLASSIFIERS
from art_levelset.trainers import PRESETS, Linear


@pytest.mark.parametrize("name", PRESETS)
def test_of_its_own_radius_it_is_itself(name):
    preset = PRESETS[name]
    assert preset.architecture in CLASSIFIERS
    assert preset.for_radius(preset.eps) == preset


@pytest.mark.parametrize("name", PRESETS)
def test_radii_and_steps_grow_with_the_radius_and_nothing_else_does(name):
    preset = PRESETS[name]
    half = preset.for_radius(preset.eps / 2)
    assert half.eps == preset.eps / 2
    assert half.options.keys() == preset.options.keys()
    for option, value in preset.options.items():
        if not option.startswith("eps"):
            assert half.options[option] == value
        elif isinstance(value, Linear):
            assert half.options[option] == Linear(value.start / 2, value.end / 2, value.nb_epochs)
        else:
            assert half.options[option] == value / 2
    assert (half.learning_rate, half.nb_epochs, half.data) == (preset.learning_rate, preset.nb_epochs, preset.data)


@pytest.mark.parametrize("eps", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_radius(eps):
    with pytest.raises(ValueError, match="eps must be"):
        PRESETS["mnist"].for_radius(eps)
