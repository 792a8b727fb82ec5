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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from curate.api.global_stage import GlobalStage
from curate.api.source import Source
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.config.registry import load_class, table_of
from curate.config.yaml_file import YamlFile, YamlPath, _Loader, check_keys, mapping_at, options_at
from curate.data import pipeline_names, pipeline_path
from curate.errors import SpecError, known_values
from curate.sources import SOURCES
from curate.stages import STAGES


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
    """Licence of the corpus, as the Hugging Face hub names it (`odc-by`, `cc-by-4.0`), for its data card."""


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
    type: str
    """Name of the stage in the registry."""
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


for _tag, _pattern, _first in [
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node).replace("_", "")))  # type: ignore[arg-type]


def load(file: str, *, source_file: str | None = None) -> Pipeline:
    """Read and check a pipeline: a file, or a name such as `quickstart`. `source_file` replaces its `source:`.

    Raises SpecError at the first mistake.
    """
    file = pipeline_path(file)
    if not os.path.exists(file) and not file.endswith((".yaml", ".yml")) and os.path.basename(file) == file:
        raise SpecError(f"no pipeline {file!r}. {known_values(file, pipeline_names())} Or give the path of a YAML file.")
    document = YamlFile(file)
    top = mapping_at(document, document.value, (), "a pipeline")
    known = ("name", "source", "remove", "stages", "output", "keep_steps", "max_failed_shards", "rounds")
    check_keys(document, top, (), known, "key")
    if source_file is None and "source" not in top:
        raise document.error((), "'source' is missing. Add 'source: {parquet: {paths: ...}}', or run with --source FILE")
    name = top.get("name", Path(file).stem)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise document.error(("name",), f"name: {name!r} must be letters, digits, '.', '_' or '-'")
    source_document = YamlFile(source_file) if source_file else document
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


def _source(document: YamlFile) -> tuple[str, Source]:
    top = mapping_at(document, document.value, (), "a source file")
    if "source" not in top:
        raise document.error((), f"'source' is missing. Add 'source: {{NAME: {{paths: ...}}}}'. Known: {', '.join(SOURCES)}.")
    return read_source(document, top["source"], ("source",))


def read_source(document: YamlFile, entry: Any, path: YamlPath) -> tuple[str, Source]:
    """The kind and the source that stand at `path` of a document: `{parquet: {paths: ...}}`."""
    if isinstance(entry, str):
        entry = {entry: {}}
    table = table_of("curate.sources", SOURCES)
    entry = mapping_at(document, entry, path, "source")
    if len(entry) != 1:
        raise document.error(path, f"source: one source is read, found {list(entry)}. Known: {', '.join(sorted(table))}.")
    ((kind, options),) = entry.items()
    try:
        cls = load_class(kind, table, "source")
    except SpecError as error:
        raise document.error((*path, kind), f"source: {error}") from error
    source: Source = options_at(document, cls, options, (*path, kind))
    return kind, source


def _stages(document: YamlFile, items: Any) -> Iterator[StageSpec]:
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


def _stage(document: YamlFile, index: int, item: Any) -> StageSpec:
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


def _expect(document: YamlFile, value: Any, path: YamlPath, where: str) -> Expect:
    values = mapping_at(document, value, path, f"{where}: expect")
    check_keys(document, values, path, ("drop",), f"{where}: key of expect")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)%\s*\.\.\s*(\d+(?:\.\d+)?)%\s*", str(values.get("drop", "")))
    bounds = [float(number) / 100 for number in match.groups()] if match else []
    if not bounds or not 0 <= bounds[0] <= bounds[1] <= 1:
        raise document.error((*path, "drop"), f"{where}: expect: {values.get('drop')!r} must be a range such as 5%..60%")
    return Expect(*bounds)


def _keep_steps(document: YamlFile, value: Any, specs: Sequence[StageSpec]) -> Literal["all", "none"] | tuple[str, ...]:
    names = [spec.name for spec in specs]
    global_stages = [spec.name for spec in specs if isinstance(spec.stage, GlobalStage)]
    if value == "all" or value == "none":
        return "all" if value == "all" else "none"
    if not isinstance(value, list):
        raise document.error(("keep_steps",), f"keep_steps: {value!r} must be 'all', 'none' or a list of stage names")
    for index, name in enumerate(value):
        if name not in names:
            raise document.error(("keep_steps", index), f"keep_steps: no stage {name!r}. {known_values(str(name), names)}")
        if name in global_stages:
            raise document.error(
                ("keep_steps", index), f"keep_steps: {name!r} is a global stage; name the stage before or after it."
            )
    return tuple(value)


def _max_failed_shards(document: YamlFile, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise document.error(("max_failed_shards",), f"max_failed_shards: {value!r} must be a whole number, 0 or more")
    return value
