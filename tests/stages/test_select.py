"""The global stage `select` against a plain sort, on hostile scores; and its radix rounds on ties without end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.api.batch import Batch
from curate.api.global_stage import Decision, NextRound
from curate.schema import keyed_hash
from curate.stages.score import select as module
from curate.stages.score.select import Select
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
    summaries = [pa.Table.from_batches([stage.summarize(part)]) for part in batches]
    answer: NextRound | Decision | None = None
    for number in range(1, 20):
        question = answer
        assert question is None or isinstance(question, NextRound)
        answer = stage.reduce((stage.map_shard(rows, question) for rows in summaries), question)
        if isinstance(answer, Decision):
            return answer, number
    raise AssertionError("no decision after 19 rounds")


def reasons(stage: Select, part: Batch, decision: Decision) -> list[str | None]:
    marked = stage.apply_decision(part, decision)
    return [value and value["reason"] for value in marked["drop"].to_pylist()] if "drop" in marked else [None] * len(part)


def by_sorting(stage: Select, scores: list[float | None], weights: list[int]) -> list[str | None]:
    """What the docstring says, in plain Python."""
    ordinals = np.array([n * 977 for n in range(len(scores))], np.uint64)
    ties = keyed_hash(ordinals, "ties of select", stage.seed).tolist()
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


def chosen(scores: list[float], top: float, ids: list[str] | None = None, parts: int = 1, **options: Any) -> list[str]:
    """The ids that stay, of documents in so many batches."""
    stage = Select(column="score", top=top, **options)
    names = ids or [f"doc-{n}" for n in range(len(scores))]
    columns = {"ordinal": pa.array(range(len(scores)), pa.uint64()), "id": names, "score": scores}
    whole = Batch(pa.RecordBatch.from_pydict(columns))
    batches = list(pieces(whole, [len(scores) * n // parts for n in range(1, parts)]))
    decision, _ = decided(stage, batches)
    left = [
        name
        for part in batches
        for name, gone in zip(part["id"].to_pylist(), reasons(stage, part, decision), strict=True)
        if not gone
    ]
    return sorted(left)


@pytest.mark.parametrize(("rule", "expected"), [("top_k", (0.665, 0.245, 0.090)), ("mates", (0.703, 0.245, 0.053))])
def test_one_draw_of_three_is_as_likely_as_the_rule_says(rule: str, expected: tuple[float, ...]) -> None:
    """Losses 0, 1 and 2, that is scores 0, -1 and -2: a softmax by Gumbel-top-k; MATES's released rule is greedier."""
    trials = 200_000
    sign = 1 if rule == "top_k" else -1
    noise = [module.gumbel_noise(pa.array([f"{n}-{trial}" for trial in range(trials)]), 0) for n in range(3)]
    first = np.argmax([-n + sign * noise[n] for n in range(3)], axis=0)
    assert np.bincount(first, minlength=3) / trials == pytest.approx(expected, abs=0.005)
    # The stage draws by the same noise.
    for trial in range(50):
        ids = [f"{n}-{trial}" for n in range(3)]
        assert chosen([0.0, -1.0, -2.0], 0.34, ids, gumbel=1.0, gumbel_rule=rule) == [f"{first[trial]}-{trial}"]


@pytest.mark.parametrize(
    ("gumbel", "rule", "mean", "overlap"),
    [
        (0.25, "mates", 1.347, 0.844), (0.5, "mates", 1.239, 0.728), (1.0, "mates", 1.004, 0.567), (2.0, "mates", 0.680, 0.419),
        (0.25, "top_k", 1.325, 0.824), (0.5, "top_k", 1.141, 0.672), (1.0, "top_k", 0.788, 0.484), (2.0, "top_k", 0.434, 0.343),
        (1e-6, "top_k", 1.402, 1.0), (1e-6, "mates", 1.402, 1.0), (1e6, "top_k", 0.0, 0.2),
    ],
)  # fmt: skip
def test_temperature_moves_the_choice_from_the_best_to_any(gumbel: float, rule: str, mean: float, overlap: float) -> None:
    scores = np.random.default_rng(7).standard_normal(100_000)
    names = [f"{n:06}" for n in range(len(scores))]
    left = np.array([int(name) for name in chosen(scores.tolist(), 0.2, names, gumbel=gumbel, gumbel_rule=rule)])
    assert len(left) == 20_000
    assert scores[left].mean() == pytest.approx(mean, abs=0.02)
    best = np.argsort(-scores)[: len(left)]
    assert len(np.intersect1d(left, best)) / len(left) == pytest.approx(overlap, abs=0.015)


def test_a_drawn_choice_depends_on_ids_and_seed_only() -> None:
    scores = np.random.default_rng(1).standard_normal(3000).round(1)  # many ties, which noise takes apart
    names = [f"doc-{n}" for n in range(len(scores))]
    left = chosen(scores.tolist(), 0.2, names, gumbel=0.7)
    assert all(chosen(scores.tolist(), 0.2, names, parts, gumbel=0.7) == left for parts in (4, 16))
    order = np.random.default_rng(2).permutation(len(scores))
    assert chosen(scores[order].tolist(), 0.2, [names[n] for n in order], gumbel=0.7) == left
    assert chosen(scores.tolist(), 0.2, names, gumbel=0.7, seed=1) != left


def test_the_noise_is_gumbels() -> None:
    noise = module.gumbel_noise(pa.array([f"doc-{n}" for n in range(20_000)]), 3)
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.std() == pytest.approx(math.pi / math.sqrt(6), abs=0.03)


def test_a_run_draws_the_same_documents_from_one_file_and_from_many(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    left = []
    for name, paths in (("some", "corpus/*.parquet"), ("reversed", "reversed/*.parquet")):
        if name == "reversed":
            whole = pa.concat_tables([pq.read_table(path) for path in sorted(corpus.glob("*.parquet"))])
            (tmp_path / "reversed").mkdir()
            pq.write_table(whole.take(np.arange(len(whole))[::-1]), tmp_path / "reversed" / "all.parquet")
        stages = "[{select: {column: count, top: 0.3, gumbel: 2.0, seed: 5}}]"
        path = str(write_pipeline(f"source: {{parquet: {{paths: {paths}}}}}\nstages: {stages}\n"))
        curate.run(path, out=str(tmp_path / name), inline=True)
        left.append(sorted(pq.read_table(tmp_path / name / "data")["id"].to_pylist()))
    assert left[0] == left[1]
    assert left[0]
