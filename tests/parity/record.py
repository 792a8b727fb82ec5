"""Writes recorded/datatrove.parquet: what datatrove decides and measures on `texts.py`. Needs `make parity`'s environment."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.parity.run import HERE, environment
from tests.parity.texts import texts


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        pq.write_table(texts(), source)
        subprocess.run([environment(), HERE / "datatrove_reference.py", source, target], check=True)
        pq.write_table(
            pq.read_table(target).drop_columns(["text"]), HERE / "recorded" / "datatrove.parquet", compression="zstd"
        )


if __name__ == "__main__":
    main()
