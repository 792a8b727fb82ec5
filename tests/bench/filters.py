"""`make bench-filters`: the heuristic filters on one core, against datatrove on the same documents in the same run.

- warm: every chunk of the text is in the table already. Median of the rounds; ours and datatrove take turns.
- unseen: a fresh process with an empty table reads other text once. Compiled code comes from the disk cache; loading it and
  spaCy is start-up and stated apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.api.batch import Batch, Kernel
from curate.config.options import build
from curate.config.registry import load_class
from curate.schema import MAX_BATCH_ROWS, TEXT
from curate.stages import STAGES
from curate.text.words.types import Words, WordUnit
from tests.bench.corpora import text_tables

PROFILE = {"profile": "datatrove-0.10"}
CHAIN: Mapping[str, Mapping[str, Any]] = {
    "gopher_repetition": PROFILE,
    "gopher_quality": PROFILE,
    "c4_quality": {**PROFILE, "terminal_punctuation": False},
    "fineweb_quality": PROFILE,
}
SIZE_BOTH, SIZE_OURS = 2_000_000, 60_000_000
"""Bytes of text that both sides read, and that ours alone reads."""
Given = list[pa.RecordBatch]


def batches(size: int, skip: float = 0.0) -> Given:
    """Documents of every file in its order, from a share `skip` of it on; as many bytes of each as add up to `size`."""
    tables = [table.select([TEXT]).cast(pa.schema([(TEXT, pa.large_string())])) for table in text_tables()]
    found: Given = []
    for table in tables:
        start = int(len(table) * skip)
        sizes = np.cumsum(np.asarray(pa.compute.binary_length(table[TEXT])))
        before = sizes[start - 1] if start else 0
        stop = int(np.searchsorted(sizes, before + size / len(tables))) + 1
        found += table.slice(start, stop - start).combine_chunks().to_batches(MAX_BATCH_ROWS)
    return found


def kernels(names: Mapping[str, Mapping[str, Any]]) -> list[Kernel]:
    return [build(load_class(name, STAGES, "stage"), options).open() for name, options in names.items()]


def through(chain: list[Kernel], records: pa.RecordBatch) -> None:
    """As a run does: what a stage drops the next does not see."""
    batch = Batch(records)
    for kernel in chain:
        batch = kernel(batch)
        batch = batch.filter(~batch.dropped).select([TEXT])


def seconds(work: Callable[[pa.RecordBatch], object], given: Given) -> float:
    started = time.perf_counter()
    for records in given:
        work(records)
    return time.perf_counter() - started


def size_of(given: Given) -> int:
    return int(sum(pa.compute.sum(pa.compute.binary_length(records[TEXT])).as_py() or 0 for records in given))


def against_datatrove(python: Path, rounds: int) -> Iterator[str]:
    given = pa.Table.from_batches(batches(SIZE_BOTH)).combine_chunks().to_batches(MAX_BATCH_ROWS)
    size, documents = size_of(given), sum(len(records) for records in given)
    chains = {name: kernels({name: options}) for name, options in CHAIN.items()} | {"chain": kernels(CHAIN)}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in chains}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        pq.write_table(pa.Table.from_batches(given), source)
        script = Path(__file__).parent / "datatrove_speed.py"
        for chain in chains.values():
            seconds(partial(through, chain), given)
        for _ in range(rounds):
            done = subprocess.run([python, script, source], check=True, capture_output=True)
            theirs = json.loads(done.stdout.splitlines()[-1])
            for name, chain in chains.items():
                times[name][0].append(seconds(partial(through, chain), given))
                times[name][1].append(theirs[name])
    yield f"warm, {documents:,} documents, {size / 1e6:.1f} MB, median of {rounds}"
    yield f"  {'':18} {'MB/s':>8} {'docs/s':>9}   {'datatrove MB/s':>14} {'docs/s':>7}   {'ratio':>6}"
    for name, (ours, theirs) in times.items():
        mine, other = statistics.median(ours), statistics.median(theirs)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        ours_shown = f"{size / 1e6 / mine:8.1f} {documents / mine:9,.0f}"
        yield f"  {name:18} {ours_shown}   {size / 1e6 / other:14.3f} {documents / other:7.1f}   {ratio:6.0f}"


def alone(rounds: int) -> Iterator[str]:
    """Ours on more text than fits any cache."""
    given = batches(SIZE_OURS)
    size, documents = size_of(given), sum(len(records) for records in given)
    yield f"warm, {documents:,} documents, {size / 1e6:.1f} MB, median of {rounds}"
    works: dict[str, Callable[[pa.RecordBatch], object]] = {"every byte added up": _sum_of_bytes}
    for unit in get_args(WordUnit):
        works[f"words: {unit}"] = partial(_words, unit)
    for name, options in CHAIN.items():
        works[name] = partial(through, kernels({name: options}))
    works["chain"] = partial(through, kernels(CHAIN))
    ours = {name: {key: value for key, value in options.items() if key != "profile"} for name, options in CHAIN.items()}
    works["chain, profile ours"] = partial(through, kernels(ours))
    for name, work in works.items():
        seconds(work, given)
        median = statistics.median(seconds(work, given) for _ in range(rounds))
        yield f"  {name:22} {size / 1e6 / median:8.1f} MB/s {documents / median:10,.0f} documents/s"


def _words(unit: WordUnit, records: pa.RecordBatch) -> Words:
    return Batch(records).words(unit)


def _sum_of_bytes(records: pa.RecordBatch) -> int:
    return int(np.frombuffer(records[TEXT].buffers()[2], np.uint8).sum(dtype=np.int64))


UNSEEN = """
import sys, time
started = time.perf_counter()
from tests.bench import filters
from tests.bench.filters import *
given = filters.batches(filters.SIZE_OURS)
warm = pa.record_batch({TEXT: pa.array(["One. Two, three and four."], pa.large_string())})
loaded = time.perf_counter()
chain = kernels(CHAIN)
through(chain, warm)
ready = time.perf_counter()
took = filters.seconds(lambda records: through(chain, records), given)
from curate.text import spacy_words
cutter = spacy_words._cutter()
print(filters.size_of(given) / 1e6 / took, ready - loaded, cutter.asked, cutter.matched, cutter.met)
"""


def unseen(rounds: int) -> Iterator[str]:
    rows = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", UNSEEN], check=True, capture_output=True)
        rows.append(tuple(map(float, done.stdout.split())))
    speed, start, asked, matched, met = (statistics.median(column) for column in zip(*rows, strict=True))
    yield f"unseen, chain, {SIZE_OURS / 1e6:.0f} MB read once by a fresh process, median of {rounds}"
    yield f"  {speed:.1f} MB/s after {start:.1f} s of start-up (spaCy, tables, compiled code from disk)"
    yield f"  {met:,.0f} chunks were new, plain words aside; {asked:,.0f} of them ({asked / met:.1%}) went to spaCy,"
    yield f"  and {matched:,.0f} ({matched / met:.1%}) were held against its pattern for URLs"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        done = subprocess.run([sys.executable, "-c", UNSEEN], env=environment, check=True, capture_output=True)
        yield f"  with an empty cache of compiled code the start-up is {float(done.stdout.split()[1]):.0f} s, once per machine"


def measure(rounds: int = 5) -> str:
    python = Path("out/parity/venv/bin/python")
    lines = (
        list(against_datatrove(python, rounds)) if python.exists() else ["datatrove is not installed: run make parity first"]
    )
    return "\n".join([*lines, "", *alone(rounds), "", *unseen(3)])


if __name__ == "__main__":
    print(measure())
