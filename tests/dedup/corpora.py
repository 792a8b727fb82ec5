"""Small corpora with known near-duplicates, and what the deduplicating stages should say of them, by plain Python."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.execution.global_stages import partition, scan

VOCABULARY = [f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in "aeiou" for last in "bdgklmnprst"]


def essay(draw: random.Random, words: int) -> list[str]:
    return draw.choices(VOCABULARY, k=words)


def altered(draw: random.Random, words: list[str], changes: int) -> list[str]:
    """A copy with some words replaced, in one run: n - 1 more n-grams are lost than words."""
    start = draw.randrange(len(words) - changes)
    return [*words[:start], *draw.choices(VOCABULARY, k=changes), *words[start + changes :]]


def write_families(folder: Path, files: int = 4, families: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Files of documents of which some are altered copies of others; a few texts are short, empty or null.

    The rows as written, in order. `score` is a number without order, now and then null.
    """
    draw = random.Random(seed)
    texts: list[str | None] = ["", None, "one two", "One, two!", "one two three", "...", "two one"]
    for number in range(families):
        words = essay(draw, draw.randint(60, 300))
        texts.append(" ".join(words))
        for _ in range(number % 4):
            words = altered(draw, words, draw.randint(0, 12))
            texts.append(" ".join(words).upper() if draw.random() < 0.2 else " ".join(words))
    draw.shuffle(texts)
    rows = [
        {
            "id": f"{seed}.{number}",
            "url": f"https://site-{number // 3 % 7}.example/{number // 3}",
            "text": text,
            "score": None if number % 9 == 4 else draw.random(),
        }
        for number, text in enumerate(texts)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("id", pa.string()), ("url", pa.string()), ("text", pa.string()), ("score", pa.float64())])
    edges = [round(len(rows) * part / files) for part in range(files + 1)]
    for number, (start, end) in enumerate(pairwise(edges)):
        path = folder / f"part-{number}.parquet"
        pq.write_table(pa.Table.from_pylist(rows[start:end], schema), path, row_group_size=16)
    return rows


def connected(pairs: list[tuple[int, int]], count: int) -> list[set[int]]:
    """The components of more than one node, by breadth first."""
    near: dict[int, set[int]] = {node: set() for node in range(count)}
    for one, two in pairs:
        near[one].add(two)
        near[two].add(one)
    found, seen = [], set[int]()
    for node in range(count):
        if node in seen or not near[node]:
            continue
        component, front = {node}, [node]
        while front:
            front = [other for place in front for other in near[place] - component]
            component |= set(front)
        seen |= component
        found.append(component)
    return found


def deal_finely(monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    """Limit the bytes of summaries per task, so that small corpora too have many shard groups and key ranges."""
    monkeypatch.setattr(partition, "SHARD_GROUP_BYTES", share)
    monkeypatch.setattr(scan, "SHARD_GROUP_BYTES", share)
    monkeypatch.setattr(partition, "BLOCK_BYTES", 0)
