"""The driver's peak memory while the number of shards grows a hundredfold."""

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


def measure(counts: tuple[int, ...] = (10, 100, 1000)) -> str:
    lines = ["peak memory of the driver process (Ray, 2 workers, 50 documents a shard, one barrier)"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in counts:
            source = many(folder / str(count), count)
            pipeline = folder / f"{count}.yaml"
            pipeline.write_text(
                f"source: {{parquet: {{paths: '{source}/*.parquet'}}}}\nstages: [{{select: {{column: n_bytes, top: 0.5}}}}]\n"
            )
            command = [sys.executable, "-c", RUN, str(pipeline), str(folder / f"out-{count}")]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            lines.append(f"  {count:>5} shards: {int(result.stdout.split()[-1]) / 1024:,.0f} MiB")
    return "\n".join(lines)


if __name__ == "__main__":
    print(measure())
