"""FineWeb's four filters through `curate run` on over 1 GB of text, by one worker and by two: time, and memory of a worker.

The text is all of ours five times over: what a worker has met it knows from then on, and one worker meets it sooner. Start-up
(Ray, spaCy, tables) is that of the same run over one small file. Runs take turns; memory is the largest resident set seen,
looked at ten times a second.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil

from tests.bench.corpora import large, many
from tests.bench.filters import CHAIN

WORKERS = (1, 2)
ALONE = """
import sys
from tests.bench.filters import *
given, chain = batches(SIZE_OURS), kernels(CHAIN)
seconds(partial(through, chain), given)
print(flush=True)
sys.stdin.readline()
print(size_of(given) * 4 / 1e6 / sum(seconds(partial(through, chain), given) for _ in range(4)))
"""


def measure(rounds: int = 3) -> str:
    times: dict[tuple[str, int], list[float]] = {(label, workers): [] for label in ("large", "tiny") for workers in WORKERS}
    peaks: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, size = large(folder / "large")
        for label, path in (("large", source), ("tiny", many(folder / "tiny", 2))):
            stages = json.dumps([{stage: dict(options)} for stage, options in CHAIN.items()])
            (folder / f"{label}.yaml").write_text(f"source: {{parquet: {{paths: '{path}/*.parquet'}}}}\nstages: {stages}\n")
        for number in range(rounds):
            for label, workers in times:
                out = folder / f"out-{label}-{workers}-{number}"
                took, peak = _run(folder / f"{label}.yaml", out, workers)
                times[label, workers].append(took)
                if label == "large":
                    peaks[workers].append(peak)
    lines = [f"four filters over {size / 1e9:.2f} GB of text through `curate run`, median of {rounds}"]
    for workers in WORKERS:
        whole, start = statistics.median(times["large", workers]), statistics.median(times["tiny", workers])
        lines.append(
            f"  {workers} worker{'s' * (workers > 1)}: {whole:6.1f} s, of it start-up {start:.1f} s; "
            f"{size / 1e6 / (whole - start):.1f} MB/s; a worker takes up to {statistics.median(peaks[workers]):,.0f} MiB"
        )
    pairs = list(zip(*(times["large", workers] for workers in WORKERS), strict=True))
    starts = list(zip(*(times["tiny", workers] for workers in WORKERS), strict=True))
    net = [(one - s) / (two - t) for (one, two), (s, t) in zip(pairs, starts, strict=True)]
    ratio = statistics.median(one / two for one, two in pairs)
    lines.append(f"  two workers against one: {statistics.median(net):.2f} times the throughput, {ratio:.2f} with start-up")
    one, two = (statistics.median(_alone(workers) for _ in range(rounds)) for workers in WORKERS)
    alone = f"in one process {one:.1f} MB/s, in two {two:.1f}: {two / one:.2f} times"
    lines.append(f"  what the machine has to give: the filters alone, {alone}")
    return "\n".join(lines)


def _alone(workers: int) -> float:
    """MB/s of the warm filters in so many processes at once, no file read or written."""
    processes = [
        subprocess.Popen([sys.executable, "-c", ALONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    pipes = [(process.stdin, process.stdout) for process in processes if process.stdin and process.stdout]
    for _, ready in pipes:
        ready.readline()
    for go, _ in pipes:
        go.write("\n")
        go.flush()
    return sum(float(result.readline()) for _, result in pipes)


def _run(pipeline: Path, out: Path, workers: int) -> tuple[float, float]:
    """Seconds of the run, and the largest resident set of any worker in MiB."""
    curate = str(Path(sys.executable).with_name("curate"))
    started, peak = time.perf_counter(), 0.0
    process = psutil.Popen(
        [curate, "run", str(pipeline), "--workers", str(workers), "--out", str(out)], stdout=DEVNULL, stderr=DEVNULL
    )
    while process.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                if child.name().startswith("ray::"):
                    peak = max(peak, child.memory_info().rss / 2**20)
    took = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"curate run {pipeline} ended with status {process.returncode}")
    return took, peak


if __name__ == "__main__":
    print(measure())
