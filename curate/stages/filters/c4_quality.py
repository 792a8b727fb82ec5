"""Keep the sentences of a page and drop the rest, line by line, by the rules of C4 (and of datatrove, DCLM and Dolma).

Every line is tried by the rules below in this order. The first that holds removes the line, or drops the document.

- max_word_chars: some word (`str.split`) has more code points. The line goes (`line_too_long_word`).
- citations: `[12]`, `[]`, `[edit]` and `[citation needed]` are taken out of the line (`citation`), digits of any script.
- terminal_punctuation: the line does not end as a sentence does. It goes (`line_no_terminal_punctuation`).
- min_line_words: it has fewer words. It goes (`line_too_few_words`).
- lorem_ipsum: it holds "lorem ipsum", in any case. The document goes; so does it at a `{`, by curly_bracket.
- javascript: it holds "javascript", in any case. The line goes (`line_javascript`).
- policy: it holds "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies" or "use cookies",
  in any case. The line goes (`line_policy`).
- min_sentences: the lines that are left have fewer sentences together. The document goes.

Lines are those of `str.splitlines`, stripped. A kept document is its kept lines joined by a newline, the whole stripped; a
dropped one keeps its text. The edits name the rules above; a line without words that goes is a `blank_line`, line breaks
that become a newline are `line_break`, blanks that are stripped `whitespace`. A verdict carries the number of sentences and
the minimum, or the number (from 1) of the first line that lorem ipsum or a bracket stands in, blank lines counted.

Profile `ours`:

- A line ends as a sentence does when its last character, closing quotes and brackets aside, is a full stop, question or
  exclamation mark of any script (`TERMINAL_PUNCTUATION`, `text/signs.py`), and not the last of three dots.
- A sentence ends with such a mark, or the one-character ellipsis, where white space follows, closing quotes and brackets
  aside; or wherever the mark is outside ASCII, since scripts with marks of their own may do without blanks. A sentence begins
  with the next character that is neither mark nor closing sign. A line with a word has at least one, a blank line none.

A language written without blanks has few words by `str.split`: set `min_line_words: null` for it. Where a rule is off nothing
is tried; with `terminal_punctuation: false` and `min_line_words: null` blank lines stay.
What `values: true` writes is measured on every document: a line with lorem ipsum or a bracket goes on to the next rule.

Sources: Raffel et al. 2020, arXiv:1910.10683, section 2.2, and `c4_utils.py` of TensorFlow Datasets, whose order this is;
datatrove 0.10 `filters/c4_filters.py`; DCLM `baselines_configs/c4.yaml`; Dolma `taggers/c4.py` with `configs/c4-replication`.

Decisions. `ours` keeps the published order, in which a bracket counts only in a line that would stay: menus and scripts go
line by line and take no page with them. It takes citations out before it looks at anything else and strips after that, so
that "text. [1]" ends a sentence. A quoted title does not end a line, a quoted sentence does. Abbreviations end sentences:
telling them apart needs a language, and the five sentences asked for are few. The two document rules stay line rules in
order, so a page with both is dropped for what comes first.
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
    """Drop a document that has something in some line; the measure is the number of that line, 0 for none."""

    def recorded_limit(self, limit: float) -> None:
        return None

    def fails(self, values: npt.NDArray[Any], limit: float) -> npt.NDArray[np.bool_]:
        return values > 0


@dataclass(frozen=True)
class C4Profile(Profile):
    """Rules that drop documents, and the options of those that remove lines."""

    lines: Mapping[str, float]
    """Option -> limit; a rule that is not named here is not the profile's."""
    how: Mapping[str, Any]
    """Fields of `curate.text.rules.c4.Cleaner` that no option sets."""
    page_wise: bool = False
    """Rules go over the page one after the other, so that the order of rules decides between two lines."""

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
    """Take marks of citations out."""
    terminal_punctuation: Switch = AS_PROFILE
    """Remove lines that do not end as a sentence does. FineWeb has it off."""
    min_line_words: Count = AS_PROFILE
    lorem_ipsum: Switch = AS_PROFILE
    javascript: Switch = AS_PROFILE
    curly_bracket: Switch = AS_PROFILE
    policy: Switch = AS_PROFILE
    min_sentences: Count = AS_PROFILE
    values: bool = False
    """Write what was measured as columns: c4_lines, c4_kept_lines, c4_sentences, ..."""

    prefix = "c4_"
    profiles = MappingProxyType(
        {
            "ours": C4Profile(
                "The rules of C4 for every script: lines and sentences end as the module says, words are those of str.split.",
                (_LOREM_IPSUM, _CURLY_BRACKET, _SENTENCES),
                _LINE_RULES,
                {"lines": "splitlines", "strip": "after", "closers": CLOSERS, "sentences": "marks"},
            ),
            "datatrove-0.10": C4Profile(
                "C4QualityFilter of datatrove 0.10: lines end in . ? ! \" or ', words are counted before citations "
                "are taken out, lines are not stripped again after that, sentences are those of spaCy's sentencizer, line "
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
        """The counts; of lorem ipsum and a bracket only the one that stands first, unless rules go page by page."""
        lorem, curly = counts["lorem_ipsum_line"], counts["curly_bracket_line"]
        if self.chosen_profile.page_wise:
            return counts
        none = np.iinfo(np.int64).max
        lorem_first = np.where(lorem > 0, lorem, none) <= np.where(curly > 0, curly, none)
        return {
            **counts,
            "lorem_ipsum_line": np.where(lorem_first, lorem, 0),
            "curly_bracket_line": np.where(lorem_first, 0, curly),
        }

    @property
    def cleaner(self) -> Cleaner:
        """What is done to lines, for the kernel."""
        from curate.text.rules.c4 import Cleaner
        from curate.text.words.punctuation import TERMINAL_PUNCTUATION

        how: dict[str, Any] = dict(self.chosen_profile.how)
        if self.profile == "ours":
            how |= {"line_ends": TERMINAL_PUNCTUATION, "sentence_ends": TERMINAL_PUNCTUATION + "…"}
        if self.min_sentences is None and not self.values:
            how["sentences"] = None
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
            **how,
        )


def _number(option: Any) -> int | None:
    return None if option is None else int(option)
