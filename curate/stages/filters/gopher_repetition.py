"""The repetition rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1 and table A1), ours or as a peer has them.

Rules run in the order of the profile and the first that fails stands. Each keeps a document when x <= max and is off when
null. All are shares between 0 and 1 (some peers' exceed 1): of lines, of paragraphs, or of characters (code points).

What profile `ours` measures:

- lines end at a line feed, are stripped, and count unless blank. Paragraphs lie between blank lines. Second and later copies
  are duplicates: dup_line_frac and dup_paragraph_frac are their share of all, dup_*_chars_frac the share of their characters
  in those of all.
- words are `str.split` words (another `unit` can be asked for), their characters the total that n-grams are held against.
  top_n_gram_chars_frac: the n-gram that occurs most often, and of those the longest, times its number, if it occurs twice.
  dup_n_gram_chars_frac: all words that are part of an n-gram that occurs twice, each word once.

The other profiles measure what their source measures:

- datatrove-0.10 (`gopher_repetition_filter.py`): spaCy tokens; shares of the length of the text, white space and all. Lines
  and paragraphs lie between runs of line feeds, so a line feed at either end makes an empty line. The most frequent n-gram
  counts with blanks between its tokens even if it occurs once, and among several the first. Duplicate n-grams are read from
  left to right, tokens joined without blanks ("ab c" is "a bc"): one met before counts, and reading goes on behind it.
- fineweb-2024-04: the same rules over NLTK's tokens, for which spaCy's stand in (see the profile).
- dclm (`massive_web_repetition_filters`): lines and paragraphs are stripped, not blank, and every copy counts, the first too;
  a text of one line passes. Words are UAX-29 segments that begin with a letter or digit.
- dolma-1.6 (`python/dolma/taggers/gopher.py`): every copy of a line counts, blank lines too; `str.split` words;
  duplicate n-grams as a share of the characters of all n-grams, overlaps counted on both sides.

A share of nothing is 0. Where n-grams are longer than the text, they measure 0.

Decisions. Copies are what goes when a page is cleaned, so `ours` counts them without the first one, as datatrove does. An
n-gram that occurs once repeats nothing; datatrove drops short texts for holding one long 2-gram. The paper counts "characters
contained within all duplicate n-grams, taking care not to count characters that occur in overlapping n-grams more than once":
that is the union, first occurrences included. White space is no text, so it dilutes no share. Thresholds are the paper's.
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
"""Table A1 of the paper: the most frequent 2- to 4-gram, all repeated 5- to 10-grams."""


def _n_gram_measure(n: int) -> str:
    return f"{'top' if n < 5 else 'dup'}_{n}_gram_chars_frac"


def _n_gram_rules(reason: str, *, top: bool = True, reason_top: str | None = None) -> tuple[Rule, ...]:
    rules = []
    for n, limit in GOPHER_LIMITS.items():
        label = (reason_top if n < 5 and reason_top else reason).format(n=n)
        measure = _n_gram_measure(n)
        rules.append(Rule(label, measure, f"max_{measure}", limit if top or n >= 5 else None))
    return tuple(rules)


def _rule(reason: str, measure: str, limit: float) -> Rule:
    return Rule(reason, measure, f"max_{measure}", limit)


_DATATROVE = (
    Rule("empty", "chars", "min_chars", 1),
    _rule("dup_para_frac", "dup_paragraph_frac", 0.30),
    _rule("dup_para_char_frac", "dup_paragraph_chars_frac", 0.20),
    _rule("dup_line_frac", "dup_line_frac", 0.30),
    _rule("dup_line_char_frac", "dup_line_chars_frac", 0.20),
    *_n_gram_rules("duplicated_{n}_n_grams", reason_top="top_{n}_gram"),
)

PROFILES = {
    "ours": Profile(
        "Our own reading of the paper; any unit of words.",
        (
            _rule("duplicate_lines", "dup_line_frac", 0.30),
            _rule("duplicate_paragraphs", "dup_paragraph_frac", 0.30),
            _rule("duplicate_line_chars", "dup_line_chars_frac", 0.20),
            _rule("duplicate_paragraph_chars", "dup_paragraph_chars_frac", 0.20),
            *_n_gram_rules("duplicate_{n}_grams", reason_top="frequent_{n}_gram"),
        ),
    ),
    "datatrove-0.10": Profile("GopherRepetitionFilter of datatrove 0.10.1, exactly. Needs spaCy.", _DATATROVE),
    "fineweb-2024-04": Profile(
        "FineWeb as released in April 2024. NLTK's punkt model, which cut its words, cannot be had offline: spaCy's tokens "
        "stand in, so n-gram shares differ a little. Needs spaCy.",
        _DATATROVE,
    ),
    "dclm": Profile(
        "massive_web_repetition_filters of DCLM with uniseg >= 0.9, which follows UAX 29. (The uniseg of early 2024 cut "
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
                top=False,
                reason_top="fraction_of_characters_in_most_common_{n}grams",
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
    """What a word is; null: as the profile has it. Only `ours` takes another."""
    values: bool = False
    """Write what was measured as columns: gopher_dup_line_frac, gopher_top_2_gram_chars_frac, ..."""

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
            parts, wholes = n_grams(words)
            shares = _Shares(batch.chars, lines, paragraphs, parts, wholes, _total(words))
            return self.apply_rules(batch, getattr(shares, self._how)())

        return kernel

    @property
    def _how(self) -> str:
        return {"ours": "ours", "dclm": "dclm", "dolma-1.6": "dolma"}.get(self.profile, "datatrove")

    def _words(self, batch: Batch) -> Words:
        if self.profile == "dclm":
            return _only(batch.words("uax29"), FIRST_ALNUM)
        own: WordUnit = "whitespace" if self.profile in ("ours", "dolma-1.6") else "spacy"
        return batch.words(self.unit or own)


@dataclass(frozen=True)
class _Shares:
    """The measures of each implementation, from counts."""

    chars: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    paragraphs: npt.NDArray[np.int64]
    parts: npt.NDArray[np.int64]
    wholes: npt.NDArray[np.int64]
    word_chars: npt.NDArray[np.int64]

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

        totals = np.where(self.wholes > 0, self.wholes, self.word_chars[:, None])
        return {**self._units(REPEATED, REPEATED_CHARS, self.word_chars), **self._n_grams(totals)}

    def _units(self, number: int, size: int, chars: npt.NDArray[np.int64] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        from curate.text.rules.repetition_lines import CHARS, UNITS

        shares = {}
        for name, unit in (("line", self.lines), ("paragraph", self.paragraphs)):
            shares[f"dup_{name}_frac"] = _ratio(unit[number], unit[UNITS])
            shares[f"dup_{name}_chars_frac"] = _ratio(unit[size], unit[CHARS] if chars is None else chars)
        return shares

    def _n_grams(self, totals: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
        columns = totals if totals.ndim == 2 else np.broadcast_to(totals[:, None], self.parts.shape)
        return {_n_gram_measure(n): _ratio(self.parts[:, n - 2], columns[:, n - 2]) for n in GOPHER_LIMITS}


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1))


def _total(words: Words) -> npt.NDArray[np.int64]:
    return (words.chars[words.lasts] - words.chars[words.firsts]).astype(np.int64)


def _only(words: Words, kind: int) -> Words:
    """The words of a kind; their stream is that of all words."""
    keep = words.kinds & kind != 0
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
