"""Steps and segments: a stage at its position in a pipeline, and the stages that run fused over a shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.api.stage import Stage
from curate.pipeline.spec import Expect
from curate.schema import ID, ORDINAL, URL

ALWAYS = (ORDINAL, ID, URL, "file", "offset", "length")
"""Columns that every drop reason needs; they are carried through the whole run."""
REMOVE = "remove"
"""Name of the step that takes documents down (`remove:` of the pipeline file)."""
TEXT_CHARS = "text_chars"
"""Length of a text in code points, recorded beside what was measured."""

Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Step:
    """One stage of a pipeline. Columns and identity are computed once, by `make_plan`."""

    name: str
    """Unique in the pipeline: the stage's type, or what `as:` says."""
    type: str
    """Name of the stage in the registry."""
    stage: Stage
    location: str
    """`file:line` in the pipeline file."""
    expect: Expect | None
    columns: Columns
    """Columns of a batch after this stage, unneeded ones left out."""
    recorded: tuple[str, ...]
    """Measured columns that this stage and the stages before it record for every document."""
    identity: Mapping[str, Any]
    """What makes the stage's result: type, revision, options, hashes of assets; the source code of a plug-in."""
    key: str
    """Cache key of the results so far: this identity, and the key of the step before."""


@dataclass(frozen=True)
class Segment:
    """Stages that run fused over a shard, ended by a write."""

    index: int
    name: str
    """Its folder below `steps/`."""
    global_stage: Step | None
    """The global stage whose decision is applied first."""
    steps: tuple[Step, ...]
    summarizes: Step | None
    """The global stage after this segment, for which summaries are written."""
    reads: Columns
    """Columns of a batch at the start."""
    writes: Columns
    """Columns of this segment's files."""
    recorded: tuple[str, ...]
    """Measured columns that documents dropped in this segment may have."""
    key: str
    """Cache key of what the segment computes."""
    cache_key: str
    """Cache key of the segment's files. Equal keys mean byte-identical files, so `--reuse` may copy them. Covers `key`, the
    columns read and written, and the settings by which texts are sampled."""

    @property
    def stages(self) -> tuple[Step, ...]:
        """Everything that may drop a document here: the global stage's decision, then the fused stages."""
        return ((self.global_stage,) if self.global_stage else ()) + self.steps

    @property
    def resources(self) -> Mapping[str, float]:
        """What a task needs beyond one CPU; the stages of a segment need the same."""
        return self.steps[0].stage.resources if self.steps else {}
