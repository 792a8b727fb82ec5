"""Every stage, with the options of each of its golden cases, on arbitrary documents: the promises of `curate.api.stage`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.api.batch import Batch, Kernel
from curate.api.rules import RuleStage
from curate.api.stage import Stage
from curate.config.options import build
from curate.config.registry import load_class
from curate.execution.accounting import ShardAccounting
from curate.execution.sampling import BottomK
from curate.pipeline.steps import Step
from curate.schema import DROP, IDENTITY, PROVENANCE, TEXT
from curate.stages import STAGES

CASES = Path(__file__).parents[1] / "stages"
LISTS = str(Path(__file__).parents[1] / "lists")
TEXTS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300), min_size=1, max_size=8)


def _options() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*.jsonl")):
        cases = [json.loads(line) for line in file.read_text().replace("{lists}", LISTS).split("\n") if line.strip()]
        distinct = {json.dumps(case.get("options", {}), sort_keys=True) for case in cases}
        found += [
            pytest.param(file.stem, json.loads(options), id=f"{file.stem}-{n}") for n, options in enumerate(sorted(distinct))
        ]
    return found


_kernels: dict[str, tuple[Stage, Kernel]] = {}


def opened(name: str, options: dict[str, Any]) -> tuple[Stage, Kernel]:
    key = f"{name} {json.dumps(options, sort_keys=True)}"
    if key not in _kernels:
        stage = build(load_class(name, STAGES, "stage"), options)
        _kernels[key] = (stage, stage.open())
    return _kernels[key]


def batch_of(stage: Stage, texts: list[str | None]) -> Batch:
    size = len(texts)
    columns: dict[str, pa.Array] = {name: pa.nulls(size, kind) for name, kind in {**IDENTITY, **PROVENANCE}.items()}
    columns["ordinal"] = pa.array(range(size), pa.uint64())
    columns["id"] = pa.array([f"doc {n}" for n in range(size)])
    columns["url"] = pa.array([f"https://{(text or '')[:30]}.example/" for text in texts])
    columns[TEXT] = pa.array(texts, pa.large_string())
    for name in stage.reads:
        if name not in columns:
            columns[name] = pa.array([None if text is None else float(len(text)) for text in texts])
    return Batch(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)))


@pytest.mark.parametrize(("name", "options"), _options())
@given(texts=TEXTS, cut=st.integers(0, 8))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_a_stage_keeps_its_promises_wherever_a_batch_is_cut(
    name: str, options: dict[str, Any], texts: list[str | None], cut: int
) -> None:
    stage, kernel = opened(name, options)
    batch = batch_of(stage, texts)
    before = [column.to_pylist() for column in batch.records.columns]
    after = kernel(batch)
    assert [column.to_pylist() for column in batch.records.columns] == before, "the stage changed its input"

    columns = {**{n: batch[n].type for n in batch.names}, **stage.writes}
    step = Step(name, name, stage, "test", None, columns, (), {}, "")
    accounting = ShardAccounting("shard", True, BottomK(0), BottomK(0), lambda records: None, lambda records: None)
    accounting.account_for(step, batch, after, time.perf_counter())
    accounting.stages[name].check("test")

    cut = min(cut, len(texts))
    parts = [kernel(Batch(part)) for part in (batch.records.slice(0, cut), batch.records.slice(cut)) if part.num_rows]
    for column in (DROP, *stage.writes):
        pieces = [part[column].to_pylist() if column in part else [None] * len(part) for part in parts]
        whole = after[column].to_pylist() if column in after else [None] * len(texts)
        assert str([value for piece in pieces for value in piece]) == str(whole)


def _by_profile() -> list[Any]:
    """Every stage that reads nothing but the text, with its own defaults or those of every profile."""
    found = []
    for name in STAGES:
        cls = load_class(name, STAGES, "stage")
        if issubclass(cls, RuleStage):
            found += [pytest.param(name, {"profile": profile}, id=f"{name}-{profile}") for profile in cls.profiles]
    return [*found, *(pytest.param(name, {}, id=name) for name in ("c4_paragraphs", "line_dedup", "pii", "refinedweb_lines"))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), _by_profile())
def test_fifty_megabytes_in_a_line_and_a_million_lines_are_judged(name: str, options: dict[str, Any]) -> None:
    if name == "unigram_logprob":
        options = {**options, "unigrams": f"{LISTS}/unigrams.tsv"}
    stage = build(load_class(name, STAGES, "stage"), options)
    texts = ["word " * 10_000_000, "a\n" * 1_000_000, None, ""]
    started = time.perf_counter()
    after = stage.open()(batch_of(stage, texts))
    assert len(after) == 4 and time.perf_counter() - started < 60
