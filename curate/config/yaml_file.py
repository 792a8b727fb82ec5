"""YAML files as plain values with line numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

from curate.config.options import OptionError, build, resolve_paths
from curate.errors import SpecError, known_values

YamlPath = tuple[Any, ...]


MAX_BYTES = 2**24
MAX_VALUES = 200_000
"""Values of a file once its aliases are expanded."""
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, and `_` in integers."""


_Loader.yaml_implicit_resolvers = {}


def read_scalar(text: str) -> Any:
    """Parse one scalar as a pipeline file would. Raises ValueError for a list, a mapping, or what is no YAML."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None and not isinstance(node, yaml.ScalarNode):
            raise ValueError("one value is wanted, no list or mapping")
        return loader.construct_object(node) if node else None
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except yaml.YAMLError as error:
        raise ValueError(str(getattr(error, "problem", None) or error)) from error


class YamlFile:
    """A YAML file: its plain values in `value`, and the line of every value."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[YamlPath, int] = {}
        try:
            with open(file, "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise SpecError(f"{file}: more than {MAX_BYTES:,} bytes. Word lists and paths go into files of their own.")
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{file}: cannot be read: {error}. Give the path of a YAML file.") from error
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            self.value = self._plain(loader, node, ()) if node else None
        except RecursionError as error:
            raise SpecError(f"{file}: values are nested too deep to be read. A pipeline file needs ten levels.") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{file}:{mark.line + 1}" if mark else file
            raise SpecError(
                f"{place}: not YAML: {getattr(error, 'problem', None) or error}. Check indent, quotes, colons."
            ) from error

    def _plain(self, loader: _Loader, node: yaml.Node, path: YamlPath) -> Any:
        if len(path) > 30:
            raise self.error(path[:2], "values are nested too deep: does an alias contain itself?")
        if len(self.lines) > MAX_VALUES:
            raise self.error(path[:2], f"more than {MAX_VALUES:,} values. Do aliases repeat what holds aliases?")
        self.lines[path] = node.start_mark.line + 1
        if node.tag not in _TAGS:
            raise self.error(path, f"tag {node.tag!r} is not supported: values are plain text, numbers, lists, mappings")
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in mapping:
                    raise self.error(path, f"key {key!r} appears twice", key_node.start_mark.line + 1)
                mapping[key] = self._plain(loader, value_node, (*path, key))
                self.lines[(*path, key)] = key_node.start_mark.line + 1
            return mapping
        return self._scalar(loader, node, path)

    def _scalar(self, loader: _Loader, node: yaml.Node, path: YamlPath) -> Any:
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(path, f"{node.value!r} cannot be read: {error}") from error

    def place(self, path: YamlPath) -> str:
        """`file:line` of a value, or of the closest value that contains it."""
        while path not in self.lines and path:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}"

    def line(self, path: YamlPath) -> int:
        return int(self.place(path).rsplit(":", 1)[1])

    def error(self, path: YamlPath, message: str, line: int | None = None) -> SpecError:
        place = f"{self.file}:{line}" if line else self.place(path)
        return SpecError(f"{place}: {message}")


def options_at(document: YamlFile, cls: type[Any], options: Any, path: YamlPath, where: str | None = None) -> Any:
    """Make an instance of `cls` from the options at `path`. Relative paths are relative to the file's folder.

    Raises SpecError with file and line.
    """
    where = where or ".".join(str(key) for key in path)
    values = mapping_at(document, {} if options is None else options, path, where)
    try:
        return build(cls, resolve_paths(cls, values, os.path.dirname(os.path.abspath(document.file))))
    except OptionError as error:
        raise document.error((*path, *error.path), f"{where}: {error}") from error


def mapping_at(document: YamlFile, value: Any, path: YamlPath, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise document.error(path, f"{where}: {value!r} must be a mapping of names to values")
    return value


def check_keys(document: YamlFile, value: Mapping[str, Any], path: YamlPath, known: tuple[str, ...], noun: str) -> None:
    for key in value:
        if key not in known:
            raise document.error((*path, key), f"unknown {noun} {key!r}. {known_values(key, known)}")
