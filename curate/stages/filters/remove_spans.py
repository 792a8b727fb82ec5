"""Remove lines or paragraphs from texts by their numbers. Shared by the stages that find them.

A line is removed with the line feed before it (at the beginning of a text, behind it), a paragraph with the empty lines before
it. A run of neighbours that are removed is one edit.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, Edit, drop_where, edit_rows
from curate.schema import TEXT

Unit = Literal["line", "paragraph"]
_BREAKS = {"line": re.compile("\n"), "paragraph": re.compile(r"\n(?:[ \t\r\f\v]*\n)+")}


def split_units(texts: pa.Array, unit: Unit) -> pa.Array:
    """The lines, or the paragraphs between empty lines, of every text, as a list each. A null text has none."""
    texts = texts.cast(pa.large_string())
    return pc.split_pattern(texts, "\n") if unit == "line" else pc.split_pattern_regex(texts, _BREAKS[unit].pattern)


def remove_units(
    batch: Batch,
    rows: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.integer[Any]],
    *,
    unit: Unit,
    rule: str,
    max_removed_frac: float | None = None,
) -> Batch:
    """Remove unit numbers[i] of the text in row rows[i], both ascending. `rule` is the name of the edits.

    A document of which nothing but white space is left is dropped for `nothing_left`, one that would lose more than
    `max_removed_frac` of its characters for `too_many_chars_removed` (value: the share). Dropped texts stay as they are.
    """
    edited: dict[int, tuple[str, list[Edit]]] = {}
    shares, empty = np.zeros(len(batch)), np.zeros(len(batch), np.bool_)
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
        row = int(rows[start])
        text = batch[TEXT][row].as_py()
        edits = _edits(_spans(text, unit), set(numbers[start:stop].tolist()), rule)
        left = _without(text, edits)
        edited[row] = left, edits
        shares[row], empty[row] = (len(text) - len(left)) / len(text), not left.strip()
    batch = drop_where(batch, empty, "nothing_left")
    if max_removed_frac is not None:
        batch = drop_where(batch, shares > max_removed_frac, "too_many_chars_removed", value=shares, limit=max_removed_frac)
    return edit_rows(batch, edited)


def _spans(text: str, unit: Unit) -> list[tuple[int, int]]:
    """(start, end) of the units of a text, in code points."""
    edges = [0, *(edge for found in _BREAKS[unit].finditer(text) for edge in found.span()), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _edits(spans: list[tuple[int, int]], removed: set[int], rule: str) -> list[Edit]:
    """One edit for every run of removed units."""
    edits: list[Edit] = []
    first = 0
    while first < len(spans):
        end = first
        while end < len(spans) and end in removed:
            end += 1
        if end > first:
            start = spans[first - 1][1] if first else 0
            stop = spans[end - 1][1] if first or end == len(spans) else spans[end][0]
            edits.append((rule, start, stop, ""))
        first = end + 1
    return edits


def _without(text: str, edits: list[Edit]) -> str:
    parts, position = [], 0
    for _, start, end, _ in edits:
        parts.append(text[position:start])
        position = end
    return "".join([*parts, text[position:]])
