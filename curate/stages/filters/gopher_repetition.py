"""Drop documents by the repetition rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1 and table A1).

Rules are tried in the order of the profile. The first that fails gives the drop reason. A rule keeps a document when
x <= max and is off when its option is null. All measures are shares of lines, of paragraphs or of characters (code points).

A profile fixes what the paper leaves open. "Rules, profiles and languages" in the documentation (docs/rules.md) defines the
measures of every profile and says why `ours` differs. In short, `ours` measures:

- dup_line_frac, dup_paragraph_frac: share of the lines or paragraphs that are second or later copies. dup_line_chars_frac,
  dup_paragraph_chars_frac: the same share, of characters. Lines are stripped and not blank. Paragraphs lie between blank lines.
- top_2_gram_chars_frac to top_4_gram_chars_frac: characters of the n-gram that occurs most often, times its number of
  occurrences, per character of all words. 0 when no n-gram occurs twice.
- dup_5_gram_chars_frac to dup_10_gram_chars_frac: characters of the words that are part of an n-gram that occurs twice or
  more often, per character of all words.

Words are `str.split` words, or those of `unit`. A share of nothing is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Measures, Profile, Rule, RuleStage
from curate.text.words.types import FIRST_ALNUM, Words, WordUnit

Share = Annotated[float, Ge(0)]

GOPHER_LIMITS = {2: 0.20, 3: 0.18, 4: 0.16, 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Limits of table A1, by n: for the most frequent 2- to 4-gram, and for all repeated 5- to 10-grams."""


def _n_gram_measure(n: int) -> str:
    return f"{'top' if n < 5 else 'dup'}_{n}_gram_chars_frac"


def _rule(reason: str, measure: str, limit: float | None) -> Rule:
    return Rule(reason, measure, f"max_{measure}", limit)


def _n_gram_rules(reason: str, *, top_reason: str | None = None, top: bool = True) -> tuple[Rule, ...]:
    """The rules on n-grams. `top_reason` names those on the most frequent one, which are off by default unless `top`."""
    return tuple(
        _rule((top_reason or reason if n < 5 else reason).format(n=n), _n_gram_measure(n), limit if top or n >= 5 else None)
        for n, limit in GOPHER_LIMITS.items()
    )


_DATATROVE = (
    Rule("empty", "chars", "min_chars", 1),
    _rule("dup_para_frac", "dup_paragraph_frac", 0.30),
    _rule("dup_para_char_frac", "dup_paragraph_chars_frac", 0.20),
    _rule("dup_line_frac", "dup_line_frac", 0.30),
    _rule("dup_line_char_frac", "dup_line_chars_frac", 0.20),
    *_n_gram_rules("duplicated_{n}_n_grams", top_reason="top_{n}_gram"),
)

PROFILES = {
    "ours": Profile(
        "Our own reading of the paper. Words of any tokenizer.",
        (
            _rule("duplicate_lines", "dup_line_frac", 0.30),
            _rule("duplicate_paragraphs", "dup_paragraph_frac", 0.30),
            _rule("duplicate_line_chars", "dup_line_chars_frac", 0.20),
            _rule("duplicate_paragraph_chars", "dup_paragraph_chars_frac", 0.20),
            *_n_gram_rules("duplicate_{n}_grams", top_reason="frequent_{n}_gram"),
        ),
    ),
    "datatrove-0.10": Profile("GopherRepetitionFilter of datatrove 0.10.1, exactly. Needs spaCy.", _DATATROVE),
    "fineweb-2024-04": Profile(
        "FineWeb as released in April 2024. NLTK's punkt model, which split its words, cannot be had offline: spaCy's tokens "
        "stand in, so n-gram shares differ a little. Needs spaCy.",
        _DATATROVE,
    ),
    "dclm": Profile(
        "massive_web_repetition_filters of DCLM with uniseg >= 0.9, which follows UAX 29. (The uniseg of early 2024 split "
        '"don\'t" in three.)',
        (
            Rule("empty", "lines", "min_lines", 1),
            _rule("repeated_lines", "dup_line_frac", 0.30),
            _rule("repeated_paragraphs", "dup_paragraph_frac", 0.30),
            _rule("repeated_line_chars", "dup_line_chars_frac", 0.20),
            _rule("repeated_paragraph_chars", "dup_paragraph_chars_frac", 0.20),
            *_n_gram_rules("repeated_{n}_grams"),
        ),
    ),
    "dolma-1.6": Profile(
        "gopher_v1 of Dolma and the limits of its 1.6 mixer files. A misspelt attribute switched their rules on the most "
        "frequent n-gram off: they are off here too.",
        (
            _rule("fraction_of_duplicate_lines", "dup_line_frac", 0.30),
            _rule("fraction_of_characters_in_duplicate_lines", "dup_line_chars_frac", 0.30),
            *_n_gram_rules(
                "fraction_of_characters_in_duplicate_{n}grams",
                top_reason="fraction_of_characters_in_most_common_{n}grams",
                top=False,
            ),
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class GopherRepetition(RuleStage):
    """Gopher repetition rules."""

    profile: Literal["ours", "datatrove-0.10", "fineweb-2024-04", "dclm", "dolma-1.6"] = "ours"
    min_chars: Annotated[int, Ge(0)] | AsProfile | None = AS_PROFILE
    min_lines: Annotated[int, Ge(0)] | AsProfile | None = AS_PROFILE
    max_dup_line_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_line_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_paragraph_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_paragraph_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_top_2_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_top_3_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_top_4_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_5_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_6_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_7_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_8_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_9_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_10_gram_chars_frac: Share | AsProfile | None = AS_PROFILE
    unit: WordUnit | None = None
    """Tokenizer whose words are measured; null takes the profile's. Profile `ours` takes any."""
    values: bool = False
    """Write the measures as columns: gopher_dup_line_frac, gopher_top_2_gram_chars_frac, ..."""

    profiles = PROFILES
    prefix = "gopher_"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unit and self.profile != "ours":
            raise ValueError(f"unit: the profile {self.profile!r} has words of its own. Leave it out, or take profile: ours.")

    def open(self) -> Kernel:
        from curate.text.rules.repetition_lines import RepeatCounter
        from curate.text.rules.repetition_ngrams import Counting, NgramCounter

        if self.profile == "ours":
            repeats = RepeatCounter("blank_lines")
            n_grams = NgramCounter(Counting(blanks=False, ties="longest", once=False, repeated="union"))
        elif self.profile == "dclm":
            repeats = RepeatCounter("stripped")
            n_grams = NgramCounter(Counting(blanks=False, ties="longest", once=False, repeated="union"))
        elif self.profile == "dolma-1.6":
            repeats = RepeatCounter("all")
            n_grams = NgramCounter(Counting(blanks=False, ties="first", once=True, repeated="share"))
        else:
            repeats = RepeatCounter("runs")
            n_grams = NgramCounter(Counting(blanks=True, ties="first", once=True, repeated="jump"))

        def kernel(batch: Batch) -> Batch:
            lines, paragraphs = repeats(batch.buffers).transpose(1, 2, 0)
            words = self._words(batch)
            repeated, totals = n_grams(words)
            shares = _Shares(batch.chars, lines, paragraphs, repeated, totals, _word_chars(words))
            return self.apply_rules(batch, getattr(shares, self._method)())

        return kernel

    @property
    def _method(self) -> str:
        """The method of `_Shares` that has the measures of the profile."""
        return {"ours": "ours", "dclm": "dclm", "dolma-1.6": "dolma"}.get(self.profile, "datatrove")

    def _words(self, batch: Batch) -> Words:
        if self.profile == "dclm":
            return _with_bit(batch.words("uax29"), FIRST_ALNUM)
        own: WordUnit = "whitespace" if self.profile in ("ours", "dolma-1.6") else "spacy"
        return batch.words(self.unit or own)


@dataclass(frozen=True)
class _Shares:
    """The measures of every implementation, from counts."""

    chars: npt.NDArray[np.int64]
    """Code points of every text. Shape (texts,)."""
    lines: npt.NDArray[np.int64]
    """Counts of lines, as `RepeatCounter` orders them. Shape (counts, texts)."""
    paragraphs: npt.NDArray[np.int64]
    repeated_chars: npt.NDArray[np.int64]
    """Characters of the n-grams that a rule on n-grams counts. Shape (texts, lengths of n-grams)."""
    n_gram_chars: npt.NDArray[np.int64]
    """Characters of all n-grams, where `repeated="share"`; else 0. Shape (texts, lengths of n-grams)."""
    word_chars: npt.NDArray[np.int64]
    """Characters of all words. Shape (texts,)."""

    def ours(self) -> Measures:
        from curate.text.rules.repetition_lines import COPIES, COPY_CHARS

        return {**self._units(COPIES, COPY_CHARS), **self._n_grams(self.word_chars)}

    def datatrove(self) -> Measures:
        from curate.text.rules.repetition_lines import COPIES, COPY_CHARS

        units = self._units(COPIES, COPY_CHARS, self.chars)
        return {"chars": self.chars, **units, **self._n_grams(self.chars)}

    def dclm(self) -> Measures:
        from curate.text.rules.repetition_lines import REPEATED, REPEATED_CHARS, UNITS

        units = self._units(REPEATED, REPEATED_CHARS)
        return {"lines": self.lines[UNITS], **units, **self._n_grams(self.word_chars)}

    def dolma(self) -> Measures:
        from curate.text.rules.repetition_lines import REPEATED, REPEATED_CHARS

        totals = np.where(self.n_gram_chars > 0, self.n_gram_chars, self.word_chars[:, None])
        return {**self._units(REPEATED, REPEATED_CHARS, self.word_chars), **self._n_grams(totals)}

    def _units(self, number: int, size: int, chars: npt.NDArray[np.int64] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        """Shares of copies among lines and paragraphs. `chars` replaces their own characters as the total."""
        from curate.text.rules.repetition_lines import CHARS, UNITS

        shares = {}
        for name, unit in (("line", self.lines), ("paragraph", self.paragraphs)):
            shares[f"dup_{name}_frac"] = _ratio(unit[number], unit[UNITS])
            shares[f"dup_{name}_chars_frac"] = _ratio(unit[size], unit[CHARS] if chars is None else chars)
        return shares

    def _n_grams(self, totals: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
        """Shares of n-grams in `totals`. Shape (texts,) or (texts, lengths of n-grams)."""
        columns = totals if totals.ndim == 2 else np.broadcast_to(totals[:, None], self.repeated_chars.shape)
        return {_n_gram_measure(n): _ratio(self.repeated_chars[:, n - 2], columns[:, n - 2]) for n in GOPHER_LIMITS}


def _ratio(count: npt.NDArray[np.int64], total: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(count / np.maximum(total, 1))


def _word_chars(words: Words) -> npt.NDArray[np.int64]:
    return (words.chars[words.lasts] - words.chars[words.firsts]).astype(np.int64)


def _with_bit(words: Words, bit: int) -> Words:
    """The words that have a bit of `Words.kinds`. The stream still has the bytes of all words."""
    keep = words.kinds & bit != 0
    before = np.concatenate([[0], np.cumsum(keep)])
    sizes = np.diff(words.chars)[keep]
    return replace(
        words,
        firsts=before[words.firsts],
        lasts=before[words.lasts],
        chars=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        starts=words.starts[:1].repeat(len(sizes) + 1),
        hashes=words.hashes[keep],
        kinds=words.kinds[keep],
    )
