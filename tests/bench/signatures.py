"""`python tests/bench/signatures.py`: text to band keys on one core, ours, in datatrove's way, and datatrove itself.

The same real documents in turn, warm, median of five. datatrove is that of `make parity`, which needs the packages `xxhash` and
`tokenizers` beside it here.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow as pa
import pyarrow.parquet as pq

from curate.schema import MAX_BATCH_ROWS, TEXT
from curate.text.dedup.minhash import MinHash
from curate.text.dedup.normalize import simplify
from curate.text.dedup.shingles import datatrove_shingles, word_shingles
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from tests.bench.filters import batches, seconds, size_of

SIZE_BOTH, SIZE_OURS, ROUNDS = 2_000_000, 20_000_000, 5
OURS, THEIRS = MinHash(), MinHash(family="datatrove-0.10")
DATATROVE = """
import sys, tempfile, time
import pyarrow.parquet as pq
from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
texts = pq.read_table(sys.argv[1])["text"].to_pylist()
step = MinhashDedupSignature(tempfile.mkdtemp())
def work(texts):
    for text in texts:
        shingles = step.get_shingles(text)
        if shingles.size:
            step.get_signature(shingles)
work(texts[:20])
started = time.perf_counter()
work(texts)
print(time.perf_counter() - started)
"""


def ours(records: pa.RecordBatch) -> None:
    OURS.band_keys(OURS(word_shingles(cut_words(text_buffers(records[TEXT]), "uax29"))))


def compatible(records: pa.RecordBatch) -> None:
    words = cut_words(text_buffers(simplify(records[TEXT])), "spacy")
    THEIRS.band_keys(THEIRS(datatrove_shingles(words)))


def fineweb(records: pa.RecordBatch) -> None:
    words = cut_words(text_buffers(simplify(records[TEXT])), "spacy")
    THEIRS.band_keys(THEIRS(datatrove_shingles(words, kind="sha1")))


WORKS: dict[str, Callable[[pa.RecordBatch], object]] = {
    "ours": ours,
    "datatrove-0.10": compatible,
    "datatrove-0.10, sha1": fineweb,
    "simplify alone": lambda records: simplify(records[TEXT]),
}


def measure() -> str:
    lines = []
    for size in (SIZE_BOTH, SIZE_OURS):
        given = pa.Table.from_batches(batches(size)).combine_chunks().to_batches(MAX_BATCH_ROWS)
        megabytes, documents = size_of(given) / 1e6, sum(map(len, given))
        times: dict[str, list[float]] = {name: [] for name in WORKS}
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "texts.parquet"
            pq.write_table(pa.Table.from_batches(given), source)
            for work in WORKS.values():
                seconds(work, given)
            for _ in range(ROUNDS):
                for name, work in WORKS.items():
                    times[name].append(seconds(work, given))
                if size == SIZE_BOTH:
                    command = ["out/parity/venv/bin/python", "-c", DATATROVE, str(source)]
                    done = subprocess.run(command, check=True, capture_output=True)
                    times.setdefault("datatrove itself", []).append(float(done.stdout.split()[-1]))
        lines.append(f"{documents:,} documents, {megabytes:.1f} MB, median of {ROUNDS}")
        for name, taken in times.items():
            median = statistics.median(taken)
            ratio = ""
            if size == SIZE_BOTH:
                peer = times["datatrove itself"]
                ratio = f"{statistics.median(b / a for a, b in zip(taken, peer, strict=True)):7.0f} times"
            lines.append(f"  {name:22} {megabytes / median:8.2f} MB/s {documents / median:9,.0f} documents/s {ratio}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure())
