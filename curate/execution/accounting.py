"""Settle one batch after one stage: check the contract, count, take out the dropped rows, keep their verdicts.

The books: per stage, rows in = rows out + dropped + failed, and characters (code points of `text`)
out = in - dropped - removed + inserted, where removed and inserted are what the stage's own edits say. A stage that
rebases (extraction) starts new books at `chars_rebased`. Anything else raises: nothing is lost silently.
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
from curate.errors import AccountingError, ContractError
from curate.execution.contract_checks import check_columns, check_rows, contract_error
from curate.execution.sampling import SAMPLE_SEED, BottomK, sampled_texts
from curate.pipeline.steps import ALWAYS, TEXT_CHARS, Step
from curate.schema import DROP, EDITED, EDITS, EDITS_TYPE, ID, ORDINAL, TEXT, URL, keyed_hash

SOURCE = "source"
KILLED = "killed_worker"
"""Verdict on a document that takes its worker process down; counted as failed, not as dropped."""

_PLACE = {
    ORDINAL: pa.uint64(),
    ID: pa.string(),
    URL: pa.string(),
    "file": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
}
_VERDICT = {"reason": pa.string(), "value": pa.float64(), "limit": pa.float64(), "detail": pa.string()}
DROPPED_SCHEMA = pa.schema({**_PLACE, "stage": pa.string(), **_VERDICT, TEXT: pa.large_string()})
VALUES = "values"
EDITED_SCHEMA = pa.schema(
    {
        **_PLACE, "stage": pa.string(), EDITS: EDITS_TYPE, "chars_before": pa.int64(), "chars_after": pa.int64(),
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
    """One stage's books; adding accounts of shards gives the account of the run."""

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
    """What the stage counts besides: values replaced by kind, documents by benchmark."""
    seconds: float = 0.0

    def add(self, other: StageCounts) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if value is not None:
                setattr(self, name, value if mine is None else mine + value)

    def check(self, where: str) -> None:
        """Raises BooksError unless rows and characters balance."""
        out = self.rows_out + sum(self.dropped.values()) + self.failed
        if self.rows_in != out:
            raise AccountingError(f"{where}: {self.rows_in} rows in, but {out} accounted for. This is a bug: please report it.")
        base = self.chars_in - self.chars_dropped - self.chars_removed + self.chars_inserted
        expected = base if self.chars_rebased is None else self.chars_rebased - self.chars_dropped
        if self.chars_out != expected:
            raise AccountingError(f"{where}: {self.chars_out} characters out, but the account says {expected}.")

    def as_json(self) -> dict[str, Any]:
        named = {"dropped": dict(sorted(self.dropped.items())), "counts": dict(sorted(self.counts.items()))}
        return {**asdict(self), **named}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageCounts:
        return cls(**{**value, "dropped": Counter(value["dropped"]), "counts": Counter(value["counts"])})


Sink = Callable[[pa.RecordBatch], None]


@dataclass
class ShardAccounting:
    """The ledger of one segment over one shard: accounts per stage, verdicts and edits as they come."""

    shard: str
    keep_text: bool
    drop_samples: BottomK
    edit_samples: BottomK
    on_dropped: Sink
    on_edited: Sink
    values: Sequence[str] = ()
    """Measured columns that verdicts of this segment may carry."""
    values_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Those that are measured by the end of a stage."""
    accounts: dict[str, StageCounts] = field(default_factory=dict)

    def open_account(self, name: str) -> StageCounts:
        return self.accounts.setdefault(name, StageCounts())

    def settle(self, step: Step, before: Batch, after: Batch, started: float) -> Batch:
        """The surviving rows, with the columns still needed. Raises ContractError naming stage, shard and document."""
        where = f"{step.location}: stage {step.name!r}, shard {self.shard!r}"
        check_rows(where, before, after)
        check_columns(where, step, before, after)
        account = self.open_account(step.name)
        account.seconds += time.perf_counter() - started
        account.rows_in += len(before)
        account.chars_in += int(before.chars.sum())
        if step.stage.rebases:
            account.chars_rebased = (account.chars_rebased or 0) + int(after.chars.sum())
        elif TEXT in step.stage.writes:
            self._settle_edits(where, step, before, after, account)
        account.counts.update(step.stage.counts(after))
        after = _note_edited(step, after)
        return self._settle_verdicts(where, step.name, (*step.stage.reasons, KILLED), after, account, list(step.columns))

    def settle_source(self, batch: Batch, reasons: tuple[str, ...], columns: list[str]) -> Batch:
        """The same for what a source delivers: only its verdicts."""
        account = self.open_account(SOURCE)
        account.rows_in += len(batch)
        account.chars_in += int(batch.chars.sum())
        return self._settle_verdicts(f"shard {self.shard!r}", SOURCE, reasons, batch, account, columns)

    def _settle_verdicts(
        self, where: str, name: str, reasons: tuple[str, ...], batch: Batch, account: StageCounts, columns: list[str]
    ) -> Batch:
        gone = batch.dropped
        if gone.any():
            lost = Batch(batch.records.filter(pa.array(gone)))
            self._record_dropped(where, name, reasons, lost, account)
            batch = batch.filter(~gone)
        account.rows_out += len(batch)
        account.chars_out += int(batch.chars.sum())
        kept = [*columns, EDITED] if EDITED in batch else columns
        return batch.select(kept)

    def _record_dropped(self, where: str, name: str, reasons: tuple[str, ...], lost: Batch, account: StageCounts) -> None:
        verdicts = lost[DROP].flatten()
        counts = Counter(verdicts[0].to_pylist())
        unknown = sorted(str(reason) for reason in counts if reason not in reasons)
        if unknown:
            raise ContractError(
                f"{where}, document {lost[ID][0].as_py()!r}: reason {unknown[0]!r} is not declared. "
                f"Declared: {', '.join(reasons) or 'none'}. Add it to the stage's reasons."
            )
        account.failed += counts.pop(KILLED, 0)
        account.dropped.update(counts)
        account.chars_dropped += int(lost.chars.sum())
        text = lost[TEXT].cast(pa.large_string()) if TEXT in lost else pa.nulls(len(lost), pa.large_string())
        if not self.keep_text:
            keys = [f"{name}/{reason}" for reason in verdicts[0].to_pylist()]
            text = sampled_texts(text, self.drop_samples, keys, lost.ordinals)
        columns = [*(lost[column] for column in ALWAYS), pa.repeat(pa.scalar(name), len(lost)), *verdicts, text]
        columns += [pa.array(lost.chars), self._values(name, lost)] if self.values else []
        self.on_dropped(pa.RecordBatch.from_arrays(columns, schema=dropped_schema(self.values)))

    def _values(self, name: str, lost: Batch) -> pa.Array:
        """What was measured up to the verdict; null where a document did not come so far, or killed its worker."""
        known = {column: lost[column] for column in self.values_by.get(name, ()) if column in lost}
        return _struct(known, self.values, len(lost))

    def _settle_edits(self, where: str, step: Step, before: Batch, after: Batch, account: StageCounts) -> None:
        if EDITS not in after:
            if after[TEXT].cast(pa.large_string()).equals(before[TEXT].cast(pa.large_string())):
                return
            raise ContractError(f"{where}: the text changed without edits. Use edit_text(), or set rebases = True.")
        removed, inserted = _edit_sizes(after[EDITS])
        wrong = contract_error(before[TEXT], after[TEXT], after[EDITS])
        if wrong is not None:
            document = before[ID][wrong].as_py()
            raise ContractError(f"{where}, document {document!r}: the edits do not lead from the old text to the new one.")
        account.chars_removed += int(removed.sum())
        account.chars_inserted += int(inserted.sum())
        edited = np.asarray(after[EDITS].is_valid().to_numpy(zero_copy_only=False)) & ~after.dropped
        account.edited += int(edited.sum())
        if edited.any():
            self._record_edited(step.name, before, after, edited)

    def _record_edited(self, name: str, before: Batch, after: Batch, edited: npt.NDArray[np.bool_]) -> None:
        old, new = Batch(before.records.filter(pa.array(edited))), Batch(after.records.filter(pa.array(edited)))
        texts = [old[TEXT].cast(pa.large_string()), new[TEXT].cast(pa.large_string())]
        if not self.keep_text:
            taken = self.edit_samples.offer(name, keyed_hash(old.ordinals, SAMPLE_SEED))
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
    """Remember which texts are new, where only those are written at the end of the segment."""
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
