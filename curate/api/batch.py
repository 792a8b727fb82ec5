"""A batch of documents, and the two things a stage does to it: drop reasons and edits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.schema import DROP, DROP_TYPE, EDITS, EDITS_TYPE, ORDINAL, TEXT

if TYPE_CHECKING:
    from curate.text.unicode.buffers import TextBuffers
    from curate.text.words.types import Words, WordUnit


V = TypeVar("V")
Mask: TypeAlias = npt.NDArray[np.bool_] | pa.BooleanArray
Kernel = Callable[["Batch"], "Batch"]
Edit = tuple[str, int, int, str]
"""Rule, start, end, replacement. Start and end are code points of the text before the stage."""


class Batch:
    """A record batch of documents, and views derived from its text (words, lines, lengths), computed once and shared.

    A batch is never changed in place. Views are filtered with the rows and dropped when `text` is replaced.

    >>> batch = Batch(pa.record_batch({"text": pa.array(["ab", None], pa.large_string())}))
    >>> len(batch), batch.chars
    (2, array([2, 0]))
    >>> batch.put("seen", pa.array([True, False])).names
    ['text', 'seen']
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
        """The words of every text, as the tokenizer `unit` splits them."""
        from curate.text.words.cut import cut_words

        return self.view(f"words:{unit}", lambda: cut_words(self.buffers, unit))

    def word_counts(self, unit: WordUnit) -> npt.NDArray[np.int64]:
        """Number of words of every text. Shape (rows,). A stage that rewrites texts may set this view for later stages."""
        return self.view(f"word_counts:{unit}", lambda: self.words(unit).counts)

    @property
    def buffers(self) -> TextBuffers:
        """The bytes of every text."""
        from curate.text.unicode.buffers import text_buffers

        return text_buffers(self[TEXT])

    def view(self, name: str, build: Callable[[], V]) -> V:
        """Return the view `name`, built on first use. A view has one row per document and can be indexed by a mask."""
        if name not in self._views:
            self._views[name] = build()
        value: V = self._views[name]
        return value

    def put(self, name: str, values: pa.Array) -> Batch:
        """Return a batch with column `name` added or replaced. Raises ValueError unless there is one value per row."""
        if len(values) != len(self):
            raise ValueError(f"column {name!r} has {len(values)} values for {len(self)} rows")
        index = self.records.schema.get_field_index(name)
        field = pa.field(name, values.type)
        records = self.records.set_column(index, field, values) if index >= 0 else self.records.append_column(field, values)
        return Batch(records, {} if name == TEXT else self._views)

    def filter(self, keep: npt.NDArray[np.bool_]) -> Batch:
        """Return the rows where `keep` is true, with their views."""
        views = {name: value[keep] for name, value in self._views.items()}
        return Batch(self.records.filter(pa.array(keep)), views)

    def select(self, names: Sequence[str]) -> Batch:
        """Return a batch with the named columns only. Views stay if `text` does."""
        return Batch(self.records.select(list(names)), self._views if TEXT in names else {})

    @property
    def dropped(self) -> npt.NDArray[np.bool_]:
        """Rows with a drop reason. Shape (rows,)."""
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
    """Give a drop reason where `where` is true (null counts as false) and the document has none yet.

    `value` is the measured value, `limit` the threshold it is compared with, `detail` free text. Each of them, and the
    reason, is a scalar or one value per row.

    >>> batch = Batch(pa.record_batch({"text": pa.array(["ab", "abcd"], pa.large_string())}))
    >>> batch = drop_where(batch, batch.chars < 3, "too_short", value=batch.chars, limit=3)
    >>> batch["drop"].to_pylist()
    [{'reason': 'too_short', 'value': 2.0, 'limit': 3.0, 'detail': None}, None]
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
    drop = pa.StructArray.from_arrays(fields, fields=list(DROP_TYPE), mask=pa.array(~mask))
    if DROP in batch:
        drop = pc.if_else(pa.array(batch.dropped), batch[DROP], drop)
    return batch.put(DROP, drop)


def _as_mask(where: Mask) -> npt.NDArray[np.bool_]:
    if isinstance(where, np.ndarray):
        return where
    return np.asarray(pc.fill_null(where, False).to_numpy(zero_copy_only=False))


def _spread(value: Any, size: int, dtype: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array):
        return value.cast(dtype)
    if isinstance(value, np.ndarray):
        return pa.array(value.astype(np.float64), dtype)
    return pa.repeat(pa.scalar(value, dtype), size)


def edit_text(batch: Batch, text: pa.Array, edits: Iterable[Sequence[Edit] | None] | pa.ListArray) -> Batch:
    """Replace the text and record the edits of every row, None where nothing changed.

    Edits are ascending and do not overlap. A column of `EDITS_TYPE` is taken as it is.

    >>> batch = Batch(pa.record_batch({"text": pa.array(["a--b", "c"], pa.large_string())}))
    >>> batch = edit_text(batch, pa.array(["a-b", "c"]), [[("dashes", 1, 3, "-")], None])
    >>> batch["edits"].to_pylist()
    [[{'rule': 'dashes', 'start': 1, 'end': 3, 'replacement': '-'}], None]
    """
    if isinstance(edits, pa.ListArray):
        return batch.put(TEXT, text.cast(pa.large_string())).put(EDITS, edits)
    keys = [field.name for field in EDITS_TYPE.value_type]
    rows = [[dict(zip(keys, edit, strict=True)) for edit in row] if row else None for row in edits]
    return batch.put(TEXT, text.cast(pa.large_string())).put(EDITS, pa.array(rows, EDITS_TYPE))


def edit_rows(batch: Batch, rows: Mapping[int, tuple[str, Sequence[Edit]]]) -> Batch:
    """Replace the text of a few rows: row number in the batch -> new text and the edits that lead to it.

    Rows without edits and rows with a drop reason keep their text.

    >>> batch = Batch(pa.record_batch({"text": pa.array(["a--b", "c"], pa.large_string())}))
    >>> edit_rows(batch, {0: ("a-b", [("dashes", 1, 3, "-")])})["text"].to_pylist()
    ['a-b', 'c']
    """
    dropped = batch.dropped
    new = {row: (text, edits) for row, (text, edits) in rows.items() if edits and not dropped[row]}
    if not new:
        return batch
    mask = np.zeros(len(batch), np.bool_)
    edited = sorted(new)
    mask[edited] = True
    texts = pa.array([new[row][0] for row in edited], pa.large_string())
    text = pc.replace_with_mask(batch[TEXT].cast(pa.large_string()), pa.array(mask), texts)
    return edit_text(batch, text, [new[row][1] if row in new else None for row in range(len(batch))])


def apply_edits(text: str, edits: Sequence[Mapping[str, Any]]) -> str:
    """Apply edits, as rows of the column `edits`, to the text before them.

    >>> apply_edits("a--b", [{"rule": "dashes", "start": 1, "end": 3, "replacement": "-"}])
    'a-b'
    """
    parts, done = [], 0
    for edit in edits:
        parts += [text[done : edit["start"]], edit["replacement"]]
        done = edit["end"]
    return "".join([*parts, text[done:]])
