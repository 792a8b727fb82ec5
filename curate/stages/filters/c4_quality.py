"""Keep the sentences of a page and remove the other lines, by the rules of C4 (Raffel et al. 2020, arXiv:1910.10683).

Every line is tried by these rules in order. The first that holds removes the line or drops the document.

- max_word_chars: a word (`str.split`) has more code points. Removes the line (`line_too_long_word`).
- citations: `[12]`, `[]`, `[edit]` and `[citation needed]` are removed from the line (`citation`), digits of any script.
- terminal_punctuation: the line does not end as a sentence does. Removes it (`line_no_terminal_punctuation`).
- min_line_words: the line has fewer words. Removes it (`line_too_few_words`).
- lorem_ipsum, curly_bracket: the line contains "lorem ipsum" in any case, or `{`. Drops the document.
- javascript: the line contains "javascript" in any case. Removes it (`line_javascript`).
- policy: the line contains "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies" or "use
  cookies" in any case. Removes it (`line_policy`).
- min_sentences: the remaining lines have fewer sentences together. Drops the document.

Lines are those of `str.splitlines`, stripped. A kept document is its kept lines joined by a newline, then stripped. A dropped
one keeps its text. Edits have the names of the rules above, and `blank_line` for a line without words, `line_break` for line
breaks replaced by a newline, `whitespace` for white space that is stripped.

A drop reason has the number of sentences and the minimum, or the number (from 1, blank lines counted) of the first line with
lorem ipsum or a bracket. `values: true` measures every document to its end: a line with lorem ipsum or a bracket is tried by
the next rule.

"Rules, profiles and languages" in the documentation (docs/rules.md) says how lines and sentences end in every profile, and why
`ours` differs. Set `min_line_words: null` for a language written without blanks; with `terminal_punctuation: false` too,
blank lines stay.

Sources: section 2.2 of the paper, and `c4_utils.py` of TensorFlow Datasets, which gives the order; datatrove 0.10
`filters/c4_filters.py`; DCLM `baselines_configs/c4.yaml`; Dolma `taggers/c4.py` with `configs/c4-replication`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, Kernel, edit_text
from curate.api.rules import AS_PROFILE, AsProfile, Measures, Profile, Rule, RuleStage
from curate.errors import known_values
from curate.schema import EDITS_TYPE, TEXT

if TYPE_CHECKING:
    from curate.text.rules.c4 import Cleaner
    from curate.text.words.types import Words

CLOSERS = "\"'”’»›)]}）】」』》〉〕"


@dataclass(frozen=True)
class ContainsRule(Rule):
    """Drop a document with a line that contains a string. The measure is the number of the first such line, 0 for none."""

    def recorded_limit(self, limit: float) -> None:
        return None

    def fails(self, values: npt.NDArray[Any], limit: float) -> npt.NDArray[np.bool_]:
        return values > 0


@dataclass(frozen=True)
class C4Profile(Profile):
    """Rules that drop documents, and limits of those that remove lines."""

    lines: Mapping[str, float]
    """Option -> limit, for every rule on lines that the profile has."""
    cleaner_options: Mapping[str, Any]
    """Fields of `curate.text.rules.c4.Cleaner` that the profile sets and no option can change."""
    page_wise: bool = False
    """Rules are tried one after the other on the page, not on each line: the order of rules decides, not that of lines."""

    @property
    def limits(self) -> dict[str, float | None]:
        """Every option of the profile with its limit."""
        return {**self.lines, **{rule.option: rule.limit for rule in self.rules}}


_LINE_RULES = {
    "max_word_chars": 1000, "citations": True, "terminal_punctuation": True, "min_line_words": 3, "javascript": True,
    "policy": True,
}  # fmt: skip
_LOREM_IPSUM = ContainsRule("lorem_ipsum", "lorem_ipsum_line", "lorem_ipsum", True)
_CURLY_BRACKET = ContainsRule("curly_bracket", "curly_bracket_line", "curly_bracket", True)
_SENTENCES = Rule("too_few_sentences", "sentences", "min_sentences", 5)

Switch = bool | AsProfile | None
Count = Annotated[int, Ge(0)] | AsProfile | None


@dataclass(frozen=True, kw_only=True)
class C4Quality(RuleStage):
    """C4 rules on lines and pages."""

    profile: Literal["ours", "datatrove-0.10", "dclm", "dolma-1.6"] = "ours"
    max_word_chars: Count = AS_PROFILE
    citations: Switch = AS_PROFILE
    """Remove citation marks."""
    terminal_punctuation: Switch = AS_PROFILE
    """Remove lines that do not end as a sentence does. FineWeb has it off."""
    min_line_words: Count = AS_PROFILE
    lorem_ipsum: Switch = AS_PROFILE
    javascript: Switch = AS_PROFILE
    curly_bracket: Switch = AS_PROFILE
    policy: Switch = AS_PROFILE
    min_sentences: Count = AS_PROFILE
    values: bool = False
    """Write the measures as columns: c4_lines, c4_kept_lines, c4_sentences, ..."""

    prefix = "c4_"
    profiles = MappingProxyType(
        {
            "ours": C4Profile(
                "The rules of C4 for every script: full stops of any script end lines and sentences; words are str.split's.",
                (_LOREM_IPSUM, _CURLY_BRACKET, _SENTENCES),
                _LINE_RULES,
                {"lines": "splitlines", "strip": "after", "closers": CLOSERS, "sentences": "marks"},
            ),
            "datatrove-0.10": C4Profile(
                "C4QualityFilter of datatrove 0.10: lines end in . ? ! \" or ', words are counted before citations "
                "are removed, lines are not stripped again after that, sentences are those of spaCy's sentencizer, line "
                "by line.",
                (_LOREM_IPSUM, _CURLY_BRACKET, _SENTENCES),
                _LINE_RULES,
                {"lines": "splitlines", "strip": "before", "whole_words": "all", "line_ends": ".?!\"'", "sentences": "spacy"},
            ),
            "dclm": C4Profile(
                "The text rules of DCLM's c4.yaml, up to its first sentence count: lines end at newlines only and are not "
                "stripped, empty ones stay, lines end in . ? ! or \". Lorem ipsum is looked for before a bracket. Sentences "
                "are spaCy's, line by line, the nearest here to the punkt model that DCLM runs over the page. A page of no "
                "text is dropped for its sentences. For the limit of 190,000 characters and the deduplication use stages of "
                "their own.",
                (_LOREM_IPSUM, _CURLY_BRACKET, replace(_SENTENCES, limit=3)),
                {**_LINE_RULES, "min_line_words": 5},
                {
                    "lines": "newline", "strip": "none", "whole_words": "long", "keep_empty": True, "any_case": True,
                    "line_ends": ".?!\"", "sentences": "spacy",
                },
                page_wise=True,
            ),
            "dolma-1.6": C4Profile(
                "Dolma's tagger c4_v1 with the thresholds of configs/c4-replication: lines end at newlines only, and in "
                ". ? ! or \", three dots too; the rest stays as it is. A bracket, lorem ipsum or the word javascript drops "
                "the document wherever it stands. Its list of words is the stage c4_badwords.",
                (
                    replace(_CURLY_BRACKET, reason="has_curly_brace"),
                    replace(_LOREM_IPSUM, reason="has_lorem_ipsum"),
                    ContainsRule("has_javascript", "javascript_line", "javascript", True),
                ),
                {"terminal_punctuation": True, "min_line_words": 3},
                {
                    "lines": "newline", "strip": "none", "join": False, "raw": True, "line_ends": ".?!\"",
                    "ellipsis_ends": True, "sentences": None,
                },
                page_wise=True,
            ),
        }
    )  # fmt: skip

    def __post_init__(self) -> None:
        limits = self.chosen_profile.limits
        for field in fields(self):
            if field.default is not AS_PROFILE:
                continue
            value = getattr(self, field.name)
            if value == AS_PROFILE:
                value = limits.get(field.name)
            elif value not in (None, False) and field.name not in limits:
                raise ValueError(
                    f"{field.name}: the profile {self.profile!r} has no such rule. {known_values(field.name, limits)}"
                )
            object.__setattr__(self, field.name, None if value is False else value)
        if not self.values and all(getattr(self, option) is None for option in limits):
            raise ValueError("every rule is off and 'values' is false: there is nothing to do")

    @property
    def chosen_profile(self) -> C4Profile:
        profile = self.profiles[self.profile_name]
        assert isinstance(profile, C4Profile)
        return profile

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        lines = ("lines", "kept_lines") if self.values else ()
        return {TEXT: pa.large_string(), **{self.prefix + name: pa.float64() for name in lines}, **super().writes}

    def open(self) -> Kernel:
        from curate.text.rules.c4 import COUNTS, KEPT_WORDS, c4_cleaner
        from curate.text.rules.c4_edits import apply_edits, edit_column
        from curate.text.words.cut import cut_words

        cleaner = self.cleaner
        clean = c4_cleaner(cleaner, lambda texts: cut_words(texts, "spacy"))
        words_of: Callable[[Batch], Words | None] = (
            (lambda batch: batch.words("spacy")) if cleaner.sentences == "spacy" else (lambda batch: None)
        )

        def kernel(batch: Batch) -> Batch:
            text = batch[TEXT].cast(pa.large_string())
            cleaning = clean(batch.buffers, words_of(batch))
            measures = self._measures(dict(zip(COUNTS, cleaning.counts.T, strict=True)))
            batch = self.apply_rules(batch, measures)
            edited = (np.diff(cleaning.edit_ends) > 0) & ~batch.dropped
            if edited.any():
                text = apply_edits(text, cleaning, edited)
            batch = edit_text(batch, text, edit_column(cleaning, edited, EDITS_TYPE))
            if cleaner.sentences == "spacy":
                batch.view("word_counts:spacy", lambda: cleaning.counts[:, KEPT_WORDS])
            return batch

        return kernel

    def _measures(self, counts: dict[str, npt.NDArray[np.int64]]) -> Measures:
        """Measures from counts. Unless rules are tried page-wise, only the first of lorem ipsum and a bracket counts."""
        lorem, curly = counts["lorem_ipsum_line"], counts["curly_bracket_line"]
        if self.chosen_profile.page_wise:
            return counts
        never = np.iinfo(np.int64).max
        lorem_first = np.where(lorem > 0, lorem, never) <= np.where(curly > 0, curly, never)
        return {
            **counts,
            "lorem_ipsum_line": np.where(lorem_first, lorem, 0),
            "curly_bracket_line": np.where(lorem_first, 0, curly),
        }

    @property
    def cleaner(self) -> Cleaner:
        """What the kernel does to lines, from the options and the profile."""
        from curate.text.rules.c4 import Cleaner
        from curate.text.words.punctuation import TERMINAL_PUNCTUATION

        options: dict[str, Any] = dict(self.chosen_profile.cleaner_options)
        if self.profile == "ours":
            options |= {"line_ends": TERMINAL_PUNCTUATION, "sentence_ends": TERMINAL_PUNCTUATION + "…"}
        if self.min_sentences is None and not self.values:
            options["sentences"] = None
        in_lines = "javascript" in self.chosen_profile.lines
        return Cleaner(
            max_word_chars=_number(self.max_word_chars),
            citations=bool(self.citations),
            terminal_punctuation=bool(self.terminal_punctuation),
            min_line_words=_number(self.min_line_words),
            lorem_ipsum=bool(self.lorem_ipsum),
            javascript=None if not self.javascript else "line" if in_lines else "document",
            curly_bracket=bool(self.curly_bracket),
            policy=bool(self.policy),
            strip_text=self.profile != "dclm" or bool(self.javascript or self.policy),
            **options,
        )


def _number(option: Any) -> int | None:
    return None if option is None else int(option)
