"""From a pipeline file to a frozen Pipeline. Every mistake that can be seen in the file is found here, with its line.

    name: tiny
    source:
      parquet: {paths: data/*.parquet}
    stages:
      - gopher_quality: {min_words: 20, expect: {drop: 5%..60%}}
      - keep: {column: edu, min: 3, as: keep_edu}
    output: {columns: [id, text], rows_per_file: 100_000}

One key per list item; a bare word means defaults. `as` names a stage (needed when one appears twice), `expect` bounds
the share it may drop. There are no includes, conditions, variables or code. Paths count from the folder of the file.

Decisions. YAML 1.2 scalars are read (`no` is Norwegian, not false; `1e-3` is a number; `010` is ten), by giving PyYAML's
loader the resolvers of the core schema. PyYAML, because its nodes carry the line of every value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge

from curate.api.stage import Barrier, Stage
from curate.config.options import AssetPath, OptionError, build, load_class, resolve_paths, table_of
from curate.errors import SpecError, known_values
from curate.sources import SOURCES
from curate.sources.source import Source
from curate.stages import STAGES

YamlPath = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Output:
    """What the corpus looks like."""

    columns: tuple[str, ...] | None = None
    """Columns of `data/`, in order; by default all there are, HTML excepted."""
    rows_per_file: Annotated[int, Ge(1)] = 100_000
    keep_text: bool = False
    """Keep the text of every dropped document and the former text of every edited one."""
    sample_per_reason: Annotated[int, Ge(0)] = 100
    """Otherwise keep the text of this many documents per stage and reason, drawn by keyed hash."""
    license: str | None = None
    """Of the corpus, as the Hugging Face hub names it (`odc-by`, `cc-by-4.0`), for its data card."""


@dataclass(frozen=True, kw_only=True)
class Remove:
    """Documents to take down: lists with one id or URL per line."""

    ids: AssetPath | None = None
    urls: AssetPath | None = None


@dataclass(frozen=True)
class Expect:
    """The share of its documents a stage may drop: low <= dropped / rows in <= high."""

    low: float
    high: float


@dataclass(frozen=True)
class StageSpec:
    """One stage of the file."""

    name: str
    kind: str
    stage: Stage
    line: int
    expect: Expect | None = None


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline file."""

    file: str
    name: str
    source_kind: str
    source: Source
    source_place: str
    stages: tuple[StageSpec, ...]
    remove: Remove | None = None
    output: Output = field(default_factory=Output)
    remove_line: int = 1
    output_line: int = 1
    keep_steps: Literal["all", "none"] | tuple[str, ...] = "all"
    max_failed_shards: int = 0


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, and `_` in integers."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node).replace("_", "")))  # type: ignore[arg-type]


def read_scalar(text: str) -> Any:
    """One value, as a pipeline file would have it. Raises ValueError when it is a list, a mapping or no YAML."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None and not isinstance(node, yaml.ScalarNode):
            raise ValueError("one value is wanted, no list or mapping")
        return loader.construct_object(node) if node else None
    except yaml.YAMLError as error:
        raise ValueError(str(getattr(error, "problem", None) or error)) from error


class Document:
    """A YAML file as plain values, and the line of every one of them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[YamlPath, int] = {}
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{file}: cannot be read: {error}. Give the path of a YAML file.") from error
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            self.value = self._plain(loader, node, ()) if node else None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{file}:{mark.line + 1}" if mark else file
            raise SpecError(
                f"{place}: not YAML: {getattr(error, 'problem', None) or error}. Check indent, quotes, colons."
            ) from error

    def _plain(self, loader: _Loader, node: yaml.Node, path: YamlPath) -> Any:
        if len(path) > 30:
            raise self.error(path[:2], "values are nested too deep: does an alias contain itself?")
        self.lines[path] = node.start_mark.line + 1
        if not node.tag.startswith("tag:yaml.org,2002:"):
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
        """`file:line` of a value, or of the nearest value around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}"

    def line(self, path: YamlPath) -> int:
        return int(self.place(path).rsplit(":", 1)[1])

    def error(self, path: YamlPath, message: str, line: int | None = None) -> SpecError:
        place = f"{self.file}:{line}" if line else self.place(path)
        return SpecError(f"{place}: {message}")


def load(file: str, *, source_file: str | None = None) -> Pipeline:
    """Read and check a pipeline file; `source_file` replaces its `source:`. Raises SpecError at the first mistake."""
    document = Document(file)
    top = mapping_at(document, document.value, (), "a pipeline")
    known = ("name", "source", "remove", "stages", "output", "keep_steps", "max_failed_shards", "rounds")
    check_keys(document, top, (), known, "key")
    if source_file is None and "source" not in top:
        raise document.error((), "'source' is missing. Add 'source: {parquet: {paths: ...}}', or run with --source FILE")
    name = top.get("name", Path(file).stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise document.error(("name",), f"name: {name!r} must be letters, digits, '.', '_' or '-'")
    source_document = Document(source_file) if source_file else document
    source_kind, source = _source(source_document)
    stages = tuple(_stages(document, top.get("stages")))
    return Pipeline(
        file=file,
        name=name,
        source_kind=source_kind,
        source=source,
        source_place=source_document.place(("source", source_kind)),
        stages=stages,
        remove=options_at(document, Remove, top.get("remove"), ("remove",)) if "remove" in top else None,
        output=options_at(document, Output, top.get("output"), ("output",)),
        remove_line=document.line(("remove",)),
        output_line=document.line(("output",)),
        keep_steps=_keep_steps(document, top.get("keep_steps", "all"), stages),
        max_failed_shards=_max_failed_shards(document, top.get("max_failed_shards", 0)),
    )


def _source(document: Document) -> tuple[str, Source]:
    top = mapping_at(document, document.value, (), "a source file")
    if "source" not in top:
        raise document.error((), f"'source' is missing. Add 'source: {{NAME: {{paths: ...}}}}'. Known: {', '.join(SOURCES)}.")
    return read_source(document, top["source"], ("source",))


def read_source(document: Document, entry: Any, path: YamlPath) -> tuple[str, Source]:
    """The kind and the source that stand at `path` of a document: `{parquet: {paths: ...}}`."""
    if isinstance(entry, str):
        entry = {entry: {}}
    table = table_of("curate.sources", SOURCES)
    entry = mapping_at(document, entry, path, "source")
    if len(entry) != 1:
        raise document.error(path, f"source: one source is read, found {list(entry)}. Known: {', '.join(table)}.")
    ((kind, options),) = entry.items()
    try:
        cls = load_class(kind, table, "source")
    except SpecError as error:
        raise document.error((*path, kind), f"source: {error}") from error
    source: Source = options_at(document, cls, options, (*path, kind))
    return kind, source


def _stages(document: Document, items: Any) -> Iterator[StageSpec]:
    if not isinstance(items, list):
        raise document.error(("stages",), f"stages: {items!r} must be a list of stages (an empty one is '[]')")
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        spec = _stage(document, index, item)
        if spec.name in seen:
            raise document.error(
                ("stages", index),
                f"stage {index + 1} {spec.name!r}: the name is taken by stage {seen[spec.name] + 1}. Add 'as: OTHER_NAME'.",
            )
        seen[spec.name] = index
        yield spec


def _stage(document: Document, index: int, item: Any) -> StageSpec:
    path: YamlPath = ("stages", index)
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise document.error(path, f"stage {index + 1}: {item!r} must be a stage name or one 'name: {{options}}'")
    ((kind, options),) = item.items()
    where = f"stage {index + 1} {kind!r}"
    try:
        cls = load_class(kind, table_of("curate.stages", STAGES), "stage")
    except SpecError as error:
        raise document.error((*path, kind), f"{where}: {error}") from error
    path = (*path, kind)
    options = dict(mapping_at(document, {} if options is None else options, path, where))
    name = options.pop("as", kind)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise document.error((*path, "as"), f"{where}: as: {name!r} must be letters, digits, '_' or '-'")
    if name in ("source", "remove"):
        raise document.error((*path, "as"), f"{where}: as: {name!r} has a meaning of its own. Choose another name.")
    expect = _expect(document, options.pop("expect"), (*path, "expect"), where) if "expect" in options else None
    stage = options_at(document, cls, options, path, where)
    return StageSpec(name, kind, stage, document.line(path), expect)


def options_at(document: Document, cls: type[Any], options: Any, path: YamlPath, where: str | None = None) -> Any:
    """An instance of `cls` from the options at `path`, paths counted from the document's folder."""
    where = where or ".".join(str(key) for key in path)
    values = mapping_at(document, {} if options is None else options, path, where)
    try:
        return build(cls, resolve_paths(cls, values, os.path.dirname(os.path.abspath(document.file))))
    except OptionError as error:
        raise document.error((*path, *error.path), f"{where}: {error}") from error


def _expect(document: Document, value: Any, path: YamlPath, where: str) -> Expect:
    values = mapping_at(document, value, path, f"{where}: expect")
    check_keys(document, values, path, ("drop",), f"{where}: key of expect")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)%\s*\.\.\s*(\d+(?:\.\d+)?)%\s*", str(values.get("drop", "")))
    bounds = [float(number) / 100 for number in match.groups()] if match else []
    if not bounds or not 0 <= bounds[0] <= bounds[1] <= 1:
        raise document.error((*path, "drop"), f"{where}: expect: {values.get('drop')!r} must be a range such as 5%..60%")
    return Expect(*bounds)


def _keep_steps(document: Document, value: Any, specs: Sequence[StageSpec]) -> Literal["all", "none"] | tuple[str, ...]:
    names = [spec.name for spec in specs]
    barriers = [spec.name for spec in specs if isinstance(spec.stage, Barrier)]
    if value == "all" or value == "none":
        return "all" if value == "all" else "none"
    if not isinstance(value, list):
        raise document.error(("keep_steps",), f"keep_steps: {value!r} must be 'all', 'none' or a list of stage names")
    for index, name in enumerate(value):
        if name not in names:
            raise document.error(("keep_steps", index), f"keep_steps: no stage {name!r}. {known_values(str(name), names)}")
        if name in barriers:
            raise document.error(
                ("keep_steps", index), f"keep_steps: {name!r} is a barrier; name the stage before or after it."
            )
    return tuple(value)


def _max_failed_shards(document: Document, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise document.error(("max_failed_shards",), f"max_failed_shards: {value!r} must be a whole number, 0 or more")
    return value


def mapping_at(document: Document, value: Any, path: YamlPath, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise document.error(path, f"{where}: {value!r} must be a mapping of names to values")
    return value


def check_keys(document: Document, value: Mapping[str, Any], path: YamlPath, known: tuple[str, ...], noun: str) -> None:
    for key in value:
        if key not in known:
            raise document.error((*path, key), f"unknown {noun} {key!r}. {known_values(key, known)}")
