"""Names of the file -> classes: our tables, and what installed packages register."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from curate.errors import SpecError, known_values


def table_of(group: str, own: Mapping[str, str]) -> dict[str, str]:
    """Our table plus what installed packages register under the entry-point group, e.g. `curate.stages`."""
    foreign = {point.name: point.value for point in entry_points(group=group)}
    clash = sorted(set(foreign) & set(own))
    if clash:
        raise SpecError(f"entry point group {group!r}: {clash[0]!r} is a built-in name. Rename it in {foreign[clash[0]]!r}.")
    return {**own, **foreign}


def load_class(name: str, table: Mapping[str, str], noun: str) -> type[Any]:
    """The class behind a name. Raises SpecError with near names for an unknown one."""
    if name not in table:
        raise SpecError(f"unknown {noun} {name!r}. {known_values(name, table)}")
    module, _, attribute = table[name].partition(":")
    try:
        cls: type[Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{noun} {name!r} ({table[name]}) cannot be loaded: {error}. Is its package installed whole?"
        ) from error
    return cls
