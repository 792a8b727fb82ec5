"""Edits of texts: what the C4 rules cut out, and by which rule. A newline may come in where a line break is replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.text.rules.c4_chars import NEWLINE
from curate.text.unicode.buffers import text_buffers

EDIT_RULES = (
    "line_too_long_word",
    "line_no_terminal_punctuation",
    "line_too_few_words",
    "line_javascript",
    "line_policy",
    "blank_line",
    "citation",
    "line_break",
    "whitespace",
)
TOO_LONG_WORD, NO_END, TOO_FEW_WORDS, HAS_JAVASCRIPT, HAS_POLICY, BLANK_LINE, CITATION, LINE_BREAK, WHITESPACE = range(9)
RULE, BYTE_START, BYTE_END, CHAR_START, CHAR_END, NEW_BREAK = range(6)
"""Columns of an array of edits: rule, from and to byte of the data, from and to code point of the text, whether a newline
comes in."""


@dataclass(frozen=True)
class CleanedText:
    """What the rules found in some texts, and what they cut out."""

    counts: npt.NDArray[np.int64]
    """Shape (rows, len(COUNTS)), the columns of `rules/c4.py`."""
    edits: npt.NDArray[np.int64]
    """Shape (edits, 6): the columns above."""
    edit_ends: npt.NDArray[np.int64]
    """Shape (rows + 1,): the edits of row r are edits[edit_ends[r]:edit_ends[r + 1]]."""


@njit(nogil=True, cache=True)
def add_edit(edits, count, first, rule, start, end, new_break):  # type: ignore[no-untyped-def]
    """Add an edit, or let the one before it grow. Returns how many there are; where there is no room, it only counts.

    `start` and `end` are pairs of byte and code point; edits from `first` on are those of the same text.
    """
    if start[0] == end[0]:
        return count
    if count >= len(edits):
        return count + 1
    if count > first and not new_break:
        last = count - 1
        if edits[last, RULE] == rule and edits[last, BYTE_END] == start[0] and not edits[last, NEW_BREAK]:
            edits[last, BYTE_END], edits[last, CHAR_END] = end
            return count
    edits[count, RULE], edits[count, NEW_BREAK] = rule, new_break
    edits[count, BYTE_START], edits[count, CHAR_START] = start
    edits[count, BYTE_END], edits[count, CHAR_END] = end
    return count + 1


def apply_edits(texts: pa.Array, cleaned: CleanedText, where: npt.NDArray[np.bool_]) -> pa.Array:
    """The texts, edited where `where` is true; null stays null."""
    buffers, edits, edit_ends = text_buffers(texts), cleaned.edits, cleaned.edit_ends
    change = np.concatenate([[0], np.cumsum(edits[:, NEW_BREAK] - edits[:, BYTE_END] + edits[:, BYTE_START])])
    sizes = buffers.ends - buffers.starts + np.where(where, change[edit_ends[1:]] - change[edit_ends[:-1]], 0)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    out = np.empty(offsets[-1], np.uint8)
    _apply(buffers.data, buffers.starts, buffers.ends, edits, edit_ends, where, out, offsets)
    column = string_column(out, offsets)
    if not texts.null_count:
        return column
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    packed = np.packbits(valid, bitorder="little")
    return pa.Array.from_buffers(pa.large_string(), len(texts), [pa.py_buffer(packed), *column.buffers()[1:]])


@njit(nogil=True, cache=True)
def _apply(data, starts, ends, edits, bounds, where, out, offsets):  # type: ignore[no-untyped-def]
    for row in range(len(starts)):
        at, i = offsets[row], starts[row]
        if where[row]:
            for k in range(bounds[row], bounds[row + 1]):
                size = edits[k, BYTE_START] - i
                out[at : at + size] = data[i : i + size]
                at += size
                if edits[k, NEW_BREAK]:
                    out[at] = NEWLINE
                    at += 1
                i = edits[k, BYTE_END]
        out[at : at + ends[row] - i] = data[i : ends[row]]


def edit_column(cleaned: CleanedText, where: npt.NDArray[np.bool_], list_type: pa.DataType) -> pa.Array:
    """The edits as a list column of type `list_type` (`EDITS_TYPE`), null where `where` is false."""
    sizes = np.diff(cleaned.edit_ends)
    edits = cleaned.edits[np.repeat(where, sizes)]
    fields = [
        pa.array(EDIT_RULES).take(pa.array(edits[:, RULE])),
        pa.array(np.ascontiguousarray(edits[:, CHAR_START])),
        pa.array(np.ascontiguousarray(edits[:, CHAR_END])),
        pa.array(["", "\n"]).take(pa.array(edits[:, NEW_BREAK])),
    ]
    parts = pa.StructArray.from_arrays(fields, fields=list(list_type.value_type))
    offsets = np.concatenate([[0], np.cumsum(np.where(where, sizes, 0))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), parts, type=list_type, mask=pa.array(~where))


def string_column(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """A column without nulls; row r is data[offsets[r]:offsets[r + 1]]."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
