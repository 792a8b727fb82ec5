"""From the names in a pipeline file to classes: our own, and those that installed plug-ins register."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from curate.errors import SpecError, known_values


def table_of(group: str, own: Mapping[str, str]) -> dict[str, str]:
    """Our table and the entry points of installed plug-ins in `group`, such as `curate.stages`. Name -> "module:Class"."""
    foreign = _registered(group, tuple(sys.path))
    clash = sorted(set(foreign) & set(own))
    if clash:
        raise SpecError(f"entry point group {group!r}: {clash[0]!r} is a built-in name. Rename it in {foreign[clash[0]]!r}.")
    return {**own, **foreign}


@lru_cache
def _registered(group: str, search_path: tuple[str, ...]) -> dict[str, str]:
    """Entry points of what is installed on `sys.path`, read once per process: reading them takes longer than most calls of
    `curate.apply`. What is installed meanwhile is found by the next process, as with Python's own imports."""
    return {point.name: point.value for point in entry_points(group=group)}


def load_class(name: str, table: Mapping[str, str], noun: str) -> type[Any]:
    """Import the class registered under `name`. Raises SpecError for an unknown name, with similar ones."""
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
