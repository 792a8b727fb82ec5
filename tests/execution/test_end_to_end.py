"""A tiny corpus through the whole machine: documents, accounts, resume, drift, faults, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import AccountingError, ContractError, DataError, DriftError, ExpectError, LeaseError, RunError, SpecError
from curate.events import Silent
from curate.execution.accounting import StageCounts
from curate.execution.engine import InlineEngine, TaskResult
from curate.execution.ray_engine import RayEngine
from curate.execution.runner import Run, survey
from curate.execution.summary import Summary
from curate.pipeline.spec import load
from curate.storage.store import Store
from tests.conftest import WritePipeline, contents, document, rows, write_corpus

TINY = """
name: tiny
source: {parquet: {paths: corpus/*.parquet}}
stages:
  - example_dashes
  - keep: {column: count, min: 1}
  - select: {column: score, top: 0.5, by: chars}
  - sample: {share: 0.9, as: last_draw}
output: {columns: [id, text, score], rows_per_file: 40}
"""


def run(path: Path, out: Path, **options: Any) -> Summary:
    return curate.run(str(path), out=str(out), **{"inline": True, **options})


def test_a_run_keeps_what_the_rules_keep_and_accounts_for_the_rest(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    summary = run(write_pipeline(TINY), tmp_path / "out")
    documents = [document(number) for number in range(300)]
    scored = [d for d in documents if d["count"] >= 1 and d["score"] is not None]
    kept, dropped = rows(tmp_path / "out"), rows(tmp_path / "out", "dropped")
    assert summary.documents_in == 300 == len(kept) + len(dropped)
    assert {row["id"] for row in dropped if row["reason"] == "too_low"} == {d["id"] for d in documents if d["count"] < 1}
    assert {row["id"] for row in dropped if row["reason"] == "no_score"} == {
        d["id"] for d in documents if d["count"] >= 1 and d["score"] is None
    }
    below = {row["id"]: row for row in dropped if row["reason"] == "below_top"}
    above = [d for d in scored if d["id"] not in below]
    assert min(d["score"] for d in above) >= max(row["value"] for row in below.values())
    assert [row["id"] for row in kept] == sorted((row["id"] for row in kept), key=lambda name: int(name[4:]))


def test_the_top_share_is_exact_to_the_character(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline(
        """
source: {parquet: {paths: corpus/*.parquet}}
stages: [{select: {column: score, top: 0.3, by: chars}}]
"""
    )
    run(path, tmp_path / "out")
    scored = [document(n) for n in range(300) if document(n)["score"] is not None]
    budget = 0.3 * sum(len(d["text"] or "") for d in scored)
    kept = rows(tmp_path / "out")
    spent = sum(len(row["text"] or "") for row in kept)
    (next_score,) = {row["limit"] for row in rows(tmp_path / "out", "dropped") if row["reason"] == "below_top"}
    smallest_next = [
        len(d["text"] or "") for d in scored if d["score"] == next_score and d["id"] not in {r["id"] for r in kept}
    ]
    assert spent <= budget < spent + max(smallest_next)


def test_edits_lead_from_the_old_text_to_the_new_one(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(TINY), tmp_path / "out")
    edited = {row["id"]: row for row in rows(tmp_path / "out", "edited")}
    for row in rows(tmp_path / "out"):
        number = int(row["id"][4:])
        original = document(number)["text"]
        assert row["text"] == (original and original.replace("-----", "—"))
        assert (row["id"] in edited) == (number % 5 == 0 and original is not None)
    some = edited["doc-5"]
    (edit,) = some["edits"]
    assert some["before"][: edit["start"]] + edit["replacement"] + some["before"][edit["end"] :] == some["after"]


def test_a_second_run_writes_nothing(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path, out = write_pipeline(TINY), tmp_path / "out"
    first = run(path, out)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    second = run(path, out)
    assert second == dataclasses.replace(first, already_done=True)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


def test_datasets_reads_the_corpus_as_it_is(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    from datasets import load_dataset

    run(write_pipeline(TINY), tmp_path / "out")
    loaded = load_dataset("parquet", data_dir=str(tmp_path / "out" / "data"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded.to_list() == rows(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("min: 1", "min: 2"), r"stage 'keep': min was 1.0, is now 2.0"),
        (("share: 0.9", "share: 0.8"), r"stage 'last_draw': share was 0.9, is now 0.8"),
        (("  - example_dashes\n", ""), r"stage 'example_dashes' is gone"),
        (("rows_per_file: 40", "rows_per_file: 50"), r"output was .*40.* is now .*50"),
    ],
)
def test_a_changed_recipe_is_refused(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    run(write_pipeline(TINY), tmp_path / "out")
    with pytest.raises(DriftError, match=message + r".*Use another --out \(with --reuse"):
        run(write_pipeline(TINY.replace(*change)), tmp_path / "out")


def test_a_changed_input_is_refused(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline(TINY)
    run(path, tmp_path / "out")
    pq.write_table(pq.read_table(corpus / "part-1.parquet").slice(1), corpus / "part-1.parquet", row_group_size=20)
    with pytest.raises(DriftError, match=r"input '.*part-1.parquet' is changed"):
        run(path, tmp_path / "out")


def test_reuse_takes_over_the_steps_that_did_not_change(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(TINY), tmp_path / "old")
    changed = write_pipeline(TINY.replace("top: 0.5", "top: 0.4"), "q.yaml")
    seen: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            seen.append(message)

    run(changed, tmp_path / "new", reuse=str(tmp_path / "old"), listener=Notes())
    run(changed, tmp_path / "fresh")
    assert seen == [
        f"00-keep: taken over from {tmp_path / 'old'}",
        f"01-last_draw: not reused, it differs or is not complete in {tmp_path / 'old'}",
    ]
    assert contents(tmp_path / "new") == contents(tmp_path / "fresh")


def test_reuse_of_a_folder_without_a_run_is_refused(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--reuse: .* holds no run"):
        run(write_pipeline(TINY), tmp_path / "out", reuse=str(tmp_path))


class Backwards(InlineEngine):
    """Takes the last item first: enough to show that nothing depends on the order in which shards are done."""

    def map(self, function: Any, context: Any, items: Iterable[Any], resources: Any) -> Iterator[TaskResult | None]:
        return super().map(function, context, list(items)[::-1], resources)


def test_neither_the_split_nor_the_order_of_shards_moves_a_byte(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    run(write_pipeline(TINY), tmp_path / "whole")
    split = write_pipeline(TINY.replace("corpus/*.parquet", "corpus/*.parquet, split_bytes: 1024"), "split.yaml")
    plan, _, shards = survey(load(str(split)))
    assert len(shards) > 6
    Run(plan, shards, Store(str(tmp_path / "split")), Silent()).execute(Backwards())
    assert contents(tmp_path / "whole") == contents(tmp_path / "split")


@pytest.mark.slow
@pytest.mark.ray
def test_ray_with_one_or_two_workers_gives_the_bytes_of_an_inline_run(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    path = write_pipeline(TINY)
    run(path, tmp_path / "inline")
    for workers in (1, 2):
        run(path, tmp_path / f"ray{workers}", inline=False, workers=workers)
        assert contents(tmp_path / f"ray{workers}") == contents(tmp_path / "inline")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("loses_rows", r"'part-0' *.*|20 rows in, 19 out|rows in, .* out. A stage returns the same rows"),
        ("reorders", r"document 'doc-0': the order of rows changed"),
        ("reason", r"reason 'undeclared' is not declared. Declared: declared"),
        ("column", r"column 'other' is written but not declared"),
        ("type", r"column 'made' is string, declared as int64"),
        ("missing", r"column 'made' is declared but was not written"),
        ("edit", r"the text changed without edits"),
        ("silent_edit", r"document 'doc-0': the edits do not lead from the old text to the new one"),
        ("drops_column", r"column 'url' is gone. A stage adds columns and removes none"),
        ("wrong_edit", r"document 'doc-0': the edits do not lead from the old text to the new one"),
        ("raises", r"document 'doc-7': ValueError: seven \(at curate_faults\.py:\d+\)\. A stage drops"),
    ],
)
def test_a_stage_that_breaks_its_contract_is_named(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path, how: str, message: str
) -> None:
    path = write_pipeline(
        f"source: {{parquet: {{paths: corpus/part-0.parquet}}}}\nstages: [{{example_broken: {{how: {how}}}}}]\n"
    )
    with pytest.raises(ContractError, match=message) as caught:
        run(path, tmp_path / "out")
    assert "p.yaml:2: stage 'example_broken', shard '00000-part-0'" in str(caught.value)


@pytest.mark.parametrize("how", ["loses_rows", "reorders", "reason", "column", "type", "missing", "edit", "wrong_edit"])
def test_apply_holds_a_stage_to_the_contract_too(corpus: Path, how: str) -> None:
    """So that the tests of a stage fail where its first run would."""
    table = pq.read_table(corpus / "part-0.parquet")
    with pytest.raises(ContractError, match=r"^stage 'example_broken'"):
        curate.apply("example_broken", table, how=how)


@pytest.mark.slow
@pytest.mark.ray
def test_a_document_that_kills_its_worker_is_quarantined_by_name_and_no_neighbour_is_lost(
    tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    texts = [f"text {n}" for n in range(50)]
    texts[17] = texts[33] = "POISON"
    (tmp_path / "in").mkdir()
    scores = [float("nan")] * 50  # a column the stage does not touch, and that is not equal to itself
    table = pa.table({"id": [f"d{n}" for n in range(50)], "text": texts, "score": scores})
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    path = write_pipeline("source: {parquet: {paths: in/*.parquet}}\nstages: [example_kill]\n")
    summary = run(path, tmp_path / "out", inline=False, workers=1)
    assert summary.stages["example_kill"].failed == 2
    assert [(r["id"], r["reason"], r["detail"]) for r in rows(tmp_path / "out", "dropped")] == [
        ("d17", "killed_worker", "signal 9"),
        ("d33", "killed_worker", "signal 9"),
    ]
    assert [r["text"] for r in rows(tmp_path / "out")] == [text for text in texts if text != "POISON"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_worker_that_dies_once_costs_nothing(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline(
        "source: {parquet: {paths: corpus/*.parquet}}\nstages: [{example_kill: {word: document 105, once: '{tmp}/flag'}}]\n"
    )
    summary = run(path, tmp_path / "out", inline=False, workers=2)
    assert (tmp_path / "flag").exists()
    assert summary.stages["example_kill"].failed == 0
    assert len(rows(tmp_path / "out")) == 300


def test_an_unreadable_shard_stops_the_run_unless_it_is_allowed(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    content = bytearray((corpus / "part-1.parquet").read_bytes())
    content[4:200] = b"\xff" * 196
    (corpus / "part-1.parquet").write_bytes(content)
    text = "source: {parquet: {paths: corpus/*.parquet}}\nstages: []\n"
    with pytest.raises(DataError, match=r"00001-part-1: cannot read .*max_failed_shards is 0"):
        run(write_pipeline(text), tmp_path / "strict")
    summary = run(write_pipeline(text + "max_failed_shards: 1\n"), tmp_path / "tolerant")
    assert list(summary.failed_shards) == ["00001-part-1"]
    assert len(rows(tmp_path / "tolerant")) == 200


def test_expect_stops_a_run_that_goes_wrong(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = "source: {parquet: {paths: corpus/*.parquet}}\nstages: [{keep: {column: count, min: 5, expect: {drop: 60%..90%}}}]\n"
    with pytest.raises(ExpectError, match=r"p.yaml:2: stage 'keep' dropped 50.0% of 300 documents, expected 60.0%..90.0%"):
        run(write_pipeline(text), tmp_path / "out")
    run(write_pipeline(text.replace("60%", "40%")), tmp_path / "ok")


def test_a_limit_reads_the_first_documents_and_no_others(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: []\n")
    run(path, tmp_path / "out", limit=130)
    assert [row["id"] for row in rows(tmp_path / "out")] == [f"doc-{number}" for number in range(130)]
    with pytest.raises(DriftError, match="limit was 130, is now 140"):
        run(path, tmp_path / "out", limit=140)


def test_documents_on_a_takedown_list_are_removed_by_id_or_url(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    (tmp_path / "ids.txt").write_text("# requested\ndoc-3\n\ndoc-250\nnot-there\n")
    (tmp_path / "urls.txt").write_text("https://site-1.example/4\n")
    text = "source: {parquet: {paths: corpus/*.parquet}}\nremove: {ids: ids.txt, urls: urls.txt}\nstages: []\n"
    run(write_pipeline(text), tmp_path / "out")
    dropped = [(row["id"], row["reason"], row["detail"]) for row in rows(tmp_path / "out", "dropped")]
    assert dropped == [
        ("doc-3", "removed_on_request", "doc-3"),
        ("doc-4", "removed_on_request", "https://site-1.example/4"),
        ("doc-250", "removed_on_request", "doc-250"),
    ]


def test_texts_of_dropped_documents_are_a_keyed_sample_that_no_split_can_move(
    tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    write_corpus(tmp_path / "corpus", files=2, rows=400)
    text = """
source: {parquet: {paths: corpus/*.parquet}}
stages: [{keep: {column: count, min: 9}}]
output: {sample_per_reason: 25}
"""
    run(write_pipeline(text), tmp_path / "one")
    run(write_pipeline(text.replace("paths:", "split_bytes: 1024, paths:"), "q.yaml"), tmp_path / "many")
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    dropped = rows(tmp_path / "one", "dropped")
    assert len(dropped) == 720
    kept = [row for row in dropped if row["text"] is not None]
    null_texts = sum(document(int(row["id"][4:]))["text"] is None for row in dropped)
    assert 25 - null_texts <= len(kept) <= 25 and len(kept) > 15
    run(write_pipeline(text.replace("sample_per_reason: 25", "keep_text: true"), "r.yaml"), tmp_path / "all")
    assert sum(row["text"] is not None for row in rows(tmp_path / "all", "dropped")) == 720 - null_texts


def test_keep_steps_says_which_intermediates_stay(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    for value, kept in (("all", {"00-keep", "01-last_draw"}), ("none", set()), ("[keep]", {"00-keep"})):
        out = tmp_path / f"out-{value}"
        run(write_pipeline(TINY + f"keep_steps: {value}\n", f"{value.strip('[]')}.yaml"), out)
        assert {path.parent.name for path in out.glob("steps/0*/data")} == kept
        assert contents(out, ("data",)) == contents(tmp_path / "out-all", ("data",))


def test_two_runs_may_not_write_to_one_folder(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    import psutil

    lease = {
        "host": os.uname().nodename,
        "pid": os.getppid(),
        "born": psutil.Process(os.getppid()).create_time(),
        "beat": time.time(),
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lease.json").write_text(json.dumps(lease))
    with pytest.raises(LeaseError, match=rf"is being written by process {os.getppid()} on"):
        run(write_pipeline(TINY), tmp_path / "out")
    (tmp_path / "out" / "lease.json").write_text(json.dumps({**lease, "born": 1.0}))
    assert run(write_pipeline(TINY), tmp_path / "out").documents_in == 300


def test_a_file_that_was_cut_after_it_was_committed_is_noticed(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    plan, _, shards = survey(load(str(write_pipeline(TINY))))
    store = Store(str(tmp_path / "out"))

    class StopsBeforeTheEnd(InlineEngine):
        """Runs the first segment and no more: what a run that was stopped leaves behind."""

        def map(self, function: Any, context: Any, items: Iterable[Any], resources: Any) -> Iterator[TaskResult | None]:
            if function.__name__ != "run_segment_task":
                raise RunError("stopped here")
            return super().map(function, context, items, resources)

    with pytest.raises(RunError, match="stopped here"):
        Run(plan, shards, store, Silent()).execute(StopsBeforeTheEnd())
    victim = next((tmp_path / "out" / "steps" / "00-keep" / "data").glob("*.parquet"))
    pq.write_table(pq.read_table(victim).slice(3), victim)
    with pytest.raises(AccountingError):
        Run(plan, shards, store, Silent()).execute(InlineEngine())


def test_an_empty_selection_is_a_corpus_of_no_rows_with_its_schema(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: [{keep: {column: count, min: 99}}]\n")
    run(path, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "data")
    assert table.num_rows == 0 and table.schema.field("text").type == pa.large_string()


@pytest.mark.slow
@pytest.mark.ray
def test_a_path_that_the_nodes_do_not_see_is_refused(tmp_path: Path) -> None:
    engine = RayEngine(workers=1)
    try:
        engine.check_visible([str(tmp_path), "s3://bucket/anything"])
        with pytest.raises(SpecError, match=r"--ray: '/nowhere' is not visible on node .* Use a shared folder"):
            engine.check_visible(["/nowhere"])
    finally:
        engine.close()


def test_reuse_looks_at_the_pieces_not_at_their_names(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    """Pieces of another split have the same names; taking them over used to lose the documents between."""
    lines = [json.dumps({"id": f"d{n}", "text": f"text {n} " * 20}) for n in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    text = "source: {jsonl: {paths: a.jsonl, split_bytes: 20000}}\nstages: [{sample: {share: 1}}]\n"
    run(write_pipeline(text), tmp_path / "old")
    run(write_pipeline(text.replace("20000", "30000"), "q.yaml"), tmp_path / "new", reuse=str(tmp_path / "old"))
    assert [row["id"] for row in rows(tmp_path / "new")] == [f"d{n}" for n in range(300)]


def test_reuse_of_a_run_that_kept_other_texts_starts_anew(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(TINY), tmp_path / "old")
    changed = write_pipeline(TINY.replace("rows_per_file: 40", "rows_per_file: 40, keep_text: true"), "q.yaml")
    run(changed, tmp_path / "new", reuse=str(tmp_path / "old"))
    run(changed, tmp_path / "fresh")
    assert contents(tmp_path / "new") == contents(tmp_path / "fresh")


def test_reuse_of_the_output_itself_is_refused(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    run(write_pipeline(TINY), tmp_path / "out")
    with pytest.raises(SpecError, match="is the --out folder itself"):
        run(write_pipeline(TINY), tmp_path / "out", reuse=str(tmp_path / "out"))


def test_a_change_in_any_of_several_lists_is_another_recipe(
    corpus: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("nowhere.example\n")
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: [{url_filter: {domains: [a.txt, b.txt]}}]\n")
    run(path, tmp_path / "out")
    (tmp_path / "a.txt").write_text("site-1.example\n")
    with pytest.raises(DriftError, match=r"stage 'url_filter': .* has other content"):
        run(path, tmp_path / "out")


def test_a_run_may_leave_the_text_out(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = "source: {parquet: {paths: corpus/*.parquet}}\nstages: [{keep: {column: count, min: 3}}]\noutput: {columns: [id]}\n"
    run(write_pipeline(text), tmp_path / "out")
    assert rows(tmp_path / "out") == [{"id": f"doc-{n}"} for n in range(300) if n % 10 >= 3]


def test_a_barrier_may_write_columns_and_edit_text(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    text = (
        "source: {parquet: {paths: corpus/*.parquet}}\nstages: [example_dashes, example_longest, {example_dashes: {as: b}}]\n"
    )
    run(write_pipeline(text), tmp_path / "out")
    originals = [document(n)["text"] for n in range(300)]
    dashed = [text and text.replace("-----", "—") for text in originals]
    longest = max(len(text) for text in dashed if text)
    assert [row["text"] for row in rows(tmp_path / "out")] == [text and text[: longest // 2] for text in dashed]
    assert {row["longest"] for row in rows(tmp_path / "out")} == {longest}


SENTENCE = "A page about tides and herons. "
PAGES = [f"<html><body><article><p>{SENTENCE * (5 + n)}</p></article></body></html>" for n in range(12)]


@pytest.mark.parametrize("before", ["", "  - select: {column: rank, top: 0.5}\n"], ids=["first segment", "after a barrier"])
def test_pages_in_parquet_are_extracted_wherever_the_stage_stands(
    tmp_path: Path, write_pipeline: WritePipeline, before: str
) -> None:
    pq.write_table(pa.table({"page": PAGES, "rank": list(range(12))}), tmp_path / "pages.parquet")
    text = f"source: {{parquet: {{paths: pages.parquet, html: page}}}}\nstages:\n{before}  - extract\n  - example_dashes\n"
    run(write_pipeline(text), tmp_path / "out")
    kept = [row["text"] for row in rows(tmp_path / "out")]
    assert len(kept) == (6 if before else 12) and all(text.startswith("A page about tides") for text in kept)


def test_a_shard_that_failed_once_stays_out_of_a_continued_run(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    """It may be readable by then; the decision and the files made without it are not made anew."""
    write_corpus(tmp_path / "corpus", rows=4000, row_group=500)
    broken = tmp_path / "corpus" / "part-1.parquet"
    good = broken.read_bytes()
    broken.write_bytes(good[:4] + b"\xff" * 200 + good[204:])  # before the 64 KiB at the end, which identify the file
    path = write_pipeline(TINY + "max_failed_shards: 1\n")
    run(path, tmp_path / "expected")

    class StopsBeforeTheEnd(InlineEngine):
        """Decides the barrier and then no more."""

        def map(self, function: Any, context: Any, items: Iterable[Any], resources: Any) -> Iterator[TaskResult | None]:
            if function.__name__ == "run_compaction":
                raise RunError("stopped here")
            return super().map(function, context, items, resources)

    plan, _, shards = survey(load(str(path)))
    with pytest.raises(RunError, match="stopped here"):
        Run(plan, shards, Store(str(tmp_path / "out")), Silent()).execute(StopsBeforeTheEnd())
    broken.write_bytes(good)
    summary = run(path, tmp_path / "out")
    assert list(summary.failed_shards) == ["00001-part-1"]
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_run_all_of_whose_shards_fail_ends_with_no_rows_if_that_is_allowed(
    tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    write_corpus(tmp_path / "corpus", files=1)
    content = bytearray((tmp_path / "corpus" / "part-0.parquet").read_bytes())
    content[4:200] = b"\xff" * 196
    (tmp_path / "corpus" / "part-0.parquet").write_bytes(content)
    path = write_pipeline("source: {parquet: {paths: corpus/*.parquet}}\nstages: []\nmax_failed_shards: 1\n")
    assert run(path, tmp_path / "out").documents_out == 0 and rows(tmp_path / "out") == []


def test_an_empty_lease_holds_nothing(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lease.json").write_text("")
    assert run(write_pipeline(TINY), tmp_path / "out").documents_in == 300


def test_reuse_works_under_a_limit(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": f"d{n}", "text": f"text {n} " * 20}) for n in range(300)))
    text = "source: {jsonl: {paths: a.jsonl, split_bytes: 20000}}\nstages: [{sample: {share: 1}}]\n"
    run(write_pipeline(text), tmp_path / "old", limit=150)
    seen: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            seen.append(message)

    run(write_pipeline(text), tmp_path / "new", limit=150, reuse=str(tmp_path / "old"), listener=Notes())
    assert seen == [f"00-sample: taken over from {tmp_path / 'old'}"]
    assert contents(tmp_path / "new") == contents(tmp_path / "old") and len(rows(tmp_path / "new")) == 150


def test_counts_that_do_not_balance_are_an_error() -> None:
    good = StageCounts(
        rows_in=3, rows_out=1, dropped=Counter(short=1), failed=1, chars_in=30, chars_out=9, chars_dropped=20, chars_removed=1
    )
    good.check("here")
    for name in ("rows_in", "rows_out", "failed"):
        with pytest.raises(AccountingError, match=r"here: \d rows in, but \d accounted for"):
            dataclasses.replace(good, **{name: getattr(good, name) + 1}).check("here")
    for name in ("chars_in", "chars_out", "chars_dropped", "chars_removed", "chars_inserted"):
        with pytest.raises(AccountingError, match=r"here: \d+ characters out, but -?\d+ accounted for"):
            dataclasses.replace(good, **{name: getattr(good, name) + 1}).check("here")


def test_a_piece_that_does_not_begin_where_the_one_before_ended_is_an_error(
    tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    sample = Path(__file__).parents[2] / "pipelines" / "sample" / "crawl-00000.warc.gz"
    path = write_pipeline(f"source: {{warc: {{paths: {sample}, split_bytes: 100000}}}}\nstages: []\n")
    run(path, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    manifest = sorted((tmp_path / "out").glob("steps/*/ledger/*.json"))[1]
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**value, "first": value["first"] + 1}))
    with pytest.raises(AccountingError, match=r"begins at byte \d+ of .* but the piece before it ends at \d+"):
        run(path, tmp_path / "out")


def test_the_plan_is_cut_where_resources_change(corpus: Path, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    stages = "[example_dashes, {example_slow: {cpus: 2, seconds: 0}}, {example_dashes: {as: again}}]"
    path = write_pipeline(f"source: {{parquet: {{paths: corpus/*.parquet}}}}\nstages: {stages}\n")
    plan, _, _ = survey(load(str(path)))
    assert [(segment.name, dict(segment.resources)) for segment in plan.segments] == [
        ("00-example_dashes", {}),
        ("01-example_slow", {"num_cpus": 2}),
        ("02-again", {}),
    ]
    run(path, tmp_path / "out")
    assert [row["text"] for row in rows(tmp_path / "out")] == [
        (document(n)["text"] or "").replace("-----", "—") or None for n in range(300)
    ]


@pytest.mark.parametrize("report", [False, True])
def test_counts_say_what_was_replaced_by_type_and_found_by_benchmark(
    tmp_path: Path, write_pipeline: WritePipeline, report: bool
) -> None:
    """Over shards, and in the manifest; of verdicts the benchmark they name, with `report` all benchmarks."""
    for name, start in (("herons", 0), ("tides", 20)):
        words = " ".join(f"word{n}" for n in range(start, start + 13))
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": words}) + "\n")
    both = " ".join(f"word{n}" for n in [*range(13), *range(20, 33)])
    texts = [both, "word1 word2", "a@site.example.net b@posteo-mail.de", "tel 212-555-2368, c@posteo-mail.de d@posteo-mail.de"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "b", "text": " ".join(f"word{n}" for n in range(20, 33))}) + "\n")
    against = f"{{against: [herons.jsonl, tides.jsonl], report: {str(report).lower()}}}"
    path = write_pipeline(f"source: {{jsonl: {{paths: '?.jsonl'}}}}\nstages: [{{decontaminate: {against}}}, pii]\n")
    run(path, tmp_path / "out")
    stages = run(path, tmp_path / "out").stages
    assert stages["decontaminate"].dropped == {"contaminated": 2}
    assert stages["decontaminate"].counts == {"herons.jsonl": 1, "tides.jsonl": 2 if report else 1}
    assert stages["pii"].counts == {"email": 3, "phone": 1}
