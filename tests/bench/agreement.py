"""Does `minhash` find what it should? Recall against theory, precision against exact similarity, clusters against datatrove's.

    python tests/bench/agreement.py [planted] [natural] [peer] [--pairs N]      by default all three; minutes, one core

- planted: real documents and edited copies whose Jaccard similarity to them is known (`planted.py`), N pairs at each of ten
  similarities. The pairs are independent, so the difference to theory has a standard error.
- natural: all pairs of the real texts by exact similarity (`near_pairs.py`). These are not independent: hundreds of documents
  made from one template are found together or missed together, by one draw of the permutations. So the theory is held against
  the mean over many seeds, with the standard error that the seeds show.
- peer: the clusters of family `datatrove-0.10` against those of datatrove's own four steps, over all of the texts.

Everything is written to out/bench/agreement. Exit status 1 where something that must agree exactly does not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import curate
from curate.text.dedup.minhash import MinHash, estimate, signature_bytes
from curate.text.dedup.shingles import DatatroveHash, Shingles
from tests.bench.corpora import text_tables
from tests.bench.near_pairs import (
    Floats,
    Ints,
    Pairs,
    all_pairs,
    band_keys,
    chance,
    compatible_shingles,
    components,
    differing,
    share_a_band,
    shingle_sets,
    similarities,
)
from tests.bench.planted import plant
from tests.parity.run import environment

OUT = Path("out/bench/agreement")
OURS: Mapping[str, Any] = {"ngram": 5, "unit": "words", "buckets": 14, "rows": 8, "seed": 1, "keep": "first"}
COMPATIBLE: Mapping[str, Any] = {"family": "datatrove-0.10", "buckets": 14, "rows": 8, "seed": 1, "keep": "first"}
MIN_JACCARD = 0.8
VERIFIED: Mapping[str, Any] = {**OURS, "verify": True, "min_jaccard": MIN_JACCARD}
HASHER, THEIRS = MinHash(seed=1), MinHash(seed=1, family="datatrove-0.10")
SEEDS = 30
TARGETS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
APART = 0.1
"""Originals of planted pairs have no other document this similar."""
BASES_PER_PAIR = 1.5
"""Some documents are too short to be brought close to their target."""
PIECE, FILES = 4000, 8
SHOWN_FROM, LEAST_PAIRS = 0.3, 300
TEMPLATES = ("github_dmca", "medquad_qa", "wiki_en_stubs", "wiki_zh", "spamassassin_email", "reuters21578", "turku_registers")
LEVELS = np.array([0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
TOO_FAR = 0.5


@dataclass(frozen=True)
class Corpus:
    """Documents as a table of id, text and source, and their shingles as sets."""

    table: pa.Table
    sets: Shingles

    def __len__(self) -> int:
        return len(self.sets)


@dataclass(frozen=True)
class Found:
    """What a run of the stage decided: the documents it dropped, their winners, and how similar it says they are."""

    dropped: Ints
    winners: Ints
    values: Floats
    total: int

    @property
    def labels(self) -> Ints:
        """The winner of every document's cluster."""
        labels = np.arange(self.total, dtype=np.int64)
        labels[self.dropped] = self.winners
        return labels


def real_texts() -> Corpus:
    table = pa.concat_tables([table.select(["id", "text", "source"]) for table in text_tables()]).combine_chunks()
    return Corpus(table, shingle_sets(table["text"]))


def run_stage(name: str, table: pa.Table, options: Mapping[str, Any]) -> Found:
    """Run a pipeline that has only this stage over the documents, from scratch."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    write_files(table, folder / "source")
    pipeline = folder / "pipeline.yaml"
    stages = json.dumps([{"minhash": dict(options)}])
    pipeline.write_text(f"source: {{parquet: {{paths: 'source/*.parquet'}}}}\nstages: {stages}\n")
    curate.run(str(pipeline), out=str(folder / "run"), inline=True)
    files = sorted((folder / "run" / "dropped").glob("*.parquet"))
    columns = ["id", "stage", "reason", "value", "detail"]
    rows = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    if set(rows["stage"].to_pylist()) != {"minhash"} or set(rows["reason"].to_pylist()) != {"near_duplicate"}:
        raise RuntimeError(f"{folder}/run/dropped has verdicts other than near_duplicate by minhash")
    places = table["id"].combine_chunks()
    dropped, winners = (pc.index_in(rows[key].combine_chunks(), places) for key in ("id", "detail"))
    if dropped.null_count or winners.null_count:
        raise RuntimeError(f"{folder}/run/dropped names documents that are not in the source")
    return Found(_as_ints(dropped), _as_ints(winners), rows["value"].to_numpy(), len(table))


def _as_ints(numbers: pa.Array) -> Ints:
    return np.asarray(numbers.to_numpy(), np.int64)


def write_files(table: pa.Table, folder: Path) -> None:
    """The documents in files of about the same number of rows."""
    folder.mkdir(parents=True)
    each = -(-len(table) // FILES)
    for number in range(FILES):
        pq.write_table(table.slice(number * each, each).select(["id", "text"]), folder / f"part-{number:02}.parquet")


def planted(corpus: Corpus, pairs: Pairs, wanted: int) -> Iterator[str]:
    """Recall of independent pairs by similarity."""
    bases = _bases(corpus, pairs)[: int(wanted * len(TARGETS) * BASES_PER_PAIR)]
    originals, copies, targets = _planted_pairs(corpus.table, bases, wanted)
    count = len(originals)
    both = pa.concat_tables([originals, copies])
    sets = shingle_sets(both["text"])
    left = np.arange(count, dtype=np.int64)
    similarity = similarities(sets, left, left + count)
    found, verified = run_stage("planted", both, OURS), run_stage("planted-verified", both, VERIFIED)
    together, kept_apart = found.labels, verified.labels
    recall, theory = together[left] == together[left + count], chance(similarity, HASHER)
    surely, enough = kept_apart[left] == kept_apart[left + count], similarity >= MIN_JACCARD
    sources = len(set(originals["source"].to_pylist()))
    yield f"planted near-duplicates: {count:,} pairs of real documents of {sources} sources, {HASHER.buckets} x {HASHER.rows}"
    yield f"  {'':44} {'':>8}   verify: true"
    heads = f"{'recall':>7} {'theory':>7}"
    yield f"  {'similarity':>10} {'pairs':>7} {heads} {'differ':>8} {'in s.e.':>8}   {heads}"
    squares = 0.0
    for target in TARGETS:
        here = targets == target
        error = np.sqrt((theory[here] * (1 - theory[here])).sum()) / here.sum()
        gap = recall[here].mean() - theory[here].mean()
        squares += (gap / error) ** 2
        yield (
            f"  {similarity[here].mean():10.3f} {here.sum():7,} {recall[here].mean():7.4f} {theory[here].mean():7.4f} "
            f"{gap:+8.4f} {gap / error:+8.1f}   {surely[here].mean():7.4f} {(theory * enough)[here].mean():7.4f}"
        )
    yield f"  squares of the differences in s.e. add up to {squares:.1f}; {len(TARGETS)} is expected, over 25 once in 200"
    signatures = signature_bytes(HASHER(sets))
    yield _ERRORS
    yield _error("all pairs, by their signatures", estimate(signatures[:count], signatures[count:]), similarity)
    mixed = (found.dropped % count != found.winners % count).sum()
    yield f"  dropped for the sake of a document of another pair: {mixed:,}"
    yield _must("dropped by verify below its least similarity", int((surely & ~enough).sum()))


def _bases(corpus: Corpus, pairs: Pairs) -> Ints:
    """Documents of 200 to 2,000 words that resemble no other, in an order that is as good as random."""
    sizes = np.diff(corpus.sets.bounds)
    chosen = (sizes >= 196) & (sizes <= 1996)
    chosen[pairs.left] = chosen[pairs.right] = False
    rows = np.flatnonzero(chosen)
    keys = [hashlib.sha1(name.encode()).digest() for name in corpus.table["id"].take(pa.array(rows)).to_pylist()]
    return rows[sorted(range(len(rows)), key=keys.__getitem__)]


def _planted_pairs(table: pa.Table, bases: Ints, wanted: int) -> tuple[pa.Table, pa.Table, Floats]:
    """Originals, and their edited copies in the same order, as many for every target."""
    originals, texts, targets = [], [], []
    left = dict.fromkeys(TARGETS, wanted)
    for start in range(0, len(bases), PIECE):
        some = table.take(pa.array(bases[start : start + PIECE]))
        ids, goals = some["id"].to_pylist(), [TARGETS[row % len(TARGETS)] for row in range(len(some))]
        edited = plant(ids, some["text"].to_pylist(), some["source"].to_pylist(), goals)
        for row, (name, goal) in enumerate(zip(ids, goals, strict=True)):
            if name in edited and left[goal]:
                left[goal] -= 1
                originals.append(int(bases[start + row]))
                texts.append(edited[name])
                targets.append(goal)
    if any(left.values()):
        raise RuntimeError(f"not enough documents for {wanted:,} pairs at every similarity; missing: {left}")
    first = table.take(pa.array(originals))
    names = pa.array([f"{name}/edited" for name in first["id"].to_pylist()])
    return (
        first,
        first.set_column(0, "id", names).set_column(1, "text", pa.array(texts, table.schema.field("text").type)),
        np.array(targets),
    )


def natural(corpus: Corpus, pairs: Pairs) -> Iterator[str]:
    """Candidates, clusters and drops among real texts."""
    keys, signed = band_keys(HASHER, corpus.sets)
    found, verified = run_stage("natural", corpus.table, OURS), run_stage("natural-verified", corpus.table, VERIFIED)
    near = pairs[pairs.similarity >= SHOWN_FROM]
    yield f"natural near-duplicates: {len(corpus):,} real documents, {len(near):,} pairs from {SHOWN_FROM} on"
    yield from _recall_table(near, corpus.sets, found)
    yield ""
    yield from _source_table(corpus, pairs, near, found, verified)
    yield ""
    yield from _precision_table(corpus.sets, near, found, verified)
    yield ""
    yield from _estimates(corpus.sets, found, verified)
    apart = differing(found.labels, components(keys, signed))
    yield _must("documents in other clusters than those of a plain union over all bands", len(apart))
    below = similarities(corpus.sets, verified.dropped, verified.winners) < MIN_JACCARD
    yield _must("dropped by verify below its least similarity", int(below.sum()))
    close = near[near.similarity >= MIN_JACCARD]
    left = _both_stay(verified, close) & share_a_band(keys, close.left, close.right)
    yield _must("pairs that share a band and are similar enough, both kept by verify", int(left.sum()))


def _recall_table(near: Pairs, sets: Shingles, found: Found) -> Iterator[str]:
    bins = np.floor((near.similarity - SHOWN_FROM) / 0.05 + 1e-9).astype(np.int64)
    counts = np.bincount(bins)
    shares = []
    for seed in range(1, SEEDS + 1):
        keys, _ = band_keys(MinHash(seed=seed), sets)
        shares.append(np.bincount(bins, share_a_band(keys, near.left, near.right)) / counts)
    by_seed, theory = np.array(shares), np.bincount(bins, chance(near.similarity, HASHER)) / counts
    clustered = np.bincount(bins, found.labels[near.left] == found.labels[near.right]) / counts
    yield f"  {'':11} {'':>8} {'share a band':>24} {'mean of':>11} {'':>8} {'in one':>8}"
    heads = f"{'theory':>8} {'seed 1':>7} {'lowest, highest':>16}"
    yield f"  {'similarity':11} {'pairs':>8} {heads} {f'{SEEDS} seeds':>8} {'in s.e.':>8} {'cluster':>8}"
    for number, count in enumerate(counts):
        start = SHOWN_FROM + 0.05 * number
        here = by_seed[:, number]
        error = here.std(ddof=1) / np.sqrt(SEEDS)
        gap = f"{(here.mean() - theory[number]) / error:+8.1f}" if error else f"{'':>8}"
        span = f"{here.min():8.4f} {here.max():7.4f}"
        label = "1.00" if start > 0.99 else f"{start:.2f}..{start + 0.05:.2f}"
        theirs = f"{theory[number]:8.4f} {here[0]:7.4f} {span} {here.mean():8.4f}"
        yield f"  {label:11} {count:8,} {theirs} {gap} {clustered[number]:8.4f}"


def _source_table(corpus: Corpus, pairs: Pairs, near: Pairs, found: Found, verified: Found) -> Iterator[str]:
    """Sources with many similar pairs, the rest together, and pairs across sources."""
    dictionary = corpus.table["source"].combine_chunks().dictionary_encode()
    names, sources = dictionary.dictionary.to_pylist(), dictionary.indices.to_numpy()
    keys, _ = band_keys(HASHER, corpus.sets)
    shared = share_a_band(keys, near.left, near.right)
    close = near.similarity >= MIN_JACCARD
    within = np.where(sources[near.left] == sources[near.right], sources[near.left], len(names))
    far = similarities(corpus.sets, found.dropped, found.winners) < TOO_FAR
    yield (
        f"  {'source':26} {'pairs from 0.3':>14} {'from 0.8':>9} {'share a band':>12} {'dropped':>8} "
        f"{f'under {TOO_FAR}':>9} {'verify: dropped':>15}"
    )
    counts = np.bincount(within, minlength=len(names) + 1)
    for number in np.argsort(-counts, kind="stable"):
        if counts[number] < LEAST_PAIRS:
            continue
        here = within == number
        gone, sure = (sources[some.dropped] == number for some in (found, verified))
        recall = f"{shared[here & close].mean():12.4f}" if (here & close).any() else f"{'':12}"
        name, mine = (
            (names[number], f"{gone.sum():8,} {(gone & far).sum():9,} {sure.sum():15,}")
            if number < len(names)
            else ("(across sources)", "")
        )
        yield f"  {name:26} {counts[number]:14,} {(here & close).sum():9,} {recall} {mine}"
    total = f"{len(found.dropped):8,} {far.sum():9,} {len(verified.dropped):15,}"
    yield f"  {'all':26} {len(near):14,} {close.sum():9,} {shared[close].mean():12.4f} {total}"


def _precision_table(sets: Shingles, near: Pairs, found: Found, verified: Found) -> Iterator[str]:
    yield "  dropped documents by their true similarity to the document that stayed"
    columns = []
    for some in (found, verified):
        columns.append(np.histogram(similarities(sets, some.dropped, some.winners), LEVELS)[0])
    yield f"  {'similarity':11} {'dropped':>8} {'share':>7} {'verify':>8} {'share':>7}"
    for number, (one, two) in enumerate(zip(*columns, strict=True)):
        low, high = LEVELS[number], LEVELS[number + 1]
        label = "1.00" if low == 1 else f"{low:.2f}..{high:.2f}"
        shares = one / max(len(found.dropped), 1), two / max(len(verified.dropped), 1)
        yield f"  {label:11} {one:8,} {shares[0]:7.1%} {two:8,} {shares[1]:7.1%}"
    close = near[near.similarity >= MIN_JACCARD]
    left = [int(_both_stay(some, close).sum()) for some in (found, verified)]
    yield f"  pairs from {MIN_JACCARD} on that are left in the corpus: {left[0]:,} of {len(close):,}, with verify {left[1]:,}"
    sizes = np.bincount(found.labels)
    largest = ", ".join(f"{size:,}" for size in np.sort(sizes)[::-1][:8])
    yield f"  {(sizes > 1).sum():,} clusters of {sizes[sizes > 1].sum():,} documents, the largest: {largest}"


def _both_stay(found: Found, pairs: Pairs) -> npt.NDArray[np.bool_]:
    stays = np.ones(found.total, np.bool_)
    stays[found.dropped] = False
    return stays[pairs.left] & stays[pairs.right]


def _estimates(sets: Shingles, found: Found, verified: Found) -> Iterator[str]:
    """How far the value of a verdict lies from the exact similarity."""
    yield _ERRORS
    yield _error("value of the verdict", found.values, similarities(sets, found.dropped, found.winners))
    yield _error("value of the verdict, verify", verified.values, similarities(sets, verified.dropped, verified.winners))


_ERRORS = f"  {'stated - true similarity':32} {'number':>9} {'mean':>8} {'r.m.s.':>7} {'expected':>9} {'largest':>8}"


def _error(name: str, values: Floats, true: Floats) -> str:
    """`expected`: of the share of values in which two signatures agree."""
    gaps, expected = values - true, np.sqrt((true * (1 - true)).mean() / (HASHER.buckets * HASHER.rows))
    rms, largest = np.sqrt((gaps**2).mean()), np.abs(gaps).max()
    return f"  {name:32} {len(gaps):9,} {gaps.mean():+8.4f} {rms:7.4f} {expected:9.4f} {largest:8.4f}"


def peer(corpus: Corpus) -> Iterator[str]:
    """The same clusters as datatrove: with its own hash over everything, with FineWeb's over what is made from templates."""
    yield from _against_datatrove(corpus.table, "xxhash64")
    yield ""
    yield from _against_datatrove(corpus.table.filter(pc.is_in(corpus.table["source"], pa.array(TEMPLATES))), "sha1")


def _against_datatrove(table: pa.Table, kind: DatatroveHash) -> Iterator[str]:
    if pc.any(pc.equal(table["text"], "")).as_py():
        raise RuntimeError("datatrove's reader leaves out documents without text: its places are not ours then")
    theirs = _datatrove_labels(table, kind.removesuffix("64"))
    found = run_stage(f"compatible-{kind}", table, {**COMPATIBLE, "shingle_hash": kind})
    shingles = compatible_shingles(table["text"], kind)
    plain, short = components(*band_keys(THEIRS, shingles)), int((np.diff(shingles.bounds) == 0).sum())
    yield f"clusters as of datatrove 0.10.1, {kind}: {len(table):,} real documents, {short:,} of them under 5 words"
    yield f"  {'':30} {'clusters':>9} {'documents in them':>18} {'largest':>8} {'dropped':>8}"
    partitions = {"datatrove": theirs, "family datatrove-0.10": found.labels, "a plain union over its bands": plain}
    for name, labels in partitions.items():
        sizes = np.unique(labels, return_counts=True)[1]
        inside = sizes[sizes > 1]
        yield f"  {name:30} {len(inside):9,} {inside.sum():18,} {inside.max():8,} {(inside - 1).sum():8,}"
    yield _must("documents in other clusters than datatrove's", len(differing(found.labels, theirs)))
    yield _must("the same of the plain union", len(differing(plain, theirs)))


def _datatrove_labels(table: pa.Table, kind: str) -> Ints:
    """Any labels of the clusters that datatrove finds. It takes minutes, and what is there is not made again."""
    digest = hashlib.sha1()
    for batch in table.select(["id", "text"]).to_batches():
        digest.update(batch.serialize())
    folder = OUT / f"datatrove-{kind}-{digest.hexdigest()[:12]}"
    done = folder / "seconds.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_files(table, folder / "source")
        script = Path(__file__).parent / "datatrove_minhash.py"
        command = [str(environment()), str(script), str(folder / "source"), str(folder / "run"), "--tasks", str(FILES)]
        command += ["--hash", kind]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        done.write_bytes(result.stdout)
    labels, start = np.arange(len(table), dtype=np.int64), 0
    for number, file in enumerate(sorted((folder / "source").glob("*.parquet"))):
        clusters = folder / "run" / "clusters" / f"{number:06}.clusters"
        if clusters.exists():
            places = np.fromfile(clusters, "<u4").reshape(-1, 2).astype(np.int64)
            labels[start + places[:, 0]] = len(table) + places[:, 1]
        start += pq.read_metadata(file).num_rows
    return labels


wrong: list[str] = []


def _must(what: str, number: int) -> str:
    """A line about something that must not be."""
    if number:
        wrong.append(what)
    return f"  {what}: {number:,}{' (must be 0)' if number else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["planted", "natural", "peer"])
    parser.add_argument("--pairs", type=int, default=2000)
    args = parser.parse_args()
    corpus = real_texts()
    parts: dict[str, Iterator[str]] = {}
    pairs = all_pairs(corpus.sets, APART) if {"planted", "natural"} & set(args.what) else None
    if pairs is not None:
        parts = {"planted": planted(corpus, pairs, args.pairs), "natural": natural(corpus, pairs)}
    parts["peer"] = peer(corpus)
    for name in args.what:
        for line in parts[name]:
            print(line, flush=True)
        print()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
