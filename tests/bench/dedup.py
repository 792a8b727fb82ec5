"""Deduplication from Parquet to Parquet: `minhash` by two Ray workers against datatrove's four steps by two.

    python tests/bench/dedup.py [--copies 5] [--peer-mb 50] [--rounds 3]

The input is the real text five times over, over 1 GB. Copies are edited, so that they are documents of their own: in nine of
ten about a third of the words is replaced, which leaves nothing to find (similarity 0.06), in every tenth one word in fifty,
which leaves near-duplicates (0.8). datatrove gets one document in so many of every file, --peer-mb of text in all, and its
time for the whole is scaled by bytes. Ours runs on both. Start-up (imports, Ray, spaCy) is that of the same run over 80
documents and is taken off; it is stated apart. Memory is the largest resident set of any process, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.corpora import text_tables
from tests.parity.run import environment

OUT = Path("out/bench/dedup")
WORKERS, PEER_FILES, TINY_ROWS = 2, 4, 20
REPLACED, REPLACED_IN_NEAR, NEAR = 0.35, 0.02, 0.1
"""Shares of words replaced, in most copies and in near-duplicates; share of near-duplicates."""
POOL = 100_000
LEAST_S = 3.0
"""A speed is stated where a run takes so much longer than its start-up, which varies by a second."""
CURATE = [str(Path(sys.executable).with_name("curate")), "run"]
SHAPE: Mapping[str, Any] = {"buckets": 14, "rows": 8, "seed": 1, "keep": "first"}
PIPELINES: Mapping[str, Mapping[str, Any]] = {
    "minhash": SHAPE,
    "minhash, verify": {**SHAPE, "verify": True, "min_jaccard": 0.8},
    "minhash, datatrove-0.10": {**SHAPE, "family": "datatrove-0.10"},
}


@dataclass(frozen=True)
class Input:
    """A folder of Parquet files with columns id and text."""

    folder: Path
    documents: int
    bytes: int


@dataclass
class Took:
    """What runs over one input took."""

    seconds: list[float]
    mebibytes: list[float]
    dropped: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def edited_copies(copies: int) -> Input:
    """All text, and copies of it that differ; written once."""
    folder = OUT / f"copies-{copies}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, table in enumerate(text_tables()):
            for copy in range(copies):
                draw = np.random.default_rng([number, copy])
                ids = [f"{name}/{copy}" for name in table["id"].to_pylist()]
                texts = table["text"].to_pylist()
                edited = _edited(texts, draw) if copy else texts
                written = pa.table({"id": ids, "text": pa.array(edited, pa.large_string())})
                pq.write_table(written, folder / f"part-{copy}-{number}.parquet", compression="zstd", row_group_size=10_000)
        (folder / "done").touch()
    return _measured(folder)


def _edited(texts: list[str], draw: np.random.Generator) -> list[str]:
    """Every text with words replaced by words of other texts; characters, where blanks are rare."""
    words = " ".join(texts[row] for row in draw.integers(len(texts), size=2000)).split()
    pool = [words[place] for place in draw.integers(len(words), size=POOL)]
    edited = []
    for text in texts:
        blank = " " if text.count(" ") * 20 > len(text) else ""
        parts = text.split(" ") if blank else list(text)
        share = REPLACED_IN_NEAR if draw.random() < NEAR else REPLACED
        places = np.flatnonzero(draw.random(len(parts)) < share)
        for place, new in zip(places.tolist(), draw.integers(POOL, size=len(places)).tolist(), strict=True):
            parts[place] = pool[new] if blank else pool[new][0]
        edited.append(blank.join(parts))
    return edited


def every_so_many(given: Input, megabytes: float) -> Input:
    """One document in so many of every file, so that about as much text comes together, dealt to a few files."""
    step = max(1, round(given.bytes / 1e6 / megabytes))
    return _rewritten(given, OUT / f"one-in-{step}", lambda table: table.take(pa.array(range(0, len(table), step))))


def tiny(given: Input) -> Input:
    """A few short documents: work that takes no time."""

    def short(table: pa.Table) -> pa.Table:
        lengths = pa.compute.binary_length(table["text"])
        return table.filter(pa.compute.and_(pa.compute.greater(lengths, 500), pa.compute.less(lengths, 1000))).slice(
            0, TINY_ROWS
        )

    return _rewritten(given, OUT / "tiny", short, files=PEER_FILES)


def _rewritten(given: Input, folder: Path, choose: Any, files: int | None = None) -> Input:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sources = sorted(given.folder.glob("*.parquet"))[:files]
    table = pa.concat_tables([choose(pq.read_table(source)) for source in sources])
    for number in range(PEER_FILES):
        rows = pa.array(range(number, len(table), PEER_FILES))
        pq.write_table(table.take(rows), folder / f"part-{number}.parquet", compression="zstd", row_group_size=10_000)
    return _measured(folder)


def _measured(folder: Path) -> Input:
    documents = size = 0
    for path in folder.glob("*.parquet"):
        lengths = pa.compute.binary_length(pq.read_table(path, columns=["text"])["text"])
        documents, size = documents + len(lengths), size + pa.compute.sum(lengths).as_py()
    return Input(folder, documents, size)


def run_ours(given: Input, stage: Mapping[str, Any], took: Took) -> None:
    with tempfile.TemporaryDirectory(dir=OUT) as name:
        pipeline, out = Path(name) / "pipeline.yaml", Path(name) / "out"
        stages = json.dumps([{"minhash": dict(stage)}])
        pipeline.write_text(
            f"source: {{parquet: {{paths: '{given.folder.resolve()}/*.parquet'}}}}\n"
            f"stages: {stages}\noutput: {{columns: [id, text]}}\n"
        )
        watched([*CURATE, str(pipeline), "--workers", str(WORKERS), "--out", str(out)], took)
        took.dropped = sum(pq.read_metadata(path).num_rows for path in (out / "dropped").glob("*.parquet"))


def run_theirs(given: Input, python: Path, took: Took) -> dict[str, float]:
    """The seconds of each of datatrove's steps."""
    script = str(Path(__file__).parent / "datatrove_minhash.py")
    with tempfile.TemporaryDirectory(dir=OUT) as name:
        command = [str(python), script, str(given.folder), name, "--tasks", str(PEER_FILES), "--workers", str(WORKERS)]
        steps: dict[str, float] = json.loads(watched(command, took))
        kept = sum(pq.read_metadata(path).num_rows for path in (Path(name) / "data").glob("*.parquet"))
        took.dropped = given.documents - kept
    return steps


def watched(command: list[str], took: Took) -> str:
    """Run a command to its end and note its time and memory; what it printed."""
    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as printed:
        process = psutil.Popen(command, stdout=printed, stderr=DEVNULL)
        while process.poll() is None:
            time.sleep(0.1)
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in [process, *process.children(recursive=True)]:
                    peak = max(peak, child.memory_info().rss)
        took.seconds.append(time.perf_counter() - started)
        took.mebibytes.append(peak / 2**20)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        printed.seek(0)
        return printed.read()


def measure(copies: int, peer_mb: float, rounds: int) -> str:
    python, whole = environment().absolute(), edited_copies(copies)
    part, small = every_so_many(whole, peer_mb), tiny(whole)
    inputs = {"whole": whole, "part": part, "start-up": small}
    ours = {(name, label): Took([], []) for name in PIPELINES for label in inputs}
    theirs = {label: Took([], []) for label in ("part", "start-up")}
    steps: dict[str, list[dict[str, float]]] = {"part": [], "start-up": []}
    for stage in PIPELINES.values():  # compiled code and spaCy's files come from the disk's cache then
        run_ours(small, stage, Took([], []))
    run_theirs(small, python, Took([], []))
    for _ in range(rounds):
        for (name, label), took in ours.items():
            run_ours(inputs[label], PIPELINES[name], took)
        for label, took in theirs.items():
            steps[label].append(run_theirs(inputs[label], python, took))
    lines = [
        f"deduplication from Parquet to Parquet, {WORKERS} workers, median of {rounds}",
        *(f"  {name}: {some.documents:,} documents, {some.bytes / 1e6:,.1f} MB" for name, some in inputs.items()),
        f"  {'':34} {'seconds':>8} {'start-up':>8} {'MB/s':>8} {'documents/s':>11} {'dropped':>8} {'MiB':>6}",
    ]
    for name in PIPELINES:
        for label in ("whole", "part"):
            lines.append(_line(f"{name}, {label}", inputs[label], ours[name, label], ours[name, "start-up"]))
    lines.append(_line("datatrove, part", part, theirs["part"], theirs["start-up"]))
    lines += _scaled(whole, part, ours, theirs)
    for label, given in steps.items():
        medians = {step: statistics.median(times[step] for times in given) for step in given[0]}
        shown = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in medians.items())
        lines.append(f"  datatrove's steps, {label}: {shown}")
    return "\n".join(lines)


def _net(took: Took, start: Took) -> float:
    return took.median - start.median


def _line(name: str, given: Input, took: Took, start: Took) -> str:
    net, memory = _net(took, start), statistics.median(took.mebibytes)
    speeds = f"{given.bytes / 1e6 / net:8.2f} {given.documents / net:11,.0f}" if net >= LEAST_S else f"{'':8} {'':11}"
    return f"  {name:34} {took.median:8.1f} {start.median:8.1f} {speeds} {took.dropped:8,} {memory:6,.0f}"


def _scaled(whole: Input, part: Input, ours: Mapping[tuple[str, str], Took], theirs: Mapping[str, Took]) -> list[str]:
    peer = _net(theirs["part"], theirs["start-up"]) * whole.bytes / part.bytes
    with_start = theirs["start-up"].median + peer
    lines = [f"  datatrove on the whole, by bytes: {with_start / 3600:.2f} hours"]
    for name in PIPELINES:
        all_in, start = ours[name, "whole"], ours[name, "start-up"]
        lines.append(
            f"  {name} / datatrove: {peer / _net(all_in, start):.0f} times on the whole, {with_start / all_in.median:.0f} with "
            f"start-up; {theirs['part'].median / ours[name, 'part'].median:.1f} on the part with start-up"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--peer-mb", type=float, default=50, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(measure(args.copies, args.peer_mb, args.rounds))


if __name__ == "__main__":
    main()
