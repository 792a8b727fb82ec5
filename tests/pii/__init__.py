"""A labelled set of personal data and secrets, all made up or published as examples, and what is found in it.

`positives.jsonl`: texts and the values of one kind in them. `near_misses.jsonl`: texts in which nothing is to be found, and
the kind they look like. A `¬` stands in the prefix of every key, and is taken out here, so that scanners of repositories
find none.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.api.batch import Batch
from curate.schema import EDITS, TEXT
from curate.stages.filters.pii import Pii

FOLDER = Path(__file__).parent
KINDS = ("email", "ip", "phone", "credit_card", "iban", "key")


@dataclass(frozen=True)
class Labelled:
    text: str
    kind: str
    values: tuple[str, ...]


def labelled(file: str) -> list[Labelled]:
    lines = (FOLDER / file).read_text(encoding="utf-8").replace("¬", "").split("\n")
    items = [json.loads(line) for line in lines if line]
    return [Labelled(item["text"], item.get("kind") or item["looks_like"], tuple(item.get("values", ()))) for item in items]


def found_in(texts: list[str], stage: Pii | None = None) -> list[list[tuple[str, str]]]:
    """Of every text the kinds and values that the stage replaces."""
    batch = (stage or Pii()).open()(Batch(pa.record_batch({TEXT: pa.array(texts, pa.large_string())})))
    rows = batch[EDITS].to_pylist() if EDITS in batch else [None] * len(texts)
    return [
        [(edit["rule"], text[edit["start"] : edit["end"]]) for edit in edits or []]
        for text, edits in zip(texts, rows, strict=True)
    ]


@dataclass(frozen=True)
class Score:
    values: int
    near_misses: int
    precision: float
    recall: float


def scores() -> dict[str, Score]:
    """By kind: precision over both files, recall over the positives; a value counts where it is found from end to end."""
    items = labelled("positives.jsonl") + labelled("near_misses.jsonl")
    right, wanted, given, near = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for item, found in zip(items, found_in([item.text for item in items]), strict=True):
        labels = [(item.kind, value) for value in item.values]
        near[item.kind] += not labels
        wanted.update(kind for kind, _ in labels)
        given.update(kind for kind, _ in found)
        right.update(kind for kind, _ in (Counter(labels) & Counter(found)).elements())
    return {
        kind: Score(wanted[kind], near[kind], right[kind] / max(given[kind], 1), right[kind] / max(wanted[kind], 1))
        for kind in KINDS
    }
