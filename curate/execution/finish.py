"""The end of a run: shards are compacted into the final files, counts are checked, and the manifest is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from curate.api.source import Shard
from curate.execution.accounting import SOURCE, StageCounts
from curate.execution.compaction import CompactionContext, FinalFile, Piece, run_compaction
from curate.execution.dataset_card import data_card
from curate.execution.global_stages.partition import Context
from curate.execution.run_checks import check_totals
from curate.execution.sampling import BottomK
from curate.execution.segment import SegmentTask, result_of
from curate.execution.summary import Summary
from curate.execution.task_runner import TaskRunner
from curate.pipeline import lockfile
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.storage.run_dir import (
    DATA_CARD,
    MANIFEST,
    SUMMARY,
    final_file,
    global_stage_folder,
    marker_file,
    shard_manifest,
    shards_folder,
    values_file,
)
from curate.storage.store import Store

RowCounts = Mapping[tuple[str, int], Sequence[int]]
"""(kind, segment index) -> rows of every shard's file of that kind."""


def finish_run(
    plan: Plan, context: Context, shards: Sequence[Shard], alive: Sequence[Shard], summary: Summary, tasks: TaskRunner,
    started: float,
) -> None:  # fmt: skip
    """Write the final files, the data card and the manifest, which means "done".

    `alive` are the shards that have not failed. On a cluster, assets have other paths in the plan of `context`.
    Raises AccountingError when documents are missing.
    """
    store = context.store
    rows, thresholds = _read_manifests(plan, store, alive, summary)
    files = [file for kind, segment in _final_kinds(plan) for file in _final_files(plan, alive, kind, segment, rows)]
    compaction = CompactionContext(context, thresholds)
    tasks.run_all("output", run_compaction, compaction, files, lambda file: store.exists(marker_file(file.name)))
    summary.files = {name: store.read_json(marker_file(name)) for name in _file_names(plan, files)}
    summary.documents_in = summary.stages.get(SOURCE, StageCounts()).rows_in
    summary.documents_out = sum(rows.get(("data", plan.segments[-1].index), []))
    check_totals(summary)
    _delete_steps(plan, store)
    store.sweep()
    write_data_card(plan, store, shards, summary)
    store.write_json(
        MANIFEST,
        {
            "name": plan.pipeline.name,
            "fingerprint": plan.cache_key,
            "versions": lockfile.versions(),
            "shards": len(shards),
            "started": _iso(started),
            "finished": _iso(time.time()),
            **summary.as_json(),
        },
    )


def write_data_card(plan: Plan, store: Store, shards: Sequence[Shard], summary: Summary) -> None:
    """Write the README of the corpus."""
    saved = lockfile.contents(plan, []) | {"num_inputs": len({shard.url for shard in shards})}
    data = [name for name in summary.files if name.startswith("data/")]
    store.write_text(DATA_CARD, data_card(store, saved, summary.stages, summary.documents_out, data))


def _file_names(plan: Plan, files: Sequence[FinalFile]) -> list[str]:
    """The final files, and the files of `values/` that belong to them."""
    values = [values_file(file.name) for file in files if file.kind == "data"] if plan.values_columns else []
    return [file.name for file in files] + values


def _final_kinds(plan: Plan) -> Iterator[tuple[str, Segment]]:
    yield "data", plan.segments[-1]
    for segment in plan.segments:
        yield "dropped", segment
        yield "edited", segment


def _read_manifests(plan: Plan, store: Store, alive: Sequence[Shard], summary: Summary) -> tuple[RowCounts, dict[str, int]]:
    """Rows of all shards' files, and per "kind/stage/reason" the largest hash of a text that is in the sample.

    The counts of the run are summed anew, over the shards that came through to the end.
    """
    rows: dict[tuple[str, int], list[int]] = {}
    summary.stages, summary.records = {}, Counter()
    samples = BottomK(plan.pipeline.output.sample_per_reason)
    for segment in plan.segments:
        for shard in alive:
            manifest = store.read_json(shard_manifest(segment.name, shard.name))
            summary.add(result_of(manifest, SegmentTask(segment.index, shard)))
            for kind in ("data", "dropped", "edited"):
                rows.setdefault((kind, segment.index), []).append(manifest["files"].get(kind, {"rows": 0})["rows"])
                samples.merge({f"{kind}/{key}": hashes for key, hashes in manifest["samples"].get(kind, {}).items()})
    return rows, {key: samples.threshold(key) for key in samples.as_json()}


def _final_files(plan: Plan, alive: Sequence[Shard], kind: str, segment: Segment, rows: RowCounts) -> Iterator[FinalFile]:
    """Cut the rows of all shards, in order, into files of `rows_per_file`."""
    size = plan.pipeline.output.rows_per_file
    pieces: list[Piece] = []
    held, number = 0, 0
    for shard, num_rows in zip(alive, rows.get((kind, segment.index), []), strict=True):
        skip = 0
        while skip < num_rows:
            count = min(num_rows - skip, size - held)
            pieces.append(Piece(shard, skip, count))
            skip, held = skip + count, held + count
            if held == size:
                yield FinalFile(kind, segment.index, final_file(kind, segment.name, number), tuple(pieces))
                pieces, held, number = [], 0, number + 1
    if pieces or (kind == "data" and not number):
        yield FinalFile(kind, segment.index, final_file(kind, segment.name, number), tuple(pieces))


def _delete_steps(plan: Plan, store: Store) -> None:
    """Delete the shards' files of steps that `keep_steps` does not name. Manifests, decisions and logs stay."""
    keep = plan.pipeline.keep_steps
    for segment in plan.segments:
        named = isinstance(keep, tuple) and segment.stages and segment.stages[-1].name in keep
        if keep != "all" and not named:
            for kind in ("data", "dropped", "edited", SUMMARY):
                store.delete(shards_folder(segment.name, kind))
            store.delete(global_stage_folder(segment.name))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
