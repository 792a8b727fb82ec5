"""Pipeline -> Plan: which stages run fused, where the run is cut, which columns each cut carries, what identifies it.

The plan is cut at global stages, where resources change, around stages that serve a model, and after the stages named in
`keep_steps`. A segment is what lies between two cuts: one task reads a shard, streams its batches through the stages, and
writes one file. The first segment writes every column still needed; later ones write only what they changed, and texts only of
the rows they edited.

Cache keys depend on each other: a step's key covers its own options, revision and assets, and the key of the step before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from curate.api.global_stage import GlobalStage
from curate.api.source import Shard, Source
from curate.config.options import values_of
from curate.pipeline.cache_key import digest, identity_of, input_key, step_key, summary_key
from curate.pipeline.columns import ColumnFlow, column_flow
from curate.pipeline.spec import Pipeline
from curate.pipeline.steps import TEXT_CHARS, Columns, Segment, Step
from curate.schema import EDITED, ID, ORDINAL, TEXT, URL
from curate.storage.store import InputFile


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs to know."""

    pipeline: Pipeline
    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]
    output: Columns
    limit: int | None
    cache_key: str
    """Key of the corpus: of all segments, and of the output options; not of what only the data card says."""

    @property
    def source(self) -> Source:
        return self.pipeline.source

    @property
    def staged(self) -> bool:
        """Whether the first segment writes the source's columns; a source that is cheap to read is read again."""
        return not self.source.rereadable

    @property
    def recorded(self) -> tuple[str, ...]:
        """Measured columns that are recorded for every document, kept or dropped."""
        return self.steps[-1].recorded if self.steps else ()

    @property
    def values_columns(self) -> Columns:
        """Columns of the files of `values/`: of what is recorded of kept documents, that which `data/` leaves out."""
        if not self.recorded:
            return {}
        wanted = {ORDINAL: pa.uint64(), ID: pa.string(), URL: pa.string(), **dict.fromkeys(self.recorded, pa.float64())}
        counted = {TEXT_CHARS: pa.int64()} if TEXT in self.output and TEXT_CHARS not in self.recorded else {}
        return {name: kind for name, kind in {**wanted, **counted}.items() if name not in self.output}


def make_plan(pipeline: Pipeline, inputs: Sequence[InputFile] = (), limit: int | None = None) -> Plan:
    """Check the flow of columns and cut. Raises SpecError with the stage's location."""
    flow = column_flow(pipeline)
    base = input_key(pipeline, inputs, limit)
    steps = tuple(_steps(pipeline, flow, base))
    segments = tuple(_segments(pipeline, steps, flow.first, base))
    output = {**values_of(pipeline.output), "columns": list(flow.output)}
    del output["license"]
    keys = {segment.name: segment.cache_key for segment in segments}
    cache_key = digest([pipeline.name, keys, output, pipeline.source.split_bytes])
    return Plan(pipeline, segments, steps, flow.output, limit, cache_key)


def _steps(pipeline: Pipeline, flow: ColumnFlow, key: str) -> Iterator[Step]:
    for spec, columns, recorded in zip(flow.stages, flow.after, flow.recorded, strict=True):
        identity = identity_of(spec.type, spec.stage)
        key = step_key(key, spec.name, identity)
        location = f"{pipeline.file}:{spec.line}"
        yield Step(spec.name, spec.type, spec.stage, location, spec.expect, columns, recorded, identity, key)


def _segments(pipeline: Pipeline, steps: Sequence[Step], first: Columns, base: str) -> Iterator[Segment]:
    """Cut the steps."""
    global_stage: Step | None = None
    reads, key = first, base
    fused: list[Step] = []
    index = 0
    for position, step in enumerate(steps):
        before, key = key, step.key
        following = steps[position + 1] if position + 1 < len(steps) else None
        if isinstance(step.stage, GlobalStage):
            summaries = summary_key(before, step.stage, step.identity)
            yield _segment(pipeline, index, global_stage, fused, step, reads, summaries)
            index, global_stage, fused = index + 1, step, []
            reads = steps[position - 1].columns if position else first
            continue
        fused.append(step)
        if following and not isinstance(following.stage, GlobalStage) and _cut(pipeline, step, following):
            yield _segment(pipeline, index, global_stage, fused, None, reads, key)
            index, global_stage, fused, reads = index + 1, None, [], step.columns
    yield _segment(pipeline, index, global_stage, fused, None, reads, key)


def _cut(pipeline: Pipeline, step: Step, following: Step) -> bool:
    kept = isinstance(pipeline.keep_steps, tuple) and step.name in pipeline.keep_steps
    served = step.stage.serves or following.stage.serves
    return kept or served or step.stage.resources != following.stage.resources


def _segment(
    pipeline: Pipeline,
    index: int,
    global_stage: Step | None,
    fused: Sequence[Step],
    summarizes: Step | None,
    reads: Columns,
    key: str,
) -> Segment:
    stages = [*([global_stage] if global_stage else []), *fused]
    after = stages[-1].columns if stages else reads
    changed = {name for step in stages for name in step.stage.writes}
    whole = index == 0 and not pipeline.source.rereadable
    writes = {name: kind for name, kind in after.items() if whole or name == ORDINAL or name in changed}
    if TEXT in writes and TEXT in reads and not whole:
        writes = {**writes, EDITED: pa.bool_()}
    name = f"{index:02d}-{stages[-1].name if stages else 'read'}"
    recorded = stages[-1].recorded if stages else ()
    columns = [list(reads), list(writes), *(list(step.columns) for step in stages)]
    samples = [pipeline.output.keep_text, pipeline.output.sample_per_reason]
    cache_key = digest([key, columns, samples, *([recorded] if recorded else [])])
    return Segment(index, name, global_stage, tuple(fused), summarizes, reads, writes, recorded, key, cache_key)


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
