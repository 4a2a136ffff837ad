"""What the reference shows: the package as griffe reads it, and names in it."""

from __future__ import annotations

from collections.abc import Iterator

from griffe import Alias, AliasResolutionError, CyclicAliasError, Module, Object


def is_public(name: str) -> bool:
    """
    Whether no part of a path is private.

    :param name: The path, parts separated by full stops.
    :return: Whether the reference may show it.
    """
    return not any(part.startswith("_") for part in name.split("."))


def shown(package: Module, path: str) -> str | None:
    """
    The anchor of something in the reference.

    :param package: The package.
    :param path: A path below it ("core.fields.Field"), also of a name that a package only passes on.
    :return: The path under which the reference shows it, or None where it does not.
    """
    parts = path.split(".")
    if parts[0] == package.name:
        parts = parts[1:]
    thing: Object | Alias = package
    for part in parts:
        try:
            if part in thing.members:
                thing = thing.members[part]
            elif part in thing.all_members:
                thing = thing.all_members[part]
            else:
                return None
            if isinstance(thing, Alias):
                thing = thing.final_target
        except (AliasResolutionError, CyclicAliasError):
            return None
    if thing is package:
        return None
    if not is_public(thing.path) or not thing.has_docstring or not thing.path.startswith(f"{package.name}."):
        return None
    return thing.path


def resolve(package: Module, place: Object, name: str) -> str | None:
    """
    What a name means in a docstring: as seen from a class, from its module, or with the whole path.

    :param package: The package.
    :param place: The object that has the docstring.
    :param name: The name.
    :return: The path under which the reference shows it, or None where it does not.
    """
    parts = place.path.split(".")
    for depth in range(len(parts), 0, -1):
        found = shown(package, ".".join([*parts[:depth], name]))
        if found is not None:
            return found
    return shown(package, name)


def modules(package: Module) -> Iterator[Module]:
    """
    The public modules.

    :param package: The package.
    :return: Each, parents first, in alphabetical order.
    """
    for name in sorted(package.members):
        member = package.members[name]
        if isinstance(member, Module) and is_public(name):
            yield member
            yield from modules(member)


def objects(place: Object) -> Iterator[Object]:
    """
    An object and all that is defined in it.

    :param place: The object.
    :return: Each object, itself first.
    """
    yield place
    for member in place.members.values():
        if isinstance(member, Object):
            yield from objects(member)
