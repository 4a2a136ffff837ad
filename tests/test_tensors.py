from __future__ import annotations

from typing import Any

import pytest
import torch

from art_levelset.tensors import check_form

OWN = {"rate": 1, "done": False, "name": "cosine", "steps": [1, 2], "offsets": torch.zeros(3, 2), "best": None}


def test_what_has_the_form_that_it_had() -> None:
    check_form("state", OWN, OWN)
    other = {"rate": 0.5, "done": True, "name": "linear", "steps": (3, 4.5), "offsets": torch.ones(3, 2), "best": 7.0}
    check_form("state", other, OWN)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"rate": "1"}, r"state\['rate'\]"),
        ({"rate": True}, r"state\['rate'\]"),
        ({"done": 1}, r"state\['done'\]"),
        ({"name": None}, r"state\['name'\]"),
        ({"steps": [1]}, r"state\['steps'\]"),
        ({"steps": [1, None]}, r"state\['steps'\]\[1\]"),
        ({"offsets": torch.zeros(3)}, r"state\['offsets'\]"),
        ({"offsets": torch.zeros(3, 2, dtype=torch.float64)}, r"state\['offsets'\]"),
        ({"offsets": [[0.0, 0.0]] * 3}, r"state\['offsets'\]"),
        ({"more": 1}, "state"),
    ],
)
def test_what_has_another_form_is_refused_with_its_place(changed: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=f"{place} is not of the form that it had: "):
        check_form("state", {**OWN, **changed}, OWN)


def test_a_message_of_a_large_thing_is_short() -> None:
    with pytest.raises(ValueError, match="state is not") as error:
        check_form("state", ["x" * 100_000], {})
    assert len(str(error.value)) < 200
