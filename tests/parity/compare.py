"""Holds what datatrove decided and measured (`datatrove_reference.py`) against ours, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.api.rules import Rule, RuleStage
from curate.config.options import build
from curate.config.registry import load_class
from curate.schema import DROP, MAX_BATCH_ROWS, TEXT
from curate.stages import STAGES

PROFILE = "datatrove-0.10"
TOLERANCE = 1e-9

QUALITY = {
    "min_doc_words": ("min_words",),
    "max_doc_words": ("max_words",),
    "min_avg_word_length": ("min_mean_word_chars",),
    "max_avg_word_length": ("max_mean_word_chars",),
    "max_symbol_word_ratio": ("max_hash_ratio", "max_ellipsis_ratio"),
    "max_bullet_lines_ratio": ("max_bullet_lines_frac",),
    "max_ellipsis_lines_ratio": ("max_ellipsis_lines_frac",),
    "max_non_alpha_words_ratio": ("min_alpha_words_frac",),
    "min_stop_words": ("min_stop_words",),
}
REPETITION = {
    "dup_line_frac": ("max_dup_line_frac",),
    "dup_para_frac": ("max_dup_paragraph_frac",),
    "dup_line_char_frac": ("max_dup_line_chars_frac",),
    "dup_para_char_frac": ("max_dup_paragraph_chars_frac",),
    **{f"top_{n}": (f"max_top_{n}_gram_chars_frac",) for n in (2, 3, 4)},
    **{f"dup_{n}": (f"max_dup_{n}_gram_chars_frac",) for n in range(5, 11)},
}
FINEWEB = {
    "line_punct_thr": ("min_line_punct_frac",),
    "short_line_thr": ("max_short_lines_frac",),
    "char_duplicates_ratio": ("max_dup_line_chars_frac",),
    "new_line_ratio": ("max_newline_ratio",),
}
C4 = {
    "remove_citations": ("citations",),
    "filter_no_terminal_punct": ("terminal_punctuation",),
    "min_num_sentences": ("min_sentences",),
    "min_words_per_line": ("min_line_words",),
    "max_word_length": ("max_word_chars",),
    "filter_lorem_ipsum": ("lorem_ipsum",),
    "filter_javascript": ("javascript",),
    "filter_curly_bracket": ("curly_bracket",),
    "filter_policy": ("policy",),
}
FAMILIES: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "quality": ("gopher_quality", QUALITY),
    "repetition": ("gopher_repetition", REPETITION),
    "fineweb": ("fineweb_quality", FINEWEB),
    "c4": ("c4_quality", C4),
}
ALWAYS = {"fineweb": ("min_lines",), "repetition": ("min_chars",)}
"""Options of rules that datatrove has no switch for."""
CHAIN = ("repetition", "quality", "c4_fineweb", "fineweb")


@dataclass
class Line:
    """One row of the table: a filter, a rule alone, or a measured value."""

    name: str
    documents: int = 0
    dropped: int = 0
    near: int = 0
    raised: int = 0
    """Documents on which datatrove raised an exception: not compared."""
    differing: int = 0
    largest: float = 0.0
    example: str = ""

    def add(self, other: Line) -> None:
        for name in ("documents", "dropped", "near", "raised", "differing"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest, self.example = max(self.largest, other.largest), self.example or other.example


@cache
def kernel(stage: str, options: tuple[tuple[str, Any], ...]) -> Kernel:
    opened: Kernel = stage_of(stage, options).open()
    return opened


def stage_of(stage: str, options: tuple[tuple[str, Any], ...]) -> Any:
    return build(
        load_class(stage, STAGES, "stage"), {**({} if stage == "c4_paragraphs" else {"profile": PROFILE}), **dict(options)}
    )


def without_all_but(family: str, options: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """Options that switch every rule off but those named and those datatrove always has."""
    stage, rules = FAMILIES[family]
    keep = {*options, *ALWAYS.get(family, ())}
    off = [option for group in rules.values() for option in group if option not in keep]
    return tuple((option, False if stage == "c4_quality" and option in SWITCHES else None) for option in off)


SWITCHES = {"citations", "terminal_punctuation", "lorem_ipsum", "javascript", "curly_bracket", "policy"}


def ours(stage: str, texts: pa.Array, options: tuple[tuple[str, Any], ...] = ()) -> pa.RecordBatch:
    """The texts as the stage leaves them, batch by batch, with `drop` and its columns."""
    batches = [
        kernel(stage, options)(Batch(pa.record_batch({TEXT: texts[start : start + MAX_BATCH_ROWS]}))).records
        for start in range(0, len(texts), MAX_BATCH_ROWS)
    ]
    return pa.Table.from_batches([_complete(records) for records in batches]).combine_chunks().to_batches()[0]


def _complete(records: pa.RecordBatch) -> pa.RecordBatch:
    keep = [name for name in records.schema.names if name != "edits"]
    return records.select(keep)


def reasons(records: pa.RecordBatch) -> list[str]:
    if DROP not in records.schema.names:
        return [""] * len(records)
    return [(verdict or {}).get("reason", "") for verdict in records[DROP].to_pylist()]


def compare(reference: pa.Table) -> Iterator[Line]:
    """Every line of the table for the documents of one reference file."""
    texts = reference[TEXT].combine_chunks().cast(pa.large_string())
    for family, (stage, rules) in FAMILIES.items():
        yield verdicts(family, ours(stage, texts), reference, family)
        for rule, options in rules.items():
            alone = ours(stage, texts, without_all_but(family, options))
            yield verdicts(f"{family}:{rule}", alone, reference, f"{family}:{rule}")
        if family != "c4":
            yield from values(family, stage, texts, reference)
    fineweb = ours("c4_quality", texts, (("terminal_punctuation", False),))
    yield verdicts("c4_fineweb", fineweb, reference, "c4_fineweb")
    yield verdicts("c4_paragraphs", ours("c4_paragraphs", texts), reference, "c4_paragraphs", labels=False)
    yield chain(texts, reference)


def verdicts(name: str, mine: pa.RecordBatch, reference: pa.Table, column: str, *, labels: bool = True) -> Line:
    """Reasons, and texts where the filter rewrites them."""
    theirs = reference[column].to_pylist()
    got = reasons(mine)
    before, after = reference[TEXT].to_pylist(), mine[TEXT].to_pylist()
    rewritten = reference[f"{column} text"].to_pylist() if f"{column} text" in reference.column_names else [None] * len(got)
    line = Line(name, len(got))
    for row, (one, two) in enumerate(zip(got, theirs, strict=True)):
        line.raised += two.startswith("raised")
        line.dropped += bool(two) and not two.startswith("raised")
        if two.startswith("raised"):
            continue
        same = one == two if labels else bool(one) == bool(two)
        if not same or (not one and after[row] != (before[row] if rewritten[row] is None else rewritten[row])):
            line.differing += 1
            line.example = line.example or f"{reference['id'][row]}: {one!r}, datatrove {two!r}"
    return line


def values(family: str, stage: str, texts: pa.Array, reference: pa.Table) -> Iterator[Line]:
    """Measured values, and how many lie within 1 % of the limit. A value datatrove cannot compute is not compared."""
    made: RuleStage = stage_of(stage, (("values", True),))
    mine = ours(stage, texts, (("values", True),))
    limits: dict[str, Rule] = {rule.measure: rule for rule in made.chosen_profile.rules}
    for measure, rule in limits.items():
        if f"{family}={measure}" not in reference.column_names:
            continue
        theirs = reference[f"{family}={measure}"].to_numpy().astype(np.float64)
        got = mine[made.prefix + measure].to_numpy(zero_copy_only=False).astype(np.float64)
        known = ~np.isnan(theirs)
        gap = np.where(known, np.abs(got - theirs), 0.0)
        gap[known & np.isnan(got)] = np.inf
        near = _near(theirs, rule)
        worst = int(np.argmax(gap))
        example = f"{reference['id'][worst]}: {got[worst]!r}, datatrove {theirs[worst]!r}" if gap[worst] > TOLERANCE else ""
        yield Line(
            f"{family}={measure}", int(known.sum()), near=int(near.sum()), differing=int((gap > TOLERANCE).sum()),
            largest=float(gap[worst]), example=example,
        )  # fmt: skip


def _near(found: npt.NDArray[np.float64], rule: Rule) -> npt.NDArray[np.bool_]:
    limit = float(rule.limit or 0)
    return np.abs(found - limit) <= 0.01 * limit + (1.0 if limit >= 1 and float(limit).is_integer() and limit < 100 else 0.0)


Mask = npt.NDArray[np.bool_]
DROPS, NEAR = 200, 50


def marks(texts: pa.Array) -> Iterator[tuple[str, int, Mask]]:
    """For every rule which texts ours drops by it alone, and which lie near its limit, with how many a comparison wants."""
    for family, (stage, rules) in FAMILIES.items():
        if family == "c4":
            for rule, options in rules.items():
                alone = ours(stage, texts, without_all_but(family, options))
                yield f"{family}:{rule}", DROPS, np.array([bool(reason) for reason in reasons(alone)])
            continue
        made: RuleStage = stage_of(stage, (("values", True),))
        mine = ours(stage, texts, (("values", True),))
        for one in made.chosen_profile.rules:
            if one.limit is not None:
                measured = mine[made.prefix + one.measure].to_numpy(zero_copy_only=False).astype(np.float64)
                yield f"{family}:{one.option}", DROPS, np.asarray(one.fails(measured, one.limit))
                yield f"{family}={one.option}", NEAR, _near(measured, one)


def chain(texts: pa.Array, reference: pa.Table) -> Line:
    """FineWeb's four filters one after the other, as `curate run` would fuse them."""
    stages = {
        "repetition": kernel("gopher_repetition", ()),
        "quality": kernel("gopher_quality", ()),
        "c4_fineweb": kernel("c4_quality", (("terminal_punctuation", False),)),
        "fineweb": kernel("fineweb_quality", ()),
    }
    got: list[str] = []
    after: list[str | None] = []
    for start in range(0, len(texts), MAX_BATCH_ROWS):
        part = texts[start : start + MAX_BATCH_ROWS]
        batch = Batch(pa.record_batch({TEXT: part, "row": pa.array(range(len(part)))}))
        decided, left = [""] * len(part), part.to_pylist()
        for name in CHAIN:
            batch = stages[name](batch)
            for row, reason in zip(batch["row"].to_pylist(), reasons(batch.records), strict=True):
                decided[row] = f"{name}: {reason}" if reason else ""
            batch = batch.filter(~batch.dropped).select([TEXT, "row"])
        for row, text in zip(batch["row"].to_pylist(), batch[TEXT].to_pylist(), strict=True):
            left[row] = text
        got += decided
        after += left
    line = Line("chain", len(got))
    rows = zip(
        got,
        after,
        reference["chain"].to_pylist(),
        reference["chain text"].to_pylist(),
        reference["id"].to_pylist(),
        strict=True,
    )
    for one, text, two, their_text, name in rows:
        if "raised" in two:
            line.raised += 1
            continue
        line.dropped += bool(two)
        if one != two or (not one and text != their_text):
            line.differing += 1
            line.example = line.example or f"{name}: {one!r}, datatrove {two!r}"
    return line
