"""Collect what a report shows of dropped, edited and kept documents, one batch of a run's Parquet files at a time.

Distributions come from a sample: every n-th dropped document, and the kept documents of some files, chosen by a hash of their
names. Documents to read are those with the smallest keyed hash, per reason or stage, and those nearest to a limit. Memory does
not grow with the run.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.execution.accounting import VALUES
from curate.report.inspect_run import row_keys
from curate.report.run_files import as_floats, parquet_files, read_with_values
from curate.report.shown_documents import SmallestRows, shown_document, shown_parts
from curate.schema import ID, TEXT, URL
from curate.storage.store import Store

F64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
HOST_PATTERN = r"^(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?(?P<host>[^/?#:]+)"
"""Matches the host of a lower-case URL."""
BATCH_ROWS = 4096
_MIN_VALUES = 6
"""A histogram needs as many values."""
_SAMPLED = pa.schema(
    [(URL, pa.string()), ("stage", pa.string()), ("reason", pa.string()), ("value", pa.float64()), ("limit", pa.float64()),
     ("detail", pa.string())]
)  # fmt: skip
_Group = TypeVar("_Group", bound=Hashable)


@dataclass(frozen=True)
class Size:
    """How much of a run a report shows."""

    per_reason: int = 20
    """Dropped documents for each reason."""
    per_stage: int = 40
    """Edited documents for each stage."""
    kept: int = 100
    near: int = 6
    """Documents nearest to each limit, on either side of it."""
    chars: int = 4000
    """Characters of each text."""
    rows: int = 200_000
    """Documents that distributions are drawn from."""
    names: int = 25
    """Languages and hosts."""
    files: int = 100
    """Files of the corpus."""


@dataclass(frozen=True)
class Limit:
    """A limit of a drop reason, and the column of the values that are compared with it."""

    stage: str
    reason: str
    limit: float
    column: str | None
    """Holds the values of kept documents; None if unknown."""
    recorded: bool
    """Documents dropped by other rules have the value too."""


class Dropped:
    """Collects from the batches of `dropped/`. Every `every`-th document counts in distributions."""

    def __init__(self, size: Size, every: int) -> None:
        self.scale = float(every)
        self.drawn = self._num_rows = self._num_lengths = 0
        self._size = size
        self._sample: list[pa.Table] = [_SAMPLED.empty_table()]
        self._lengths: list[Rows] = []
        self._drawn: dict[tuple[str, str], SmallestRows] = defaultdict(lambda: SmallestRows(size.per_reason))
        self._near: dict[tuple[str, str], SmallestRows] = defaultdict(lambda: SmallestRows(size.near))

    def add(self, batch: pa.RecordBatch) -> None:
        sampled = np.arange(-self._num_rows % int(self.scale), batch.num_rows, int(self.scale))
        self._num_rows += batch.num_rows
        self.drawn += len(sampled)
        columns = [*_SAMPLED.names, *({VALUES} & {*batch.schema.names})]
        self._sample.append(pa.Table.from_batches([batch.select(columns).take(pa.array(sampled))]))
        texts = batch.column(TEXT)
        if self._num_lengths < self._size.rows:
            self._lengths.append(pc.utf8_length(texts.drop_null()).to_numpy(zero_copy_only=False))
            self._num_lengths += len(self._lengths[-1])
        reasons = list(zip(batch.column("stage").to_pylist(), batch.column("reason").to_pylist(), strict=True))
        has_text = texts.is_valid().to_numpy(zero_copy_only=False)
        # Documents without a text are shown where there are too few with one. Hashing them all would be slow, so only the
        # sampled ones and the first of every reason take part.
        hashed = has_text.copy()
        hashed[sampled] = True
        hashed[[reasons.index(reason) for reason in {*reasons} - self._drawn.keys()]] = True
        rows = np.flatnonzero(hashed)
        keys = np.zeros(batch.num_rows, "S9")
        hashes = row_keys(batch.select([ID, "offset"]).take(pa.array(rows)))
        keys[rows] = [(b"\0" if has_text[row] else b"\1") + key for row, key in zip(rows, hashes, strict=True)]
        for reason, own in _rows_by_group(reasons, rows).items():
            self._drawn[reason].add(batch, own, keys[own])
        distance = np.abs(as_floats(batch.column("value")) - as_floats(batch.column("limit")))
        for reason, own in _rows_by_group(reasons, np.flatnonzero(has_text & np.isfinite(distance))).items():
            self._near[reason].add(batch, own, distance[own])

    @cached_property
    def sample(self) -> pa.Table:
        """The documents that distributions are drawn from. All batches must have been added."""
        return pa.concat_tables(self._sample, promote_options="default")

    @property
    def hosts(self) -> Counter[str]:
        return _counts(_hosts(self.sample[URL]))

    @property
    def languages(self) -> Counter[str]:
        return _counts(self.sample.filter(pc.field("reason") == "other_language")["detail"])

    @property
    def lengths(self) -> Rows:
        """Characters of each text on record."""
        lengths: Rows = np.concatenate([np.zeros(0, np.int64), *self._lengths])
        return lengths[: self._size.rows]

    def limits(self) -> list[tuple[tuple[str, str], float]]:
        """Limits by stage and reason, of reasons with a value in several documents and the same limit in all."""
        by_reason = self._measured.group_by(["stage", "reason"], use_threads=False)
        counts = by_reason.aggregate([("limit", "count"), ("limit", "min"), ("limit", "max")]).to_pylist()
        return [
            ((row["stage"], row["reason"]), row["limit_min"])
            for row in counts
            if row["limit_count"] >= _MIN_VALUES and row["limit_min"] == row["limit_max"]
        ]

    @property
    def _measured(self) -> pa.Table:
        return self.sample.filter(pc.is_finite(pc.field("value")) & pc.is_valid(pc.field("limit")))

    def values(self, limit: Limit) -> tuple[F64, F64]:
        """Values of documents dropped by other rules, if recorded, and of those dropped by this one."""
        own = (pc.field("stage") == limit.stage) & (pc.field("reason") == limit.reason)
        if not limit.recorded:
            return np.zeros(0), as_floats(self._measured.filter(own)["value"])
        if VALUES not in self.sample.schema.names or limit.column not in [
            of.name for of in self.sample.schema.field(VALUES).type
        ]:
            return np.zeros(0), np.zeros(0)
        others, stopped = (as_floats(pc.struct_field(self.sample.filter(rows)[VALUES], limit.column)) for rows in (~own, own))
        return others, stopped

    def documents(self) -> Iterator[dict[str, Any]]:
        """The documents nearest to limits, then the samples by reason. None comes twice."""
        seen = set()
        for near, samples in ((True, self._near), (False, self._drawn)):
            for row in (row for sample in samples.values() for row in sample.rows()):
                location = (row["id"], row["stage"], row["file"], row["offset"])
                if location not in seen:
                    seen.add(location)
                    yield {**shown_document("dropped", row, row["text"], self._size.chars), "near": near}


class Edited:
    """Collects from the batches of `edited/`."""

    def __init__(self, size: Size) -> None:
        self.rules: Counter[tuple[str, str]] = Counter()
        """Edits by stage and rule."""
        self._size = size
        self._drawn: dict[str, SmallestRows] = defaultdict(lambda: SmallestRows(size.per_stage))

    def add(self, batch: pa.RecordBatch) -> None:
        stages, edits = batch.column("stage"), batch.column("edits")
        rules = pc.struct_field(pc.list_flatten(edits), "rule")
        pairs = pa.table({"stage": stages.take(pc.list_parent_indices(edits)), "rule": rules})
        counts = pairs.group_by(["stage", "rule"], use_threads=False).aggregate([([], "count_all")])
        self.rules.update({(row["stage"], row["rule"]): row["count_all"] for row in counts.to_pylist()})
        rows = np.flatnonzero(batch.column("before").is_valid().to_numpy(zero_copy_only=False))
        keys = np.zeros(batch.num_rows, "S8")
        keys[rows] = [*row_keys(batch.take(pa.array(rows)))]
        for stage, own in _rows_by_group(stages.to_pylist(), rows).items():
            self._drawn[stage].add(batch, own, keys[own])

    def documents(self) -> Iterator[dict[str, Any]]:
        """The samples by stage, with their edits."""
        for row in (row for sample in self._drawn.values() for row in sample.rows()):
            shown = shown_document("edited", row, None, self._size.chars)
            rules = Counter(edit["rule"] for edit in row["edits"])
            yield {
                **shown, "reason": ", ".join(rules), "chars": row["chars_before"], "chars_after": row["chars_after"],
                "parts": shown_parts(row["before"], row["edits"], self._size.chars),
            }  # fmt: skip


class Kept:
    """Collects from files of `data/`, in the order of the hashes of their names, until it has `size.rows` documents.

    `tokens` is the column that counts tokens. The run kept `documents` documents.
    """

    def __init__(self, store: Store, size: Size, limits: Sequence[Limit], tokens: str | None, documents: int) -> None:
        self.languages: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()
        self.drawn = self.tokens = self._chars = 0
        self._size, self._limits, self._tokens_column = size, limits, tokens
        self._lengths: list[Rows] = []
        self._drawn = SmallestRows(size.kept)
        self._near = [SmallestRows(size.near) for _ in limits]
        measured = sorted({limit.column for limit in limits if limit.column})
        values: dict[str, list[F64]] = {name: [np.zeros(0)] for name in measured}
        for name in sorted(parquet_files(store, "data"), key=lambda name: hashlib.sha256(name.encode()).digest()):
            if self.drawn >= size.rows:
                break
            for column, found in self._read(store, name, measured).items():
                values[column].append(found)
        self.values = {name: np.concatenate(found) for name, found in values.items()}
        self.scale = documents / max(1, self.drawn)

    def _read(self, store: Store, name: str, measured: list[str]) -> dict[str, F64]:
        """Collect from one file. Returns the measured values it has, by column."""
        file = pq.ParquetFile(store.open(name))
        if any(limit.recorded for limit in self._limits):
            table = read_with_values(store, name, measured)
        else:
            table = file.read([column for column in measured if column in file.schema_arrow.names])
        values = {column: as_floats(table[column]) for column in table.column_names}
        start = 0
        for batch in file.iter_batches(BATCH_ROWS):
            self._add(batch, {column: found[start : start + batch.num_rows] for column, found in values.items()})
            start += batch.num_rows
        return values

    def _add(self, batch: pa.RecordBatch, values: dict[str, F64]) -> None:
        names = batch.schema.names
        self.drawn += batch.num_rows
        if URL in names:
            self.hosts.update(_counts(_hosts(batch.column(URL))))
        if "language" in names:
            self.languages.update(_counts(batch.column("language")))
        if TEXT not in names:
            return
        lengths = pc.utf8_length(batch.column(TEXT).drop_null())
        self._lengths.append(lengths.to_numpy(zero_copy_only=False))
        if self._tokens_column in names:
            self.tokens += pc.sum(batch.column(self._tokens_column)).as_py() or 0
            self._chars += pc.sum(lengths).as_py() or 0
        self._drawn.add(batch, np.arange(batch.num_rows), np.array([*row_keys(batch)], "S8"))
        shown = {name: batch.column(name) for name in (ID, URL, TEXT) if name in names}
        for limit, near in zip(self._limits, self._near, strict=True):
            if limit.column in values:
                distance = np.abs(values[limit.column] - limit.limit)
                rows = np.flatnonzero(np.isfinite(distance))
                near.add(pa.record_batch({**shown, "value": pa.array(values[limit.column])}), rows, distance[rows])

    @property
    def lengths(self) -> Rows:
        """Characters of each text."""
        return np.concatenate([np.zeros(0, np.int64), *self._lengths])

    @property
    def tokens_per_char(self) -> float | None:
        """None if tokens were not counted."""
        return self.tokens / self._chars if self._chars else None

    def documents(self) -> Iterator[dict[str, Any]]:
        """The documents nearest to each limit, then the sample."""
        for limit, near in zip(self._limits, self._near, strict=True):
            for row in near.rows():
                shown = shown_document("kept", row, row[TEXT], self._size.chars)
                yield {**shown, "stage": limit.stage, "reason": limit.reason, "limit": limit.limit, "near": True}
        for row in self._drawn.rows():
            scores = {name: value for name, value in row.items() if isinstance(value, int | float) and math.isfinite(value)}
            yield {**shown_document("kept", row, row[TEXT], self._size.chars), "scores": scores}


def _rows_by_group(groups: Sequence[_Group], rows: Rows) -> dict[_Group, Rows]:
    """Split row numbers by their group. Groups are in the order of their first rows."""
    split: dict[_Group, list[int]] = defaultdict(list)
    for row in rows.tolist():
        split[groups[row]].append(row)
    return {group: np.array(own) for group, own in split.items()}


def _hosts(urls: pa.Array | pa.ChunkedArray) -> Any:
    """The hosts of URLs; null where there is none."""
    return pc.struct_field(pc.extract_regex(pc.utf8_lower(urls), HOST_PATTERN), "host")


def _counts(names: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """Documents by name, without empty names and nulls, in the order of the first of each."""
    counts = pc.value_counts(names.drop_null()).to_pylist()
    return Counter({row["values"]: row["counts"] for row in counts if row["values"]})
