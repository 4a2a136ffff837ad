from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import LibraryAttack
from art_levelset.identity import Unidentifiable, describe, digest, form, identify, structure

from .attacks.tiny import network


@dataclass(frozen=True)
class Own:
    eps: float
    hidden: Any = field(default=None, repr=False)
    seed: int = 0


def own_attack(model: Any, x: Any, y: Any) -> Any:
    return x


def made(eps: float) -> Any:
    return lambda model, x, y: x + eps


def test_numbers_and_texts_are_themselves() -> None:
    values = {"a": [1, 2.5, None, True], "b": (np.float32(0.5), {3, 1, 2}), "c": math.inf}
    expected = {"a": [1, 2.5, None, True], "b": [0.5, [1, 2, 3]], "c": "inf"}
    assert describe(values) == identify(values) == expected


def test_partial_functions_are_their_name_and_arguments() -> None:
    attack = functools.partial(pgd, eps=0.3, norm=math.inf, seed=4, verbose=True)
    assert describe(attack) == {"name": "pgd", "eps": 0.3, "norm": "inf"}
    assert identify(attack) != identify(functools.partial(pgd, eps=0.2, norm=math.inf))
    assert identify(attack) == identify(functools.partial(pgd, eps=0.3, norm=math.inf, seed=5))
    assert identify(functools.partial(attack, eps=0.1))["eps"] == 0.1


def test_what_is_known_by_its_name_alone_is_described_but_not_identified() -> None:
    for unknown in (made(0.1), own_attack, Own(0.1), functools.partial(own_attack, 1), {"attack": [made(0.1)]}):
        describe(unknown)
        with pytest.raises(Unidentifiable, match="known by its name alone"):
            identify(unknown)
    assert describe(own_attack) == "own_attack"
    assert describe(Own(0.1, hidden=1, seed=3)) == {"name": "Own", "eps": 0.1}


def test_functions_of_libraries_are_identified() -> None:
    assert identify(torch.nn.functional.relu) == "torch.nn.functional.relu"
    assert identify(np.linalg.norm) != identify(np.linalg.det)


def test_networks_differ_by_structure_and_by_values() -> None:
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert structure(one) == structure(other) != structure(nn.Linear(2, 3))
    assert digest(one) != digest(other)
    other.load_state_dict(one.state_dict())
    assert digest(one) == digest(other)
    assert digest(nn.Sequential(one, nn.ReLU())) != digest(nn.Sequential(one, nn.Tanh()))
    assert describe(one) == identify(other) == {"name": "Linear", "sha256": digest(one)}


def test_the_form_of_a_network_is_all_but_its_values() -> None:
    class Scaled(nn.Linear):
        def __init__(self, factor: float) -> None:
            super().__init__(3, 2)
            self.factor = factor

    assert form(nn.Linear(3, 2)) == form(nn.Linear(3, 2)) != form(nn.Linear(2, 3))
    assert form(Scaled(1.0)) == form(Scaled(1.0))
    assert len({form(nn.Linear(3, 2)), form(Scaled(1.0)), form(Scaled(2.0))}) == 3


def test_networks_with_another_forward_pass_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the caller's own classes, with equal names, structures and weights."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for module, sign in (("own_one", "+"), ("own_two", "-"), ("own_three", "+")):
        lines = ["from torch import nn", "class Own(nn.Module):", f"    def forward(self, x): return {sign}x"]
        (tmp_path / f"{module}.py").write_text("\n".join(lines))
        found.append(digest(nn.Sequential(importlib.import_module(module).Own())))
    assert found[0] == found[2] != found[1]


def test_large_arrays_are_known_by_their_digest() -> None:
    small, large = np.arange(3.0), torch.arange(1000.0)
    assert describe(small) == [0.0, 1.0, 2.0]
    assert identify(large) == {"name": "torch.float32", "shape": [1000], "sha256": digest(large)}
    assert identify(large) != identify(large + 1)


def test_digests_tell_dtypes_and_shapes_apart() -> None:
    zeros = np.zeros(4, np.float32)
    others = [zeros, zeros.reshape(2, 2), np.zeros(2), np.zeros(4, np.int32)]
    assert len({digest(each) for each in others}) == 4
    assert digest(zeros) == digest(torch.zeros(4))
    assert digest("a", "b") != digest("ab")


def test_descriptions_are_the_same_in_another_process() -> None:
    code = (
        "import functools, torch; from torch import nn; from art_levelset.attacks.pgd import pgd\n"
        "from art_levelset.identity import digest, identify; torch.manual_seed(0)\n"
        "print(digest(nn.Linear(3, 2), identify(functools.partial(pgd, eps=0.3, clip_values={2, 1, 3}))))"
    )
    torch.manual_seed(0)
    own = digest(nn.Linear(3, 2), identify(functools.partial(pgd, eps=0.3, clip_values={3, 1, 2})))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [own]


def test_an_object_may_say_what_it_is_to_people() -> None:
    attack = LibraryAttack("library.Attack", own_attack, {"steps": 3}, eps=0.1)
    expected = {"name": "library.Attack", "eps": 0.1, "norm": "inf", "clip_values": [0.0, 1.0], "steps": 3}
    assert describe(attack) == expected
    assert describe({"attacks": [attack]}) == {"attacks": [expected]}
    with pytest.raises(Unidentifiable, match="own_attack is known by its name alone"):
        identify(attack)  # which calls a function of the caller's own


def test_a_network_with_a_layer_of_the_caller_s_own_is_not_identified() -> None:
    class Layer(nn.Module):
        """Another one may have its name and structure."""

    model = nn.Sequential(nn.Linear(3, 2), Layer())
    assert describe(model) == {"name": "Sequential", "sha256": digest(model)}
    with pytest.raises(Unidentifiable, match="Layer is known by its name alone"):
        identify({"loss": model})


def test_a_digest_depends_on_everything() -> None:
    zeros = np.zeros((2, 3), np.float32)
    digests = [
        digest(),
        digest(zeros),
        digest(zeros, zeros),
        digest(zeros.T),
        digest(zeros.astype(np.float64)),
        digest(zeros + 1),
        digest(0),
        digest("0"),
        digest([1, 2], 3),
        digest([1], [2, 3]),
        digest(nn.Linear(2, 3)),
        digest(nn.BatchNorm1d(2)),
        digest(nn.BatchNorm1d(2, eps=1e-3)),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(each) == 64 for each in digests)


def test_a_digest_of_bfloat16_which_numpy_lacks() -> None:
    values = torch.arange(6.0).bfloat16()
    assert digest(values) == digest(values.clone())
    assert len({digest(each) for each in (values, values + 1, values.half(), values.view(torch.int16))}) == 4
    assert digest(network().bfloat16()) == digest(network().bfloat16()) != digest(network())


def test_a_digest_depends_on_nothing_else() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    assert digest(values) == digest(values.numpy()) == digest(values.clone().requires_grad_())
    assert digest(values.T.contiguous().T) == digest(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(network()) == digest(network().train())


def test_a_digest_sees_every_parameter_and_buffer() -> None:
    known = digest(network())
    for name in network().state_dict():
        model = network()
        with torch.no_grad():
            model.state_dict()[name].view(-1)[0] += 1
        assert digest(model) != known, name


NETWORK = """
from torch import nn
SLOPE = {slope}
def stretched(x):
    return SLOPE * x{more}
class Own(nn.Module):
    def __init__(self, power=1):
        super().__init__()
        self.power = power
    def forward(self, x):
        {body}
"""


def imported(folder: Path, name: str, text: str) -> Any:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_all_that_a_network_of_the_caller_s_own_uses_tells_it_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions beside the class, constants, settings, and modules that it imports, somewhere."""
    monkeypatch.syspath_prepend(str(tmp_path))
    usual = {"slope": 1, "more": "", "body": "return stretched(x)"}
    helper = {"body": "import {helper}; return {helper}.stretched(x)"}
    for name, slope in (("helper_a", 1), ("helper_b", 2)):
        imported(tmp_path, name, f"def stretched(x):\n    return {slope} * x\n")
    variants = [
        usual,
        {**usual, "slope": 2},
        {**usual, "more": " + 1"},
        {**usual, "body": "return -stretched(x)"},
        *({**usual, "body": helper["body"].format(helper=name)} for name in ("helper_a", "helper_b")),
    ]
    modules = [imported(tmp_path, f"variant_{i}", NETWORK.format(**fill)) for i, fill in enumerate(variants)]
    digests = [digest(nn.Sequential(module.Own())) for module in modules]
    assert len({*digests}) == len(variants)
    again = imported(tmp_path, "variant_again", NETWORK.format(**usual))
    assert digest(nn.Sequential(again.Own())) == digests[0]
    assert digest(nn.Sequential(again.Own(power=2))) != digests[0]
    again.SLOPE = 3
    assert digest(nn.Sequential(again.Own())) != digests[0], "as a program sets it that reads its arguments"


def test_what_is_typed_without_a_file_is_known_by_its_byte_code() -> None:
    code = NETWORK.replace("{body}", "return stretched(x) ** self.power")

    def found(*, slope: int, more: str = "", power: int = 1) -> str:
        typed: dict[str, Any] = {"__name__": "__main__"}
        exec(code.format(slope=slope, more=more), typed)
        return digest(typed["Own"](power=power))

    one = found(slope=1)
    assert len({one, found(slope=2), found(slope=1, more=" + 1"), found(slope=1, power=2)}) == 4
    assert found(slope=1) == one


def test_settings_and_hooks_that_no_text_shows() -> None:
    torch.manual_seed(0)
    one, other = nn.MultiheadAttention(4, 1), nn.MultiheadAttention(4, 2)
    other.load_state_dict(one.state_dict())
    assert repr(one) == repr(other)
    assert digest(one) != digest(other)

    def shifted(by: float) -> nn.Module:
        layer = nn.Identity()
        layer.register_forward_hook(lambda module, inputs, output: output + by)
        return layer

    assert digest(shifted(1)) == digest(shifted(1))
    assert len({digest(nn.Identity()), digest(shifted(1)), digest(shifted(2))}) == 3


def test_a_layer_may_hold_anything() -> None:
    class Layer(nn.Identity):
        def __init__(self, held: Any) -> None:
            super().__init__()
            self.held = held

    kept = nn.Linear(1, 1)
    loop: dict[str, Any] = {}
    loop["again"] = loop
    things = [
        None,
        1,
        1.0,
        "1",
        {1, 2},
        {"a": [1, (2,)]},
        torch.ones(2),
        np.ones(2),
        np.float32(3),
        kept.forward,
        [kept],
    ]
    things += [made(0.1), made(0.2), functools.partial(own_attack, 1), functools.partial(own_attack, 2), Own, Own(1)]
    things += [Own(2), Path("a"), loop, torch.float64, iter(()), pgd]
    digests = [digest(Layer(thing)) for thing in things]
    assert len({*digests}) == len(things)
    assert digest(Layer({2, 1})) == digest(Layer({1, 2}))
    one, other = Layer(None), Layer(None)
    one.held, other.held = [other], [one]
    assert digest(one) != digest(Layer(None))
