"""Drop documents by DCLM's rules on the size of a page and on its characters that `gopher_quality` does not have.

Source: Li et al. 2024, "DataComp-LM" (arXiv:2406.11794), `content_filters.py`: page_length_filter,
alphanumeric_char_ratio_filter, line_length_filter. The measures, in the order of the rules:

- chars: code points of the text.
- words: fastText's tokens: maximal runs of characters other than blank, tab, vertical tab, form feed, carriage return, line
  feed and NUL, unless they are all white space (`str.isspace`). Every line feed is one more word.
- lines: pieces between line feeds that are not white space only.
- paragraphs: pieces between double line feeds (found from left to right, three are one and a line feed) that are not white
  space only.
- alnum_chars_frac: share of the code points that are letters or digits (`str.isalnum`).
- max_line_chars, mean_line_chars: code points of the longest line and of the mean line. Here lines are those of
  `str.splitlines`, blank ones among them, their ends not counted.

All measures of an empty text are 0. The one profile, `dclm`, has the limits of DCLM's own configurations: at least one
character and, in its reproduction of C4, at most 190 000. Where its functions are called without limits,
`min_alnum_chars_frac` is 0.25, and `max_line_chars` and `max_mean_line_chars` are 1000.

Decisions. Not here: what only fits code (file extensions, letters per token of a tokenizer), sentences (`c4_quality`),
forbidden strings (`c4_quality`, `c4_badwords`), words without punctuation (`gopher_quality`). DCLM drops an empty text
under each of its rules; here that is left to `min_chars`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Count = Annotated[int, Ge(0)]
Mean = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

DCLM = Profile(
    "DCLM's page rules (commit c7ed275 of mlfoundations/dclm), with the limits that its configurations set.",
    (
        Rule("too_few_chars", "chars", "min_chars", 1),
        Rule("too_many_chars", "chars", "max_chars", 190_000),
        Rule("too_few_words", "words", "min_words", None),
        Rule("too_many_words", "words", "max_words", None),
        Rule("too_few_lines", "lines", "min_lines", None),
        Rule("too_many_lines", "lines", "max_lines", None),
        Rule("too_few_paragraphs", "paragraphs", "min_paragraphs", None),
        Rule("too_many_paragraphs", "paragraphs", "max_paragraphs", None),
        Rule("too_few_alnum_chars", "alnum_chars_frac", "min_alnum_chars_frac", None),
        Rule("too_long_line", "max_line_chars", "max_line_chars", None),
        Rule("too_long_lines", "mean_line_chars", "max_mean_line_chars", None),
    ),
)


@dataclass(frozen=True, kw_only=True)
class DclmPage(RuleStage):
    """DCLM's rules on the size of a page and on its characters."""

    profile: Literal["dclm"] = "dclm"
    min_chars: Count | AsProfile | None = AS_PROFILE
    max_chars: Count | AsProfile | None = AS_PROFILE
    min_words: Count | AsProfile | None = AS_PROFILE
    max_words: Count | AsProfile | None = AS_PROFILE
    min_lines: Count | AsProfile | None = AS_PROFILE
    max_lines: Count | AsProfile | None = AS_PROFILE
    min_paragraphs: Count | AsProfile | None = AS_PROFILE
    max_paragraphs: Count | AsProfile | None = AS_PROFILE
    min_alnum_chars_frac: Share | AsProfile | None = AS_PROFILE
    max_line_chars: Count | AsProfile | None = AS_PROFILE
    max_mean_line_chars: Mean | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measures as columns: dclm_chars, dclm_words, ..."""

    profiles = {"dclm": DCLM}
    prefix = "dclm_"

    def __post_init__(self) -> None:
        super().__post_init__()
        for unit in ("chars", "words", "lines", "paragraphs"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{unit} ({least}) is greater than max_{unit} ({most})")

    def open(self) -> Kernel:
        from curate.text.rules.dclm import COUNTS, page_counts

        def kernel(batch: Batch) -> Batch:
            return self.apply_rules(batch, _measures(dict(zip(COUNTS, page_counts(batch.buffers).T, strict=True))))

        return kernel


def _measures(counts: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.generic]]:
    return {
        **{name: counts[name] for name in ("chars", "words", "lines", "paragraphs", "max_line_chars")},
        "alnum_chars_frac": counts["alnum_chars"] / np.maximum(counts["chars"], 1),
        "mean_line_chars": counts["line_chars"] / np.maximum(counts["all_lines"], 1),
    }
