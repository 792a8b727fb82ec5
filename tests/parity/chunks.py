"""Every distinct chunk of the real text (a run of characters that are not white space), cut by ours and by spaCy."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from curate.text.unicode.buffers import text_buffers
from curate.text.words.spacy import SpacyCutter
from curate.text.words.spacy_rules import english, spacy_rules
from tests.bench.corpora import text_tables

AT_ONCE = 20_000
LONGEST = 2_000
"""Characters. spaCy takes time quadratic in the length of a chunk."""


def compare_chunks() -> tuple[int, list[str]]:
    """How many chunks were compared, and those that differ."""
    chunks: set[str] = set()
    for table in text_tables():
        for text in table["text"].to_pylist():
            chunks.update(chunk for chunk in text.split() if len(chunk) <= LONGEST)
    cutter = SpacyCutter(spacy_rules())
    differing: list[str] = []
    ordered = sorted(chunks)
    for start in range(0, len(ordered), AT_ONCE):
        part = ordered[start : start + AT_ONCE]
        both = zip(part, _ours(part, cutter), _theirs(part), strict=True)
        differing += [chunk for chunk, one, two in both if one != two]
    return len(ordered), differing


def _ours(chunks: list[str], cutter: SpacyCutter) -> Iterator[list[str]]:
    words = cutter(text_buffers(pa.array(chunks, pa.large_string())))
    stream = words.stream.tobytes()
    for first, last in zip(words.firsts, words.lasts, strict=True):
        yield [stream[words.starts[word] : words.starts[word + 1]].decode() for word in range(first, last)]


def _theirs(chunks: list[str]) -> Iterator[list[str]]:
    """Line breaks are tokens of their own; no special word has one, so the chunks stay apart."""
    tokens: list[str] = []
    for token in [*(token.text for token in english().tokenizer("\n".join(chunks))), "\n"]:
        if token == "\n":
            yield tokens
            tokens = []
        else:
            tokens.append(token)
