"""Keep a random share of documents, drawn by a keyed hash of each document, whatever its order, neighbours or worker.

A document is kept when the hash of its key, read as a fraction in [0, 1), is from `start` and below `start + share`. So a
sample of 1 % is part of the sample of 10 % with the same seed and purpose, and samples whose ranges do not overlap share no
document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le

from curate.api.batch import Batch, drop_where
from curate.api.stage import Stage
from curate.config.options import Added
from curate.schema import ID, TEXT, URL


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """Keyed sampling."""

    share: Annotated[float, Ge(0), Le(1)]
    start: Annotated[float, Ge(0), Le(1)] = 0.0
    """Lower bound of the range of hashes to keep."""
    key: Literal["id", "url", "text"] = "id"
    """Column to hash. Documents with equal keys are kept or dropped together. A null key falls back on the id."""
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    purpose: Annotated[str, Added()] = ""
    """Samples for different purposes are independent though their seeds are equal. `curate rounds` has its own."""

    reasons = ("not_sampled",)

    def __post_init__(self) -> None:
        if self.start + self.share > 1 + 1e-9:
            raise ValueError(f"start ({self.start}) and share ({self.share}) go beyond 1: give ranges of the documents, 0 to 1")

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        types = {ID: pa.string(), URL: pa.string(), TEXT: pa.large_string()}
        return {name: types[name] for name in dict.fromkeys((self.key, ID))}

    def apply(self, batch: Batch) -> Batch:
        secret = self.seed.to_bytes(8, "little")
        keys = zip(batch[self.key].to_pylist(), batch[ID].to_pylist(), strict=True)
        person = hashlib.blake2b(self.purpose.encode(), digest_size=16).digest() if self.purpose else b""
        digests = (
            hashlib.blake2b((fallback if key is None else key).encode(), digest_size=8, key=secret, person=person)
            for key, fallback in keys
        )
        draws = np.fromiter((int.from_bytes(d.digest()[:7], "little") / 2**56 for d in digests), np.float64, len(batch))
        end = self.start + self.share
        limits = np.where(draws < self.start, self.start, end)
        return drop_where(batch, (draws < self.start) | (draws >= end), "not_sampled", value=draws, limit=pa.array(limits))
