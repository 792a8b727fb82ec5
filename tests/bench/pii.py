"""What `pii` finds and how fast: the labelled set, synthetic business documents, real mail; one core.

python -m tests.bench.pii              tables and speed
python -m tests.bench.pii SAMPLES      also SAMPLES random matches per kind of the real mail, with what stands around them
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.schema import EDITS, MAX_BATCH_ROWS, TEXT
from curate.stage import Batch
from curate.stages.pii import Pii
from tests.bench.corpora import SHARED
from tests.pii import KINDS, found_in, scores

MAIL = ("spamassassin_email", "newsgroups20", "pipeline_test_samples")
CRAWL = ("commoncrawl_weborganizer",)
BUSINESS = SHARED.parent / "evals" / "enterprise_pii" / "llm_foundry.jsonl.gz"


def batches(sources: tuple[str, ...]) -> list[pa.RecordBatch]:
    tables = [pq.read_table(file, columns=[TEXT, "source"]) for file in sorted(SHARED.glob("*.parquet"))]
    texts = [table.filter(pc.is_in(table["source"], pa.array(sources))).select([TEXT]) for table in tables]
    whole = pa.concat_tables(texts).cast(pa.schema([(TEXT, pa.large_string())])).combine_chunks()
    return list(whole.to_batches(MAX_BATCH_ROWS))


def speed(given: list[pa.RecordBatch], rounds: int = 3) -> str:
    kernel = Pii().open()
    kernel(Batch(given[0]))
    size, best = sum(batch.nbytes for batch in given), float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        counts = Counter[str]()
        for batch in given:
            after = kernel(Batch(batch))
            counts.update({kind: pc.sum(after[f"pii_{kind}"]).as_py() for kind in KINDS})
        best = min(best, time.perf_counter() - started)
    return f"{size / 1e6 / best:6.1f} MB/s  ({size / 1e6:.1f} MB)  " + "  ".join(f"{kind} {counts[kind]}" for kind in KINDS)


def business() -> Iterator[str]:
    """Passages of synthetic business documents, each once."""
    with gzip.open(BUSINESS, "rt") as lines:
        items = {json.loads(line)["query"] for line in lines}
    for query in sorted(items):
        yield query.split("'''\n", 1)[-1].split("\n'''", 1)[0]


def samples(given: list[pa.RecordBatch], size: int) -> Iterator[str]:
    kernel, found = Pii().open(), defaultdict(list)
    for batch in given:
        after = kernel(Batch(batch))
        edits = after[EDITS].to_pylist() if EDITS in after else []
        for text, row in zip(batch[TEXT].to_pylist(), edits, strict=False):
            for edit in row or ():
                start, end = edit["start"], edit["end"]
                found[edit["rule"]].append(f"{text[max(0, start - 40) : start]!r} [{text[start:end]}] {text[end : end + 20]!r}")
    for kind in KINDS:
        yield from (f"{kind}: {line}" for line in random.Random(0).sample(found[kind], min(size, len(found[kind]))))


def measure() -> str:
    lines = [f"{'kind':12} values near-misses precision recall"]
    for kind, score in scores().items():
        lines.append(f"{kind:12} {score.values:6} {score.near_misses:11} {score.precision:9.3f} {score.recall:6.3f}")
    if SHARED.is_dir():
        passages = list(business())
        counts = Counter(kind for found in found_in(passages) for kind, _ in found)
        lines.append(f"business  {len(passages)} passages: {dict(counts)}")
        lines += [f"{name:9} {speed(batches(sources))}" for name, sources in (("mail", MAIL), ("crawl", CRAWL))]
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure())
    if len(sys.argv) > 1:
        print("\n".join(samples(batches(MAIL + CRAWL), int(sys.argv[1]))))
