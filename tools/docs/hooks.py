"""
What mkdocs does for this site besides rendering docs/: see mkdocs.yml.

The reference has a page for each public module, made of its docstrings. Files of the repository that the pages link to
are copied, names of the package in code become links to the reference, and equations and diagrams are drawn.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
drawings, names, outside, tables = (
    importlib.import_module(name) for name in ("drawings", "names", "outside", "tables")
)

LOG = logging.getLogger("mkdocs.hooks.docs")
ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "core": "Level sets",
    "models": "Networks",
    "attacks": "Attacks",
    "adapters": "Attacks of other libraries",
    "evaluation": "Evaluation",
    "trainers": "Training",
    "recon": "Reconstruction",
    "experiments": "Experiments",
    "cli": "Command line",
}
"""The packages, in the order of the navigation."""


@functools.cache
def package() -> griffe.Module:
    """
    The package as griffe reads it.

    :return: Its root, aliases resolved.
    """
    found = griffe.load("art_levelset", search_paths=[ROOT], resolve_aliases=True)
    if not isinstance(found, griffe.Module):
        raise TypeError(f"art_levelset is a {type(found).__name__}")
    return found


def _page(module: griffe.Module) -> str:
    """The place of a module's page."""
    path = "/".join(["reference", *module.path.split(".")[1:]])
    return f"{path}/index.md" if module.is_init_module else f"{path}.md"


def _tree(module: griffe.Module) -> list[Any]:
    """The navigation below a package."""
    children = [member for name, member in sorted(module.members.items()) if isinstance(member, griffe.Module)]
    entries: list[Any] = [_page(module)]
    for child in children:
        if names.is_public(child.name):
            entries.append({child.name: _tree(child)} if child.is_init_module else {child.name: _page(child)})
    return entries


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """
    Put the reference's pages into the navigation, in place of its first page.

    :param config: The configuration.
    :return: The same.
    """
    root = package()
    tree: list[Any] = ["reference/index.md"]
    tree += [{title: _tree(root.members[name])} for name, title in LAYERS.items()]
    tree += [{"Ground": [{module.name: _page(module)} for module in _ground(root)]}]
    config.nav = [
        {"Reference": tree} if entry == {"Reference": "reference/index.md"} else entry for entry in config.nav
    ]
    return config


def _ground(root: griffe.Module) -> list[griffe.Module]:
    """The modules that are in no package."""
    return [module for module in names.modules(root) if module.parent is root and not module.is_init_module]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """
    Add the reference's pages, and the repository's files that pages link to.

    :param files: The files of docs/.
    :param config: The configuration.
    :return: The same, with more.
    """
    for module in names.modules(package()):
        files.append(File.generated(config, _page(module), content=_reference(module)))
    files.append(File.generated(config, "reference/index.md", content=_front()))
    for place, file in outside.copies(ROOT).items():
        files.append(File.generated(config, place, abs_src_path=str(file)))
    return files


def _reference(module: griffe.Module) -> str:
    """The page of a module; of a package what it is, what it passes on, and its modules."""
    text = f"---\ntitle: {module.path.removeprefix('art_levelset.')}\n---\n\n::: {module.path}\n"
    if not module.is_init_module:
        return text
    members = {name: member for name, member in module.members.items() if names.is_public(name)}
    own = [name for name, member in members.items() if not isinstance(member, griffe.Alias | griffe.Module)]
    below = [name for name, member in members.items() if isinstance(member, griffe.Module)]
    exports = {str(name) for name in module.exports} if module.exports else set(members)
    passed = [name for name, member in members.items() if isinstance(member, griffe.Alias) and name in exports]
    text += f"    options:\n      members: {own}\n"
    for title, some in (("What it passes on", passed), ("Modules", below)):
        rows = [(name, names.shown(module.package, f"{module.path}.{name}")) for name in sorted(some)]
        lines = [f"| [`{name}`][{path}] | {_summary(module.members[name])} |" for name, path in rows if path]
        if lines:
            text += "\n".join(["", f"**{title}**", "", "| | |", "|---|---|", *lines, ""])
    return text


def _front() -> str:
    """The first page of the reference: what `import art_levelset` gives, and the packages."""
    root = package()
    lines = ["# Reference", "", (ROOT / "tools/docs/reference.md").read_text(encoding="utf-8").strip(), ""]
    lines += ["## What `art_levelset` exports", "", "| name | |", "|---|---|"]
    for name, member in sorted(root.members.items(), key=lambda item: item[0].lower()):
        if member.is_alias and names.is_public(name) and (path := names.shown(root, name)) is not None:
            lines.append(f"| [`{name}`][{path}] | {_summary(member)} |")
    lines += ["", "## Packages and modules", "", "| package | |", "|---|---|"]
    for name in [*LAYERS, *(module.name for module in _ground(root))]:
        lines.append(f"| [`{name}`][art_levelset.{name}] | {_summary(root.members[name])} |")
    return "\n".join(lines)


def _summary(thing: griffe.Object | griffe.Alias) -> str:
    """The first sentence of a docstring."""
    text = thing.docstring.value.strip() if thing.docstring else ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    first = re.split(r"(?<=\.) (?=[A-Z])", re.sub(r"([Ee]qs?\.) ", "\\1\u00a0", paragraph))[0]
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first).replace("|", "\\|").rstrip(":")


@functools.cache
def _names() -> dict[str, str]:
    """From the paths of everything that is shown, also by the names that packages pass on, to the anchors."""
    root = package()
    found = {}
    for module in [root, *names.modules(root)]:
        below = module.path.removeprefix("art_levelset").removeprefix(".")
        if below:
            found[below] = names.shown(root, below)
        for name, member in module.members.items():
            path = f"{below}.{name}".lstrip(".")
            found[path] = names.shown(root, path)
            if isinstance(member, griffe.Class):
                found.update({f"{path}.{inner}": names.shown(root, f"{path}.{inner}") for inner in member.members})
    return {path: anchor for path, anchor in found.items() if anchor is not None and "." in path}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """
    Write a page's links for the site, and draw its diagrams.

    :param markdown: The page.
    :param page: What mkdocs knows of it.
    :param config: The configuration.
    :param files: All files.
    :return: The page.
    """
    place = page.file.src_uri
    if place.startswith("reference/"):
        return markdown
    if place == "index.md":
        page.meta["hide"] = ["navigation"]
    source = Path(page.file.abs_src_path or "")
    return drawings.diagrams(outside.rewritten(ROOT, source, place, markdown, _names()))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """
    Warn of a page that would load something from elsewhere.

    :param output: The finished page.
    :param page: What mkdocs knows of it.
    :param config: The configuration.
    :return: The same.
    """
    for tag in re.findall(r"<(?:script|img|iframe|link)\b[^>]*>", output):
        foreign = re.search(r'(?:src|href)="((?:https?:)?//[^"]*)"', tag)
        if foreign is not None and 'rel="canonical"' not in tag:
            LOG.warning("%s loads %s", page.file.src_uri, foreign[1])
    return output


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """
    Draw a page's equations, and give its tables room.

    :param html: The page.
    :param page: What mkdocs knows of it.
    :param config: The configuration.
    :param files: All files.
    :return: The page.
    """
    return tables.with_widths(drawings.equations(html))
