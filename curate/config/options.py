"""Options of stages and sources: from YAML values or keyword arguments to checked frozen dataclasses, and back.

Types and bounds are read from the annotations (`Annotated[float, Ge(0), Le(1)]`), so a fact is written once: the check,
the message, `curate stages` and the recipe all come from the field. Validation itself is pydantic's, in strict mode.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from curate.data import scorer_path, tokenizer_path
from curate.errors import SpecError, known_values
from curate.storage.store import is_url

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class PathKind:
    """Marks an option as a path: relative ones count from the folder of the file they stand in."""

    kind: Literal["asset", "pattern", "dataset"]
    names: Literal["scorer", "tokenizer"] | None = None
    """What a bare name may stand for (`curate.data`)."""


AssetPath = Annotated[str, PathKind("asset")]
"""A file or folder that must exist; its content, not its name, is part of the fingerprint."""
ScorerPath = Annotated[str, PathKind("asset", "scorer")]
"""An asset that is a scorer's folder: a name, such as `preselect-mini-v1`, or a path."""
TokenizerPath = Annotated[str, PathKind("asset", "tokenizer")]
"""An asset that is a `tokenizer.json`: the name of a folder of scorers that has one, such as `bpe-v1`, or a path."""
DatasetPath = Annotated[str, PathKind("dataset")]
"""A name of the hub, or a folder if it begins with `.` or `/`."""
PatternPath = Annotated[str, PathKind("pattern")]
"""A path or glob of input files."""


def build(cls: type[T], options: Mapping[str, Any]) -> T:
    """An instance from plain values (those of JSON). Raises OptionError for anything wrong, with the option's name."""
    from pydantic import TypeAdapter, ValidationError

    names = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            hint = known_values(str(name), names) if names else "It has no options."
            raise OptionError((name,), f"unknown option {name!r}. {hint}")
    try:
        text = json.dumps(options)
    except TypeError as error:
        raise OptionError((), f"options must be plain values: {error}") from error
    try:
        return TypeAdapter(cls).validate_json(text, strict=True)
    except OptionError:
        raise
    except SpecError as error:
        raise OptionError((), str(error)) from error
    except ValidationError as error:
        path, message = _explain(error.errors(), options)
        raise OptionError(path, message) from error


class OptionError(SpecError):
    """A wrong option; `path` leads to the value inside the options."""

    def __init__(self, path: tuple[Any, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _explain(errors: list[Any], options: Mapping[str, Any]) -> tuple[tuple[Any, ...], str]:
    """The first wrong option, and all that validation says about it, in one sentence."""
    if errors[0]["type"] == "missing":
        name = str(errors[0]["loc"][0])
        return (), f"option {name!r} is required and missing. Add '{name}: ...'"
    if not errors[0]["loc"]:
        return (), str(errors[0]["msg"]).removeprefix("Value error, ")
    option = errors[0]["loc"][0]
    mine = [error for error in errors if error["loc"][:1] == (option,)]
    wants = " or ".join(dict.fromkeys(_in_words(error["msg"]) for error in mine))
    path = _inside(options, mine[0]["loc"]) if len(mine) == 1 else (option,)
    value = options
    for key in path:
        value = value[key]
    shown = ".".join(str(key) for key in path)
    near = ""
    if isinstance(value, str) and (expected := (mine[0].get("ctx") or {}).get("expected")):
        near = " " + known_values(value, [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")])
    return path, f"{shown}: {value!r}: {wants}.{near}"


def _inside(options: Any, loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The part of a location that leads through the values given (validators add steps of their own)."""
    path: list[Any] = []
    for key in loc:
        inside = (isinstance(options, Mapping) and key in options) or (isinstance(options, list) and isinstance(key, int))
        if not inside:
            break
        options = options[key]
        path.append(key)
    return tuple(path)


def _in_words(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def resolve_paths(cls: type[Any], options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Options with relative paths made absolute, counted from `folder`."""
    kinds = dict(path_fields(cls))

    def resolved(path: str, mark: PathKind) -> str:
        if mark.kind == "dataset" and not path.startswith("."):
            return path
        named = scorer_path(path) if mark.names == "scorer" else tokenizer_path(path) if mark.names == "tokenizer" else None
        return named or os.path.normpath(os.path.join(folder, os.path.expanduser(path)))

    return {name: _each(value, kinds[name], resolved) if name in kinds else value for name, value in options.items()}


def relative_paths(cls: type[Any], options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Options with absolute paths counted from `folder`: what `resolve_paths` makes absolute again."""
    kinds = dict(path_fields(cls))

    def relative(path: str, mark: PathKind) -> str:
        if not os.path.isabs(path):
            return path
        if mark.names == "scorer" and scorer_path(os.path.basename(path)) == path:
            return os.path.basename(path)
        if mark.names == "tokenizer" and tokenizer_path(name := os.path.basename(os.path.dirname(path))) == path:
            return name
        found = os.path.relpath(path, folder)
        return f"./{found}" if mark.kind == "dataset" and not found.startswith(".") else found

    return {name: _each(value, kinds[name], relative) if name in kinds else value for name, value in options.items()}


def _each(value: Any, mark: PathKind, change: Callable[[str, PathKind], str]) -> Any:
    """A path changed, or every path of a list, or among the keys of a mapping; URLs stay."""
    if isinstance(value, list):
        return [_each(item, mark, change) for item in value]
    if isinstance(value, dict):
        return {_each(key, mark, change): item for key, item in value.items()}
    return change(value, mark) if isinstance(value, str) and not is_url(value) else value


def path_fields(cls: type[Any]) -> Iterator[tuple[str, PathKind]]:
    """Names of the options that are paths, with their kind."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        for mark in _marks(hints[field.name]):
            if isinstance(mark, PathKind):
                yield field.name, mark


def _marks(hint: Any) -> Iterator[Any]:
    yield from getattr(hint, "__metadata__", ())
    for part in typing.get_args(hint):
        yield from _marks(part)


def asset_paths(instance: Any) -> list[tuple[str, str]]:
    """(option, path) of every asset an instance names."""
    found: list[tuple[str, str]] = []
    for name, mark in path_fields(type(instance)):
        value = getattr(instance, name)
        if mark.kind == "asset" and value is not None:
            found += [(name, path) for path in ([value] if isinstance(value, str) else value)]
    return found


def values_of(instance: Any) -> dict[str, Any]:
    """All options with their values, defaults included, as plain values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(instance)))
    return plain
