"""A user's own package of stages, found through the entry points in its metadata: an example, and the tests' saboteur."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, drop_where, edit_text
from curate.api.global_stage import Aggregate, Decision, NextRound
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage
from curate.api.stage import Stage

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
class Kill(Stage):
    """Take the worker process down, on a document with this word, or once per flag file."""

    word: str = "POISON"
    once: str | None = None
    """A path: the process dies only if the file is not there yet, and leaves it behind."""

    def apply(self, batch: Batch) -> Batch:
        found = any(self.word in (text or "") for text in batch["text"].to_pylist())
        if found and not (self.once and os.path.exists(self.once)):
            if self.once:
                with open(self.once, "w"):
                    pass
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


@dataclass(frozen=True, kw_only=True)
class Slow(Stage):
    """Wait, so that a run can be interrupted."""

    seconds: float = 0.05
    cpus: int = 1

    @property
    def resources(self) -> dict[str, float]:
        return {} if self.cpus == 1 else {"num_cpus": self.cpus}

    def apply(self, batch: Batch) -> Batch:
        time.sleep(self.seconds)
        return batch


@dataclass(frozen=True, kw_only=True)
class Broken(Stage):
    """Break one promise of the contract."""

    how: Literal[
        "loses_rows", "reorders", "reason", "column", "type", "missing", "edit", "wrong_edit", "silent_edit",
        "drops_column", "raises",
    ]  # fmt: skip

    reasons = ("declared",)
    writes = {"made": pa.int64(), "text": pa.large_string()}

    def apply(self, batch: Batch) -> Batch:
        rows = len(batch)
        good = batch.put("made", pa.array(np.arange(rows)))
        shouted = pa.array([(text or "") + "!" for text in batch["text"].to_pylist()], pa.large_string())
        match self.how:
            case "loses_rows":
                return Batch(good.records.slice(1))
            case "reorders":
                return Batch(good.records.take(pa.array(range(rows - 1, -1, -1))))
            case "reason":
                return drop_where(good, np.ones(rows, np.bool_), "undeclared")
            case "column":
                return good.put("other", pa.array(np.arange(rows)))
            case "type":
                return good.put("made", pa.array(["text"] * rows))
            case "missing":
                return batch
            case "edit":
                return good.put("text", shouted)
            case "wrong_edit":
                return edit_text(good, shouted, [[("x", 0, 1, "ab" * 9)]] * rows)
            case "silent_edit":
                louder = pa.array([(text or "").upper() for text in batch["text"].to_pylist()], pa.large_string())
                return edit_text(good, louder, [None] * rows)
            case "drops_column":
                return good.select([name for name in good.names if name != "url"])
            case "raises":
                if any("document 7 " in (text or "") for text in batch["text"].to_pylist()):
                    raise ValueError("seven")
                return good


@dataclass(frozen=True, kw_only=True)
class Longest(Aggregate):
    """Write how long the longest text of the corpus is, and cut every text to half of that: a barrier that writes."""

    reasons = ()
    summary_options = ()
    summary_columns = {"ordinal": pa.uint64(), "chars": pa.int64()}
    writes = {"longest": pa.int64(), "text": pa.large_string()}

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([batch["ordinal"], pa.array(batch.chars)], names=list(self.summary_columns))

    def map_shard(self, rows: pa.Table, question: NextRound | None) -> pa.Table:
        return pa.table({"longest": pa.array([max(rows["chars"].to_pylist(), default=0)], pa.int64())})

    def reduce(self, summaries: Iterable[pa.Table], question: NextRound | None) -> Decision:
        longest = max((table["longest"][0].as_py() for table in summaries), default=0)
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
        return self.judge(batch, {"chars": batch.chars, "words": counts, "mean_word_chars": means})


def _arm() -> None:
    """Kill the process once at a chosen point of a run: CURATE_EXAMPLE_CRASH=point:flag file. For the fault tests.

    A point that is none of the names below is part of the name of a file: the process dies when that is to be written.
    """
    from curate.stages.score.select import Select
    from curate.storage.parquet import TableWriter
    from curate.storage.store import Store

    point, _, flag = os.environ["CURATE_EXAMPLE_CRASH"].partition(":")
    owner, method, name_part = {
        "write": (TableWriter, "_flush", ""),
        "commit": (Store, "write_json", "/ledger/"),
        "map": (Select, "map_shard", ""),
        "reduce": (Select, "reduce", ""),
        "compaction": (TableWriter, "_write_canonical", ""),
        "marker": (Store, "write_json", "steps/output/"),
        "manifest": (Store, "write_json", "manifest.json"),
    }.get(point, (Store, "create", point))
    original = getattr(owner, method)

    def deadly(self: object, *args: object) -> object:
        if name_part in str(args[0] if args else "") and not os.path.exists(flag):
            with open(flag, "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)

    setattr(owner, method, deadly)


if "CURATE_EXAMPLE_CRASH" in os.environ:
    _arm()
