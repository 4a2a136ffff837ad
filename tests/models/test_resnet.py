from __future__ import annotations

import pytest
import torch

from art_levelset.models import resnet_18


def test_shape_and_parameter_count() -> None:
    pytest.importorskip("torchvision", exc_type=ImportError, reason="needs torchvision")
    model = resnet_18()
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    stem = model.conv1(torch.rand(2, 3, 32, 32))
    assert model.maxpool(stem).shape == (2, 64, 32, 32), "the stem keeps the resolution"


@pytest.mark.parametrize("arguments", [{"nb_classes": 0}, {"in_channels": 0}])
def test_bad_input(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be an integer >= 1, got 0"):
        resnet_18(**arguments)
