"""The words of a text column as flat arrays, in one of three units, cut once per batch and shared by every stage.

- `whitespace`: `str.split`.
- `uax29`: the word boundaries of Unicode Standard Annex 29, segments of white space left out.
- `spacy`: the tokens of spaCy's `blank("en")`, punctuation marks and clitics each a word of their own, white space left out.

In all three every character that is not white space belongs to exactly one word, and a word never spans white space. So the
words of a document, one after the other, are its text with the white space taken out: the `stream`. And a line has the same
words whatever lines stand around it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

WordUnit = Literal["whitespace", "uax29", "spacy"]

ALPHA = 1
"""Some character is a letter (`str.isalpha`)."""
ALNUM = 2
"""Some character is a letter or digit (`str.isalnum`)."""
FIRST_ALNUM = 4
"""The first character is a letter or digit."""
SOLID = 8
"""Some character lies outside datatrove's set of punctuation (`words/punctuation.py`)."""
PUNCT = 16
"""Every character is of a Unicode category P*."""
PERIOD = 32
"""The word is one character that ends a sentence for spaCy's sentencizer."""
GAP = 64
"""White space other than one single blank stands before it, and something before that. Unit `spacy` only: such white space
is a token there, which matters where a sentence ends."""


@dataclass(frozen=True)
class Words:
    """Words firsts[r] .. lasts[r] (exclusive) belong to row r. Word w is the bytes stream[starts[w]:starts[w + 1]]."""

    firsts: npt.NDArray[np.int64]
    lasts: npt.NDArray[np.int64]
    stream: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    """Shape (words + 1,)."""
    chars: npt.NDArray[np.int32]
    """Shape (words + 1,): code points of the stream before each word. Lengths are differences."""
    hashes: npt.NDArray[np.uint64]
    """Shape (words,): of each word's bytes; equal words have equal hashes within a process."""
    kinds: npt.NDArray[np.uint8]
    """Shape (words,): the bits above."""

    def __getitem__(self, rows: Any) -> Words:
        """The same words for some of the rows."""
        return replace(self, firsts=self.firsts[rows], lasts=self.lasts[rows])

    def __len__(self) -> int:
        return len(self.firsts)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Words per row."""
        return self.lasts - self.firsts
