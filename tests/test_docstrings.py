"""What docstrings say: every role, as :func:`name`, names something that can be imported, and the examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import art_levelset

PACKAGE = Path(art_levelset.__file__).parent
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name != "__main__.py"
}
ROLE = re.compile(r":(func|class|mod|meth|data|attr|exc|obj):`([^`]+)`")
KINDS: dict[str, Callable[[object], bool]] = {
    "func": callable,
    "class": inspect.isclass,
    "mod": inspect.ismodule,
    "meth": callable,
    "exc": inspect.isclass,
}


def docstrings(node: ast.AST, classes: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The strings that stand alone, those after constants as well, and the classes around each."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str):
            yield child.value.value, classes
        yield from docstrings(child, (*classes, child.name) if isinstance(child, ast.ClassDef) else classes)


def roles(module: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for text, classes in docstrings(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        for kind, name in ROLE.findall(text):
            yield kind, name, classes


def attribute(owner: Any, path: list[str]) -> Any:
    """An attribute of an attribute; fields of a class have no value there."""
    for name in path:
        known = inspect.isclass(owner) and any(name in vars(base).get("__annotations__", {}) for base in owner.__mro__)
        owner = getattr(owner, name, None if known else LookupError)
        if owner is LookupError:
            raise LookupError(name)
    return owner


def found(name: str, module: ModuleType, classes: tuple[str, ...]) -> Any:
    """What a name means in a docstring: as seen from a class, from the module, or with the whole path."""
    path = name.lstrip("~!").removesuffix("()").split(".")
    for depth in range(len(classes), -1, -1):
        try:
            return attribute(module, [*classes[:depth], *path])
        except LookupError:
            continue
    for size in range(len(path), 0, -1):
        try:
            owner = importlib.import_module(".".join(path[:size]))
        except ModuleNotFoundError:
            continue
        return attribute(owner, path[size:])
    raise LookupError(name)


def broken(module: str) -> list[str]:
    lost = []
    for kind, name, classes in roles(module):
        try:
            thing = found(name, importlib.import_module(module), classes)
        except LookupError:
            lost.append(f":{kind}:`{name}`")
        else:
            if kind in KINDS and not KINDS[kind](thing):
                lost.append(f":{kind}:`{name}` is no {kind}")
    return lost


@pytest.mark.parametrize("module", [name for name, file in MODULES.items() if ROLE.search(file.read_text("utf-8"))])
def test_roles_name_something(module: str) -> None:
    assert broken(module) == []


def test_what_is_not_there_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also that names are looked up in the class, in the module and in the whole package."""
    good = ":meth:`_described` :func:`describe` :func:`art_levelset.identity.describe` :mod:`art_levelset.core`"
    bad = [":func:`nothing`", ":mod:`art_levelset.nothing`", ":class:`art_levelset.identity.describe`"]
    file = tmp_path / "identity.py"
    file.write_text(f'"""{good} {" ".join(bad)}"""\nA = 1\n""":func:`neither`"""\n')
    monkeypatch.setitem(MODULES, "art_levelset.identity", file)
    assert broken("art_levelset.identity") == [*bad[:2], f"{bad[2]} is no class", ":func:`neither`"]


@pytest.mark.parametrize("module", [name for name, file in MODULES.items() if ">>> " in file.read_text("utf-8")])
def test_examples(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those in docstrings, each as one would type it."""
    monkeypatch.chdir(tmp_path)
    if module == "art_levelset.evaluation.benchmark":
        pytest.importorskip("pyautoattack", reason="runs AutoAttack, of the extra autoattack")
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert failed == 0
    assert tried
