"""An example of a plug-in: two stages, a global stage and a source, found through the entry points in its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.api import (
    AS_PROFILE,
    ID,
    ORDINAL,
    TEXT,
    Aggregate,
    AsProfile,
    Batch,
    DataError,
    Decision,
    NextRound,
    PathSource,
    Profile,
    ReadReport,
    Rule,
    RuleStage,
    Shard,
    Stage,
    batched,
    edit_text,
    open_decompressed,
    ordinal,
    passing_faults,
)

_RUN = re.compile("-{3,}")


@dataclass(frozen=True, kw_only=True)
class Dashes(Stage):
    """Shorten rules of dashes to one em dash: a stage that edits text and says how."""

    replacement: str = "—"

    writes = {"text": pa.large_string()}

    def apply(self, batch: Batch) -> Batch:
        texts = batch["text"].to_pylist()
        edits = [[("dashes", m.start(), m.end(), self.replacement) for m in _RUN.finditer(text or "")] for text in texts]
        new = [text and _RUN.sub(self.replacement, text) for text in texts]
        return edit_text(batch, pa.array(new, pa.large_string()), edits)


@dataclass(frozen=True, kw_only=True)
class Longest(Aggregate):
    """Write the length of the longest text in the corpus, and cut every text to half of it: a global stage that edits."""

    reasons = ()
    summary_options = ()
    summary_columns = {"ordinal": pa.uint64(), "chars": pa.int64()}
    writes = {"longest": pa.int64(), "text": pa.large_string()}

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([batch["ordinal"], pa.array(batch.chars)], names=list(self.summary_columns))

    def map_shard(self, summary: pa.Table, this_round: NextRound | None) -> pa.Table:
        return pa.table({"longest": pa.array([max(summary["chars"].to_pylist(), default=0)], pa.int64())})

    def reduce(self, tables: Iterable[pa.Table], this_round: NextRound | None) -> Decision:
        longest = max((table["longest"][0].as_py() for table in tables), default=0)
        return Decision(pa.table({"longest": pa.array([longest], pa.int64())}))

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        longest = decision.rows["longest"][0].as_py()
        texts = batch["text"].to_pylist()
        edits = [[("cut", longest // 2, len(t), "")] if t and len(t) > longest // 2 else None for t in texts]
        cut = pa.array([t and t[: longest // 2] for t in texts], pa.large_string())
        return edit_text(batch.put("longest", pa.array([longest] * len(batch), pa.int64())), cut, edits)


@dataclass(frozen=True, kw_only=True)
class Lengths(RuleStage):
    """Bounds on the characters and the words of a text: rules with profiles, whose values can be recorded."""

    profile: Literal["short", "strict"] = "short"
    min_chars: Annotated[int, Ge(0)] | AsProfile | None = AS_PROFILE
    max_words: Annotated[int, Ge(0)] | AsProfile | None = AS_PROFILE
    max_mean_word_chars: Annotated[float, Ge(0)] | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write what was measured as columns: length_chars, length_words, length_mean_word_chars."""

    prefix = "length_"
    profiles = {
        "short": Profile(
            "Our own.", (Rule("too_short", "chars", "min_chars", 20), Rule("too_many_words", "words", "max_words", None))
        ),
        "strict": Profile(
            "As published, with a limit that is itself too much.",
            (
                Rule("too_many_words", "words", "max_words", 12, strict=False),
                Rule("long_words", "mean_word_chars", "max_mean_word_chars", 5.5),
                Rule("too_short", "chars", "min_chars", 18),
            ),
        ),
    }

    def apply(self, batch: Batch) -> Batch:
        words = [(text or "").split() for text in batch["text"].to_pylist()]
        sizes = np.array([sum(map(len, row)) for row in words], np.int64)
        counts = np.array([len(row) for row in words], np.int64)
        means = np.divide(sizes, counts, out=np.full(len(batch), np.nan), where=counts > 0)
        return self.apply_rules(batch, {"chars": batch.chars, "words": counts, "mean_word_chars": means})


@dataclass(frozen=True, kw_only=True)
class Lines(PathSource):
    """Text files, one document per line: a source that parses records."""

    columns = {TEXT: pa.large_string()}

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        try:
            with passing_faults(shard.url), open_decompressed(shard.url) as file:
                yield from batched(self._rows(shard, file), self.columns)
        except OSError as error:
            raise DataError(f"{shard.name}: cannot read {shard.url!r}: {error}") from error

    def _rows(self, shard: Shard, file: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], int]]:
        offset = 0
        for line in file:
            labels = {ORDINAL: ordinal(shard.file_index, offset), ID: f"{shard.name}:{offset}", "file": shard.url}
            yield {**labels, "offset": offset, "length": len(line), TEXT: line.decode(errors="replace").rstrip()}, len(line)
            offset += len(line)
