"""What deciding costs as documents grow: bands to clusters for 10^4 to 10^7 made-up signatures, time and peak memory.

    python tests/bench/cost_curve.py [--largest 7] [--verify-up-to 6]

There is no text: sketches are written as the segment before the barrier writes them, from hashes of document numbers. Three
documents in ten belong to clusters of about six, and each of their bands is the cluster's with probability 0.7 (similarity
0.95 or so); all else is unique. One process decides, one task after the other, so that its peak is that of the largest task;
it starts with what importing takes, which is stated. Up to 10^6 documents, the clusters are held against a plain union.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.source import Shard
from curate.execution.global_stages.execute import counts_of_decision, run_global_stage
from curate.execution.global_stages.partition import Context
from curate.execution.runner import survey
from curate.pipeline.plan import Plan
from curate.pipeline.spec import load
from curate.schema import mix
from curate.stages.dedup.minhash import Minhash
from curate.storage.parquet import TableWriter, schema
from curate.storage.run_dir import SUMMARY, shard_file, shard_manifest
from curate.storage.store import Store
from tests.bench.corpora import many
from tests.bench.near_pairs import components

OUT = Path("out/bench/cost_curve")
SHARD, CLUSTERED, SIZE, SHARED = 100_000, 0.3, 6, 0.7
Keys = npt.NDArray[np.uint64]


def uniform(numbers: Keys, seed: int) -> npt.NDArray[np.float64]:
    return mix(numbers, seed).astype(np.float64) / 2.0**64


def drawn(ordinals: Keys, documents: int, bands: int) -> tuple[Keys, Keys]:
    """The keys of every document's bands, and what its signature is made of."""
    own = mix(ordinals, 1)
    number = mix(ordinals, 2) % np.uint64(max(1, int(documents * CLUSTERED / SIZE)))
    cluster = np.where(uniform(ordinals, 3) < CLUSTERED, mix(number, 4), own)
    keys = np.empty((len(ordinals), bands), np.uint64)
    for band in range(bands):
        theirs = uniform(ordinals ^ own, 100 + band) < SHARED
        keys[:, band] = mix(np.where(theirs, cluster, own), 200 + band)
    return keys, cluster


def write_sketches(plan: Plan, store: Store, documents: int) -> list[Shard]:
    """Write summaries, and what the shard manifests say of them: all that a global stage reads."""
    before = plan.segments[0]
    assert before.summarizes and isinstance(before.summarizes.stage, Minhash)
    stage, shards = before.summarizes.stage, []
    for number, start in enumerate(range(0, documents, SHARD)):
        ordinals = np.arange(start, min(start + SHARD, documents), dtype=np.uint64)
        keys, cluster = drawn(ordinals, documents, stage.buckets)
        values = np.stack([mix(cluster, 300 + k) for k in range(-(-stage.buckets * stage.rows // 8))], axis=1)
        columns = {
            "ordinal": pa.array(ordinals),
            "rank": pa.array(np.ones(len(ordinals), np.uint64)),
            "id": pa.array([f"document-{ordinal:012}" for ordinal in ordinals.tolist()]),
            "keys": as_bytes(keys),
            "signature": as_bytes(values.view(np.uint8)[:, : stage.buckets * stage.rows]),
        }
        shard = Shard(number, f"shard-{number:05}", "", 0, start, start + len(ordinals), 0)
        with TableWriter(store, shard_file(before.name, SUMMARY, shard.name), schema(stage.summary_columns)) as writer:
            for some in pa.table(columns).to_batches(1024):
                writer.write(some)
        manifest = {
            "files": {"sketch": {"rows": len(ordinals), "bytes": writer.record.bytes}},
            "sketch": {"first": start, "weight": 0},
        }
        store.write_json(shard_manifest(before.name, shard.name), manifest)
        shards.append(shard)
    return shards


def as_bytes(rows: npt.NDArray[Any]) -> pa.Array:
    rows = np.ascontiguousarray(rows)
    kind = pa.binary(rows.itemsize * rows.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def opened(folder: Path) -> tuple[Plan, Store]:
    return survey(load(str(folder / "pipeline.yaml")), None)[0], Store(str(folder / "run"))


def shuffle(plan: Plan, store: Store, shards: Sequence[Shard]) -> tuple[dict[str, float], Mapping[str, int]]:
    """THE PART THAT CALLS THE SHUFFLE: seconds per phase, and what the global stage counted. It depends on the
    name of a summary file, on the two entries of a manifest that `write_sketches` makes, and on `run_global_stage` of
    `curate.execution.global_stages.execute`; nothing else here does."""
    took: dict[str, float] = {}
    context = Context(plan, store)

    def run_all(label: str, function: Callable[[Any, Any], Any], items: Sequence[Any], is_done: Callable[[Any], bool]) -> None:
        started = time.perf_counter()
        for item in items:
            function(context, item)
        name = label.split(": ")[-1]
        took[name] = took.get(name, 0.0) + time.perf_counter() - started

    run_global_stage(plan, plan.segments[1], store, shards, run_all)
    return took, counts_of_decision(store, plan.segments[1])


def child(folder: Path, documents: int) -> None:
    """What a fresh process needs to decide, as JSON."""
    plan, store = opened(folder)
    starts = range(0, documents, SHARD)
    shards = [Shard(number, f"shard-{number:05}", "", 0, start, None, 0) for number, start in enumerate(starts)]
    before = peak_mebibytes()
    took, counts = shuffle(plan, store, shards)
    print(json.dumps({"took": took, "counts": dict(counts), "before": before, "peak": peak_mebibytes()}))


def peak_mebibytes() -> float:
    """Of this process alone, on Linux; `getrusage` counts what the parent held when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def plainly(documents: int, bands: int) -> dict[str, int]:
    keys, _ = drawn(np.arange(documents, dtype=np.uint64), documents, bands)
    sizes = np.bincount(components(keys, np.ones(documents, np.bool_)))
    return {"clusters": int((sizes > 1).sum()), "documents in clusters": int(sizes[sizes > 1].sum())}


def measure(largest: int, verify_up_to: int) -> str:
    lines = [
        "deciding of `minhash`, 14 x 8, one process",
        f"  {'documents':>11} {'sketches':>9} {'seconds':>8} {'documents/s':>12} {'peak':>9} {'clusters':>10}   phases, s",
    ]
    for exponent in range(4, largest + 1):
        documents, folder = 10**exponent, OUT / f"1e{exponent}"
        shutil.rmtree(folder, ignore_errors=True)
        many(folder / "source", 1)
        pipeline = "source: {parquet: {paths: 'source/*.parquet'}}\nstages: [{minhash: {buckets: 14, rows: 8}}]\n"
        (folder / "pipeline.yaml").write_text(pipeline)
        write_sketches(*opened(folder), documents)
        size = sum(path.stat().st_size for path in folder.rglob("sketch/*.parquet"))
        command = [sys.executable, __file__, "--child", str(folder), "--documents", str(documents)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        if exponent <= verify_up_to and (plain := plainly(documents, 14)) != {
            name: found["counts"].get(name) for name in plain
        }:
            raise RuntimeError(f"{documents:,} documents: a plain union finds {plain}, the shuffle {found['counts']}")
        total = sum(found["took"].values())
        phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["took"].items())
        lines.append(
            f"  {documents:11,} {size / 1e6:6,.0f} MB {total:8.1f} {documents / total:12,.0f} {found['peak']:5,.0f} MiB "
            f"{found['counts'].get('clusters', 0):10,}   {phases}"
        )
        shutil.rmtree(folder)
    lines.append(f"  of the peak, {found['before']:,.0f} MiB are there before it begins")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=7, help="exponent of ten")
    parser.add_argument("--verify-up-to", type=int, default=6, help="exponent of ten")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.documents)
    else:
        print(measure(args.largest, args.verify_up_to))


if __name__ == "__main__":
    main()
