"""Runs in datatrove's own environment: seconds its filters take over the texts of a Parquet file, as JSON.

    python datatrove_speed.py IN.parquet

Documents go through one by one, as in its pipelines, so that filters in a row share a document's words.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.text import split_into_parts

FAMILIES: dict[str, list[Any]] = {
    "gopher_repetition": [GopherRepetitionFilter()],
    "gopher_quality": [GopherQualityFilter()],
    "c4_quality": [C4QualityFilter(filter_no_terminal_punct=False)],
    "fineweb_quality": [FineWebQualityFilter()],
}
FAMILIES["chain"] = [filters[0] for filters in FAMILIES.values()]


def seconds(filters: list[Any], texts: list[str]) -> float:
    split_into_parts.cache_clear()
    started = time.perf_counter()
    for text in texts:
        document = Document(text=text, id="")
        for filter_ in filters:
            try:
                result = filter_.filter(document)
            except ZeroDivisionError:  # a text without words
                break
            if result is not True:
                break
    return time.perf_counter() - started


def main(source: str) -> None:
    texts = pq.read_table(source, columns=["text"])["text"].to_pylist()
    seconds(FAMILIES["chain"], texts[:20])  # spaCy loads
    print(json.dumps({name: seconds(filters, texts) for name, filters in FAMILIES.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
