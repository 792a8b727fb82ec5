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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config.options import asset_paths
from curate.schema import DROP, DROP_TYPE, EDITS, EDITS_TYPE, ORDINAL, TEXT
from curate.storage.response_log import Answers

if TYPE_CHECKING:
    from curate.text.unicode.buffers import TextBuffers
    from curate.text.words.types import Words, WordUnit

V = TypeVar("V")
Mask: TypeAlias = npt.NDArray[np.bool_] | pa.BooleanArray
Kernel = Callable[["Batch"], "Batch"]


class Batch:
    """A record batch of documents and views derived from its text (words, lines, lengths), computed once and shared.

    Views are dropped when `text` is put and filtered with the rows. A batch is never changed in place.
    """

    __slots__ = ("_views", "records")

    def __init__(self, records: pa.RecordBatch, views: Mapping[str, Any] | None = None) -> None:
        self.records = records
        self._views: dict[str, Any] = dict(views or {})

    def __len__(self) -> int:
        return int(self.records.num_rows)

    def __getitem__(self, name: str) -> pa.Array:
        return self.records.column(name)

    def __contains__(self, name: str) -> bool:
        return bool(self.records.schema.get_field_index(name) >= 0)

    @property
    def names(self) -> list[str]:
        return list(self.records.schema.names)

    @property
    def ordinals(self) -> npt.NDArray[np.uint64]:
        return np.asarray(self[ORDINAL].to_numpy(zero_copy_only=False))

    @property
    def chars(self) -> npt.NDArray[np.int64]:
        """Length of every text in code points; a null text counts 0. Shape (rows,)."""
        return self.view("chars", lambda: _code_points(self[TEXT]) if TEXT in self else np.zeros(len(self), np.int64))

    def words(self, unit: WordUnit) -> Words:
        """The words of every text, in one of the word units."""
        from curate.text.words.types import cut_words

        return self.view(f"words:{unit}", lambda: cut_words(self.buffers, unit))

    def word_counts(self, unit: WordUnit) -> npt.NDArray[np.int64]:
        """How many words every text has. A stage that rewrites texts and knows it may have left it as a view."""
        return self.view(f"word_counts:{unit}", lambda: self.words(unit).counts)

    @property
    def buffers(self) -> TextBuffers:
        """The bytes of every text."""
        from curate.text.unicode.buffers import text_buffers

        return text_buffers(self[TEXT])

    def view(self, name: str, build: Callable[[], V]) -> V:
        """The view `name`, built on first use. A view has one row per document and can be indexed by a mask."""
        if name not in self._views:
            self._views[name] = build()
        value: V = self._views[name]
        return value

    def put(self, name: str, values: pa.Array) -> Batch:
        """A batch with column `name` added or replaced. Raises ValueError unless there is one value per row."""
        if len(values) != len(self):
            raise ValueError(f"column {name!r} has {len(values)} values for {len(self)} rows")
        index = self.records.schema.get_field_index(name)
        field = pa.field(name, values.type)
        records = self.records.set_column(index, field, values) if index >= 0 else self.records.append_column(field, values)
        return Batch(records, {} if name == TEXT else self._views)

    def filter(self, keep: npt.NDArray[np.bool_]) -> Batch:
        """The rows where `keep` is true, and their views."""
        views = {name: value[keep] for name, value in self._views.items()}
        return Batch(self.records.filter(pa.array(keep)), views)

    def select(self, names: Sequence[str]) -> Batch:
        """The named columns only; views stay while the text does."""
        return Batch(self.records.select(list(names)), self._views if TEXT in names else {})

    @property
    def dropped(self) -> npt.NDArray[np.bool_]:
        """Where a verdict stands. Shape (rows,)."""
        if DROP not in self:
            return np.zeros(len(self), np.bool_)
        return np.asarray(self[DROP].is_valid().to_numpy(zero_copy_only=False))


def _code_points(text: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.fill_null(pc.utf8_length(text), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)


def drop_where(
    batch: Batch,
    where: Mask,
    reason: pa.Array | str,
    *,
    value: npt.NDArray[Any] | pa.Array | float | None = None,
    limit: pa.Array | float | None = None,
    detail: pa.Array | str | None = None,
) -> Batch:
    """Give a verdict where `where` is true (null counts as false) and none stands yet.

    `value` is what was measured, `limit` the threshold it was held against, `detail` free text: each, and the reason, a
    scalar or one value per row.
    """
    mask = _as_mask(where) & ~batch.dropped
    if not mask.any():
        return batch if DROP in batch else batch.put(DROP, pa.nulls(len(batch), DROP_TYPE))
    size = len(batch)
    fields = [
        _spread(reason, size, pa.string()),
        _spread(value, size, pa.float64()),
        _spread(limit, size, pa.float64()),
        _spread(detail, size, pa.string()),
    ]
    verdict = pa.StructArray.from_arrays(fields, fields=list(DROP_TYPE), mask=pa.array(~mask))
    if DROP in batch:
        verdict = pc.if_else(pa.array(batch.dropped), batch[DROP], verdict)
    return batch.put(DROP, verdict)


def _as_mask(where: Mask) -> npt.NDArray[np.bool_]:
    if isinstance(where, np.ndarray):
        return where
    return np.asarray(pc.fill_null(where, False).to_numpy(zero_copy_only=False))


def _spread(value: Any, size: int, kind: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array):
        return value.cast(kind)
    if isinstance(value, np.ndarray):
        return pa.array(value.astype(np.float64), kind)
    return pa.repeat(pa.scalar(value, kind), size)


Edit = tuple[str, int, int, str]


def edit_text(batch: Batch, text: pa.Array, edits: Iterable[Sequence[Edit] | None] | pa.ListArray) -> Batch:
    """Replace the text and say how: per row the edits (rule, start, end, replacement), or None where nothing changed.

    `start` and `end` are code points of the text *before* this stage, ascending and without overlap. A column of
    `EDITS_TYPE` is taken as it is.
    """
    if isinstance(edits, pa.ListArray):
        return batch.put(TEXT, text.cast(pa.large_string())).put(EDITS, edits)
    keys = [field.name for field in EDITS_TYPE.value_type]
    rows = [[dict(zip(keys, edit, strict=True)) for edit in row] if row else None for row in edits]
    return batch.put(TEXT, text.cast(pa.large_string())).put(EDITS, pa.array(rows, EDITS_TYPE))


def edit_rows(batch: Batch, rows: Mapping[int, tuple[str, Sequence[Edit]]]) -> Batch:
    """`edit_text` where few texts change: the new text of a row, by its place in the batch, and the edits that make it.

    Rows without edits and rows with a verdict keep the text they have.
    """
    dropped = batch.dropped
    new = {row: made for row, made in rows.items() if made[1] and not dropped[row]}
    if not new:
        return batch
    mask = np.zeros(len(batch), np.bool_)
    places = sorted(new)
    mask[places] = True
    texts = pa.array([new[row][0] for row in places], pa.large_string())
    text = pc.replace_with_mask(batch[TEXT].cast(pa.large_string()), pa.array(mask), texts)
    return edit_text(batch, text, [new[row][1] if row in new else None for row in range(len(batch))])


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

    ask: Callable[[Batch, Answers], Batch]
    answers: Answers = field(default_factory=Answers)

    def __call__(self, batch: Batch) -> Batch:
        return self.ask(batch, self.answers)

    def logging_to(self, answers: Answers) -> LoggedKernel:
        return replace(self, answers=answers)


@dataclass(frozen=True)
class Decision:
    """What a barrier found out; marks documents. The rows of one shard, or the same few for all of them."""

    rows: pa.Table


class Barrier(Stage):
    """A stage that needs every document before it can give a verdict on one.

    `sketch` runs fused into the write before the cut, `mark` fused into the read after it. What happens in between is the
    affair of the three kinds of barriers (`barriers.py`).
    """

    @property
    def sketch_options(self) -> tuple[str, ...]:
        """Options that change the sketch; the others can move without reading documents again."""
        raise NotImplementedError

    @property
    def sketches(self) -> Mapping[str, pa.DataType]:
        """Columns of a sketch, `ordinal` first."""
        raise NotImplementedError

    @property
    def footprint(self) -> str:
        """What it takes on disk and in memory, in words, for `curate plan`."""
        return "not known"

    def sketcher(self) -> Callable[[Batch], pa.RecordBatch]:
        """Load what `sketch` needs, once per shard, and return it."""
        return self.sketch

    def sketch(self, batch: Batch) -> pa.RecordBatch:
        """Small rows kept for the decision, at most one per document, in the order of the batch."""
        raise NotImplementedError

    def mark(self, batch: Batch, decision: Decision) -> Batch:
        """Give verdicts, as a stage does."""
        raise NotImplementedError
