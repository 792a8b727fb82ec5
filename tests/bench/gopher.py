"""What the compiled kernel of `gopher_quality` is worth: one core, against the same definitions in plain Python."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from curate.api.batch import Batch
from curate.schema import MAX_BATCH_ROWS, TEXT
from curate.stages.filters.gopher_quality import GopherQuality
from tests.bench.corpora import text_tables
from tests.text.test_gopher import plain_counts

SIZE = 100_000_000
START = """
import time
started = time.perf_counter()
import pyarrow as pa
from curate.stage import Batch
from curate.stages.gopher_quality import GopherQuality
stage = GopherQuality()
loaded = time.perf_counter()
kernel = stage.open()
opened = time.perf_counter()
kernel(Batch(pa.record_batch({"text": pa.array(["one"], pa.large_string())})))
print(loaded - started, opened - loaded, time.perf_counter() - opened)
"""


def batches() -> Iterator[pa.RecordBatch]:
    """The first documents of every file, some 100 MB together."""
    tables = [table.select([TEXT]).cast(pa.schema([(TEXT, pa.large_string())])) for table in text_tables()]
    share = min(1.0, SIZE / sum(table.nbytes for table in tables))
    for table in tables:
        yield from table.slice(0, int(len(table) * share)).combine_chunks().to_batches(MAX_BATCH_ROWS)


def speed(work: Callable[[pa.RecordBatch], object], given: list[pa.RecordBatch], rounds: int) -> str:
    size, documents = sum(batch.nbytes for batch in given), sum(batch.num_rows for batch in given)
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        for batch in given:
            work(batch)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return f"{size / 1e6 / median:7.1f} MB/s  {documents / median:9,.0f} documents/s  ({size / 1e6:.0f} MB, {rounds} rounds)"


def cold_start() -> Iterator[str]:
    """A fresh process with an empty and then with a filled cache of compiled code."""
    with tempfile.TemporaryDirectory() as cache:
        for label in ("empty", "filled"):
            command = [sys.executable, "-c", START]
            done = subprocess.run(command, env={**os.environ, "NUMBA_CACHE_DIR": cache}, check=True, capture_output=True)
            imported, opened, first = map(float, done.stdout.split())
            yield f"  start, {label} cache: import {imported:.2f} s, open {opened:.2f} s, first batch {first:.2f} s"


def measure(rounds: int = 5) -> str:
    given = list(batches())
    kernel = GopherQuality().open()
    kernel(Batch(given[0]))
    compiled = speed(lambda batch: kernel(Batch(batch)), given, rounds)
    plain = speed(lambda batch: [plain_counts(text) for text in batch[TEXT].to_pylist()], given[::10], 1)
    return "\n".join(["gopher_quality, one core", f"  stage         {compiled}", f"  plain Python  {plain}", *cold_start()])


if __name__ == "__main__":
    print(measure())
