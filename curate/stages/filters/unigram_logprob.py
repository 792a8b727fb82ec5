"""Measure the mean log-probability of a document's words in a table of counts; low for rare, foreign or garbled words.

unigram_logprob: the mean over all words of the natural logarithm of count / total, where total is the sum of all counts in
the table. A word is looked up in lower case (`str.lower`; `lowercase: false` takes it as it stands). A document without words
measures 0, which no minimum drops.

- Profile `ours`: words of unit `uax29` that have a letter or digit; a word that is not in the table counts `unknown_count`
  times, 1 by default. No minimum by default: it depends on the table and the language. Write the column and choose one.
- Profile `datatrove-0.10`: all tokens of unit `spacy`, punctuation marks among them; an unknown word has probability 1e-9
  unless `unknown_count` is given; a document at -10 or below is dropped.

The table is a file of lines `word,count` (with the quoting of CSV) or `word<tab>count` (without), compressed or not. The
first line may be a header. Counts of equal words are added up. No table is shipped. To make one, with words split as here:

    counts = collections.Counter()
    for batch in pyarrow.parquet.ParquetFile("corpus.parquet").iter_batches(columns=["text"]):
        words = cut_words(text_buffers(batch["text"]), "uax29")  # curate.text.words.cut, curate.text.unicode.buffers
        counts.update(words.stream[a:b].tobytes().decode().lower() for a, b in zip(words.starts, words.starts[1:]))
    pathlib.Path("unigrams.tsv").write_text("".join(f"{word}\\t{n}\\n" for word, n in counts.most_common(1_000_000)))

Sources: peS2o (Soldaini and Lo 2023, data card: average unigram log-probability above -20, by counts from the Google Web 1T
corpus), and datatrove's `UnigramLogProbFilter` (pipeline/filters/unigram_log_probs.py), which takes the published list
`unigram_freq.csv` of 333,333 English words with 588 billion occurrences: give it by path.

Decisions. The list has neither punctuation nor numbers. datatrove counts every comma as an unknown word, so its value depends
on punctuation as much as on words; `ours` ignores punctuation. An unknown word counts as seen once: with a large table that is
far below datatrove's 1e-9, and strings of letters that are no words cost more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage
from curate.config.options import AssetPath
from curate.text.words.types import ALNUM, WordUnit

REASON, MEASURE, OPTION = "low_unigram_logprob", "unigram_logprob", "min_mean_logprob"

UNITS: dict[str, WordUnit] = {"ours": "uax29", "datatrove-0.10": "spacy"}
WORD_BITS = {"ours": ALNUM, "datatrove-0.10": 0}
"""Bits of `Words.kinds` that a word must have to be counted."""


@dataclass(frozen=True, kw_only=True)
class UnigramLogprob(RuleStage):
    """Mean log-probability of the words under a table of counts."""

    unigrams: AssetPath
    """The table of counts."""
    profile: Literal["ours", "datatrove-0.10"] = "ours"
    unit: WordUnit | AsProfile = AS_PROFILE
    lowercase: bool = True
    """Look words up in lower case; the table is taken to lower case too."""
    unknown_count: Annotated[float, Gt(0)] | AsProfile = AS_PROFILE
    """Count of a word that is not in the table."""
    min_mean_logprob: Annotated[float, Le(0)] | AsProfile | None = AS_PROFILE
    values: bool = True
    """Write the measure as column `unigram_logprob`."""

    profiles = {
        "ours": Profile(
            "Words with a letter or digit, unknown ones at a count of 1, no minimum by default.",
            (Rule(REASON, MEASURE, OPTION, None),),
        ),
        "datatrove-0.10": Profile(
            "`UnigramLogProbFilter` of datatrove 0.10, which gives no drop reason; unknown words have probability 1e-9.",
            (Rule(REASON, MEASURE, OPTION, -10.0, strict=False),),
        ),
    }

    def open(self) -> Kernel:
        from curate.text.rules.unigrams import read_unigrams, unigram_scorer

        unit: WordUnit = UNITS[self.profile] if self.unit == "profile" else self.unit
        table = read_unigrams(self.unigrams, lowercase=self.lowercase)
        score = unigram_scorer(table, self._unknown_logprob(table.total), WORD_BITS[self.profile])

        def kernel(batch: Batch) -> Batch:
            return self.apply_rules(batch, {MEASURE: score(batch.words(unit))})

        return kernel

    def _unknown_logprob(self, total: int) -> float:
        if self.unknown_count != "profile":
            return math.log(self.unknown_count / total)
        return math.log(1e-9) if self.profile == "datatrove-0.10" else math.log(1 / total)
