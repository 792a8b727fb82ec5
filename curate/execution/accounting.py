"""Account for one batch after one stage: check the contract, count, take out the dropped rows, record their drop reasons.

Per stage, rows in = rows out + dropped + failed, and characters (code points of `text`)
out = in - dropped - removed + inserted, where removed and inserted are what the stage's own edits say. For a stage that
rebases (extraction), characters are counted anew from `chars_rebased`. Anything else raises: nothing is lost silently.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch
from curate.errors import AccountingError
from curate.execution.contract_checks import check_columns, check_edits, check_reasons, check_rows
from curate.execution.sampling import SAMPLE_KEY, BottomK, sampled_texts
from curate.pipeline.steps import ALWAYS, TEXT_CHARS, Step
from curate.schema import DROP, EDITED, EDITS, EDITS_TYPE, ID, ORDINAL, TEXT, URL, mix

SOURCE = "source"
KILLED = "killed_worker"
"""Drop reason of a document that kills its worker process. It is counted as failed, not as dropped."""

_LOCATION = {
    ORDINAL: pa.uint64(),
    ID: pa.string(),
    URL: pa.string(),
    "file": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
}
_DROP_REASON = {"reason": pa.string(), "value": pa.float64(), "limit": pa.float64(), "detail": pa.string()}
DROPPED_SCHEMA = pa.schema({**_LOCATION, "stage": pa.string(), **_DROP_REASON, TEXT: pa.large_string()})
VALUES = "values"
EDITED_SCHEMA = pa.schema(
    {
        **_LOCATION, "stage": pa.string(), EDITS: EDITS_TYPE, "chars_before": pa.int64(), "chars_after": pa.int64(),
        "before": pa.large_string(), "after": pa.large_string(),
    }
)  # fmt: skip


def dropped_schema(values: Sequence[str]) -> pa.Schema:
    """Columns of the files of dropped documents; `values` are the measured columns that the run records."""
    if not values:
        return DROPPED_SCHEMA
    return DROPPED_SCHEMA.append(pa.field(TEXT_CHARS, pa.int64())).append(pa.field(VALUES, _values_type(values)))


def _values_type(values: Sequence[str]) -> pa.DataType:
    return pa.struct([(name, pa.float64()) for name in values])


@dataclass
class StageCounts:
    """What one stage did to rows and characters (code points). The counts of all shards add up to the counts of the run."""

    rows_in: int = 0
    rows_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    edited: int = 0
    chars_in: int = 0
    chars_out: int = 0
    chars_dropped: int = 0
    chars_removed: int = 0
    chars_inserted: int = 0
    chars_rebased: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    """Further counts of the stage: values replaced by type, documents by benchmark."""
    seconds: float = 0.0

    def add(self, other: StageCounts) -> None:
        """Add the counts of another shard."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if value is not None:
                setattr(self, name, value if mine is None else mine + value)

    def check(self, where: str) -> None:
        """Raises AccountingError unless rows and characters balance."""
        out = self.rows_out + sum(self.dropped.values()) + self.failed
        if self.rows_in != out:
            raise AccountingError(f"{where}: {self.rows_in} rows in, but {out} accounted for. This is a bug: please report it.")
        base = self.chars_in - self.chars_dropped - self.chars_removed + self.chars_inserted
        expected = base if self.chars_rebased is None else self.chars_rebased - self.chars_dropped
        if self.chars_out != expected:
            raise AccountingError(f"{where}: {self.chars_out} characters out, but {expected} accounted for.")

    def as_json(self) -> dict[str, Any]:
        named = {"dropped": dict(sorted(self.dropped.items())), "counts": dict(sorted(self.counts.items()))}
        return {**asdict(self), **named}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageCounts:
        return cls(**{**value, "dropped": Counter(value["dropped"]), "counts": Counter(value["counts"])})


Sink = Callable[[pa.RecordBatch], None]


@dataclass
class ShardAccounting:
    """Accounting of one segment over one shard: counts per stage. Dropped and edited documents go to the sinks as they come."""

    shard: str
    keep_text: bool
    drop_samples: BottomK
    edit_samples: BottomK
    on_dropped: Sink
    on_edited: Sink
    values: Sequence[str] = ()
    """Measured columns that documents dropped in this segment may have."""
    values_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Stage -> the measured columns that are known after it."""
    stages: dict[str, StageCounts] = field(default_factory=dict)

    def counts_of(self, name: str) -> StageCounts:
        return self.stages.setdefault(name, StageCounts())

    def account_for(self, step: Step, before: Batch, after: Batch, started: float) -> Batch:
        """Check and count what a stage made of a batch. Returns the surviving rows, with the columns still needed.

        `started` is the time.perf_counter() before the stage. Raises ContractError naming stage, shard and document.
        """
        where = f"{step.location}: stage {step.name!r}, shard {self.shard!r}"
        check_rows(where, before, after)
        check_columns(where, step.stage, before, after)
        counts = self.counts_of(step.name)
        counts.seconds += time.perf_counter() - started
        counts.rows_in += len(before)
        counts.chars_in += int(before.chars.sum())
        if step.stage.rebases:
            counts.chars_rebased = (counts.chars_rebased or 0) + int(after.chars.sum())
        elif TEXT in step.stage.writes:
            self._account_for_edits(where, step, before, after, counts)
        counts.counts.update(step.stage.counts(after))
        after = _note_edited(step, after)
        check_reasons(where, step.stage.reasons, after, own=(KILLED,))
        return self._take_out_dropped(step.name, after, counts, list(step.columns))

    def account_for_source(self, batch: Batch, reasons: tuple[str, ...], columns: list[str]) -> Batch:
        """Count a batch of the source and take out the rows it dropped. Returns the others, with `columns`."""
        counts = self.counts_of(SOURCE)
        counts.rows_in += len(batch)
        counts.chars_in += int(batch.chars.sum())
        check_reasons(f"shard {self.shard!r}", reasons, batch)
        return self._take_out_dropped(SOURCE, batch, counts, columns)

    def _take_out_dropped(self, name: str, batch: Batch, counts: StageCounts, columns: list[str]) -> Batch:
        gone = batch.dropped
        if gone.any():
            lost = Batch(batch.records.filter(pa.array(gone)))
            self._record_dropped(name, lost, counts)
            batch = batch.filter(~gone)
        counts.rows_out += len(batch)
        counts.chars_out += int(batch.chars.sum())
        kept = [*columns, EDITED] if EDITED in batch else columns
        return batch.select(kept)

    def _record_dropped(self, name: str, lost: Batch, counts: StageCounts) -> None:
        reason_columns = lost[DROP].flatten()
        by_reason = Counter(reason_columns[0].to_pylist())
        counts.failed += by_reason.pop(KILLED, 0)
        counts.dropped.update(by_reason)
        counts.chars_dropped += int(lost.chars.sum())
        text = lost[TEXT].cast(pa.large_string()) if TEXT in lost else pa.nulls(len(lost), pa.large_string())
        if not self.keep_text:
            keys = [f"{name}/{reason}" for reason in reason_columns[0].to_pylist()]
            text = sampled_texts(text, self.drop_samples, keys, lost.ordinals)
        columns = [*(lost[column] for column in ALWAYS), pa.repeat(pa.scalar(name), len(lost)), *reason_columns, text]
        columns += [pa.array(lost.chars), self._values(name, lost)] if self.values else []
        self.on_dropped(pa.RecordBatch.from_arrays(columns, schema=dropped_schema(self.values)))

    def _values(self, name: str, lost: Batch) -> pa.Array:
        """What was measured before the document was dropped; null for what later stages measure, and where the worker died."""
        known = {column: lost[column] for column in self.values_by.get(name, ()) if column in lost}
        return _struct(known, self.values, len(lost))

    def _account_for_edits(self, where: str, step: Step, before: Batch, after: Batch, counts: StageCounts) -> None:
        check_edits(where, before, after)
        if EDITS not in after:
            return
        removed, inserted = _edit_sizes(after[EDITS])
        counts.chars_removed += int(removed.sum())
        counts.chars_inserted += int(inserted.sum())
        edited = np.asarray(after[EDITS].is_valid().to_numpy(zero_copy_only=False)) & ~after.dropped
        counts.edited += int(edited.sum())
        if edited.any():
            self._record_edited(step.name, before, after, edited)

    def _record_edited(self, name: str, before: Batch, after: Batch, edited: npt.NDArray[np.bool_]) -> None:
        old, new = Batch(before.records.filter(pa.array(edited))), Batch(after.records.filter(pa.array(edited)))
        texts = [old[TEXT].cast(pa.large_string()), new[TEXT].cast(pa.large_string())]
        if not self.keep_text:
            taken = self.edit_samples.offer(name, mix(old.ordinals, SAMPLE_KEY))
            texts = [pc.if_else(pa.array(taken), text, pa.scalar(None, pa.large_string())) for text in texts]
        columns = [
            *(old[column] for column in ALWAYS), pa.repeat(pa.scalar(name), len(old)), new[EDITS],
            pa.array(old.chars), pa.array(new.chars), *texts,
        ]  # fmt: skip
        self.on_edited(pa.RecordBatch.from_arrays(columns, schema=EDITED_SCHEMA))


def with_values(records: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Dropped documents of any segment with the measured columns of the whole run."""
    columns = dict(zip(records.schema.names, records.columns, strict=True))
    measured = columns.pop(VALUES, None)
    known = {} if measured is None else {field.name: measured.field(field.name) for field in measured.type}
    chars = columns.pop(TEXT_CHARS, pa.nulls(records.num_rows, pa.int64()))
    values = _struct(known, names, records.num_rows)
    return pa.RecordBatch.from_arrays([*columns.values(), chars, values], schema=dropped_schema(names))


def _struct(known: Mapping[str, pa.Array], names: Sequence[str], size: int) -> pa.Array:
    arrays = [known[n].cast(pa.float64(), safe=False) if n in known else pa.nulls(size, pa.float64()) for n in names]
    return pa.StructArray.from_arrays(arrays, fields=list(_values_type(names)))


def _note_edited(step: Step, after: Batch) -> Batch:
    """Mark the texts that are new, in a segment that writes only new texts."""
    if EDITED not in after or TEXT not in step.stage.writes or not (step.stage.rebases or EDITS in after):
        return after
    new = pa.repeat(pa.scalar(True), len(after)) if step.stage.rebases else after[EDITS].is_valid()
    return after.put(EDITED, pc.or_(after[EDITED], new))


def _edit_sizes(edits: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Code points removed and inserted per row."""
    parents = pc.list_parent_indices(edits).to_numpy()
    parts = pc.list_flatten(edits)
    removed, inserted = np.zeros(len(edits), np.int64), np.zeros(len(edits), np.int64)
    if len(parts):
        spans = pc.subtract(pc.struct_field(parts, "end"), pc.struct_field(parts, "start"))
        np.add.at(removed, parents, spans.to_numpy(zero_copy_only=False))
        lengths = pc.utf8_length(pc.struct_field(parts, "replacement"))
        np.add.at(inserted, parents, lengths.to_numpy(zero_copy_only=False).astype(np.int64))
    return removed, inserted
