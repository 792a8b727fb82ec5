"""What the machine itself costs: an empty run over 1 GB of text against a plain read and write of the same Parquet.

Both sides use one core (a last row two workers), zstd level 3 and row groups of 10,000. They run in turn, three times;
start-up (importing, checking, starting Ray) is measured by the same run over one small file and taken off.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.corpora import large, many

PLAIN = """
import glob, os, sys
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(1); pa.set_io_thread_count(1)
os.makedirs(sys.argv[2])
for name in sorted(glob.glob(sys.argv[1] + "/*.parquet")):
    source = pq.ParquetFile(name)
    target = os.path.join(sys.argv[2], os.path.basename(name))
    with pq.ParquetWriter(target, source.schema_arrow, compression="zstd", compression_level=3) as writer:
        for group in range(source.num_row_groups):
            writer.write_table(source.read_row_group(group, use_threads=False))
"""
RUN = """
import pyarrow as pa
pa.set_cpu_count(1); pa.set_io_thread_count(1)
from curate.cli import main
main()
"""


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def measure(rounds: int = 3) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, size = large(folder / "large")
        tiny = many(folder / "tiny", 1)
        pipelines = {}
        for label, path in (("large", source), ("tiny", tiny)):
            pipelines[label] = folder / f"{label}.yaml"
            pipelines[label].write_text(
                f"source: {{parquet: {{paths: '{path}/*.parquet'}}}}\nstages: []\n"
                "output: {columns: [id, text, url, source, n_bytes]}\n"
            )
        names = ("plain", "inline", "inline start-up", "Ray, 1 worker", "Ray, 2 workers", "Ray start-up")
        rows: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            rows["plain"].append(_fresh(["-c", PLAIN, str(source)], folder / "plain"))
            for key, label, options in (
                ("inline", "large", ["--inline"]),
                ("inline start-up", "tiny", ["--inline"]),
                ("Ray, 1 worker", "large", ["--workers", "1"]),
                ("Ray, 2 workers", "large", ["--workers", "2"]),
                ("Ray start-up", "tiny", ["--workers", "1"]),
            ):
                command = ["-c", RUN, "run", str(pipelines[label]), *options, "--out"]
                rows[key].append(_fresh(command, folder / "out"))
        return _table(rows, size)


def _fresh(command: list[str], out: Path) -> float:
    """The time of a command whose last argument is a folder that is not there yet."""
    shutil.rmtree(out, ignore_errors=True)
    return timed([*command, str(out)])


def _table(rows: dict[str, list[float]], size: int) -> str:
    medians = {key: statistics.median(values) for key, values in rows.items()}
    lines = [f"pass-through of {size / 1e9:.2f} GB of text, one core, median of {len(rows['plain'])}"]
    for key, values in rows.items():
        lines.append(f"  {key:<18} {medians[key]:6.2f} s   (min {min(values):.2f}, max {max(values):.2f})")
    for key, start in (("inline", "inline start-up"), ("Ray, 1 worker", "Ray start-up"), ("Ray, 2 workers", "Ray start-up")):
        pairs = [(run - up) / plain for run, up, plain in zip(rows[key], rows[start], rows["plain"], strict=True)]
        shown = ", ".join(f"{ratio:.2f}" for ratio in pairs)
        lines.append(f"  {key} / plain, start-up taken off: {statistics.median(pairs):.2f} (pair by pair {shown})")
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure())
