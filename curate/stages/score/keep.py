"""Keep documents whose score lies within bounds: min <= x <= max. It usually follows a `score`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, drop_where
from curate.api.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Keep(Stage):
    """Drops documents outside the bounds of a numeric column."""

    column: str
    min: float | None = None
    max: float | None = None
    values: bool = False
    """Record the column for every document the stage sees, dropped ones too: `curate whatif` can then move the bounds."""

    reasons = ("no_score", "too_low", "too_high")

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both: without a bound nothing is chosen")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is greater than max ({self.max})")

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.float64()}

    def apply(self, batch: Batch) -> Batch:
        values = batch[self.column].cast(pa.float64(), safe=False)
        batch = drop_where(batch, pc.is_null(values, nan_is_null=True), "no_score")
        if self.min is not None:
            batch = drop_where(batch, pc.less(values, self.min), "too_low", value=values, limit=self.min)
        if self.max is not None:
            batch = drop_where(batch, pc.greater(values, self.max), "too_high", value=values, limit=self.max)
        return batch
