"""Documents as a report shows them: samples with the smallest keys, and edits as parts of a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.schema import ID, URL

_CONTEXT_CHARS = 120
"""Characters of an unchanged stretch that are shown on either side of an edit."""


class SmallestRows:
    """The rows with the smallest keys among all batches. Of equal keys the first ones stay."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: npt.NDArray[Any] | None = None
        self._table: pa.Table | None = None

    def add(self, batch: pa.RecordBatch, rows: npt.NDArray[np.int64], keys: npt.NDArray[Any]) -> None:
        """Offer some rows of a batch, with one key for each."""
        order = np.argsort(keys, kind="stable")[: self._size]
        if self._keys is not None and len(self._keys) == self._size:
            order = order[keys[order] < self._keys[-1]]
        if not len(order):
            return
        table, keys = pa.Table.from_batches([batch.take(pa.array(rows[order]))]), keys[order]
        if self._table is not None and self._keys is not None:
            keys = np.concatenate([self._keys, keys])
            order = np.argsort(keys, kind="stable")[: self._size]
            table = pa.concat_tables([self._table, table], promote_options="default").take(pa.array(order))
            keys = keys[order]
        self._table, self._keys = table, keys

    def rows(self) -> list[dict[str, Any]]:
        """The rows in the order of their keys."""
        return [] if self._table is None else self._table.to_pylist()


def shown_document(kind: str, row: Mapping[str, Any], text: str | None, chars: int) -> dict[str, Any]:
    """A document of `report.json`, with at most `chars` characters of its text. Numbers that are not finite are left out."""
    shown: dict[str, Any] = {"kind": kind, "id": row.get(ID), "url": row.get(URL)}
    known = (name for name in ("stage", "reason", "value", "limit", "detail") if row.get(name) is not None)
    shown |= {name: row[name] for name in known if not isinstance(row[name], float) or math.isfinite(row[name])}
    if text is not None:
        shown |= {"chars": len(text), "text": text[:chars]}
    return shown


def shown_parts(before: str, edits: Sequence[Mapping[str, Any]], chars: int) -> list[list[str]]:
    """Split a text at its edits.

    A part is its type, its text, and the rule of an edit. The types are `same`, `gone` (removed), `new` (inserted), and `cut`:
    a part that is not shown, with its size in place of its text.
    """
    parts: list[list[str]] = []
    at = shown = 0
    for number, edit in enumerate(edits):
        if shown > chars:
            parts.append(["cut", f"{len(edits) - number} more edits"])
            return parts
        parts += _same(before[at : edit["start"]], first=not number, last=False)
        gone = before[edit["start"] : edit["end"]]
        for kind, text in (("gone", gone), ("new", edit["replacement"])):
            parts += [[kind, text[:chars], edit["rule"]]] if text else []
            parts += [["cut", f"{len(text) - chars:,} characters"]] if len(text) > chars else []
        shown += len(gone) + len(edit["replacement"]) + 2 * _CONTEXT_CHARS
        at = edit["end"]
    return parts + _same(before[at:], first=not edits, last=True)


def _same(text: str, *, first: bool, last: bool) -> list[list[str]]:
    head, tail = (0 if first else _CONTEXT_CHARS), (0 if last else _CONTEXT_CHARS)
    if len(text) <= head + tail + 40:
        return [["same", text]] if text else []
    parts = [["same", text[:head]]] if head else []
    parts.append(["cut", f"{len(text) - head - tail:,} characters"])
    return parts + ([["same", text[len(text) - tail :]]] if tail else [])
