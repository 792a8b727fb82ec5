"""What `decontaminate` costs, and what it finds of real evaluation sets in real text.

python tests/bench/decontaminate.py                   time to open, size of the index, MB/s on one core, hits per benchmark
python tests/bench/decontaminate.py --method ratio
python tests/bench/decontaminate.py --show 3          and the words that were found, in up to 3 documents of each benchmark
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa

from curate.api.batch import Batch
from curate.schema import MAX_BATCH_ROWS, TEXT
from curate.stages.dedup.decontaminate import Decontaminate
from curate.text.dedup.eval_texts import Passages, read_passages
from curate.text.dedup.ngram_overlap import NgramIndex
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.types import Words
from tests.bench.corpora import SHARED, text_tables

EVALS = SHARED.parent / "evals"


def batches() -> Iterator[tuple[pa.Array, pa.Array]]:
    """Ids and texts, as many as a batch has."""
    for table in text_tables():
        for records in table.select(["id", TEXT]).combine_chunks().to_batches(MAX_BATCH_ROWS):
            yield records["id"], records[TEXT].cast(pa.large_string())


def opening(stage: Decontaminate) -> tuple[Passages, NgramIndex]:
    begin = time.perf_counter()
    passages = read_passages(stage.against, stage.fields)
    read = time.perf_counter()
    index = stage.index(passages)
    print(f"opened in {time.perf_counter() - begin:.1f} s ({read - begin:.1f} s of it to read and parse)")
    usable = index.sizes > 0
    items = len(set(zip(passages.files.tolist(), passages.items.tolist(), strict=True)))
    covered = len(set(zip(passages.files[usable].tolist(), passages.items[usable].tolist(), strict=True)))
    print(f"{len(passages.benchmarks)} files, {items:,} items, {covered:,} of them with a passage that is long enough")
    print(f"{len(usable):,} passages, {(~usable).sum():,} of them too short ({passages.texts.nbytes / 2**20:.0f} MiB of text)")
    print(f"index: {len(index.keys):,} n-grams with their passages, {index.num_bytes / 2**20:.0f} MiB")
    return passages, index


def speed(stage: Decontaminate) -> None:
    kernel = stage.open()
    texts = [texts for _, texts in batches()]
    size = sum(array.nbytes for array in texts) / 1e6
    records = [pa.record_batch({TEXT: array}) for array in texts]
    kernel(Batch(records[0]))
    words_s = stage_s = 0.0
    for record in records:
        batch = Batch(record)
        begin = time.perf_counter()
        batch.words("uax29")
        cut = time.perf_counter()
        kernel(batch)
        words_s += cut - begin
        stage_s += time.perf_counter() - cut
    print(
        f"{size:.0f} MB of text: {size / stage_s:.0f} MB/s where the words are cut, {size / (stage_s + words_s):.0f} with that"
    )


def hits(stage: Decontaminate, passages: Passages, index: NgramIndex, show: int) -> None:
    """Items hit and documents that hit them, by benchmark, and what was found."""
    items: dict[int, set[int]] = defaultdict(set)
    documents: dict[int, set[str]] = defaultdict(set)
    shown: dict[int, list[str]] = defaultdict(list)
    for ids, texts in batches():
        words = cut_words(text_buffers(texts), "uax29")
        found = index.overlaps(words, stage.min_overlap if stage.method == "ratio" else 0.0)
        for row, passage, share in zip(found.rows.tolist(), found.passages.tolist(), found.shares.tolist(), strict=True):
            file, name = int(passages.files[passage]), ids[row].as_py()
            items[file].add(int(passages.items[passage]))
            if name not in documents[file] and len(shown[file]) < show:
                mine = (found.hits.rows == row) & [has(index, passage, gram) for gram in found.hits.grams.tolist()]
                quote = spelled(words, int(found.hits.starts[mine].min()), int(found.hits.ends[mine].max()))
                shown[file].append(f"      {share:4.0%} {name} in {passages.place(passage)}: {quote}")
            documents[file].add(name)
    whole = {name for names in documents.values() for name in names}
    print(f"{len(whole)} documents hit {sum(map(len, items.values()))} items; by file: items hit, documents that hit them")
    for file in sorted(documents, key=lambda file: (-len(documents[file]), file)):
        print(f"  {passages.benchmarks[file]:60}{len(items[file]):>7}{len(documents[file]):>7}")
        print("\n".join(shown[file]), end="\n" if shown[file] else "")


def has(index: NgramIndex, passage: int, gram: int) -> bool:
    """Whether a passage has an n-gram of the index."""
    return passage in index.owners[gram : np.searchsorted(index.keys, index.keys[gram], "right")]


def spelled(words: Words, first: int, last: int) -> str:
    some = range(first, min(last + 1, first + 40))
    return " ".join(bytes(words.stream[words.starts[w] : words.starts[w + 1]]).decode() for w in some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=["n_gram", "ratio"], default="n_gram")
    parser.add_argument("--show", type=int, default=0, metavar="N")
    args = parser.parse_args()
    method: Literal["n_gram", "ratio"] = args.method
    stage = Decontaminate(against=(str(EVALS),), method=method)
    passages, index = opening(stage)
    speed(stage)
    hits(stage, passages, index, args.show)


if __name__ == "__main__":
    main()
