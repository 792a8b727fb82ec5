"""Pipeline -> Plan: which stages run fused, where the run is cut, which columns each cut carries, what identifies it.

The plan is cut at barriers, where resources change, around stages that serve a model, and after the stages named in
`keep_steps`. A segment is what lies between two cuts: one task reads a shard, streams its batches through the stages, and
writes one file. The first segment writes every column still needed; later ones write only what they changed, and texts only of
the rows they edited.

Fingerprints are a chain: a step's is made of its own options, revision and assets, and the step before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from curate.api.stage import Barrier
from curate.config.options import values_of
from curate.pipeline.columns import _flow, _live, _only, _output, _recorded, _source_columns, recorded
from curate.pipeline.fingerprint import _base_print, _chain, _digest, _sketch_print
from curate.pipeline.spec import Pipeline
from curate.pipeline.steps import TEXT_CHARS, Columns, Segment, Step
from curate.schema import EDITED, ID, ORDINAL, TEXT, URL
from curate.sources.source import Shard, Source
from curate.storage.store import Found


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
