"""Which words a scorer knows, and so stores verbatim in its model.

A vocabulary is text of other people, word by word: names, addresses and numbers with it. By default a word is stored only if
it occurs in at least 20 documents of at least 5 groups, and holds neither `@` nor two digits in a row. What is left out still
counts inside n-grams, which are stored as hashes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from curate.text.unicode.buffers import TextBuffers
from curate.text.words.fasttext import Tokens, count_words

_PERSONAL = re.compile(r"@|\d\d")


@dataclass(frozen=True, kw_only=True)
class VocabularyRule:
    """The conditions for a word to be stored."""

    min_documents: Annotated[int, Ge(1)] = 20
    min_groups: Annotated[int, Ge(1)] = 5
    personal: bool = False
    """Allow `@` and runs of digits: for scorers that are not given away."""

    def in_words(self) -> str:
        held = "" if self.personal else ", none with '@' or two digits in a row"
        return f"each in at least {self.min_documents} texts of {self.min_groups} groups{held}"


@dataclass(frozen=True)
class Word:
    """A word of the vocabulary and where it occurs."""

    text: bytes
    count: int
    documents: int
    groups: int


def choose_words(texts: TextBuffers, tokens: Tokens, groups: Sequence[str], rule: VocabularyRule) -> list[Word]:
    """The words that pass the rule, the most frequent first, then by their bytes. `groups` has one name per text."""
    order = np.argsort(np.array(groups, np.object_), kind="stable")
    _, group_of = np.unique(np.array(groups, np.object_)[order], return_inverse=True)
    counts = tokens.counts[order]
    places = _places(tokens.firsts[order], counts)
    documents = np.repeat(np.arange(len(order)), counts)
    firsts, table = count_words(tokens.keys[places], documents, np.repeat(group_of, counts))
    passing = (table[:, 1] >= rule.min_documents) & (table[:, 2] >= rule.min_groups)
    words = []
    for first, (count, in_documents, in_groups) in zip(firsts[passing], table[passing].tolist(), strict=True):
        text = _bytes_at(texts, int(tokens.starts[places[first]]))
        if rule.personal or not _PERSONAL.search(text.decode("utf-8", "replace")):
            words.append(Word(text, count, in_documents, in_groups))
    return sorted(words, key=lambda word: (-word.count, word.text))


def _places(firsts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers first .. first + count of every text, one text after the other."""
    starts = np.cumsum(counts) - counts
    return np.asarray(np.arange(counts.sum()) + np.repeat(firsts - starts, counts), np.int64)


def _bytes_at(texts: TextBuffers, start: int) -> bytes:
    """The token that begins there."""
    row = int(np.searchsorted(texts.starts, start, side="right")) - 1
    found = re.match(rb"[^ \t\n\v\f\r\0]+", texts.data[start : texts.ends[row]].tobytes())
    assert found is not None
    return found.group()
