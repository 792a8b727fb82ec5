"""A stage in its place, and stages that run fused: steps and segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from curate.api.stage import Stage
from curate.pipeline.spec import Expect
from curate.schema import ID, ORDINAL, URL

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
