"""The words of every text, by one of the tokenizers."""

from __future__ import annotations

from curate.text.unicode.buffers import TextBuffers
from curate.text.words.types import Words, WordUnit


def cut_words(texts: TextBuffers, unit: WordUnit) -> Words:
    """Cut every text into words."""
    if unit == "whitespace":
        from curate.text.words.whitespace import cut_whitespace

        return cut_whitespace(texts)
    if unit == "uax29":
        from curate.text.words.uax29 import cut_uax29

        return cut_uax29(texts)
    from curate.text.words.spacy import cut_spacy

    return cut_spacy(texts)
