"""The barrier `select` against a plain sort, on hostile scores; and its radix rounds on ties without end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.barriers import Question
from curate.schema import keyed_hash
from curate.stage import Batch, Decision
from curate.stages import select as module
from curate.stages.select import Select
from tests.conftest import WritePipeline, contents

SCORES = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 1.0, 1.0, 5e-324, -5e-324])


def batch(scores: list[float | None], weights: list[int]) -> Batch:
    size = len(scores)
    columns = {
        "ordinal": pa.array([n * 977 for n in range(size)], pa.uint64()),
        "score": pa.array(scores, pa.float64()),
        "text": pa.array(["x" * weight for weight in weights], pa.large_string()),
    }
    return Batch(pa.RecordBatch.from_pydict(columns))


def decided(stage: Select, batches: list[Batch]) -> tuple[Decision, int]:
    """The decision, and after how many rounds."""
    sketches = [pa.Table.from_batches([stage.sketch(part)]) for part in batches]
    answer: Question | Decision | None = None
    for number in range(1, 20):
        question = answer
        assert question is None or isinstance(question, Question)
        answer = stage.decide((stage.match(rows, question) for rows in sketches), question)
        if isinstance(answer, Decision):
            return answer, number
    raise AssertionError("no decision after 19 rounds")


def reasons(stage: Select, part: Batch, decision: Decision) -> list[str | None]:
    marked = stage.mark(part, decision)
    return [value and value["reason"] for value in marked["drop"].to_pylist()] if "drop" in marked else [None] * len(part)


def by_sorting(stage: Select, scores: list[float | None], weights: list[int]) -> list[str | None]:
    """What the docstring says, in plain Python."""
    ordinals = np.array([n * 977 for n in range(len(scores))], np.uint64)
    ties = keyed_hash(ordinals, stage.seed).tolist()
    real = [(n, s + 0.0) for n, s in enumerate(scores) if s is not None and not math.isnan(s)]
    weight = (lambda n: 1) if stage.by == "docs" else (lambda n: weights[n])
    budget = math.floor(Fraction(str(stage.top)) * sum(weight(n) for n, _ in real))
    kept, spent = set(), 0
    for n, _ in sorted(real, key=lambda pair: (-pair[1], ties[pair[0]])):
        spent += weight(n)
        if spent > budget:
            break
        kept.add(n)
    names = {n for n, _ in real}
    return [None if n in kept else "below_top" if n in names else "no_score" for n in range(len(scores))]


def pieces(whole: Batch, cuts: list[int]) -> Iterator[Batch]:
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for start, stop in itertools.pairwise(edges):
        yield Batch(whole.records.slice(start, stop - start))


@given(
    rows=st.lists(st.tuples(SCORES, st.integers(0, 50)), max_size=40),
    top=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.999, 1.0]),
    by=st.sampled_from(["docs", "chars"]),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    collect=st.sampled_from([1, 3, 1_000_000]),
    seed=st.integers(0, 3),
)
@settings(max_examples=200)
def test_selection_equals_a_plain_sort(
    rows: list[tuple[float | None, int]], top: float, by: Any, cuts: list[int], collect: int, seed: int
) -> None:
    stage = Select(column="score", top=top, by=by, seed=seed)
    scores, weights = [score for score, _ in rows], [weight for _, weight in rows]
    before, module.COLLECT = module.COLLECT, collect
    try:
        parts = list(pieces(batch(scores, weights), cuts))
        decision, _ = decided(stage, parts)
        assert [reason for part in parts for reason in reasons(stage, part, decision)] == by_sorting(stage, scores, weights)
    finally:
        module.COLLECT = before


def test_a_million_equal_scores_are_cut_in_few_rounds_without_collecting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLLECT", 100)
    stage = Select(column="score", top=0.3)
    part = batch([0.5] * 1_000_000, [0] * 1_000_000)
    decision, rounds = decided(stage, [part])
    assert reasons(stage, part, decision).count(None) == 300_000
    assert rounds <= 7


def test_many_rounds_of_a_run_come_to_the_same(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no bin is small enough to be fetched, the digits of the tie-break are asked for too."""
    path = str(write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: [{select: {column: count, top: 0.3}}]\n"))
    curate.run(path, out=str(tmp_path / "few"), inline=True)
    monkeypatch.setattr(module, "COLLECT", 0)
    curate.run(path, out=str(tmp_path / "many"), inline=True)
    assert len(list((tmp_path / "many").glob("steps/*/barrier/round-*"))) > 5
    assert contents(tmp_path / "few") == contents(tmp_path / "many")
