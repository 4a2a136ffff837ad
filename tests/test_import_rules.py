"""The package's layers: who may import whom, what is imported only when used, and who may touch private attributes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import art_levelset

PACKAGE = Path(art_levelset.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each folder may import itself, the modules on the ground floor, and these folders. The rest may import all but cli.
GROUND = {
    "arguments",
    "checks",
    "distributed",
    "files",
    "identity",
    "memory",
    "own_code",
    "progress",
    "tensors",
    "untrusted",
    "versions",
}
ALLOWED = {
    **{name: set() for name in GROUND},
    "core": set(),
    "models": {"core"},
    "attacks": {"core"},
    "adapters": {"core", "attacks"},
    "evaluation": {"core", "attacks", "adapters"},
    "trainers": {"core", "attacks"},
    "recon": {"core", "models"},
}
ENTRANCES = {"__main__.py", "recon/__main__.py"}
"""They start the command line, which nothing else imports."""

LAZY_IN = {"evaluation": {"PIL", "jinja2", "markupsafe", "matplotlib", "scipy", "sklearn"}}
THIRD_PARTY = {
    "core": {"torch"},
    "models": {"torch", "torchvision", "safetensors"},
    "attacks": {"torch", "numpy", "tqdm", "art"},
    "evaluation": {"torch", "numpy", "tqdm", "pydantic", *LAZY_IN["evaluation"], "torchvision"},
}
OPTIONAL = {"adv_lib", "advertorch", "autoattack", "foolbox", "pyautoattack", "robustbench", "torchattacks"}
LAZY = OPTIONAL | {"safetensors", "torchvision"}
ART = {"attacks", "trainers", "adapters", "experiments", "cli"}
BRIDGE = "art_classifier.py"


@dataclass(frozen=True)
class Import:
    file: Path
    module: str
    lazy: bool

    @property
    def importer(self) -> str:
        return part(self.file)

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)} imports {self.module}"


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def modules_named(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
        return
    assert node.level == 0, "imports are absolute"
    assert node.module is not None
    if node.module == "art_levelset":
        yield from (f"{node.module}.{name.name}" for name in node.names)
    else:
        yield node.module


def imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, lazy = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for module in modules_named(node):
                yield Import(file, module, lazy)
        elif not isinstance(node, ast.expr):  # in which there are no statements
            lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            lazy = lazy or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            waiting += [(child, lazy) for child in ast.iter_child_nodes(node)]


IMPORTS = [item for file in FILES for item in imports_of(file)]


def is_allowed(item: Import) -> bool:
    target = item.module.split(".")[1]
    if target == "cli":
        return item.importer == "cli" or item.file.relative_to(PACKAGE).as_posix() in ENTRANCES
    return item.importer not in ALLOWED or target in ALLOWED[item.importer] | GROUND | {item.importer}


def test_the_rules_see_the_package() -> None:
    assert len(FILES) > 20
    assert any(item.module == "art_levelset.core.modes" for item in IMPORTS)
    core, pgd = PACKAGE / "core" / "fields.py", PACKAGE / "attacks" / "pgd.py"
    assert not is_allowed(Import(core, "art_levelset.trainers.margin", lazy=True))
    assert not is_allowed(Import(pgd, "art_levelset.evaluation.accuracy", lazy=True))
    assert is_allowed(Import(pgd, "art_levelset.core.balls", lazy=False))
    assert not is_allowed(Import(PACKAGE / "experiments" / "demo.py", "art_levelset.cli.demo", lazy=False))
    assert not is_allowed(Import(PACKAGE / "recon" / "network.py", "art_levelset.cli.recon.surfaces", lazy=True))


def test_layers() -> None:
    assert [str(item) for item in IMPORTS if item.module.startswith("art_levelset.") and not is_allowed(item)] == []


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Files that import each other in a loop; none where there is no loop."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other() -> None:
    modules = {".".join(("art_levelset", *file.relative_to(PACKAGE).with_suffix("").parts)): file for file in FILES}
    modules = {name.removesuffix(".__init__"): file for name, file in modules.items()}
    arrows: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                arrows[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                arrows[name] |= inner & set(modules) or {node.module}
        arrows[name] &= set(modules)
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}
    assert sum(map(len, arrows.values())) > 300
    assert circle(arrows) == []


def test_third_party_imports_of_the_lower_layers() -> None:
    foreign = [
        str(item)
        for item in IMPORTS
        if item.importer in THIRD_PARTY
        and (root := item.module.split(".")[0]) not in THIRD_PARTY[item.importer] | {"art_levelset"}
        and root not in sys.stdlib_module_names
    ]
    assert foreign == []


def test_the_toolbox_is_imported_only_where_it_is_met() -> None:
    users = {item.importer for item in IMPORTS if item.module.split(".")[0] == "art"}
    assert users <= ART


def test_optional_libraries_are_imported_where_they_are_used() -> None:
    assert [str(item) for item in IMPORTS if item.module.split(".")[0] in LAZY and not item.lazy] == []
    assert {item.importer for item in IMPORTS if item.module.split(".")[0] in OPTIONAL} <= {"adapters"}
    assert [
        str(item)
        for item in IMPORTS
        if item.module.split(".")[0] in LAZY_IN.get(item.importer, set()) and not item.lazy
    ] == []


def private_accesses(file: Path) -> Iterator[tuple[str, str]]:
    """The attributes _name in a file, and where they are."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield node.attr, f"{file.relative_to(PACKAGE)}:{node.lineno} touches {ast.unparse(node)}"


def own_names(file: Path) -> Iterator[str]:
    """What a file defines: functions, classes, annotated fields and what its classes assign to self or cls."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) in ("self", "cls") else []


@pytest.mark.parametrize("name", sorted(ART))
def test_private_attributes_of_the_toolbox_are_touched_in_the_bridge_only(name: str) -> None:
    files = [file for file in FILES if part(file) == name and file.name != BRIDGE]
    # Experiments refine the trainers, whose private names are the package's own.
    own = {attribute for file in FILES if part(file) in (name, "trainers") for attribute in own_names(file)}
    own.add("_exit")  # of Python's os module
    assert [where for file in files for attribute, where in private_accesses(file) if attribute not in own] == []


def test_importing_stays_light() -> None:
    """In one process: what is light after the last import was so after those before."""
    heavy = ["art", "torchvision", "matplotlib", "skimage", "trimesh", "sklearn", "scipy", *sorted(OPTIONAL)]
    modules = "art_levelset, art_levelset.models, art_levelset.attacks, art_levelset.recon"
    code = f"import sys, {modules}; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
