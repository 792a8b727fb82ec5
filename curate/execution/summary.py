"""What a run comes to: counts of every stage, files, failed shards."""

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
    barriers: dict[str, dict[str, int]] = field(default_factory=dict)
    """What barriers counted on their way to a decision: clusters by size, and the like."""
    failed_shards: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    already_done: bool = False

    def add(self, done: SegmentResult) -> None:
        for name, account in done.accounts.items():
            self.stages.setdefault(name, StageCounts()).add(account)
        self.records.update(done.records)

    def as_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "stages": {name: account.as_json() for name, account in self.stages.items()},
            "records": dict(sorted(self.records.items())),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        names = {item.name for item in dataclasses.fields(cls)}
        own = {name: item for name, item in value.items() if name in names}
        stages = {name: StageCounts.from_json(account) for name, account in value["stages"].items()}
        return cls(**{**own, "stages": stages, "records": Counter(value["records"])})
