"""Make an index of a finished run: `curate index`."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.api.dedup_index import Index, Part
from curate.api.global_stage import Shuffle
from curate.config.registry import load_class, table_of
from curate.errors import SpecError, known_values
from curate.events import Listener
from curate.pipeline import lockfile
from curate.schema import ORDINAL
from curate.stages import STAGES
from curate.storage.parquet import read_batches
from curate.storage.run_dir import MANIFEST, SUMMARY, shard_file, shard_manifests, shards_folder
from curate.storage.store import INDEX, Store, file_hash


def make_index(directory: str, stage: str, out: str, listener: Listener) -> Index:
    """Write the index of a deduplicating stage of a finished run, shard by shard.

    Raises SpecError where the run is not finished, has no such stage, or has not kept the summaries.
    """
    store, saved = lockfile.opened(directory)
    summarized_by = saved.get("sketches", {})
    if stage not in summarized_by:
        raise SpecError(
            f"{directory!r} has no stage {stage!r} that an index can be made of. {known_values(stage, summarized_by)}"
        )
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete. The command that began it, given again, continues it.")
    identity = saved["identities"][stage]
    cls = load_class(identity["kind"], table_of("curate.stages", STAGES), "stage")
    if not issubclass(cls, Shuffle):
        raise SpecError(f"stage {stage!r} ({identity['kind']}) keeps no signatures that can be compared with others.")
    before, last = summarized_by[stage], list(saved["steps"])[-1]
    for name in (before, last):
        if not store.list(shards_folder(name, "data")):
            raise SpecError(
                f"{directory!r} did not keep step {name!r}, which an index is made of. Name the stage at its end in "
                "keep_steps, or leave keep_steps out, and run again."
            )
    target = Store(out)
    if target.exists(INDEX):
        raise SpecError(f"{out!r} holds an index. Give another --out, or delete it.")
    shards = [name.removesuffix(".json") for name in store.list(shard_manifests(last))]  # without failed ones
    listener.phase("index", len(shards), 0)
    parts: list[Part] = []
    columns: tuple[str, ...] = ()
    for name in shards:
        rows = _left(store, shard_file(before, SUMMARY, name), shard_file(last, "data", name))
        columns = tuple(rows.column_names)
        if rows.num_rows:
            parts.append(_write_part(target, f"parts/{name}.parquet", rows))
        listener.advance("index", name, rows.num_rows)
    options = {name: identity["options"][name] for name in cls.index_options}
    index = Index(identity["kind"], identity["revision"], options, columns, sum(part.rows for part in parts), tuple(parts))
    target.write_json(INDEX, asdict(index))
    return index


def _left(store: Store, summary: str, data: str) -> pa.Table:
    """The rows of a summary whose documents are in the corpus."""
    rows = pq.read_table(store.open(summary))
    kept = [records.column(ORDINAL).to_numpy() for records in read_batches(store, data, [ORDINAL])]
    ordinals = np.concatenate([np.zeros(0, np.uint64), *kept])
    return rows.filter(pa.array(np.isin(rows[ORDINAL].to_numpy(), ordinals)))


def _write_part(target: Store, name: str, rows: pa.Table) -> Part:
    with target.create(name) as path:
        pq.write_table(rows, path, compression="zstd", compression_level=1, use_dictionary=False, row_group_size=65_536)
        size, digest = _measured(path)
    return Part(name, rows.num_rows, size, digest)


def _measured(path: str) -> tuple[int, str]:
    with open(path, "rb") as file:
        return file.seek(0, 2), file_hash(path)
