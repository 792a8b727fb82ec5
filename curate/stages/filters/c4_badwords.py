r"""Drop documents that contain a word of a list, per language, as C4 and mC4 do.

The text in lower case (`str.lower`) is searched for the words and phrases of the list of its language. A word counts
between characters other than letters, digits and underscores (`\W` of Python's `re`), or at the ends of the text; in Japanese,
Thai and Chinese, which are written without blanks, it counts anywhere. The drop reason is `bad_word`, with the word as its
detail: the one that ends first in the text, and the longest of several that end together.

A list is a text file with one entry per line, in UTF-8; `#` begins a comment line. The file is named for its language: `en`
or `en.txt`. The list shipped in `lists/bad_words` is a demonstration: a dozen mild English words of our own. The list that C4
used is LDNOOBW (github.com/LDNOOBW), one file per language: give its files by path. `keep_frac` of the documents with
such a word are kept nevertheless. They are drawn by a keyed hash of the document's ordinal and `seed`, so the draw does not
depend on order, shards or other documents.

Sources: Raffel et al. 2020, arXiv:1910.10683, section 2.2; Xue et al. 2021, arXiv:2010.11934, section 3.1; `c4_utils.py` of
TensorFlow Datasets; datatrove 0.10 `C4BadWordsFilter`.

Decisions. As published, "sm", "グロ", "女の子" and "性" are taken out of every list, not of those of Japanese and Chinese only:
each stands inside common words there and would drop more than a tenth of the documents. Entries are lower-cased, since the
text is; as published, an entry with a capital, such as a German noun, never matches. A document in a language without a list
is kept unless `without_list` says otherwise (`no_list`): an error, as in datatrove, would end a run for one label. Lists are
files named for a language and no mapping, since that is how LDNOOBW comes. One automaton per language reads 125 MB of web
text a second on one core with a list of 380 words, where their alternation in `re` reads 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.schema import ORDINAL, TEXT, keyed_hash
from curate.storage import store
from curate.text.unicode.buffers import TextBuffers

if TYPE_CHECKING:
    from curate.text.words.phrase_search import Search

_OWN = str(Path(__file__).parent / "lists" / "bad_words" / "en.txt")
COMMON = frozenset({"sm", "グロ", "女の子", "性"})
"""Entries that are parts of common words. They are removed from every list."""
UNFLANKED = frozenset({"ja", "th", "zh"})


@dataclass(frozen=True, kw_only=True)
class C4Badwords(Stage):
    """Drops documents with a word of the list of their language."""

    lists: tuple[AssetPath, ...] = (_OWN,)
    """Files named for their language. Two files of one language are one list."""
    language_column: str | None = None
    """Column with the language of a document, by the names of the lists."""
    default_language: str = "en"
    """Language of documents without one."""
    without_list: Literal["keep", "drop"] = "keep"
    """What to do with documents in a language without a list."""
    keep_frac: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the documents with a bad word that are kept."""
    seed: Annotated[int, Ge(0)] = 0

    revision = 2  # documents are drawn for a purpose of their own
    reasons = ("bad_word", "no_list")

    def __post_init__(self) -> None:
        if not self.lists:
            raise ValueError("lists is empty: there is nothing to do")
        languages = sorted({language_of(path) for path in self.lists})
        if self.language_column is None and self.default_language not in languages:
            raise ValueError(
                f"no list is for {self.default_language!r}, the language of all documents. Files are named for their language, "
                f"such as {self.default_language}.txt; here are {', '.join(languages)}. Or name the documents' language_column"
            )

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        languages = {self.language_column: pa.string()} if self.language_column else {}
        return {TEXT: pa.large_string(), ORDINAL: pa.uint64(), **languages}

    def open(self) -> Kernel:
        from curate.text.words.phrase_search import word_search

        entries = read_lists(self.lists)
        searches = {language: word_search(words, language not in UNFLANKED) for language, words in entries.items()}

        def kernel(batch: Batch) -> Batch:
            languages = self._languages(batch)
            words = _bad_words(batch.buffers, languages, searches, entries)
            batch = drop_where(batch, pc.and_(words.is_valid(), pa.array(self._drawn(batch))), "bad_word", detail=words)
            if self.without_list == "drop":
                missing = pc.invert(pc.is_in(languages, pa.array(sorted(searches), pa.string())))
                batch = drop_where(batch, missing, "no_list", detail=languages)
            return batch

        return kernel

    def _languages(self, batch: Batch) -> pa.Array:
        if self.language_column is None:
            return pa.repeat(pa.scalar(self.default_language, pa.string()), len(batch))
        return pc.fill_null(batch[self.language_column].cast(pa.string()), self.default_language)

    def _drawn(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Whether a document is dropped if it has a bad word. Shape (rows,)."""
        draws = (keyed_hash(batch.ordinals, "c4_badwords", self.seed) >> np.uint64(11)) / 2.0**53
        return np.asarray(draws >= self.keep_frac)


def language_of(path: str) -> str:
    """The language a list is for, by the name of its file.

    >>> language_of("lists/en.txt"), language_of("lists/ja")
    ('en', 'ja')
    """
    return path.rstrip("/").rsplit("/", 1)[-1].removesuffix(".txt")


def read_lists(paths: Iterable[str]) -> dict[str, list[str]]:
    """Language -> its words in lower case, sorted."""
    lists: dict[str, set[str]] = {}
    for path in paths:
        lists.setdefault(language_of(path), set()).update(line.lower() for line in store.read_lines(path))
    return {language: sorted(words - COMMON) for language, words in sorted(lists.items())}


def _bad_words(
    texts: TextBuffers, languages: pa.Array, searches: Mapping[str, Search], entries: Mapping[str, list[str]]
) -> pa.Array:
    """The bad word of every text, null where there is none. Shape (rows,)."""
    words = np.full(len(languages), None, object)
    for language in pc.unique(languages).to_pylist():
        if language not in searches:
            continue
        rows = np.flatnonzero(pc.equal(languages, language).to_numpy(zero_copy_only=False))
        entry_numbers = searches[language](TextBuffers(texts.data, texts.starts[rows], texts.ends[rows]))
        hits = entry_numbers >= 0
        words[rows[hits]] = np.array(entries[language], object)[entry_numbers[hits]]
    return pa.array(words, pa.string())
