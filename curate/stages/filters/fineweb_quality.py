"""Drop documents by the line rules that FineWeb added to Gopher's (Penedo et al. 2024, arXiv:2406.17557, section 3.6).

Rules are tried in the order of the profile. The first that fails gives the drop reason. A rule is off when its option is
null. The measures:

- lines: number of lines.
- line_punct_frac: share of the lines that end with one of `stop_chars`.
- short_lines_frac: share of the lines of at most `short_line_chars` code points.
- dup_line_chars_frac: share of the code points of all lines that are in second or later copies of a line. Blank lines are no
  copies.
- newline_ratio: line breaks per word.

A profile fixes what a line and a word are, and which characters end a line. "Rules, profiles and languages" in the
documentation (docs/rules.md) defines this for every profile and says why `ours` differs.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

if TYPE_CHECKING:
    from curate.text.rules.fineweb import LineRules

Array = npt.NDArray[Any]
ProfileName = Literal["ours", "datatrove-0.10", "fineweb-2024-04"]
Unit = Literal["whitespace", "uax29", "spacy"]
Count = Annotated[int, Ge(0)]
Ratio = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

PROFILES: Mapping[str, Profile] = {
    "ours": Profile(
        "FineWeb's rules and limits, on lines and words of every script.",
        (
            Rule("empty", "lines", "min_lines", 1),
            Rule("too_few_ended_lines", "line_punct_frac", "min_line_punct_frac", 0.12),
            Rule("too_many_short_lines", "short_lines_frac", "max_short_lines_frac", 0.67),
            Rule("repeated_lines", "dup_line_chars_frac", "max_dup_line_chars_frac", 0.01),
            Rule("too_many_lines", "newline_ratio", "max_newline_ratio", 0.3),
        ),
    ),
    "datatrove-0.10": Profile(
        "datatrove 0.10.1, FineWebQualityFilter, English: same values, same drop reasons.",
        (
            Rule("empty", "lines", "min_lines", 1),
            Rule("line_punct_ratio", "line_punct_frac", "min_line_punct_frac", 0.12),
            Rule("short_line_ratio", "short_lines_frac", "max_short_lines_frac", 0.67),
            Rule("char_dup_ratio", "dup_line_chars_frac", "max_dup_line_chars_frac", 0.01),
            Rule("list_ratio", "newline_ratio", "max_newline_ratio", 0.3),
        ),
    ),
    "fineweb-2024-04": Profile(
        "datatrove 0.2.0, which made FineWeb, but with spaCy's tokens: NLTK's word_tokenize, which it used, needs a trained"
        " model that cannot be had offline.",
        (
            Rule("line_punct_ratio", "line_punct_frac", "min_line_punct_frac", 0.12, strict=False),
            Rule("short_line_ratio", "short_lines_frac", "max_short_lines_frac", 0.67, strict=False),
            Rule("char_dup_ratio", "dup_line_chars_frac", "max_dup_line_chars_frac", 0.01, strict=False),
            Rule("list_ratio", "newline_ratio", "max_newline_ratio", 0.3),
        ),
    ),
}
UNITS: Mapping[str, Unit] = {"ours": "uax29", "datatrove-0.10": "spacy", "fineweb-2024-04": "spacy"}


@dataclass(frozen=True, kw_only=True)
class FinewebQuality(RuleStage):
    """FineWeb quality rules. An option left at "profile" takes the profile's value; it is off where the profile has none."""

    profile: ProfileName = "ours"
    unit: Unit | AsProfile = AS_PROFILE
    """Tokenizer whose words are counted. Profile `ours` takes any; the others have one of their own."""
    min_lines: Count | AsProfile | None = AS_PROFILE
    min_line_punct_frac: Share | AsProfile | None = AS_PROFILE
    max_short_lines_frac: Share | AsProfile | None = AS_PROFILE
    max_dup_line_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_newline_ratio: Ratio | AsProfile | None = AS_PROFILE
    short_line_chars: Count = 30
    stop_chars: tuple[str, ...] | AsProfile = AS_PROFILE
    """Characters that end a line."""
    keep_without_line_punct: bool = False
    """Keep a text without a line that ends with a stop character, in spite of min_line_punct_frac."""
    values: bool = False
    """Write the measures as columns: fineweb_line_punct_frac, ..."""

    profiles = PROFILES
    prefix = "fineweb_"

    def __post_init__(self) -> None:
        super().__post_init__()
        own = UNITS[self.profile]
        if self.profile != "ours" and self.unit not in (AS_PROFILE, own):
            raise ValueError(f"unit: the profile {self.profile!r} is made of {own} words. Leave it out")
        object.__setattr__(self, "unit", own if self.unit == AS_PROFILE else self.unit)
        for char in self.stop_chars if self.stop_chars != AS_PROFILE else ():
            if len(char) != 1:
                raise ValueError(f"stop_chars: {char!r} is not one character")

    def open(self) -> Kernel:
        from curate.text.rules.fineweb import COUNTS, line_counter

        counter = line_counter(_line_rules(self))

        def kernel(batch: Batch) -> Batch:
            count = dict(zip(COUNTS, counter(batch.buffers).T, strict=True))
            measures = self._measures(batch, count)
            ended = measures["line_punct_frac"]
            if self.keep_without_line_punct:
                measures["line_punct_frac"] = np.where(ended == 0, np.nan, ended)
            batch = self.apply_rules(batch, measures)
            return batch.put("fineweb_line_punct_frac", pa.array(ended)) if self.values else batch

        return kernel

    def _measures(self, batch: Batch, count: Mapping[str, Array]) -> dict[str, Array]:
        of_nothing = 0.0 if self.profile == "ours" else np.nan
        breaks = np.maximum(count["lines"] - 1, 0) if self.profile == "ours" else count["newlines"]
        measures = {
            "lines": count["lines"],
            "line_punct_frac": _per(count["ended_lines"], count["lines"], of_nothing),
            "short_lines_frac": _per(count["short_lines"], count["lines"], of_nothing),
            "dup_line_chars_frac": _per(count["repeated_chars"], count["chars"], of_nothing),
        }
        if self.max_newline_ratio is not None or self.values:
            assert self.unit != AS_PROFILE
            measures["newline_ratio"] = _per(breaks, batch.word_counts(self.unit), of_nothing)
        return measures


def _line_rules(stage: FinewebQuality) -> LineRules:
    from curate.text.rules.fineweb import LineRules
    from curate.text.words.punctuation import TERMINAL_PUNCTUATION

    own = {"ours": TERMINAL_PUNCTUATION + "…", "datatrove-0.10": TERMINAL_PUNCTUATION, "fineweb-2024-04": ".'\"!?"}
    ends = own[stage.profile] if stage.stop_chars == AS_PROFILE else "".join(stage.stop_chars)
    if stage.profile != "ours":
        return LineRules(ends, stage.short_line_chars, blank_lines=stage.profile == "fineweb-2024-04")
    return LineRules(ends, stage.short_line_chars, splitlines=True, strip=True, passed=_passed())


@cache
def _passed() -> str:
    """Characters ignored at the end of a line: closing quotes and brackets (which open in some languages), white space."""
    chars = map(chr, range(sys.maxunicode + 1))
    return "".join(c for c in chars if c in "\"'" or c.isspace() or unicodedata.category(c) in ("Pe", "Pf", "Pi"))


def _per(count: Array, total: Array, of_nothing: float) -> npt.NDArray[np.float64]:
    """count / total, and `of_nothing` where the total is 0."""
    return np.where(total == 0, of_nothing, count / np.maximum(total, 1))
