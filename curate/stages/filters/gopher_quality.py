"""Drop documents by the quality rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1).

Rules are tried in the order of the profile. The first that fails gives the drop reason. A rule keeps a document when
min <= x <= max and is off when its option is null.

The paper leaves open what a word, a line and a bullet are. A profile fixes these choices: `ours`, or those of datatrove,
FineWeb, DCLM or Dolma. "Rules, profiles and languages" in the documentation (docs/rules.md) defines the measures of every
profile and says why `ours` differs. In short, `ours` measures:

- words, mean_word_chars: words (`str.split`) with a letter or digit, and their mean length in code points.
- hash_ratio, ellipsis_ratio: '#', and '...' or '…', per word. alpha_words_frac: share of the words that have a letter.
- bullet_lines_frac, ellipsis_lines_frac: shares of the lines that are not blank.
- stop_words: number of different stop words in the text.

The share or mean of nothing is 0, and a null text is an empty text.
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
    from curate.text.rules.gopher import LineRules
    from curate.text.words.types import Words

BULLETS = "-*•‣⁃⁌⁍∙○●◘◦⦾⦿▪■·"

Array = npt.NDArray[Any]
Measures = Mapping[str, Array]
ProfileName = Literal["ours", "datatrove-0.10", "fineweb-2024-04", "dclm", "dolma-1.6"]
Unit = Literal["whitespace", "uax29", "spacy"]
Count = Annotated[int, Ge(0)]
Mean = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

_LIMITS: Mapping[str, float] = {
    "min_words": 50,
    "max_words": 100_000,
    "min_mean_word_chars": 3.0,
    "max_mean_word_chars": 10.0,
    "min_median_word_chars": 3.0,
    "max_median_word_chars": 10.0,
    "max_hash_ratio": 0.1,
    "max_ellipsis_ratio": 0.1,
    "max_symbol_ratio": 0.1,
    "max_symbol_words_frac": 0.1,
    "max_bullet_lines_frac": 0.9,
    "max_ellipsis_lines_frac": 0.3,
    "min_alpha_words_frac": 0.8,
    "max_non_alpha_words_frac": 0.2,
    "min_stop_words": 2,
}
"""Limits of the paper, which every profile uses."""


def _rules(reasons: Mapping[str, str]) -> tuple[Rule, ...]:
    """Rules from a mapping of options to drop reasons. The measure of an option is its name without `min_` or `max_`."""
    return tuple(Rule(reason, option[len("min_") :], option, _LIMITS[option]) for option, reason in reasons.items())


_OURS = _rules(
    {
        "min_words": "too_few_words",
        "max_words": "too_many_words",
        "min_mean_word_chars": "short_words",
        "max_mean_word_chars": "long_words",
        "max_hash_ratio": "too_many_hashes",
        "max_ellipsis_ratio": "too_many_ellipses",
        "max_bullet_lines_frac": "too_many_bullet_lines",
        "max_ellipsis_lines_frac": "too_many_ellipsis_lines",
        "min_alpha_words_frac": "too_few_alpha_words",
        "min_stop_words": "too_few_stop_words",
    }
)
_DATATROVE = _rules(
    {
        "min_words": "gopher_short_doc",
        "max_words": "gopher_long_doc",
        "min_mean_word_chars": "gopher_below_avg_threshold",
        "max_mean_word_chars": "gopher_above_avg_threshold",
        "max_hash_ratio": "gopher_too_many_hashes",
        "max_ellipsis_ratio": "gopher_too_many_ellipsis",
        "max_bullet_lines_frac": "gopher_too_many_bullets",
        "max_ellipsis_lines_frac": "gopher_too_many_end_ellipsis",
        "min_alpha_words_frac": "gopher_below_alpha_threshold",
        "min_stop_words": "gopher_enough_stop_words",
    }
)
_DCLM = _rules(
    {
        "min_words": "page_length",
        "max_words": "page_length",
        "min_mean_word_chars": "word_length",
        "max_mean_word_chars": "word_length",
        "max_symbol_ratio": "symbol_ratio",
        "max_bullet_lines_frac": "bullet_count",
        "max_ellipsis_lines_frac": "ellipsis_count",
        "max_non_alpha_words_frac": "alphabetic_word_ratio",
        "min_stop_words": "stop_word",
    }
)
_DOLMA = _rules(
    {
        "min_words": "word_count",
        "max_words": "word_count",
        "min_median_word_chars": "median_word_length",
        "max_median_word_chars": "median_word_length",
        "max_symbol_words_frac": "symbol_to_word_ratio",
        "min_alpha_words_frac": "fraction_of_words_with_alpha_character",
        "min_stop_words": "required_word_count",
        "max_bullet_lines_frac": "fraction_of_lines_starting_with_bullet_point",
        "max_ellipsis_lines_frac": "fraction_of_lines_ending_with_ellipsis",
    }
)
PROFILES: Mapping[str, Profile] = {
    "ours": Profile("Our own decisions where the paper leaves them open.", _OURS),
    "datatrove-0.10": Profile("datatrove 0.10.1, GopherQualityFilter, English: same values, same drop reasons.", _DATATROVE),
    "fineweb-2024-04": Profile(
        "datatrove 0.2.0, which made FineWeb, but with spaCy's tokens: NLTK's word_tokenize, which it used, needs a trained"
        " model that cannot be had offline.",
        _DATATROVE,
    ),
    "dclm": Profile("DCLM's filters of dclm_baseline_refinedweb.yaml, page_length to stop_word: same drop reasons.", _DCLM),
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
"""Profiles that count every stop word once, however often it occurs."""


@dataclass(frozen=True, kw_only=True)
class GopherQuality(RuleStage):
    """Gopher quality rules. An option left at "profile" takes the profile's limit; it is off where the profile has none."""

    profile: ProfileName = "ours"
    unit: Unit | AsProfile = AS_PROFILE
    """Tokenizer whose words are measured. Profile `ours` takes any; the others have one of their own."""
    min_words: Count | AsProfile | None = AS_PROFILE
    max_words: Count | AsProfile | None = AS_PROFILE
    min_mean_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_mean_word_chars: Mean | AsProfile | None = AS_PROFILE
    min_median_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_median_word_chars: Mean | AsProfile | None = AS_PROFILE
    max_hash_ratio: Mean | AsProfile | None = AS_PROFILE
    max_ellipsis_ratio: Mean | AsProfile | None = AS_PROFILE
    max_symbol_ratio: Mean | AsProfile | None = AS_PROFILE
    """Limit on hashes and ellipses together, per word."""
    max_symbol_words_frac: Share | AsProfile | None = AS_PROFILE
    max_bullet_lines_frac: Share | AsProfile | None = AS_PROFILE
    max_ellipsis_lines_frac: Share | AsProfile | None = AS_PROFILE
    min_alpha_words_frac: Share | AsProfile | None = AS_PROFILE
    max_non_alpha_words_frac: Share | AsProfile | None = AS_PROFILE
    min_stop_words: Count | AsProfile | None = AS_PROFILE
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """Words without blanks. `ours` and `dclm` want lower case, `ours` no ASCII punctuation at either end."""
    values: bool = False
    """Write the measures as columns: gopher_words, gopher_mean_word_chars, ..."""

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
"""Computes the measures of a batch. Every array has the shape (rows,)."""


def _ours(stage: GopherQuality) -> Measure:
    """The measures of profile `ours`. One pass counts everything, unless words come from another tokenizer."""
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
    """The measures of both datatrove versions. The share of nothing is NaN, which fails no rule."""
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
    """The measures of DCLM. Ratios per word are infinite for a text without words."""
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
    """The measures of Dolma 1.6."""
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


def _counter(
    stage: GopherQuality, counted: int, lines: LineRules, *, any_case: bool
) -> Callable[[Batch, Words], dict[str, Array]]:
    """Counts of words, signs and lines by name. `counted` is the bit of `Words.kinds` that a word of the count `words` has."""
    from curate.text.rules.gopher import SIGN_COUNTS, WORD_COUNTS, sign_counter, word_counter

    count_words = word_counter(stage.stop_words, counted, any_case=any_case, trim=False)
    count_signs = sign_counter(lines)

    def counter(batch: Batch, words: Words) -> dict[str, Array]:
        columns = (*count_words(words).T, *count_signs(batch.buffers).T)
        return dict(zip((*WORD_COUNTS, *SIGN_COUNTS), columns, strict=True))

    return counter


def _unit(stage: GopherQuality) -> Unit:
    assert stage.unit != AS_PROFILE
    return stage.unit


def _with_old_punctuation(words: Words) -> Words:
    """Words with the bit SOLID as datatrove set it in April 2024, when full stops of other scripts were no punctuation yet."""
    from dataclasses import replace

    from curate.text.words.punctuation import TERMINAL_PUNCTUATION
    from curate.text.words.types import SOLID

    starts = words.starts
    beyond_ascii = np.diff(starts) != np.diff(words.chars)
    candidates = np.flatnonzero((words.kinds & SOLID == 0) & beyond_ascii)
    _, firsts, inverse = np.unique(words.hashes[candidates], return_index=True, return_inverse=True)
    distinct = [words.stream[starts[word] : starts[word + 1]].tobytes().decode() for word in candidates[firsts]]
    added_later = set(TERMINAL_PUNCTUATION) - set(".？．！?!。…")
    solid = np.array([not added_later.isdisjoint(word) for word in distinct], np.bool_)
    kinds = words.kinds.copy()
    kinds[candidates[solid[inverse]]] |= SOLID
    return replace(words, kinds=kinds)


def _per(count: Array, total: Array, of_nothing: float = 0.0) -> npt.NDArray[np.float64]:
    """count / total, and `of_nothing` where the total is 0."""
    return np.where(total == 0, of_nothing, count / np.maximum(total, 1))
