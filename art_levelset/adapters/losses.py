"""The losses of projected gradient descent in the form that other libraries take: a module on logits and labels."""

from __future__ import annotations

from torch import Tensor, nn

from art_levelset.core.fields import label_margin


class MarginLoss(nn.Module):
    """The margin loss max_{i != y} f_i - f_y, summed over the batch: the field of eq. 1 with its sign turned."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """
        The loss.

        :param logits: (batch, classes).
        :param y: Labels, (batch,) integers or (batch, classes) one-hot.
        :return: A scalar.
        """
        return -label_margin(logits, y if y.dim() == 1 else y.argmax(dim=1)).sum()


def loss_named(name: str) -> nn.Module:
    """
    A loss by its name, summed over the batch, so that a sample's gradient does not depend on the others.

    :param name: "cross_entropy" or "margin".
    :return: The loss of logits (batch, classes) and labels (batch,).
    :raises ValueError: If there is none of that name.
    """
    if name == "cross_entropy":
        return nn.CrossEntropyLoss(reduction="sum")
    if name == "margin":
        return MarginLoss()
    raise ValueError(f"loss must be cross_entropy or margin, got {name!r}")
