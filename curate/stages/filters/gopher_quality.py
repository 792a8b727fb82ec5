"""The quality rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1), ours or as a peer has them.

Rules run in the order of the profile and the first that fails stands. Each keeps a document when min <= x <= max and is
off when null. What profile `ours` measures:

- words of the text: maximal runs of anything but white space (`str.split`). `words` and `mean_word_chars` count those
  with a letter or digit (`str.isalnum`) and no others; length is in code points, punctuation included.
- hash_ratio, ellipsis_ratio: how often '#' occurs, how often '...' (without overlap: six dots are two) and '…' occur
  together, each per word, all words counted.
- lines: those of `str.splitlines` that are not blank. A bullet line begins, after white space, with one of
  - * • ‣ ⁃ ⁌ ⁍ ∙ ○ ● ◘ ◦ ⦾ ⦿ ▪ ■ ·  whatever follows. An ellipsis line ends, before white space, in '...' or '…'.
- alpha_words_frac: share of all words that have a letter (`str.isalpha`).
- stop_words: how many different stop words occur. Words are compared in lower case, ASCII punctuation around them removed;
  lower case is taken code point by code point, which differs from `str.lower` for a final capital sigma and for 'İ' only.

A share or mean of nothing is 0, and a null text is an empty one: with all rules on it has too few words. With `unit` set to
uax29 or spacy the words are those of that unit (`curate.text.words.types`), in all of these.

The other profiles measure what their source measures:

- datatrove-0.10 (`gopher_quality_filter.py`): spaCy tokens. `words` and `mean_word_chars` are of tokens with a character
  outside datatrove's set of punctuation, the ratios and shares of all tokens. Lines are those of `str.splitlines`, blank ones
  too; bullets are • and -. Stop words are counted once each, exactly as they are written. datatrove fails on a text without
  tokens once the rule on words is off: here means and shares of nothing are no numbers, and no rule fails.
- fineweb-2024-04 (datatrove 0.2.0 of April 2024): every use of a stop word counts, and the set of punctuation is smaller.
- dclm (`baselines/mappers/filters/content_filters.py`): `words` are fastText's, cut at ASCII blanks, that begin with a letter
  or digit. All else counts `str.split` words. symbol_ratio is the sum of '#', '...', '. . .' and '…' per word. Lines are cut
  at "\\n", stripped, and not blank; bullets are ● • * -, and '. . .' is an ellipsis. Every use of a stop word in any case
  counts, without punctuation at it. A text without words fails all rules on words: symbol_ratio and non_alpha_words_frac
  are infinite, the mean is 0.
- dolma-1.6 (`python/dolma/taggers/gopher.py`, `configs/dolma-v1_6/mixing`): `str.split` words and the median of their
  length. symbol_words_frac is the share of words with '#' or '…'. Lines are cut at "\\n", blank ones count, none is stripped;
  bullets are * and -, the ellipsis is '…' alone. Every use of a stop word counts, exactly as it is written. Shares of
  nothing are 0. Dolma drops by all rules at once; the reason given is the first in the order of its configuration.

Decisions. The paper leaves open what a word, a line and a bullet are, and peers differ. Punctuation that stands alone is no
word to count, but stays in the denominators, so that rows of signs fail, the bars and dashes of extracted tables and lists
too: of 1,394 extracted pages 41 fall by min_alpha_words_frac, and 33 would not if those were left out, but only 71 % of the
different words of these are in the text that annotators marked, as in the other 8 (72 %), and 91 % in pages that are kept.
"The" and "the," are the stop word, "the the" is one. Blank lines do not dilute the shares of lines. Bullets are all that some
peer takes for one, and ▪ ■ · besides; a dash longer than the hyphen opens speech in many languages and is none. datatrove's
one limit for hashes and ellipses is two options here.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

if TYPE_CHECKING:
    from curate.text.words.types import Words

BULLETS = "-*•‣⁃⁌⁍∙○●◘◦⦾⦿▪■·"

Array = npt.NDArray[Any]
Measures = Mapping[str, Array]
ProfileName = Literal["ours", "datatrove-0.10", "fineweb-2024-04", "dclm", "dolma-1.6"]
Unit = Literal["whitespace", "uax29", "spacy"]
Count = Annotated[int, Ge(0)]
Mean = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

_OURS = (
    Rule("too_few_words", "words", "min_words", 50),
    Rule("too_many_words", "words", "max_words", 100_000),
    Rule("short_words", "mean_word_chars", "min_mean_word_chars", 3.0),
    Rule("long_words", "mean_word_chars", "max_mean_word_chars", 10.0),
    Rule("too_many_hashes", "hash_ratio", "max_hash_ratio", 0.1),
    Rule("too_many_ellipses", "ellipsis_ratio", "max_ellipsis_ratio", 0.1),
    Rule("too_many_bullet_lines", "bullet_lines_frac", "max_bullet_lines_frac", 0.9),
    Rule("too_many_ellipsis_lines", "ellipsis_lines_frac", "max_ellipsis_lines_frac", 0.3),
    Rule("too_few_alpha_words", "alpha_words_frac", "min_alpha_words_frac", 0.8),
    Rule("too_few_stop_words", "stop_words", "min_stop_words", 2),
)
_DATATROVE = (
    Rule("gopher_short_doc", "words", "min_words", 50),
    Rule("gopher_long_doc", "words", "max_words", 100_000),
    Rule("gopher_below_avg_threshold", "mean_word_chars", "min_mean_word_chars", 3.0),
    Rule("gopher_above_avg_threshold", "mean_word_chars", "max_mean_word_chars", 10.0),
    Rule("gopher_too_many_hashes", "hash_ratio", "max_hash_ratio", 0.1),
    Rule("gopher_too_many_ellipsis", "ellipsis_ratio", "max_ellipsis_ratio", 0.1),
    Rule("gopher_too_many_bullets", "bullet_lines_frac", "max_bullet_lines_frac", 0.9),
    Rule("gopher_too_many_end_ellipsis", "ellipsis_lines_frac", "max_ellipsis_lines_frac", 0.3),
    Rule("gopher_below_alpha_threshold", "alpha_words_frac", "min_alpha_words_frac", 0.8),
    Rule("gopher_enough_stop_words", "stop_words", "min_stop_words", 2),
)
_DCLM = (
    Rule("page_length", "words", "min_words", 50),
    Rule("page_length", "words", "max_words", 100_000),
    Rule("word_length", "mean_word_chars", "min_mean_word_chars", 3.0),
    Rule("word_length", "mean_word_chars", "max_mean_word_chars", 10.0),
    Rule("symbol_ratio", "symbol_ratio", "max_symbol_ratio", 0.1),
    Rule("bullet_count", "bullet_lines_frac", "max_bullet_lines_frac", 0.9),
    Rule("ellipsis_count", "ellipsis_lines_frac", "max_ellipsis_lines_frac", 0.3),
    Rule("alphabetic_word_ratio", "non_alpha_words_frac", "max_non_alpha_words_frac", 0.2),
    Rule("stop_word", "stop_words", "min_stop_words", 2),
)
_DOLMA = (
    Rule("word_count", "words", "min_words", 50),
    Rule("word_count", "words", "max_words", 100_000),
    Rule("median_word_length", "median_word_chars", "min_median_word_chars", 3.0),
    Rule("median_word_length", "median_word_chars", "max_median_word_chars", 10.0),
    Rule("symbol_to_word_ratio", "symbol_words_frac", "max_symbol_words_frac", 0.1),
    Rule("fraction_of_words_with_alpha_character", "alpha_words_frac", "min_alpha_words_frac", 0.8),
    Rule("required_word_count", "stop_words", "min_stop_words", 2),
    Rule("fraction_of_lines_starting_with_bullet_point", "bullet_lines_frac", "max_bullet_lines_frac", 0.9),
    Rule("fraction_of_lines_ending_with_ellipsis", "ellipsis_lines_frac", "max_ellipsis_lines_frac", 0.3),
)
PROFILES: Mapping[str, Profile] = {
    "ours": Profile("Our own decisions where the paper leaves them open.", _OURS),
    "datatrove-0.10": Profile("datatrove 0.10.1, GopherQualityFilter, English: same values, same verdicts.", _DATATROVE),
    "fineweb-2024-04": Profile(
        "datatrove 0.2.0, with which FineWeb was made, but on spaCy's tokens: NLTK's word_tokenize, which it used, needs a"
        " trained model that is not at hand.",
        _DATATROVE,
    ),
    "dclm": Profile("DCLM's filters of dclm_baseline_refinedweb.yaml, page_length to stop_word: same verdicts.", _DCLM),
    "dolma-1.6": Profile("Dolma's gopher_v1 tagger under the limits of the v1.6 mixer: same values, same documents.", _DOLMA),
}
UNITS: Mapping[str, Unit] = {
    "ours": "whitespace",
    "datatrove-0.10": "spacy",
    "fineweb-2024-04": "spacy",
    "dclm": "whitespace",
    "dolma-1.6": "whitespace",
}
DISTINCT = ("ours", "datatrove-0.10")
"""Profiles that count a stop word once, however often it occurs."""


@dataclass(frozen=True, kw_only=True)
class GopherQuality(RuleStage):
    """Gopher quality rules. An option that is "profile" has the profile's number; one that the profile lacks is off."""

    profile: ProfileName = "ours"
    unit: Unit | AsProfile = AS_PROFILE
    """Of words. Other than its own in profile `ours` only."""
    min_words: Count | AsProfile | None = AS_PROFILE
    max_words: Count | AsProfile | None = AS_PROFILE
    min_mean_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_mean_word_chars: Mean | AsProfile | None = AS_PROFILE
    min_median_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_median_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_hash_ratio: Mean | AsProfile | None = AS_PROFILE
    max_ellipsis_ratio: Mean | AsProfile | None = AS_PROFILE
    max_symbol_ratio: Mean | AsProfile | None = AS_PROFILE
    """Hashes and ellipses together, per word."""
    max_symbol_words_frac: Share | AsProfile | None = AS_PROFILE
    max_bullet_lines_frac: Share | AsProfile | None = AS_PROFILE
    max_ellipsis_lines_frac: Share | AsProfile | None = AS_PROFILE
    min_alpha_words_frac: Share | AsProfile | None = AS_PROFILE
    max_non_alpha_words_frac: Share | AsProfile | None = AS_PROFILE
    min_stop_words: Count | AsProfile | None = AS_PROFILE
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Without blanks; for `ours` and `dclm` in lower case, for `ours` without ASCII punctuation at either end."""
    values: bool = False
    """Write what was measured as columns: gopher_words, gopher_mean_word_chars, ..."""

    profiles = PROFILES
    prefix = "gopher_"

    def __post_init__(self) -> None:
        super().__post_init__()
        own = UNITS[self.profile]
        if self.profile != "ours" and self.unit not in (AS_PROFILE, own):
            raise ValueError(f"unit: the profile {self.profile!r} is made of {own} words. Leave it out")
        object.__setattr__(self, "unit", own if self.unit == AS_PROFILE else self.unit)
        for low, high in (
            ("min_words", "max_words"),
            ("min_mean_word_chars", "max_mean_word_chars"),
            ("min_median_word_chars", "max_median_word_chars"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) is greater than {high} ({most})")
        self._check_stop_words()

    def _check_stop_words(self) -> None:
        for word in self.stop_words:
            shown = word.strip(string.punctuation) if self.profile == "ours" else word
            shown = shown.lower() if self.profile in ("ours", "dclm") else shown
            if not word or word != shown or len(word.split()) != 1:
                raise ValueError(f"stop_words: {word!r} never matches: give lower case, no blanks, no punctuation around it")
        least, known = self.min_stop_words, len(set(self.stop_words))
        if self.profile in DISTINCT and least is not None and int(least) > known:
            raise ValueError(f"min_stop_words ({least}) is greater than the number of stop_words")

    def open(self) -> Kernel:
        measure = _MEASURES[self.profile](self)

        def kernel(batch: Batch) -> Batch:
            return self.apply_rules(batch, measure(batch))

        return kernel


Measure = Callable[[Batch], Measures]


def _ours(stage: GopherQuality) -> Measure:
    from curate.text.rules.gopher import COUNTS, WORD_COUNTS, gopher_counter, word_counter
    from curate.text.words.types import ALNUM

    texts = gopher_counter(BULLETS, stage.stop_words)
    words = word_counter(stage.stop_words, ALNUM)

    def measure(batch: Batch) -> Measures:
        count = dict(zip(COUNTS, texts(batch.buffers).T, strict=True))
        if stage.unit != "whitespace":
            count |= zip(WORD_COUNTS, words(batch.words(_unit(stage))).T, strict=True)
        return {
            "words": count["words"],
            "mean_word_chars": _per(count["word_chars"], count["words"]),
            "hash_ratio": _per(count["hashes"], count["all_words"]),
            "ellipsis_ratio": _per(count["ellipses"], count["all_words"]),
            "bullet_lines_frac": _per(count["bullet_lines"], count["lines"]),
            "ellipsis_lines_frac": _per(count["ellipsis_lines"], count["lines"]),
            "alpha_words_frac": _per(count["alpha_words"], count["all_words"]),
            "stop_words": count["stop_words"],
        }

    return measure


def _datatrove(stage: GopherQuality) -> Measure:
    from curate.text.rules.gopher import LineRules
    from curate.text.words.types import SOLID

    counter = _counter(stage, SOLID, LineRules("•-", splitlines=True), any_case=False)

    def measure(batch: Batch) -> Measures:
        words = batch.words("spacy")
        count = counter(batch, _with_old_punctuation(words) if stage.profile == "fineweb-2024-04" else words)
        return {
            "words": count["words"],
            "mean_word_chars": _per(count["word_chars"], count["words"], np.nan),
            "hash_ratio": _per(count["hashes"], count["all_words"], np.nan),
            "ellipsis_ratio": _per(count["dots"] + count["one_char"], count["all_words"], np.nan),
            "bullet_lines_frac": _per(count["bullet_lines"], count["lines"], np.nan),
            "ellipsis_lines_frac": _per(count["ellipsis_lines"], count["lines"], np.nan),
            "alpha_words_frac": _per(count["alpha_words"], count["all_words"], np.nan),
            "stop_words": count["stop_words" if stage.profile in DISTINCT else "stop_word_uses"],
        }

    return measure


def _dclm(stage: GopherQuality) -> Measure:
    from curate.text.rules.gopher import LineRules, count_blank_words
    from curate.text.words.types import ALPHA

    lines = LineRules("●•*-", splitlines=False, blank_lines=False, spaced_dots=True)
    counter = _counter(stage, ALPHA, lines, any_case=True)

    def measure(batch: Batch) -> Measures:
        words = batch.words("whitespace")
        count = counter(batch, words)
        symbols = count["hashes"] + count["dots"] + count["spaced_dots"] + count["one_char"]
        return {
            "words": count_blank_words(batch.buffers),
            "mean_word_chars": _per(words.chars[words.lasts] - words.chars[words.firsts], count["all_words"]),
            "symbol_ratio": _per(symbols, count["all_words"], np.inf),
            "bullet_lines_frac": _per(count["bullet_lines"], count["lines"]),
            "ellipsis_lines_frac": _per(count["ellipsis_lines"], count["lines"]),
            "non_alpha_words_frac": _per(count["all_words"] - count["alpha_words"], count["all_words"], np.inf),
            "stop_words": count["stop_word_uses"],
        }

    return measure


def _dolma(stage: GopherQuality) -> Measure:
    from curate.text.rules.gopher import LineRules, count_symbol_words, median_chars
    from curate.text.words.types import ALPHA

    lines = LineRules("*-", splitlines=False, strip=False, dots=False)
    counter = _counter(stage, ALPHA, lines, any_case=False)

    def measure(batch: Batch) -> Measures:
        words = batch.words("whitespace")
        count = counter(batch, words)
        return {
            "words": count["all_words"],
            "median_word_chars": median_chars(words),
            "symbol_words_frac": _per(count_symbol_words(words), count["all_words"]),
            "alpha_words_frac": _per(count["alpha_words"], count["all_words"]),
            "stop_words": count["stop_word_uses"],
            "bullet_lines_frac": _per(count["bullet_lines"], count["lines"]),
            "ellipsis_lines_frac": _per(count["ellipsis_lines"], count["lines"]),
        }

    return measure


_MEASURES: Mapping[str, Callable[[GopherQuality], Measure]] = {
    "ours": _ours,
    "datatrove-0.10": _datatrove,
    "fineweb-2024-04": _datatrove,
    "dclm": _dclm,
    "dolma-1.6": _dolma,
}


def _counter(stage: GopherQuality, real: int, lines: Any, *, any_case: bool) -> Callable[[Batch, Words], dict[str, Array]]:
    """Counts of words, signs and lines by name. `real`: the bit of the kinds of the words to count on their own."""
    from curate.text.rules.gopher import SIGN_COUNTS, WORD_COUNTS, sign_counter, word_counter

    count_words = word_counter(stage.stop_words, real, any_case=any_case, trim=False)
    count_signs = sign_counter(lines)

    def counter(batch: Batch, words: Words) -> dict[str, Array]:
        counted = zip((*WORD_COUNTS, *SIGN_COUNTS), (*count_words(words).T, *count_signs(batch.buffers).T), strict=True)
        return dict(counted)

    return counter


def _unit(stage: GopherQuality) -> Unit:
    assert stage.unit != AS_PROFILE
    return stage.unit


def _with_old_punctuation(words: Words) -> Words:
    """The words with the bit SOLID as of April 2024, when full stops of other scripts were not punctuation yet."""
    from dataclasses import replace

    from curate.text.words.punctuation import TERMINAL_PUNCTUATION
    from curate.text.words.types import SOLID

    starts = words.starts
    beyond_ascii = np.diff(starts) != np.diff(words.chars)
    doubtful = np.flatnonzero((words.kinds & SOLID == 0) & beyond_ascii)
    _, firsts, places = np.unique(words.hashes[doubtful], return_index=True, return_inverse=True)
    distinct = [words.stream[starts[word] : starts[word + 1]].tobytes().decode() for word in doubtful[firsts]]
    new = set(TERMINAL_PUNCTUATION) - set(".？．！?!。…")
    solid = np.array([not new.isdisjoint(word) for word in distinct], np.bool_)
    kinds = words.kinds.copy()
    kinds[doubtful[solid[places]]] |= SOLID
    return replace(words, kinds=kinds)


def _per(part: Array, whole: Array, nothing: float = 0.0) -> npt.NDArray[np.float64]:
    """The quotient; `nothing` where the whole is 0."""
    return np.where(whole == 0, nothing, part / np.maximum(whole, 1))
