"""`python -m tests.bench.driver_memory`: the driver's peak memory while the number of shards grows a hundredfold."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.corpora import many

RUN = """
import resource
from curate.runner import run_file
import sys
run_file(sys.argv[1], out=sys.argv[2], workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
BARRIERS = {"select": "{column: n_bytes, top: 0.5}", "minhash": "{}"}


def measure(counts: tuple[int, ...] = (10, 100, 1000)) -> str:
    lines = ["peak memory of the driver process (Ray, 2 workers, 50 documents a shard)"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in counts:
            source = many(folder / str(count), count)
            peaks = [f"{stage} {peak(folder, f'{stage}-{count}', source, stage):,.0f} MiB" for stage in BARRIERS]
            lines.append(f"  {count:>5} shards: {', '.join(peaks)}")
    return "\n".join(lines)


def peak(folder: Path, name: str, source: Path, stage: str) -> float:
    """MiB at most while a pipeline of one barrier runs."""
    pipeline = folder / f"{name}.yaml"
    pipeline.write_text(f"source: {{parquet: {{paths: '{source}/*.parquet'}}}}\nstages: [{{{stage}: {BARRIERS[stage]}}}]\n")
    command = [sys.executable, "-c", RUN, str(pipeline), str(folder / f"out-{name}")]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(result.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    print(measure())
