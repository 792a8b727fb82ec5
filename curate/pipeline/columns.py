"""The flow of columns through a pipeline: what is there, what is needed, what is recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from curate.api.dedup_index import check_index
from curate.api.global_stage import Shuffle
from curate.api.stage import Stage
from curate.config.options import OptionError, asset_paths, path_fields
from curate.data import known_names
from curate.errors import SpecError, known_values
from curate.pipeline.spec import Pipeline, StageSpec
from curate.pipeline.steps import ALWAYS, REMOVE, TEXT_CHARS, Columns
from curate.schema import HTML, IDENTITY, MAX_INDEXES, ORDINAL, PROVENANCE, RESERVED, TEXT, compatible
from curate.stages.score.keep import Keep
from curate.storage import store


@dataclass(frozen=True)
class ColumnFlow:
    """Columns from the source to the output."""

    stages: tuple[StageSpec, ...]
    """The stages of the file, and before them `remove` where there is one."""
    first: Columns
    """Columns before the first stage, unneeded ones left out."""
    after: tuple[Columns, ...]
    """Columns after each stage, unneeded ones left out."""
    recorded: tuple[tuple[str, ...], ...]
    """Per stage, the measured columns that it and the stages before it record."""
    output: Columns


def column_flow(pipeline: Pipeline) -> ColumnFlow:
    """Check and follow the columns of a pipeline. Raises SpecError with the location of the stage that does not fit."""
    source = _source_columns(pipeline)
    flow = _flow(pipeline, source)
    output = _output(pipeline, flow[-1][1] if flow else source)
    specs = tuple(spec for spec, _ in flow)
    recorded = _recorded(pipeline, specs)
    live = _live(flow, {*output, *(recorded[-1] if recorded else ())})
    after = tuple(_only(columns, needed) for (_, columns), needed in zip(flow, live[1:], strict=True))
    return ColumnFlow(specs, _only(source, live[0]), after, tuple(recorded), output)


def _source_columns(pipeline: Pipeline) -> dict[str, pa.DataType]:
    try:
        columns = pipeline.source.columns
        for name in RESERVED:
            if name in columns:
                raise SpecError(f"column {name!r} has a meaning of its own here. Rename it, or leave it out")
        return {**IDENTITY, **PROVENANCE, **columns}
    except SpecError as error:
        raise SpecError(f"{pipeline.source_place}: source {pipeline.source_kind!r}: {error}") from error


def _flow(pipeline: Pipeline, source: Columns) -> list[tuple[StageSpec, Columns]]:
    """Every stage with the columns there are after it."""
    columns = source
    specs = list(pipeline.stages)
    if pipeline.remove:
        from curate.stages.filters.remove import Removal

        removal = Removal(ids=pipeline.remove.ids, urls=pipeline.remove.urls)
        specs.insert(0, StageSpec(REMOVE, REMOVE, removal, pipeline.remove_line))
    flow: list[tuple[StageSpec, Columns]] = []
    for number, spec in enumerate(specs, 0 if pipeline.remove else 1):
        where = f"{pipeline.file}:{spec.line}: {f'stage {number} {spec.name!r}' if number else REMOVE}"
        _check_assets(spec, where)
        _check_reads(spec, columns, where)
        columns = {**columns, **spec.stage.writes}
        flow.append((spec, columns))
    return flow


def _check_assets(spec: StageSpec, where: str) -> None:
    for option, path in asset_paths(spec.stage):
        if not store.is_url(path) and not os.path.exists(path):
            names = known_names(dict(path_fields(type(spec.stage)))[option].names)
            known = f" {known_values(os.path.basename(path), names)}" if names else ""
            raise SpecError(f"{where}: {option}: {path!r} does not exist. Relative paths count from the file's folder.{known}")
    if isinstance(spec.stage, Shuffle):
        if len(spec.stage.indexes) > MAX_INDEXES:
            raise SpecError(f"{where}: against: {len(spec.stage.indexes)} indexes are named, {MAX_INDEXES} at most can be.")
        for path in spec.stage.indexes:
            try:
                check_index(path, spec.type, spec.stage)
            except SpecError as error:
                raise SpecError(f"{where}: {error}") from error


def _check_reads(spec: StageSpec, columns: Columns, where: str) -> None:
    try:
        reads = spec.stage.reads
    except OptionError as error:
        raise SpecError(f"{where}: {error}") from error
    missing = [name for name in reads if name not in columns]
    if missing:
        raise SpecError(
            f"{where} reads {missing}, which no earlier stage writes. {known_values(missing[0], columns)} "
            "Put the stage that writes it before this one."
        )
    for name, kind in reads.items():
        if not compatible(columns[name], kind):
            raise SpecError(f"{where} reads {name!r} as {kind}, but it is {columns[name]} here. Choose another column.")
    for name in spec.stage.writes:
        if name in ALWAYS or name in RESERVED:
            raise SpecError(f"{where} writes {name!r}, a column that has a meaning of its own. Choose another name.")


def _output(pipeline: Pipeline, columns: Columns) -> dict[str, pa.DataType]:
    names = pipeline.output.columns
    if names == ():
        raise SpecError(f"{pipeline.file}:{pipeline.output_line}: output: columns: [] leaves nothing. Name one at least.")
    if names is None:
        return {name: kind for name, kind in columns.items() if name not in (HTML, ORDINAL)}
    for name in names:
        if name not in columns or name == ORDINAL:
            where = f"{pipeline.file}:{pipeline.output_line}: output"
            raise SpecError(f"{where}: no column {name!r} at the end of the run. {known_values(name, columns)}")
    return {name: columns[name] for name in names}


def measured_columns(stage: Stage) -> tuple[str, ...]:
    """Columns with what a stage measures, if its option `values` is true: they are recorded for every document it sees."""
    if getattr(stage, "values", False) is not True:
        return ()
    if isinstance(stage, Keep):
        return (stage.column,)
    return tuple(name for name, kind in stage.writes.items() if _is_number(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _recorded(pipeline: Pipeline, specs: Sequence[StageSpec]) -> list[tuple[str, ...]]:
    """Per stage, the measured columns recorded so far. No stage may overwrite those of an earlier one."""
    owners: dict[str, str] = {}
    so_far = []
    for spec in specs:
        for name in spec.stage.writes:
            if name in owners:
                raise SpecError(
                    f"{pipeline.file}:{spec.line}: stage {spec.name!r} writes {name!r}, which is recorded for stage "
                    f"{owners[name]!r} (values: true). Only one of them can be: leave 'values' out of the other."
                )
        owners |= dict.fromkeys(measured_columns(spec.stage), spec.name)
        if TEXT_CHARS in owners:
            raise SpecError(
                f"{pipeline.file}:{spec.line}: stage {spec.name!r} records {TEXT_CHARS!r}, a name with a meaning of its own. "
                "Choose another name."
            )
        so_far.append(tuple(owners))
    return so_far


def _live(flow: Sequence[tuple[StageSpec, Columns]], wanted: set[str]) -> list[set[str]]:
    """Columns still needed before the first stage, and after each; `wanted` are needed at the end."""
    needed = {*wanted, *ALWAYS}
    live = [set(needed)]
    for spec, columns in reversed(flow):
        # The text of a document that is dropped or edited is sampled, so it lives while it can.
        needed = (needed - set(spec.stage.writes)) | set(spec.stage.reads) | (set(spec.stage.may_read) & set(columns))
        live.insert(0, set(needed))
    for after in range(len(live)):
        if any(TEXT in later for later in live[after:]):
            live[after] = live[after] | {TEXT}
    return live


def _only(columns: Columns, names: set[str]) -> dict[str, pa.DataType]:
    return {name: kind for name, kind in columns.items() if name in names}
