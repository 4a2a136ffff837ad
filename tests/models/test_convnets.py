from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from art_levelset.models import convnet_2a, convnet_2b, convnet_4a, convnet_4a_released, convnet_4b

CONVNETS = [convnet_2a, convnet_2b, convnet_4a, convnet_4a_released, convnet_4b]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def kinds(model: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in model.children()]


@pytest.mark.parametrize(
    ("build", "input_shape", "count"),
    [
        (convnet_2a, (1, 28, 28), 166_406),
        (convnet_2b, (1, 28, 28), 582_026),
        (convnet_4a, (1, 28, 28), 312_202),
        (convnet_4a_released, (1, 28, 28), 312_202),
        (convnet_4b, (3, 32, 32), 2_466_858),
    ],
)
def test_parameter_counts_and_shapes(
    build: Callable[..., nn.Module], input_shape: tuple[int, int, int], count: int
) -> None:
    model = build()
    assert parameters(model) == count
    assert model(torch.rand(3, *input_shape)).shape == (3, 10)


@pytest.mark.parametrize("build", CONVNETS)
def test_other_images_and_classes(build: Callable[..., nn.Module]) -> None:
    assert build(nb_classes=4, input_shape=(2, 40, 36))(torch.rand(5, 2, 40, 36)).shape == (5, 4)


@pytest.mark.parametrize("build", CONVNETS)
def test_every_hidden_layer_is_followed_by_a_relu(build: Callable[..., nn.Module]) -> None:
    layers = kinds(build())
    weighted = [index for index, kind in enumerate(layers) if kind in ("Conv2d", "Linear")]
    missing = [index for index in weighted if layers[index + 1 : index + 2] != ["ReLU"]]
    assert missing == (weighted[-3:] if build is convnet_4a_released else weighted[-1:])


def test_the_released_variant_differs_by_two_relus() -> None:
    weights = convnet_4a().state_dict()
    released = convnet_4a_released()
    assert list(released.state_dict()) == list(weights)
    assert kinds(convnet_4a()).count("ReLU") == kinds(released).count("ReLU") + 2
    released.load_state_dict(weights)
    features = released[: kinds(released).index("Linear")](torch.rand(2, 1, 28, 28))
    affine = released[kinds(released).index("Linear") :]
    middle = affine(features.mean(dim=0, keepdim=True))
    torch.testing.assert_close(middle, affine(features).mean(dim=0, keepdim=True))


@pytest.mark.parametrize(("build", "fan"), [(convnet_4a, 1), (convnet_4b, 0)])
def test_convolutions_start_kaiming_normal(build: Callable[..., nn.Module], fan: int) -> None:
    for layer in build().children():
        if isinstance(layer, nn.Conv2d):
            expected = (2 / (layer.weight.shape[fan] * layer.weight[0, 0].numel())) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.15)
            assert layer.bias is not None
            assert not layer.bias.any()


@pytest.mark.parametrize("build", CONVNETS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nb_classes": 0}, "nb_classes must be an integer >= 1"),
        ({"input_shape": (1, 28)}, r"input_shape must be \(channels"),
        ({"input_shape": (0, 28, 28)}, r"input_shape must be \(channels"),
        ({"input_shape": (1, 1, 1)}, r"input_shape \(1, 1, 1\) is too small"),
    ],
)
def test_bad_input(build: Callable[..., nn.Module], arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
