"""Cut lines or paragraphs out of texts by their numbers: what stages that know repeated ones have in common.

A line goes together with the line feed before it (at the beginning of a text, behind it), a paragraph with the empty lines
before it. A run of neighbours that go is one edit.
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


def cut_units(
    batch: Batch,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.integer[Any]],
    *,
    unit: Unit,
    rule: str,
    max_removed_frac: float | None = None,
) -> Batch:
    """Cut unit number places[i] of row rows[i], ascending; `rule` is the name of the edits.

    A document of which nothing but white space is left is dropped for `nothing_left`; one that would lose more than
    `max_removed_frac` of its characters for `too_many_chars_removed`, by that share. Dropped texts stay as they are.
    """
    cut: dict[int, tuple[str, list[Edit]]] = {}
    shares, empty = np.zeros(len(batch)), np.zeros(len(batch), np.bool_)
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
        row = int(rows[start])
        text = batch[TEXT][row].as_py()
        edits = _edits(_spans(text, unit), set(places[start:stop].tolist()), rule)
        left = _without(text, edits)
        cut[row] = left, edits
        shares[row], empty[row] = (len(text) - len(left)) / len(text), not left.strip()
    batch = drop_where(batch, empty, "nothing_left")
    if max_removed_frac is not None:
        batch = drop_where(batch, shares > max_removed_frac, "too_many_chars_removed", value=shares, limit=max_removed_frac)
    return edit_rows(batch, cut)


def _spans(text: str, unit: Unit) -> list[tuple[int, int]]:
    """Where the units of a text stand, in code points."""
    edges = [0, *(edge for found in _BREAKS[unit].finditer(text) for edge in found.span()), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _edits(spans: list[tuple[int, int]], cut: set[int], rule: str) -> list[Edit]:
    edits: list[Edit] = []
    place = 0
    while place < len(spans):
        end = place
        while end < len(spans) and end in cut:
            end += 1
        if end > place:
            start = spans[place - 1][1] if place else 0
            stop = spans[end - 1][1] if place or end == len(spans) else spans[end][0]
            edits.append((rule, start, stop, ""))
        place = end + 1
    return edits


def _without(text: str, edits: list[Edit]) -> str:
    parts, at = [], 0
    for _, start, end, _ in edits:
        parts.append(text[at:start])
        at = end
    return "".join([*parts, text[at:]])
