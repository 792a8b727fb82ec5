"""Evaluation items: contexts and the right continuations, from JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.errors import SpecError
from curate.storage import store

Items = dict[str, list[tuple[str, str]]]
"""(context, right continuation) by file."""


def read_items(patterns: Sequence[str], max_items: int, option: str = "evals") -> Items:
    """At most `max_items` of each file, spread evenly over it. A row has `query`, `choices` and `gold`, or `context` and
    `continuation`, or `text`, which goes on from nothing."""
    found: Items = {}
    for pattern in patterns:
        files = store.expand(pattern)
        if not files:
            raise SpecError(f"{option}: {pattern!r} matches no file. Check the path.")
        for file in files:
            items = [item for row in _rows(file, option) if (item := _item(row))]
            if not items:
                raise SpecError(
                    f"{option}: {file!r} has neither query, choices, gold nor context, continuation nor text. Name such files."
                )
            places = np.linspace(0, len(items) - 1, min(max_items, len(items))).round().astype(int)
            found[file] = [items[place] for place in places]
    return found


def _rows(file: str, option: str) -> Iterator[Mapping[str, Any]]:
    if file.endswith(".parquet"):
        with store.open_file(file) as opened:
            for batch in pq.ParquetFile(opened).iter_batches():
                yield from batch.to_pylist()
        return
    with store.open_decompressed(file) as lines:
        for number, line in enumerate(lines):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SpecError(
                    f"{option}: {file}:{number + 1} is not JSON: {error}. One JSON object per line is read."
                ) from error
            if isinstance(row, dict):
                yield row


def _item(row: Mapping[str, Any]) -> tuple[str, str] | None:
    if {"query", "choices", "gold"} <= row.keys() and isinstance(row["gold"], int):
        return str(row["query"]), " " + str(row["choices"][row["gold"]]).strip()
    if {"context", "continuation"} <= row.keys():
        return str(row["context"]).rstrip(), " " + str(row["continuation"]).strip()
    return ("", row["text"]) if isinstance(row.get("text"), str) and row["text"].strip() else None
