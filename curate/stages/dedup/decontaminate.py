"""Drop documents that share word n-grams with evaluation items, or cut the shared parts out.

`against` names evaluation files: JSON lines (.jsonl, compressed or not) or Parquet, or folders of them; no globs. Every string
of an item, also in lists and objects, is a *passage* of its own: a question is not joined to its answers. `fields` selects
fields by their dotted names (`choices.text`; `choices` for all inside). Words are normalised as in
`text/dedup/ngram_overlap.py`: case, accents, punctuation, apostrophes, line breaks and white space make no difference.

- Method `n_gram` (GPT-3): a document is contaminated when it has a run of `ngram` words (13) that a passage has. A shorter
  passage counts as one n-gram. The value of the drop reason is the number of matching n-grams of the document, repetitions
  included. Its limit is 1.
- Method `ratio` (PaLM): a document is contaminated when it has at least `min_overlap` (0.7) of the distinct n-grams of `ngram`
  words (8) of a passage. A passage of fewer words has none. The value of the drop reason is the largest such share.

Passages of fewer than `min_item_words` words (8) are ignored: answers such as "all of the above" are everywhere. The detail of
the drop reason names the passage with the largest share, the first of several: `arc_easy/test.jsonl:17 question` is field
`question` of line 17 (of a Parquet file, row 17; from 1). The file is named by its path below the path given.

- `action: drop`: the document is dropped for `contaminated`.
- `action: cut`: every matching n-gram is removed (with `ratio`, those of passages above the limit), with `cut_chars` (200)
  characters before and behind. A document in more than `max_pieces` (10) pieces is dropped (`too_many_pieces`, value: pieces).
  Otherwise pieces of fewer than `min_piece_chars` (200) are removed, and a document without a remaining piece is dropped
  (`nothing_left`). Remaining pieces are joined by an empty line.

Opening fails where a path gives no n-gram, a file has no items, or no item has one of `fields`. A single file of a folder may
give none: sums in digits have too few words.

Sources: Brown et al. 2020, arXiv:2005.14165, appendix C: 13-grams of words, lower-cased, cut at white space, without
punctuation; "a 200 character window around it", read as 200 on either side; 10 and 200 as above. They cut, since one n-gram
is too little to drop a book for. Chowdhery et al. 2022, arXiv:2204.02311, section 8: 70 % of the 8-grams.

Differences. GPT-3 let n-grams pass that matched more than ten training documents, most of them common phrases and legal
boilerplate; a stage sees one document at a time, so they count here. PaLM marked *evaluation items* whose n-grams occur
anywhere in the training data, to report scores without them; here the n-grams of one passage must be in one document, which
goes. Both worked on English: where a script has no blanks, a word is one ideograph, kana or Thai letter, and `ngram` and
`min_item_words` should be larger.

Decisions. Folding drops accents as well as marks of vowels in scripts that have them: a run of 13 words is still telling, and
copies differ in just these. Pieces are counted before short ones are taken out, so that a document in shreds goes even if one
long piece is left. Passages are not joined: what a harness makes of an item is not known here.
Measured with 36 sets in 131 files (203,457 items, 4.1 million n-grams, 63 MiB) over 95,302 texts (233 MB): 387 are hit, 178 of
them documents that a set is made of. Of the rest 53 have 30 % or more of a long passage, 55 less (constitutions, hymns, one
sentence of an encyclopedia, notices of rights), 57 only short passages ("the chairman of the Joint Chiefs of Staff"), which
`min_item_words: 13` leaves out, 44 numbers in order and lists of HTML tags. `ratio` finds 314 and none of the 55.
Opening takes 5 s, half of it to parse JSON; 85 MB/s on one core where the words are cut, 64 with that; `ratio` 122 and 82.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Gt, Le, MinLen

from curate.api.batch import Batch, Edit, Kernel, drop_where, edit_rows
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.errors import SpecError
from curate.schema import DROP, TEXT

if TYPE_CHECKING:
    from curate.text.dedup.eval_texts import Passages
    from curate.text.dedup.ngram_overlap import NgramIndex, Overlaps
    from curate.text.words.types import Words

COLUMN = "contaminated_by"
COLUMN_TYPE = pa.list_(pa.struct([("benchmark", pa.string()), ("item", pa.int64()), ("share", pa.float64())]))
METHOD_NGRAM = {"n_gram": 13, "ratio": 8}
JOINT = "\n\n"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Decontaminate(Stage):
    """N-gram overlap with evaluation sets."""

    against: Annotated[tuple[AssetPath, ...], MinLen(1)]
    """Evaluation files, or folders of them."""
    fields: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Fields of an item to compare; null takes all."""
    method: Literal["n_gram", "ratio"] = "n_gram"
    ngram: Annotated[int, Ge(1)] | Literal["method"] = "method"
    """Words of an n-gram: 13 for `n_gram`, 8 for `ratio`."""
    min_item_words: Annotated[int, Ge(1)] = 8
    min_overlap: Annotated[float, Gt(0), Le(1)] = 0.7
    """Share of a passage's distinct n-grams from which on method `ratio` counts a document as contaminated."""
    action: Literal["drop", "cut"] = "drop"
    cut_chars: Annotated[int, Ge(0)] = 200
    max_pieces: Annotated[int, Ge(1)] | None = 10
    min_piece_chars: Annotated[int, Ge(0)] = 200
    report: bool = False
    """Write the matching items as column `contaminated_by`. An item's share is the largest of its passages."""

    reasons = ("contaminated", "too_many_pieces", "nothing_left")

    def __post_init__(self) -> None:
        from curate.text.dedup.eval_texts import name_of

        names = [name_of(path) for path in self.against]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"against: two paths are called {name!r}, and drop reasons could not tell them apart. Rename one"
                )
        if self.ngram == "method":
            object.__setattr__(self, "ngram", METHOD_NGRAM[self.method])

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        text = {TEXT: pa.large_string()} if self.action == "cut" else {}
        return {**text, **({COLUMN: COLUMN_TYPE} if self.report else {})}

    def counts(self, after: Batch) -> Mapping[str, int]:
        """Contaminated documents per benchmark: that of the drop reason or, with `report`, all with a matching item."""
        if COLUMN in after:
            named = ({item["benchmark"] for item in items or ()} for items in after[COLUMN].to_pylist())
            return Counter(benchmark for benchmarks in named for benchmark in benchmarks)
        details = after[DROP].field("detail").drop_null().to_pylist() if DROP in after else []
        return Counter(re.sub(r":\d+ .*", "", detail, count=1, flags=re.DOTALL) for detail in details)

    def open(self) -> Kernel:
        from curate.text.dedup.eval_texts import read_passages

        passages = read_passages(self.against, self.fields)
        index = self.index(passages)
        passages = replace(passages, texts=pa.array([], pa.large_string()))  # they are most of what a worker would keep
        min_share = self.min_overlap if self.method == "ratio" else 0.0

        def kernel(batch: Batch) -> Batch:
            words = batch.words("uax29")
            overlaps = index.overlaps(words, min_share)
            if self.report:
                batch = batch.put(COLUMN, _column(overlaps, passages, len(batch)))
            shares, places = _largest(overlaps, len(batch))
            details = pa.array([passages.place(place) if place >= 0 else None for place in places.tolist()], pa.string())
            if self.action == "cut":
                return self._cut(batch, words, overlaps, details)
            value = shares if self.method == "ratio" else np.bincount(overlaps.hits.rows, minlength=len(batch))
            limit = self.min_overlap if self.method == "ratio" else 1.0
            return drop_where(batch, places >= 0, "contaminated", value=value, limit=limit, detail=details)

        return kernel

    def index(self, passages: Passages) -> NgramIndex:
        """The n-grams of all passages. Raises SpecError for a path that gives none."""
        from curate.text.dedup.ngram_overlap import index_passages
        from curate.text.unicode.buffers import text_buffers
        from curate.text.words.cut import cut_words

        assert self.ngram != "method"
        least = self.min_item_words if self.method == "n_gram" else max(self.min_item_words, self.ngram)
        index = index_passages(cut_words(text_buffers(passages.texts), "uax29"), self.ngram, least)
        giving = set(passages.assets[passages.files[index.sizes > 0]].tolist())
        for number, path in enumerate(self.against):
            if number not in giving:
                raise SpecError(
                    f"{path!r} gives no n-gram: none of its texts has {least} words. Take it out, name other fields, or set "
                    f"{'min_item_words' if self.method == 'n_gram' else 'ngram and min_item_words'} lower."
                )
        return index

    def _cut(self, batch: Batch, words: Words, overlaps: Overlaps, details: pa.Array) -> Batch:
        """Drop documents of which too little is left, and give the others their new texts."""
        counts, kept = np.zeros(len(batch), np.int64), np.ones(len(batch), np.bool_)
        cut: dict[int, tuple[str, list[Edit]]] = {}
        dropped = batch.dropped
        for row in np.unique(overlaps.rows).tolist():
            if dropped[row]:
                continue
            text = batch[TEXT][row].as_py()
            in_row = overlaps.hits.rows == row
            pieces = self._pieces(text, _spans(text, words, row, overlaps.hits.starts[in_row], overlaps.hits.ends[in_row]))
            left = [(start, end) for start, end in pieces if end - start >= self.min_piece_chars]
            counts[row], kept[row] = len(pieces), bool(left)
            cut[row] = JOINT.join(text[start:end] for start, end in left), _edits(left, len(text))
        if self.max_pieces is not None:
            many = counts > self.max_pieces
            batch = drop_where(batch, many, "too_many_pieces", value=counts, limit=self.max_pieces, detail=details)
        return edit_rows(drop_where(batch, ~kept, "nothing_left", detail=details), cut)

    def _pieces(self, text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The parts of a text outside the spans and their surroundings of `cut_chars`."""
        pieces, position = [], 0
        for start, end in sorted(spans):
            pieces.append((position, start - self.cut_chars))
            position = max(position, end + self.cut_chars)
        return [(start, end) for start, end in [*pieces, (position, len(text))] if start < end]


def _spans(text: str, words: Words, row: int, starts: Ints, ends: Ints) -> list[tuple[int, int]]:
    """(start, end) of runs of words in a text, in code points. Runs are given by their first and last words."""
    solid = [place for place, char in enumerate(text) if not char.isspace()]
    before = words.chars[words.firsts[row]]
    firsts, lasts = words.chars[starts] - before, words.chars[ends + 1] - before - 1
    return [(solid[first], solid[last] + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def _edits(pieces: list[tuple[int, int]], size: int) -> list[Edit]:
    """The edits that leave these pieces of a text, joined."""
    edges = [0, *(edge for piece in pieces for edge in piece), size]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [("contaminated", start, end, JOINT if start and end < size else "") for start, end in gaps if start < end]


def _largest(overlaps: Overlaps, size: int) -> tuple[npt.NDArray[np.float64], Ints]:
    """For every row, the largest share of a passage, and the first such passage; -1 for none."""
    shares, places = np.zeros(size), np.full(size, -1, np.int64)
    order = np.lexsort((-overlaps.passages, overlaps.shares))  # of several that are given to one row the last one stays
    shares[overlaps.rows[order]], places[overlaps.rows[order]] = overlaps.shares[order], overlaps.passages[order]
    return shares, places


def _column(overlaps: Overlaps, passages: Passages, size: int) -> pa.Array:
    """The items found in every row, in the order of the files; null for none."""
    rows: list[list[dict[str, str | int | float]] | None] = [None] * size
    shares: dict[tuple[int, int, int], float] = {}
    for row, passage, share in zip(overlaps.rows.tolist(), overlaps.passages.tolist(), overlaps.shares.tolist(), strict=True):
        item = row, int(passages.files[passage]), int(passages.items[passage])
        shares[item] = max(share, shares.get(item, 0.0))
    for (row, file, number), share in shares.items():
        rows[row] = [*(rows[row] or []), {"benchmark": passages.benchmarks[file], "item": number, "share": share}]
    return pa.array(rows, COLUMN_TYPE)
