"""
The code of the caller's own program, by value: what tells two networks apart whose parameters are equal.

A function or class of this package, of an installed library or of Python is known by its name, as their versions are
parts of every key. The caller's own may change between two runs: it is known by the files of its module and of the own
modules that this one imports; and, as it may have been typed somewhere, and names may have been given other values, by
its byte code and the values of the names in it.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_STANDARD = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def is_importable(value: Any) -> bool:
    """
    Whether a function or class is found under its name in a module that is not the caller's own program.

    :param value: The function or class.
    :return: Whether it is.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    if found is None or not is_installed(found):
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    return bool(found is value)


def is_installed(module: ModuleType) -> bool:
    """
    Whether a module is one of this package, of an installed library or of Python.

    :param module: The module.
    :return: Whether it is.
    """
    root, file = module.__name__.partition(".")[0], getattr(module, "__file__", None)
    if root == "__main__":
        return False
    if root == __name__.partition(".")[0] or "site-packages" in Path(file or "").parts:
        return True
    return root in sys.stdlib_module_names and (file is None or file.startswith(_STANDARD))


def code_of(value: Any, described: Callable[[Any], Iterator[bytes]]) -> Iterator[bytes]:
    """
    The code of a function or class of the caller's own, and of all that it uses.

    :param value: The function or class.
    :param described: What values are as bytes: those of the names that it uses.
    :return: Bytes that are equal for equal code.
    """
    modules = {kind.__module__ for kind in inspect.getmro(value)} if isinstance(value, type) else {value.__module__}
    seen: dict[str, bytes] = {}
    for name in sorted(filter(None, modules)):
        _follow(name, seen)
    yield value.__qualname__.encode()
    yield from sorted(seen.values())
    own = [kind for kind in inspect.getmro(value) if not is_importable(kind)] if isinstance(value, type) else [value]
    walked: set[int] = set()
    for one in own:
        yield from _walk(one, described, walked)


def _follow(name: str, seen: dict[str, bytes]) -> None:
    """The sources of a module and of the own modules that it imports, anywhere in it."""
    module = sys.modules.get(name)
    file = _file_of(module)
    if name in seen or module is None or file is None or is_installed(module):
        return
    seen[name] = source = file.read_bytes()
    for node in _imports(source):
        for imported in _imported(node, module):
            _follow(imported, seen)


@functools.lru_cache(maxsize=1024)
def _imports(source: bytes) -> tuple[ast.AST, ...]:
    """The statements of a source that import."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # no Python, or another one since
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))


def _imported(node: ast.AST, module: ModuleType) -> Iterator[str]:
    """The modules that a statement may import."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _parents(alias.name)
    elif isinstance(node, ast.ImportFrom):
        package = getattr(module, "__package__", None) or ""
        relative = "." * node.level + (node.module or "")
        try:
            base = importlib.util.resolve_name(relative, package) if node.level else relative
        except ImportError:
            return
        yield from _parents(base)
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _file_of(module: ModuleType | None) -> Path | None:
    """The Python file of a module, if there is one."""
    name = getattr(module, "__file__", None)
    return Path(name) if name and Path(name).suffix == ".py" and Path(name).is_file() else None


def _walk(value: Any, described: Callable[[Any], Iterator[bytes]], walked: set[int]) -> Iterator[bytes]:
    """A function or class of the caller's own: its byte code, and the values of what it names, whoever set them."""
    if id(value) in walked:
        return
    walked.add(id(value))
    if isinstance(value, type):
        for name, member in sorted(vars(value).items()):
            functions = _functions(member)
            for function in functions:
                yield from _walk(function, described, walked)
            if not functions and not name.startswith("__"):
                yield name.encode()
                yield from described(member)
        return
    yield from _code(value.__code__)
    for name, used in _used(value):
        if isinstance(used, (type, FunctionType)):
            if not is_importable(used):
                yield from _walk(used, described, walked)
        elif not isinstance(used, ModuleType):
            yield name.encode()
            yield from described(used)


def _functions(member: Any) -> list[FunctionType]:
    """The functions that a class has under one name."""
    if isinstance(member, property):
        parts = [member.fget, member.fset]
    else:
        parts = [inspect.unwrap(getattr(member, "__func__", member))]
    return [part for part in parts if isinstance(part, FunctionType)]


def _code(code: CodeType) -> Iterator[bytes]:
    """The byte code, and that of functions within."""
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode()


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function uses of its module, and of own modules that it knows there."""
    waiting, names = [function.__code__], set[str]()
    while waiting:
        code = waiting.pop()
        names |= {*code.co_names}
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for name in sorted(names & function.__globals__.keys()):
        used = function.__globals__[name]
        yield name, used
        if isinstance(used, ModuleType) and not is_installed(used):
            yield from ((f"{name}.{inner}", vars(used)[inner]) for inner in sorted(names & vars(used).keys()))
