"""The contract: what a batch is, what a stage promises, what a barrier promises.

A stage maps a batch of documents to *the same rows in the same order*, with new columns or with verdicts. It removes
nothing; the runner (through `ledger`) removes dropped rows after every stage and settles the account.

- A verdict is a row of the struct column `drop`; null means keep; the first verdict of a document stands.
- A stage that rewrites `text` does it with `edit_text`, and says what it did in code points of its input, unless it
  `rebases`: then its text has nothing to do with what came before (extraction).
- A stage is deterministic to the byte unless it says `exact = False`.
- A stage that asks a model opens a `LoggedKernel`: the runner gives it the log of each shard, so that no answer is lost.
- A barrier needs every document. It leaves small rows behind (`sketch`), decides from all of them in tasks that see a part
  each (`barriers.py`), and marks documents as a stage does (`mark`).

Options are the fields of a frozen keyword-only dataclass, and the keys of the pipeline file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.config.options import asset_paths
from curate.schema import TEXT
from curate.storage.response_log import ResponseLog

if TYPE_CHECKING:
    pass


class Stage:
    """Base of all stages. Subclasses are frozen keyword-only dataclasses and override `apply` or `open`."""

    revision: ClassVar[int] = 1
    """Raised when equal options give other results."""
    exact: ClassVar[bool] = True
    """False when results may differ in the last bits between runs (neural models)."""
    serves: ClassVar[bool] = False
    """True for a stage with a model that keeps a worker to itself: the plan is cut around it."""
    rebases: ClassVar[bool] = False
    """True when the text written has nothing to do with the text read."""

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        """Columns needed, with the type they must have."""
        return {TEXT: pa.large_string()}

    @property
    def may_read(self) -> tuple[str, ...]:
        """Columns used where the source has them."""
        return ()

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        """Columns added or replaced, with their types."""
        return {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason this stage may give for a verdict."""
        return ()

    @property
    def judged(self) -> Mapping[str, str]:
        """Reasons that hold a column against a limit, and the column: where a report finds the values of what stayed."""
        return {}

    @property
    def resources(self) -> Mapping[str, float]:
        """Beyond one CPU, such as {"num_gpus": 1}. A change of resources cuts the plan."""
        return {}

    @property
    def packages(self) -> tuple[str, ...]:
        """What workers import that `curate` does not bring."""
        return ()

    @property
    def assets(self) -> tuple[str, ...]:
        """Files and folders the result depends on (all `AssetPath` options); their content is part of the fingerprint."""
        return tuple(path for _, path in asset_paths(self))

    def counts(self, after: Batch) -> Mapping[str, int]:
        """What the books say of a batch besides rows and characters, made of the columns and verdicts this stage left."""
        return {}

    def open(self) -> Kernel:
        """Load what is needed, once per worker, and return the batch function."""
        return self.apply

    def apply(self, batch: Batch) -> Batch:
        """Map a batch to the same rows in the same order."""
        raise NotImplementedError(f"{type(self).__name__} has neither apply() nor open()")


@dataclass(frozen=True)
class LoggedKernel:
    """A kernel that asks a model, and keeps its answers: in memory, or where the runner says."""

    ask: Callable[[Batch, ResponseLog], Batch]
    answers: ResponseLog = field(default_factory=ResponseLog)

    def __call__(self, batch: Batch) -> Batch:
        return self.ask(batch, self.answers)

    def logging_to(self, answers: ResponseLog) -> LoggedKernel:
        return replace(self, answers=answers)
