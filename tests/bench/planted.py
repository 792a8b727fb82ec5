"""Near-duplicates of known similarity: real documents, edited until their Jaccard similarity to the original is as wanted.

An edit replaces, deletes or inserts words, one at a time or in runs of up to twenty, anywhere in the text; new words are those
of other documents of the same source. How many edits a pair needs is found by bisection on the exact similarity. A pair that
no number of edits brings close enough is left out. Everything is drawn from the ids of the documents: same input, same pairs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.types import ALNUM
from tests.bench.near_pairs import Floats, shingle_sets, similarities

TOLERANCE = 0.01
RUNS = (1, 1, 5, 20)
"""The longest run of words that an edit takes; each document draws one."""
RUNS_PER_TEXT = 40
"""No run is longer than the words of the text divided by this: else no similarity near 1 is ever met."""


@dataclass
class Draft:
    """A document in pieces, each a word and the white space before it, and edits to be made in turn."""

    id: str
    target: float
    pieces: list[str]
    edits: list[list[tuple[int, str]]]
    """What becomes of some pieces."""
    fewest: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        self.most = len(self.edits)

    @property
    def tried(self) -> int:
        return (self.fewest + self.most) // 2

    @property
    def text(self) -> str:
        pieces = list(self.pieces)
        for edit in self.edits[: self.tried]:
            for place, new in edit:
                pieces[place] = new
        return "".join(pieces)


def plant(ids: Sequence[str], texts: Sequence[str], sources: Sequence[str], targets: Sequence[float]) -> dict[str, str]:
    """The edited text by id, of those documents for which the target similarity was met."""
    pieces, places = _cut(texts)
    pools: dict[str, list[str]] = {}
    for some, words, source in zip(pieces, places, sources, strict=True):
        pool = pools.setdefault(source, [])
        if len(pool) < 20_000:
            pool += [some[place].strip() for place in words[:200]]
    drafts = [
        Draft(name, target, some, _edits(random.Random(name), words, some, pools[source]))
        for name, target, some, words, source in zip(ids, targets, pieces, places, sources, strict=True)
    ]
    return _bisected(drafts, dict(zip(ids, texts, strict=True)))


def _bisected(drafts: list[Draft], originals: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    while drafts:
        texts = [draft.text for draft in drafts]
        left = []
        for draft, text, value in zip(drafts, texts, _similar(texts, [originals[d.id] for d in drafts]), strict=True):
            if abs(value - draft.target) <= TOLERANCE:
                found[draft.id] = text
                continue
            if value > draft.target:
                draft.fewest = draft.tried + 1
            else:
                draft.most = draft.tried
            if draft.fewest < draft.most:
                left.append(draft)
        drafts = left
    return found


def _similar(texts: list[str], originals: list[str]) -> Floats:
    rows = np.arange(len(texts))
    return similarities(
        shingle_sets(pa.chunked_array([pa.array(texts + originals, pa.large_string())])), rows, rows + len(rows)
    )


def _cut(texts: Sequence[str]) -> tuple[list[list[str]], list[list[int]]]:
    """Every text in pieces, and which of them are words with a letter or digit."""
    words = cut_words(text_buffers(pa.array(texts, pa.large_string())), "uax29")
    stream, starts = words.stream.tobytes(), words.starts
    pieces, places = [], []
    for row, text in enumerate(texts):
        first, last, at = int(words.firsts[row]), int(words.lasts[row]), 0
        some = []
        for word in range(first, last):
            spelled = stream[starts[word] : starts[word + 1]].decode()
            end = text.index(spelled, at) + len(spelled)
            some.append(text[at:end])
            at = end
        pieces.append(some)
        places.append(np.flatnonzero(words.kinds[first:last] & ALNUM).tolist())
    return pieces, places


def _edits(draw: random.Random, places: list[int], pieces: list[str], pool: list[str]) -> list[list[tuple[int, str]]]:
    """Edits of runs of words, in a random order that covers the text once."""
    longest = min(draw.choice(RUNS), max(len(places) // RUNS_PER_TEXT, 1))
    runs, at = [], 0
    while at < len(places):
        size = draw.randint(1, longest)
        runs.append(places[at : at + size])
        at += size
    draw.shuffle(runs)
    return [_edit(draw, run, pieces, pool) for run in runs]


def _edit(draw: random.Random, run: list[int], pieces: list[str], pool: list[str]) -> list[tuple[int, str]]:
    action = draw.choice(("replace", "delete", "insert"))
    if action == "delete":
        return [(place, "") for place in run]
    new = " ".join(draw.choices(pool, k=len(run)))
    if action == "insert":
        return [(run[0], f" {new} {pieces[run[0]].lstrip()}")]
    return [(run[0], f" {new}"), *((place, "") for place in run[1:])]
