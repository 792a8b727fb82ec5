"""The contract of stages. A stage maps a batch to the same rows in the same order, with new columns or drop reasons.

- A stage removes no row. After every stage the runner removes the rows with a drop reason and checks that the counts balance.
- A drop reason is a row of the struct column `drop`; null means keep. The first drop reason of a document stands.
- A stage that rewrites `text` uses `edit_text`, with edits in code points of its input. A stage that `rebases` needs no
  edits: its text does not derive from the text it read (extraction).
- A stage is deterministic to the byte unless it declares `exact = False`.
- A stage that asks a model opens a `LoggedKernel`. The runner gives it the response log of each shard, so that answers
  survive an interrupted run.
- A stage that needs every document of the corpus is a global stage: see `curate.api.global_stage`.

Options are the fields of a frozen keyword-only dataclass, and the keys of the pipeline file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.config.options import asset_paths
from curate.schema import TEXT
from curate.storage.response_log import ResponseLog


class Stage:
    """Base of all stages. Subclasses are frozen keyword-only dataclasses and override `apply` or `open`.

    >>> from curate.api import drop_where
    >>> @dataclass(frozen=True, kw_only=True)
    ... class MinChars(Stage):
    ...     min_chars: int = 10
    ...     reasons = ("too_short",)
    ...
    ...     def apply(self, batch: Batch) -> Batch:
    ...         return drop_where(batch, batch.chars < self.min_chars, "too_short", value=batch.chars, limit=self.min_chars)
    >>> batch = Batch(pa.record_batch({"text": pa.array(["short", "long enough"], pa.large_string())}))
    >>> MinChars().apply(batch).dropped
    array([ True, False])
    """

    revision: ClassVar[int] = 1
    """Increased when equal options give other results than before."""
    exact: ClassVar[bool] = True
    """False when results may differ in the last bits between runs (neural models)."""
    serves: ClassVar[bool] = False
    """True for a stage whose model needs a worker of its own. The stage is then a segment of its own."""
    rebases: ClassVar[bool] = False
    """True when the text written does not derive from the text read."""

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        """Required columns, with the types they must have."""
        return {TEXT: pa.large_string()}

    @property
    def may_read(self) -> tuple[str, ...]:
        """Optional columns, used where the source has them."""
        return ()

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        """Columns added or replaced, with their types."""
        return {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every drop reason this stage may give."""
        return ()

    @property
    def value_columns(self) -> Mapping[str, str]:
        """Drop reason -> column with the value that the reason compares with a limit. Reports draw the kept values from it."""
        return {}

    @property
    def resources(self) -> Mapping[str, float]:
        """Resources beyond one CPU, such as {"num_gpus": 1}. Stages with other resources run in a segment of their own."""
        return {}

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that workers import and `curate` does not depend on."""
        return ()

    @property
    def assets(self) -> tuple[str, ...]:
        """Files and folders the result depends on (all `AssetPath` options). Their content is part of the cache key."""
        return tuple(path for _, path in asset_paths(self))

    def counts(self, after: Batch) -> Mapping[str, int]:
        """Counts of a batch besides rows and characters, from the columns and drop reasons this stage left. They are summed."""
        return {}

    def open(self) -> Kernel:
        """Load what is needed, once per worker, and return the function for a batch."""
        return self.apply

    def apply(self, batch: Batch) -> Batch:
        """Map a batch to the same rows in the same order."""
        raise NotImplementedError(f"{type(self).__name__} has neither apply() nor open()")


@dataclass(frozen=True)
class LoggedKernel:
    """A kernel that asks a model and keeps the answers in a response log."""

    ask: Callable[[Batch, ResponseLog], Batch]
    responses: ResponseLog = field(default_factory=ResponseLog)
    """In memory by default. The runner replaces it by the log file of the shard."""

    def __call__(self, batch: Batch) -> Batch:
        return self.ask(batch, self.responses)

    def logging_to(self, responses: ResponseLog) -> LoggedKernel:
        return replace(self, responses=responses)
