"""Pipeline -> Plan: which stages run fused, where the run is cut, which columns each cut carries, what identifies it.

The plan is cut at barriers, where resources change, around stages that serve a model, and after the stages named in
`keep_steps`. A segment is what lies between two cuts: one task reads a shard, streams its batches through the stages, and
writes one file. The first segment writes every column still needed; later ones write only what they changed, and texts only of
the rows they edited.

Fingerprints are a chain: a step's is made of its own options, revision and assets, and the step before it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from curate.api.dedup_index import check_index
from curate.api.global_stage import Shuffle
from curate.api.stage import Barrier, Stage
from curate.config.options import OptionError, asset_paths, path_fields, values_of
from curate.errors import SpecError, known_values
from curate.pipeline.spec import Expect, Pipeline, StageSpec
from curate.schema import EDITED, HTML, ID, IDENTITY, MAX_INDEXES, ORDINAL, PROVENANCE, RESERVED, TEXT, URL, compatible
from curate.sources.source import Shard, Source
from curate.stages.score.keep import Keep
from curate.storage import store
from curate.storage.store import Found

ALWAYS = (ORDINAL, ID, URL, "file", "offset", "length")
"""Columns every verdict needs; they are carried through the whole run."""
REMOVE = "remove"
TEXT_CHARS = "text_chars"
"""Length of a text in code points, recorded beside what was measured."""

Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Step:
    """One stage in its place."""

    name: str
    kind: str
    stage: Stage
    place: str
    expect: Expect | None
    columns: Columns
    """What a batch has after this stage, unneeded columns left out."""


@dataclass(frozen=True)
class Segment:
    """Stages that run fused over a shard, ended by a write."""

    index: int
    name: str
    """Its folder below `steps/`."""
    barrier: Step | None
    """Decided before this segment; its verdicts are given first."""
    steps: tuple[Step, ...]
    sketch: Step | None
    """The barrier after this segment."""
    reads: Columns
    """Columns a batch has at the start."""
    writes: Columns
    """Columns of this segment's files."""
    fingerprint: str

    @property
    def stages(self) -> tuple[Step, ...]:
        """The barrier's marking and the fused stages: everything that may give a verdict here."""
        return ((self.barrier,) if self.barrier else ()) + self.steps

    @property
    def resources(self) -> Mapping[str, float]:
        return self.steps[0].stage.resources if self.steps else {}


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs to know."""

    pipeline: Pipeline
    segments: tuple[Segment, ...]
    output: Columns
    limit: int | None

    @property
    def source(self) -> Source:
        return self.pipeline.source

    @property
    def staged(self) -> bool:
        """Whether the first segment writes the source's columns; a source that is cheap to read is read again."""
        return not self.source.rereadable

    @cached_property
    def values(self) -> tuple[str, ...]:
        """Measured columns that are recorded for every document, kept or dropped."""
        return self.values_by(self.steps[-1].name) if self.steps else ()

    def values_by(self, stage: str) -> tuple[str, ...]:
        """Those of a stage and the stages before it; of the source, none."""
        places = [number for number, step in enumerate(self.steps, 1) if step.name == stage]
        steps = self.steps[: places[0]] if places else ()
        return tuple(dict.fromkeys(name for step in steps for name in recorded(step.stage)))

    def values_in(self, segment: Segment) -> tuple[str, ...]:
        """Those that documents dropped in a segment may have."""
        stages = [step.name for before in self.segments[: segment.index + 1] for step in before.stages]
        return self.values_by(stages[-1]) if stages else ()

    @cached_property
    def beside(self) -> Columns:
        """What `values/` has of every kept document, where values are recorded: that of it which `data/` leaves out."""
        if not self.values:
            return {}
        wanted = {ORDINAL: pa.uint64(), ID: pa.string(), URL: pa.string(), **dict.fromkeys(self.values, pa.float64())}
        counted = {TEXT_CHARS: pa.int64()} if TEXT in self.output and TEXT_CHARS not in self.values else {}
        return {name: kind for name, kind in {**wanted, **counted}.items() if name not in self.output}

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that makes the corpus, the output options included; not of what only its card says."""
        output = {**values_of(self.pipeline.output), "columns": list(self.output)}
        del output["license"]
        return _digest([self.pipeline.name, self.prints, output, self.source.split_bytes])

    @cached_property
    def prints(self) -> dict[str, str]:
        """Per segment, what its files depend on: what it computes, which columns it carries, which texts it samples."""
        output = self.pipeline.output
        samples = [output.keep_text, output.sample_per_reason]
        columns = {s.name: [list(s.reads), list(s.writes), *(list(step.columns) for step in s.stages)] for s in self.segments}
        values = {s.name: [values] if (values := self.values_in(s)) else [] for s in self.segments}
        return {s.name: _digest([s.fingerprint, columns[s.name], samples, *values[s.name]]) for s in self.segments}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for segment in self.segments for step in segment.stages)


def make_plan(pipeline: Pipeline, inputs: Sequence[Found] = (), limit: int | None = None) -> Plan:
    """Check the flow of columns and cut. Raises SpecError with the stage's place."""
    flow = _flow(pipeline)
    output = _output(pipeline, flow[-1][1] if flow else _source_columns(pipeline))
    live = _live(flow, {*output, *_recorded(pipeline, flow)})
    steps = [
        Step(spec.name, spec.kind, spec.stage, f"{pipeline.file}:{spec.line}", spec.expect, _only(columns, after))
        for (spec, columns), after in zip(flow, live[1:], strict=True)
    ]
    first = _only(_source_columns(pipeline), live[0])
    return Plan(pipeline, tuple(_segments(pipeline, steps, first, _base_print(pipeline, inputs, limit))), output, limit)


def _source_columns(pipeline: Pipeline) -> dict[str, pa.DataType]:
    try:
        columns = pipeline.source.columns
        for name in RESERVED:
            if name in columns:
                raise SpecError(f"column {name!r} has a meaning of its own here. Rename it, or leave it out")
        return {**IDENTITY, **PROVENANCE, **columns}
    except SpecError as error:
        raise SpecError(f"{pipeline.source_place}: source {pipeline.source_kind!r}: {error}") from error


def _flow(pipeline: Pipeline) -> list[tuple[StageSpec, dict[str, pa.DataType]]]:
    """Every stage with the columns there are after it."""
    columns = _source_columns(pipeline)
    specs = list(pipeline.stages)
    if pipeline.remove:
        from curate.stages.filters.remove import Removal

        removal = Removal(ids=pipeline.remove.ids, urls=pipeline.remove.urls)
        specs.insert(0, StageSpec(REMOVE, REMOVE, removal, pipeline.remove_line))
    flow = []
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
            raise SpecError(f"{where}: {option}: {path!r} does not exist. Relative paths count from the file's folder.")
    if isinstance(spec.stage, Shuffle):
        if len(spec.stage.indexes) > MAX_INDEXES:
            raise SpecError(f"{where}: against: {len(spec.stage.indexes)} indexes are named, {MAX_INDEXES} at most can be.")
        for path in spec.stage.indexes:
            try:
                check_index(path, spec.kind, spec.stage)
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


def recorded(stage: Stage) -> tuple[str, ...]:
    """Columns with what a stage measures, which it wants kept for every document it sees: its option `values` is true."""
    if getattr(stage, "values", False) is not True:
        return ()
    if isinstance(stage, Keep):
        return (stage.column,)
    return tuple(name for name, kind in stage.writes.items() if _is_number(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _recorded(pipeline: Pipeline, flow: Sequence[tuple[StageSpec, Columns]]) -> set[str]:
    """The measured columns of all stages; no stage may overwrite those of an earlier one."""
    owners: dict[str, str] = {}
    for spec, _ in flow:
        for name in spec.stage.writes:
            if name in owners:
                raise SpecError(
                    f"{pipeline.file}:{spec.line}: stage {spec.name!r} writes {name!r}, which is recorded for stage "
                    f"{owners[name]!r} (values: true). Only one of them can be: leave 'values' out of the other."
                )
        owners |= dict.fromkeys(recorded(spec.stage), spec.name)
        if TEXT_CHARS in owners:
            raise SpecError(
                f"{pipeline.file}:{spec.line}: stage {spec.name!r} records {TEXT_CHARS!r}, a name with a meaning of its own. "
                "Choose another name."
            )
    return set(owners)


def _live(flow: Sequence[tuple[StageSpec, Columns]], wanted: set[str]) -> list[set[str]]:
    """Columns still needed before the first stage, and after each; `wanted` are needed at the end."""
    needed = {*wanted, *ALWAYS}
    live = [set(needed)]
    for spec, columns in reversed(flow):
        # The text of a document that is dropped or edited is sampled for the ledger, so it lives while it can.
        needed = (needed - set(spec.stage.writes)) | set(spec.stage.reads) | (set(spec.stage.may_read) & set(columns))
        live.insert(0, set(needed))
    for after in range(len(live)):
        if any(TEXT in later for later in live[after:]):
            live[after] = live[after] | {TEXT}
    return live


def _only(columns: Columns, names: set[str]) -> dict[str, pa.DataType]:
    return {name: kind for name, kind in columns.items() if name in names}


def _segments(pipeline: Pipeline, steps: Sequence[Step], first: Columns, base: str) -> Iterable[Segment]:
    """Cut the steps; fingerprints are chained through all of them."""
    fingerprint = base
    barrier: Step | None = None
    reads: Columns = first
    group: list[Step] = []
    index = 0
    for position, step in enumerate(steps):
        before, fingerprint = fingerprint, _chain(fingerprint, step)
        following = steps[position + 1] if position + 1 < len(steps) else None
        if isinstance(step.stage, Barrier):
            yield _segment(pipeline, index, barrier, group, step, reads, _sketch_print(before, step))
            index, barrier, group, reads = index + 1, step, [], _before(steps, position, first)
            continue
        group.append(step)
        if following and not isinstance(following.stage, Barrier) and _cut(pipeline, step, following):
            yield _segment(pipeline, index, barrier, group, None, reads, fingerprint)
            index, barrier, group, reads = index + 1, None, [], step.columns
    yield _segment(pipeline, index, barrier, group, None, reads, fingerprint)


def _before(steps: Sequence[Step], position: int, first: Columns) -> Columns:
    return steps[position - 1].columns if position else first


def _cut(pipeline: Pipeline, step: Step, following: Step) -> bool:
    kept = isinstance(pipeline.keep_steps, tuple) and step.name in pipeline.keep_steps
    served = step.stage.serves or following.stage.serves
    return kept or served or step.stage.resources != following.stage.resources


def _segment(
    pipeline: Pipeline,
    index: int,
    barrier: Step | None,
    group: Sequence[Step],
    sketch: Step | None,
    reads: Columns,
    fingerprint: str,
) -> Segment:
    after = group[-1].columns if group else (barrier.columns if barrier else reads)
    changed = {name for step in ([barrier] if barrier else []) + list(group) for name in step.stage.writes}
    whole = index == 0 and not pipeline.source.rereadable
    writes = {name: kind for name, kind in after.items() if whole or name == ORDINAL or name in changed}
    if TEXT in writes and TEXT in reads and not whole:
        writes = {**writes, EDITED: pa.bool_()}
    name = f"{index:02d}-{group[-1].name if group else barrier.name if barrier else 'read'}"
    return Segment(index, name, barrier, tuple(group), sketch, reads, writes, fingerprint)


def _base_print(pipeline: Pipeline, inputs: Sequence[Found], limit: int | None) -> str:
    options = {name: value for name, value in values_of(pipeline.source).items() if name not in ("paths", "split_bytes")}
    listing = [[found.url, found.size, found.tag] for found in inputs]
    return _digest([pipeline.source_kind, options, listing, limit])


def _chain(before: str, step: Step) -> str:
    return _digest([before, step.name, identity_of(step)])


def _sketch_print(before: str, step: Step) -> str:
    """A segment that ends in a barrier depends on what the barrier sketches, not on what it decides later."""
    assert isinstance(step.stage, Barrier)
    identity = identity_of(step)
    wanted = step.stage.sketch_options
    options = {name: identity["options"][name] for name in wanted if name in identity["options"]}
    assets = {name: digest for name, digest in identity["assets"].items() if name.split()[0] in (*wanted, "asset")}
    return _digest([before, "sketch", {**identity, "options": options, "assets": assets}])


def identity_of(step: Step) -> dict[str, Any]:
    """What makes a step's result: kind, options (assets by content), revision; for foreign stages, their source too."""
    paths = {name for name, _ in path_fields(type(step.stage))}
    options = {name: value for name, value in values_of(step.stage).items() if name not in paths}
    assets = {f"{name} {number}": store.hash_asset(path) for number, (name, path) in enumerate(_assets(step.stage))}
    identity = {"kind": step.kind, "revision": step.stage.revision, "options": options, "assets": assets}
    module = type(step.stage).__module__
    if not module.startswith("curate."):
        identity["code"] = _digest(inspect.getsource(sys.modules[module]))
    return identity


def _assets(stage: Stage) -> Iterable[tuple[str, str]]:
    """(option, path) of every asset, and those a stage names without an option."""
    named = asset_paths(stage)
    return [*named, *(("asset", path) for path in stage.assets if path not in {path for _, path in named})]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def limited(shards: Sequence[Shard], limit: int | None) -> list[Shard]:
    """All shards; under a limit, shards with known sizes beyond it are left out."""
    if limit is None:
        return list(shards)
    kept, total = [], 0
    for shard in shards:
        if total >= limit:
            break
        kept.append(shard)
        total += shard.documents or 0
    return [replace(shard, index=index) for index, shard in enumerate(kept)]
