"""What `pii` finds and how fast: the labelled set, synthetic business documents, real mail; one core.

python -m tests.bench.pii              tables and speed
python -m tests.bench.pii SAMPLES      and of the mail, per kind, SAMPLES matches and SAMPLES look-alikes that stay, in context

A look-alike is what a loose pattern takes for a value: it tells how much stays, and most of what stays is none.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.api.batch import Batch
from curate.schema import EDITS, MAX_BATCH_ROWS, TEXT
from curate.stages.filters.pii import Pii
from tests.bench.corpora import SHARED
from tests.pii import KINDS, scores

MAIL = ("spamassassin_email", "newsgroups20", "pipeline_test_samples")
CRAWL = ("commoncrawl_weborganizer",)
BUSINESS = SHARED.parent / "evals" / "enterprise_pii" / "llm_foundry.jsonl.gz"
LOOSE = {
    "email": re.compile(r"[A-Za-z0-9._+-]+@(?:[A-Za-z0-9_-]+\.)+[A-Za-z]{2,}"),
    "ip": re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"),
    "phone": re.compile(r"(?<![\w.,:/$@-])[+(]{0,2}\d(?:[ ().\u00a0/-]{0,3}\d){6,14}(?![\w@])"),
}
"""Look-alikes."""
Place = tuple[str, int, int]
"""Text, first and last code point of something in it."""


def batches(sources: tuple[str, ...]) -> list[pa.RecordBatch]:
    tables = [pq.read_table(file, columns=[TEXT, "source"]) for file in sorted(SHARED.glob("*.parquet"))]
    texts = [table.filter(pc.is_in(table["source"], pa.array(sources))).select([TEXT]) for table in tables]
    whole = pa.concat_tables(texts).cast(pa.schema([(TEXT, pa.large_string())])).combine_chunks()
    return list(whole.to_batches(MAX_BATCH_ROWS))


def speed(given: list[pa.RecordBatch], rounds: int = 3) -> str:
    """The best of some rounds."""
    kernel = Pii().open()
    kernel(Batch(given[0]))
    size, best = sum(batch.nbytes for batch in given), float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for batch in given:
            kernel(Batch(batch))
        best = min(best, time.perf_counter() - started)
    return f"{size / 1e6:8.1f}{size / 1e6 / best:7.1f}"


def business() -> Iterator[tuple[str, bool]]:
    """Passages of synthetic business documents, each once, and whether they are labelled as sensitive."""
    with gzip.open(BUSINESS, "rt") as lines:
        items = {item["query"]: bool(item["gold"]) for item in map(json.loads, lines)}
    for query in sorted(items):
        yield query.split("'''\n", 1)[-1].split("\n'''", 1)[0], items[query]


def replaced(given: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    """Every text, and the kinds and places of what is replaced in it."""
    kernel = Pii().open()
    for batch in given:
        after = kernel(Batch(batch))
        rows = after[EDITS].to_pylist() if EDITS in after else [None] * len(after)
        for text, edits in zip(batch[TEXT].to_pylist(), rows, strict=True):
            yield text, [(edit["rule"], edit["start"], edit["end"]) for edit in edits or ()]


def places(given: Iterable[pa.RecordBatch]) -> tuple[dict[str, list[Place]], dict[str, list[Place]]]:
    """By kind: what is replaced, and the look-alikes that stay."""
    found, stay = defaultdict[str, list[Place]](list), defaultdict[str, list[Place]](list)
    for text, edits in replaced(given):
        taken = bytearray(len(text))
        for kind, start, end in edits:
            found[kind].append((text, start, end))
            taken[start:end] = b"\1" * (end - start)
        for kind, loose in LOOSE.items():
            stay[kind] += [(text, *m.span()) for m in loose.finditer(text) if not any(taken[m.start() : m.end()])]
    return found, stay


def row(name: str, given: list[pa.RecordBatch], documents: int, fast: str = "") -> str:
    found, stay = places(given)
    counts = "".join(f"{len(found[kind]):12}" for kind in KINDS)
    return f"{name:26}{documents:6}{fast:15}{counts}" + "".join(f"{len(stay[kind]):8}" for kind in LOOSE)


def sampled(given: list[pa.RecordBatch], size: int) -> Iterator[str]:
    for what, by_kind in zip(("replaced", "stays"), places(given), strict=True):
        for kind, some in by_kind.items():
            for text, start, end in random.Random(0).sample(some, min(size, len(some))):
                yield f"{kind} {what}: {text[max(0, start - 40) : start]!r} [{text[start:end]}] {text[end : end + 20]!r}"


def labelled_set() -> Iterator[str]:
    yield f"{'labelled set':13}values near-misses precision recall"
    for kind, score in scores().items():
        yield f"{kind:13}{score.values:6}{score.near_misses:12}{score.precision:10.3f}{score.recall:7.3f}"


def real_text() -> Iterator[str]:
    kinds = "".join(f"{kind:>12}" for kind in KINDS)
    yield f"{'':26} texts      MB   MB/s{kinds}   look-alikes that stay: {', '.join(LOOSE)}"
    passages = list(business())
    for label, name in ((True, "business, sensitive"), (False, "business, other")):
        texts = [text for text, sensitive in passages if sensitive is label]
        yield row(name, [pa.record_batch({TEXT: pa.array(texts, pa.large_string())})], len(texts))
    for sources in (*((name,) for name in MAIL), MAIL, CRAWL):
        given = batches(sources)
        name = sources[0] if len(sources) == 1 else "mail, all three"
        yield row(name, given, sum(map(len, given)), speed(given))


def main() -> None:
    print("\n".join(labelled_set()))
    if SHARED.is_dir():
        print("\n".join(real_text()))
        if len(sys.argv) > 1:
            print("\n".join(sampled(batches(MAIL), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
