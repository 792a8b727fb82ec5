"""Speed of the text kernels in two checkouts of this repository, in pairs: `python -m tests.bench.kernels OLD NEW`.

One process per checkout stays alive, and the two take turns on the same texts, so that a machine that slows down slows both.
Figures are medians of the CPU time of a process, and medians of the ratios of the pairs. The outputs are compared too. The
real data is not in the repository; without it the texts are made up (`tests/bench/corpora.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SIZE, PAIRS, SHORTEST = 10_000_000, 11, 0.1
"""Bytes of text; pairs per kernel; seconds a measurement lasts at least."""
BATCH_ROWS = 1024
Case = Callable[[], object]


def texts(size: int) -> pa.Array:
    """The first documents of every file, `size` bytes together."""
    from tests.bench.corpora import text_tables

    columns = [table["text"].cast(pa.large_string()) for table in text_tables()]
    share = min(1.0, size / sum(column.nbytes for column in columns))
    return pa.concat_arrays([chunk for column in columns for chunk in column.slice(0, int(len(column) * share)).chunks])


def save(column: pa.Array, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("text", pa.large_string())])) as writer:
        writer.write(pa.record_batch({"text": column}))


def load(path: Path) -> pa.Array:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).get_batch(0)["text"]


def cases(column: pa.Array) -> Iterator[tuple[str, Case]]:
    """Every kernel by name, as a call without arguments."""
    from curate.text.unicode.buffers import text_buffers
    from curate.text.words.cut import cut_words

    batches = [text_buffers(column.slice(row, BATCH_ROWS)) for row in range(0, len(column), BATCH_ROWS)]
    for unit in ("whitespace", "uax29", "spacy"):
        yield f"words: {unit}", _each(lambda batch, unit=unit: cut_words(batch, unit), batches)
    yield from _line_rules(batches, [cut_words(batch, "spacy") for batch in batches])
    yield from _word_rules(batches, [cut_words(batch, "whitespace") for batch in batches])
    yield from _edits(column)


def _each(kernel: Callable[..., object], *batches: Sequence[Any]) -> Case:
    return lambda: [kernel(*given) for given in zip(*batches, strict=True)]


def _line_rules(batches: Sequence[Any], tokens: Sequence[Any]) -> Iterator[tuple[str, Case]]:
    from curate.stages.filters.c4_quality import C4Quality
    from curate.text.rules.c4 import c4_cleaner, count_paragraphs
    from curate.text.rules.char_shares import count_shares
    from curate.text.rules.dclm import page_counts
    from curate.text.rules.fineweb import LineRules, line_counter
    from curate.text.rules.pii_candidates import place_finder
    from curate.text.rules.refinedweb import count_words, notable_finder
    from curate.text.rules.repeated_lines import repeating
    from curate.text.rules.repetition_lines import RepeatCounter
    from curate.text.words.cut import cut_words
    from curate.text.words.phrase_search import word_search
    from curate.text.words.punctuation import TERMINAL_PUNCTUATION

    for profile in C4Quality.profiles:
        stage: Any = C4Quality(profile=profile)  # type: ignore[arg-type]
        clean = c4_cleaner(stage.cleaner, lambda texts: cut_words(texts, "spacy"))
        yield f"C4 lines: {profile}", _each(clean, batches, tokens)
    yield "C4 paragraphs", _each(lambda batch: count_paragraphs(batch, 200), batches)
    yield "FineWeb lines: as they stand", _each(line_counter(LineRules(TERMINAL_PUNCTUATION, 30)), batches)
    stripped = LineRules(TERMINAL_PUNCTUATION, 30, splitlines=True, strip=True, passed="\"')]”» ")
    yield "FineWeb lines: stripped", _each(line_counter(stripped), batches)
    find = notable_finder(
        max_newlines=2, max_upper_frac=0.5, max_digit_frac=0.5, counters=True, min_words=2, phrases=("sign in", "read more"),
        max_phrase_words=10,
    )  # fmt: skip
    yield "RefinedWeb lines", _each(find, batches)
    yield "RefinedWeb words", _each(count_words, batches)
    yield "DCLM page", _each(page_counts, batches)
    yield "character shares", _each(count_shares, batches)
    yield "repeated lines", _each(lambda batch: repeating(batch, ignore_case=True, min_chars=10), batches)
    for cutting in ("runs", "blank_lines"):
        yield f"repetition of lines: {cutting}", _each(RepeatCounter(cutting), batches)
    yield "PII candidates", _each(place_finder(), batches)
    for flanked in (True, False):
        search = word_search(("a phrase of no text", "zzyzx", "naïve & co"), flanked)
        yield f"phrase search: {'flanked' if flanked else 'anywhere'}", _each(search, batches)


def _word_rules(batches: Sequence[Any], words: Sequence[Any]) -> Iterator[tuple[str, Case]]:
    from curate.text.rules.gopher import LineRules, count_blank_words, gopher_counter, sign_counter, word_counter
    from curate.text.rules.repetition_ngrams import Counting, NgramCounter
    from curate.text.rules.unigrams import read_unigrams, unigram_scorer
    from curate.text.words.types import ALPHA

    stop_words = ("the", "be", "to", "of", "and", "that", "have", "with")
    yield "Gopher", _each(gopher_counter("•‣⁃*-", stop_words), batches)
    yield "Gopher words", _each(word_counter(stop_words, ALPHA, trim=False), words)
    yield "Gopher exact words", _each(word_counter(stop_words, ALPHA, any_case=False, trim=False), words)
    yield "Gopher signs", _each(sign_counter(LineRules("•-", splitlines=True)), batches)
    yield "Gopher signs, spaced dots", _each(sign_counter(LineRules("*-", splitlines=False, spaced_dots=True)), batches)
    yield "fastText words", _each(count_blank_words, batches)
    for repeated in ("jump", "union", "share"):
        counting = Counting(blanks=repeated == "jump", ties="first", once=True, repeated=repeated)
        yield f"repetition of n-grams: {repeated}", _each(NgramCounter(counting), words)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "counts.csv"
        table.write_text("".join(f"{word},{number}\n" for number, word in enumerate((*stop_words, "straße", "été"), 1)))
        yield "unigrams", _each(unigram_scorer(read_unigrams(str(table), lowercase=True), -20.0, 0), words)


def _edits(column: pa.Array) -> Iterator[tuple[str, Case]]:
    from curate.api.batch import Batch
    from curate.stages.filters.c4_quality import C4Quality
    from curate.text.dedup.normalize import simplify

    kernel, batch = C4Quality().open(), pa.record_batch({"text": column})

    def edited() -> list[pa.Array]:
        result = kernel(Batch(batch))
        return [result[name] for name in result.names]

    yield "C4 stage", edited
    yield "simplified text", lambda: simplify(column)


def digest(value: object) -> str:
    """The same for equal outputs: arrays, Arrow columns, dataclasses and lists of them."""
    found = hashlib.sha256()

    def add(part: object) -> None:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, pa.Array):
            plain = part.view(pa.large_binary()) if pa.types.is_large_string(part.type) else part
            found.update(repr(plain.to_pylist()).encode())
        elif is_dataclass(part):
            for field in fields(part):
                add(getattr(part, field.name))
        elif isinstance(part, list | tuple):
            for inner in part:
                add(inner)
        else:
            found.update(repr(part).encode())

    add(value)
    return found.hexdigest()[:16]


def answer(column: pa.Array) -> None:
    """One process: takes names of kernels from stdin, and says what a kernel puts out, and from then on how long it took."""
    todo = dict(cases(column))
    rounds = {}
    print(*todo, sep="\t", flush=True)
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in rounds:
            print(digest(todo[name]()), flush=True)
            started = time.process_time()
            todo[name]()
            rounds[name] = 1 + int(SHORTEST / max(time.process_time() - started, 1e-4))
            continue
        started = time.process_time()
        for _ in range(rounds[name]):
            todo[name]()
        print((time.process_time() - started) / rounds[name], flush=True)


class Worker:
    """A process that measures the kernels of one checkout."""

    def __init__(self, checkout: Path, column: Path) -> None:
        here = Path(__file__).resolve()
        # The code under test is the checkout's; the measurements are this file's.
        start = f"import runpy; runpy.run_path({str(here)!r}, run_name='__main__')"
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
        command = [sys.executable, "-P", "-c", start, "--worker", str(column)]
        self._process = subprocess.Popen(
            command, env=environment, cwd=checkout, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a measuring process has ended early; its error stands above")
        return line.rstrip("\n")

    def ask(self, name: str) -> str:
        assert self._process.stdin
        print(name, file=self._process.stdin, flush=True)
        return self.read()


def measure(old: Path, new: Path, column: Path, pairs: int, wanted: str) -> str:
    """A table in Markdown: CPU time before and after, their ratio, and whether the outputs are the same."""
    workers = [Worker(checkout, column) for checkout in (old, new)]
    names = [worker.read() for worker in workers][1].split("\t")
    table = ["| kernel | before, ms | after, ms | after / before | outputs |", "|---|---|---|---|---|"]
    for name in names:
        if wanted not in name:
            continue
        same = len({worker.ask(name) for worker in workers}) == 1
        seconds: list[list[float]] = []
        for pair in range(pairs):
            turn = (0, 1) if pair % 2 else (1, 0)
            taken = {side: float(workers[side].ask(name)) for side in turn}
            seconds.append([taken[0], taken[1]])
        before, after = (statistics.median(column) for column in zip(*seconds, strict=True))
        ratio = statistics.median(two / one for one, two in seconds)
        row = f"| {name} | {1e3 * before:.1f} | {1e3 * after:.1f} | {ratio:.2f} | {'same' if same else 'DIFFERENT'} |"
        print(row, file=sys.stderr, flush=True)
        table.append(row)
    return "\n".join(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("checkouts", type=Path, nargs="*", help="the old one and the new one")
    parser.add_argument("--size", type=int, default=SIZE, help="bytes of text")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--only", default="", help="kernels whose name has this in it")
    given = parser.parse_args()
    if given.worker:
        answer(load(given.worker))
        return
    old, new = given.checkouts
    with tempfile.TemporaryDirectory() as folder:
        column = Path(folder) / "texts.arrow"
        save(texts(given.size), column)
        print(measure(old, new, column, given.pairs, given.only))


if __name__ == "__main__":
    main()
