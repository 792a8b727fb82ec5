"""The outcome of a run: counts of every stage, files, failed shards."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.execution.accounting import StageCounts
from curate.execution.segment import SegmentResult


@dataclass
class Summary:
    """The outcome of a run, as in the manifest."""

    out: str
    documents_in: int = 0
    documents_out: int = 0
    stages: dict[str, StageCounts] = field(default_factory=dict)
    records: Counter[str] = field(default_factory=Counter)
    decision_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """What global stages counted on their way to a decision: clusters by size, and the like. `barriers` in the manifest."""
    failed_shards: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    already_done: bool = False

    def add(self, result: SegmentResult) -> None:
        """Add the counts of one shard in one segment."""
        for name, counts in result.stages.items():
            self.stages.setdefault(name, StageCounts()).add(counts)
        self.records.update(result.records)

    def as_json(self) -> dict[str, Any]:
        keys = {"decision_counts": "barriers"}
        return {
            **{keys.get(name, name): value for name, value in dataclasses.asdict(self).items()},
            "stages": {name: counts.as_json() for name, counts in self.stages.items()},
            "records": dict(sorted(self.records.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        names = {item.name for item in dataclasses.fields(cls)}
        own = {name: item for name, item in value.items() if name in names}
        stages = {name: StageCounts.from_json(counts) for name, counts in value["stages"].items()}
        typed = {"stages": stages, "records": Counter(value["records"]), "decision_counts": value["barriers"]}
        return cls(**{**own, **typed})
