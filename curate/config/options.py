"""Options of stages and sources: from YAML values or keyword arguments to checked frozen dataclasses, and back.

Types and bounds are read from the annotations (`Annotated[float, Ge(0), Le(1)]`). The check, its message, `curate stages` and
the lockfile all derive from the field. Pydantic validates, in strict mode.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast

from curate.data import scorer_path, tokenizer_path
from curate.errors import SpecError, known_values
from curate.storage.store import is_url

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class PathKind:
    """Marks an option as a path. Relative paths are relative to the folder of the YAML file."""

    kind: Literal["asset", "pattern", "dataset"]
    names: Literal["scorer", "tokenizer"] | None = None
    """What a bare name may stand for (`curate.data`)."""


@dataclasses.dataclass(frozen=True)
class Added:
    """Marks an option that came after a release. At its default it is no part of a stage's identity: old runs go on."""


AssetPath = Annotated[str, PathKind("asset")]
"""Type of an option: a file or folder that must exist. Its content, not its name, is part of the cache key."""
ScorerPath = Annotated[str, PathKind("asset", "scorer")]
"""Type of an option: an asset that is the folder of a scorer, by name, such as `preselect-mini-v1`, or by path."""
TokenizerPath = Annotated[str, PathKind("asset", "tokenizer")]
"""Type of an option: an asset that is a `tokenizer.json`, by its name among the scorers, such as `bpe-v1`, or by path."""
DatasetPath = Annotated[str, PathKind("dataset")]
"""Type of an option: the name of a dataset on the hub, or a folder if it begins with `.` or `/`."""
PatternPath = Annotated[str, PathKind("pattern")]
"""Type of an option: a path or glob of input files."""


def build(cls: type[T], options: Mapping[str, Any]) -> T:
    """Make an instance from plain (JSON) values. Raises OptionError with the option's name for anything wrong."""
    from pydantic import ValidationError

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
        value: T = _adapter(cast(Hashable, cls)).validate_json(text, strict=True)
        return value
    except OptionError:
        raise
    except SpecError as error:
        raise OptionError((), str(error)) from error
    except ValidationError as error:
        path, message = _explain(error.errors(), options)
        raise OptionError(path, message) from error


@lru_cache
def _adapter(cls: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


class OptionError(SpecError):
    """A wrong option; `path` leads to the value inside the options."""

    def __init__(self, path: tuple[Any, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def _explain(errors: list[Any], options: Mapping[str, Any]) -> tuple[tuple[Any, ...], str]:
    """Path and message for the first wrong option; the message joins all that validation says about it."""
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
    """The part of a pydantic location that leads through `options`. Validators append steps of their own."""
    path: list[Any] = []
    for key in loc:
        inside = (isinstance(options, Mapping) and key in options) or (isinstance(options, list) and isinstance(key, int))
        if not inside:
            break
        options = options[key]
        path.append(key)
    return tuple(path)


def _in_words(message: str) -> str:
    return (
        message.removeprefix("Value error, ")
        .replace("Input should be", "must be")
        .replace("a valid array", "a list: [..., ...]")
    )


def resolve_paths(cls: type[Any], options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Make relative paths absolute; they are relative to `folder`."""
    kinds = dict(path_fields(cls))

    def resolved(path: str, mark: PathKind) -> str:
        if mark.kind == "dataset" and not path.startswith("."):
            return path
        named = {"scorer": scorer_path, "tokenizer": tokenizer_path}[mark.names](path) if mark.names else None
        local = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
        if named and os.path.exists(local) and not os.path.samefile(local, named):
            raise OptionError(
                (), f"{path!r} is the name of a {mark.names} ({named}), and a path here. For the path, write './{path}'."
            )
        return named or local

    return {name: _each(value, kinds[name], resolved) if name in kinds else value for name, value in options.items()}


def relative_paths(cls: type[Any], options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Make absolute paths relative to `folder`. The inverse of `resolve_paths`."""
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
    """Apply `change` to a path, to every path of a list, or to the keys of a mapping. URLs stay."""
    if isinstance(value, list):
        return [_each(item, mark, change) for item in value]
    if isinstance(value, dict):
        return {_each(key, mark, change): item for key, item in value.items()}
    return change(value, mark) if isinstance(value, str) and not is_url(value) else value


def path_fields(cls: type[Any]) -> Iterator[tuple[str, PathKind]]:
    """(option, kind of path) of every option that is a path."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        for mark in _marks(hints[field.name]):
            if isinstance(mark, PathKind):
                yield field.name, mark


def _marks(hint: Any) -> Iterator[Any]:
    yield from getattr(hint, "__metadata__", ())
    for part in typing.get_args(hint):
        yield from _marks(part)


def added_options(cls: type[Any]) -> set[str]:
    """Names of the options that are marked `Added`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name for field in dataclasses.fields(cls) if any(isinstance(m, Added) for m in _marks(hints[field.name]))}


def asset_paths(instance: Any) -> list[tuple[str, str]]:
    """(option, path) of every asset among the options."""
    found: list[tuple[str, str]] = []
    for name, mark in path_fields(type(instance)):
        value = getattr(instance, name)
        if mark.kind == "asset" and value is not None:
            found += [(name, path) for path in ([value] if isinstance(value, str) else value)]
    return found


def values_of(instance: Any) -> dict[str, Any]:
    """All options, defaults included, as plain (JSON) values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(instance)))
    return plain
