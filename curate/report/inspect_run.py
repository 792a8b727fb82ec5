"""Look into a running or finished run: `curate status`, `curate explain`, `curate sample`."""

from __future__ import annotations

import difflib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from curate.errors import SpecError, known_values
from curate.execution.accounting import VALUES
from curate.pipeline import lockfile
from curate.storage.lease import holds
from curate.storage.run_dir import LEASE, MANIFEST, STATUS, shard_manifests, shards_folder
from curate.storage.store import Store, file_system

_PREVIEW_CHARS = 1_000


def describe_status(directory: str) -> str:
    """One paragraph: phase, shards done, running longest, time left, failures."""
    store, saved = lockfile.opened(directory)
    if store.exists(MANIFEST):
        manifest = store.read_json(MANIFEST)
        return (
            f"{saved['name']}: done at {manifest['finished']}, {manifest['documents_in']:,} documents in, "
            f"{manifest['documents_out']:,} out, {len(manifest['failed_shards'])} failed shards"
        )
    alive = store.exists(LEASE) and holds(store.read_json(LEASE))
    lines = [f"{saved['name']}: {'running' if alive else 'not running; the same curate run command continues it'}"]
    for name in saved["steps"]:
        done = len(store.list(shard_manifests(name)))
        lines.append(f"  {name}: {done:,} shards done")
    if store.exists(STATUS):
        lines += _progress_lines(store.read_json(STATUS))
    return "\n".join(lines)


def _progress_lines(status: dict[str, Any]) -> Iterator[str]:
    now = status["time"]
    if status.get("error"):
        yield f"  ended with: {status['error']}"
    else:
        yield f"  {status['phase']}: {status['finished']} of {status['total']} in this run"
    if status["running"]:
        slowest = min(status["running"], key=status["running"].__getitem__)
        yield f"  slowest: {slowest}, for {now - status['running'][slowest]:,.0f} s"
    if status["finished"]:
        left = (status["total"] - status["finished"]) * (now - status["started"]) / status["finished"]
        yield f"  about {time.strftime('%H:%M:%S', time.gmtime(left))} left in this phase"
    for shard, error in status["failed"].items():
        yield f"  failed: {shard}: {error}"


def dataset_of(store: Store, kind: str, steps: Sequence[str] = ()) -> ds.Dataset | None:
    """All files of `kind`. With `steps`, those that these steps of an unfinished run have written so far."""
    folders = [shards_folder(step, kind) for step in steps] or [kind]
    files = [f"{folder}/{name}" for folder in folders for name in store.list(folder) if name.endswith(".parquet")]
    if not files:
        return None
    filesystem, _ = file_system(store.root)
    dataset = ds.dataset([store.path(name) for name in files], format="parquet", filesystem=filesystem)
    return dataset.replace_schema(_unified(dataset)) if steps else dataset


def _unified(dataset: ds.Dataset) -> pa.Schema:
    """The schema of all files. It has measured values only if all files measured the same ones."""
    schemas = [fragment.physical_schema for fragment in dataset.get_fragments()]
    if len({schema.field(VALUES).type if VALUES in schema.names else None for schema in schemas}) > 1:
        schemas = [pa.schema([field for field in schema if field.name != VALUES]) for schema in schemas]
    return pa.unify_schemas(schemas)


def explain_document(directory: str, document: str) -> str:
    """Describe what each stage did to every document with this id or URL. Raises SpecError if there is none."""
    store, saved = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete: drop reasons are gathered at the end. See 'curate status'.")
    order = list(saved["identities"])
    lines: list[str] = []
    for row in _rows_of(store, "edited", document):
        share = f"{row['chars_before']:,} -> {row['chars_after']:,} characters"
        lines.append(f"{_location(row)}: edited by {row['stage']!r}: {len(row['edits'])} edits, {share}")
        lines += [
            f"    {edit['rule']} at {edit['start']}..{edit['end']} -> {edit['replacement']!r}" for edit in row["edits"][:20]
        ]
    for row in _rows_of(store, "dropped", document):
        passed = order[: order.index(row["stage"])] if row["stage"] in order else []
        lines.append(f"{_location(row)}: dropped by {row['stage']!r}: {_drop_reason(row)}")
        lines.append(f"    passed before: {', '.join(passed) or 'nothing'}")
        measured = [f"{name} {value:.6g}" for name, value in (row.get("values") or {}).items() if value is not None]
        lines += [f"    measured: {', '.join(measured)}"] if measured else []
        lines += [f"    | {line}" for line in _clip(row["text"]).splitlines()]
    for row in _rows_of(store, "data", document):
        values = ", ".join(f"{name} {value!r}" for name, value in row.items() if name not in ("text", "html"))
        lines.append(f"{_location(row)}: kept. Passed {', '.join(order) or 'no stages'}")
        lines.append(f"    {values}")
        lines += [f"    | {line}" for line in _clip(row.get("text")).splitlines()]
    if not lines:
        raise SpecError(f"no document with id or URL {document!r} in {directory!r}. Ids are in data/ and dropped/.")
    return "\n".join(lines)


def _rows_of(store: Store, kind: str, document: str) -> Iterable[dict[str, Any]]:
    dataset = dataset_of(store, kind)
    columns = [name for name in ("id", "url") if dataset is not None and name in dataset.schema.names]
    if dataset is None or not columns:
        return []
    condition = pc.field(columns[0]) == document
    for name in columns[1:]:
        condition = condition | (pc.field(name) == document)
    rows: list[dict[str, Any]] = dataset.to_table(filter=condition).to_pylist()
    return rows


def _location(row: dict[str, Any]) -> str:
    where = f" ({row['file']} at {row['offset']})" if row.get("file") else ""
    return f"{row.get('id')}{where}"


def _drop_reason(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f", measured {row['value']:.6g}"
    limit = "" if row["limit"] is None else f", limit {row['limit']:.6g}"
    detail = f", {row['detail']}" if row["detail"] else ""
    return f"{row['reason']}{value}{limit}{detail}"


def sample_documents(
    directory: str,
    *,
    stage: str | None = None,
    dropped: bool = False,
    reason: str | None = None,
    num: int = 10,
    seed: int = 0,
    as_json: bool = False,
) -> Iterator[str]:
    """Sample documents by a keyed hash of their ids: kept ones, or those that a stage dropped or edited.

    An unfinished run shows what its steps have dropped so far. Raises SpecError for an unknown stage or reason.
    """
    store, saved = lockfile.opened(directory)
    stages = ["source", *saved["identities"]]
    if stage and stage not in stages:
        raise SpecError(f"no stage {stage!r} in {directory!r}. {known_values(stage, stages)}")
    steps = [] if store.exists(MANIFEST) else list(saved["steps"])
    kinds = ("dropped",) if reason or dropped else ("dropped", "edited") if stage else ("data",)
    for kind in kinds:
        dataset = dataset_of(store, kind, [] if kind == "data" else steps)
        if dataset is None:
            continue
        if reason and reason not in (known := _reasons(store, dataset)):
            raise SpecError(f"no document was dropped for {reason!r}. {known_values(reason, known)}")
        for row in _draw(dataset, kind, stage, reason, num, seed):
            yield json.dumps(row, ensure_ascii=False, default=str) if as_json else _shown(kind, row)


def _reasons(store: Store, dropped: ds.Dataset) -> list[str]:
    """The reasons for which documents were dropped."""
    if store.exists(MANIFEST):
        return sorted({reason for counts in store.read_json(MANIFEST)["stages"].values() for reason in counts["dropped"]})
    return sorted(pc.unique(dropped.to_table(columns=["reason"])["reason"]).to_pylist())


def _draw(dataset: ds.Dataset, kind: str, stage: str | None, reason: str | None, num: int, seed: int) -> list[dict[str, Any]]:
    """The `num` rows with the smallest keyed hash. Rows without a text only fill up what rows with a text leave free."""
    body = {"data": "text", "dropped": "text", "edited": "before"}[kind]
    condition = pc.scalar(True)
    for name, wanted in (("stage", stage), ("reason", reason)):
        if wanted and kind != "data":
            condition = condition & (pc.field(name) == wanted)
    if body not in dataset.schema.names:
        return _smallest(dataset, condition, num, seed)
    found = _smallest(dataset, condition & pc.is_valid(pc.field(body)), num, seed)
    left = num - len(found)
    return found + _smallest(dataset, condition & pc.is_null(pc.field(body)), left, seed) if left else found


def _smallest(dataset: ds.Dataset, condition: pc.Expression, num: int, seed: int) -> list[dict[str, Any]]:
    best: list[tuple[bytes, int, int, dict[str, Any]]] = []
    for number, batch in enumerate(dataset.to_batches(filter=condition)):
        for index, key in enumerate(row_keys(batch, seed.to_bytes(8, "little"))):
            best.append((key, number, index, {}))
        best = sorted(best, key=lambda item: item[:3])[:num]
        best = [(k, n, i, row or batch.slice(i, 1).to_pylist()[0]) if n == number else (k, n, i, row) for k, n, i, row in best]
    return [row for _, _, _, row in best]


def row_keys(batch: pa.RecordBatch, secret: bytes = b"") -> Iterator[bytes]:
    """Hash the id and the offset of every row. The hashes do not depend on where the files of the run are."""
    names = [name for name in ("id", "offset") if name in batch.schema.names] or batch.schema.names[:1]
    for row in batch.select(names).to_pylist():
        yield hashlib.blake2b(str(list(row.values())).encode(), digest_size=8, key=secret).digest()


def _shown(kind: str, row: dict[str, Any]) -> str:
    head = f"=== {row.get('url') or row.get('id')}"
    if kind == "dropped":
        return f"{head}\n--- dropped by {row['stage']}: {_drop_reason(row)}\n{_clip(row['text'])}\n"
    if kind == "edited" and row["before"] is None:
        return f"{head}\n--- edited by {row['stage']}: {len(row['edits'])} edits\n{_clip(None)}\n"
    if kind == "edited":
        diff = difflib.unified_diff(row["before"].splitlines(), row["after"].splitlines(), "before", "after", lineterm="", n=1)
        return "\n".join([f"{head}\n--- edited by {row['stage']}", *diff, ""])
    return f"{head}\n{_clip(row.get('text'))}\n"


def _clip(text: str | None) -> str:
    if text is None:
        return "(no text on record)"
    return text if len(text) <= _PREVIEW_CHARS else f"{text[:_PREVIEW_CHARS]}... ({len(text):,} characters)"
