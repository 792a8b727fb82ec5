"""`make parity`: our datatrove profile against datatrove itself, on real text, every rule alone and all together.

    python tests/parity/run.py [--documents N]      N keyed documents of every file beside the crawl (default 600)

Where a rule drops fewer than 200 of these documents, or fewer than 50 lie near its limit, others are added that ours drops
or finds near, as far as there are any: a rule that nothing fails has not been compared.

Installs datatrove into an environment of its own (out/parity/venv), has it judge the texts (hours of one core for all of
them; what is there is not judged again), and prints a table. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.corpora import SHARED
from tests.parity.chunks import compare_chunks
from tests.parity.compare import Line, compare, marks

HERE = Path(__file__).parent
OUT = Path("out/parity")
PIECE = 2000


def environment() -> Path:
    """The Python that has datatrove."""
    python = OUT / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", OUT / "venv"], check=True)
        requirements = str(HERE / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
    return python


def inputs(documents: int) -> Iterator[Path]:
    """The whole web-crawl part, of every other file the documents with the smallest hashes of their ids, and the rare ones."""
    rest = []
    found = {name: 0 for name, _, _ in marks(pa.array([""], pa.large_string()))}
    for file in sorted(SHARED.glob("*.parquet")):
        table = pq.read_table(file, columns=["id", "text"])
        if not file.stem.startswith("webcrawl"):
            keys = [hashlib.sha1(name.encode()).digest() for name in table["id"].to_pylist()]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            rest.append(table.take(pa.array(order[documents:], pa.int64())))
            table = table.take(pa.array(sorted(order[:documents]), pa.int64()))
        for name, _, where in marks(table["text"].combine_chunks().cast(pa.large_string())):
            found[name] += int(where.sum())
        yield from pieces(table, file.stem)
    table = pa.concat_tables(rest).combine_chunks()
    wanted = np.zeros(len(table), np.bool_)
    for name, enough, where in marks(table["text"].combine_chunks().cast(pa.large_string())):
        wanted[np.flatnonzero(where)[: max(enough - found[name], 0)]] = True
    yield from pieces(table.filter(pa.array(wanted)), "rare")


def pieces(table: pa.Table, name: str) -> Iterator[Path]:
    for start in range(0, len(table), PIECE):
        piece = table.slice(start, PIECE)
        digest = hashlib.sha1("".join(piece["id"].to_pylist()).encode()).hexdigest()[:12]
        path = OUT / "in" / f"{name}-{start:06}-{digest}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(piece, path)
        yield path


def reference(python: Path, source: Path) -> Path:
    target = OUT / "datatrove" / source.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        subprocess.run([python, HERE / "datatrove_reference.py", source, partial], check=True)
        partial.rename(target)
    return target


def table_of(lines: list[Line]) -> str:
    names = ("documents", "dropped", "near", "raised", "differ", "largest gap")
    rows = [
        f"{'filter, rule or value':46} {names[0]:>9} {names[1]:>8} {names[2]:>6} {names[3]:>6} {names[4]:>6} {names[5]:>11}"
    ]
    for line in lines:
        gap = f"{line.largest:.1e}" if "=" in line.name else ""
        near, dropped = (f"{line.near:,}" if "=" in line.name else ""), ("" if "=" in line.name else f"{line.dropped:,}")
        rows.append(f"{line.name:46} {line.documents:9,} {dropped:>8} {near:>6} {line.raised:6,} {line.differing:6,} {gap:>11}")
        if line.example:
            rows.append(f"    {line.example}")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=600)
    documents = parser.parse_args().documents
    if not SHARED.exists():
        raise SystemExit(f"no text to compare on: {SHARED} is not there")
    python, sources = environment(), list(inputs(documents))
    with ThreadPoolExecutor(2) as pool:
        references = list(pool.map(lambda source: reference(python, source), sources))
    lines: dict[str, Line] = {}
    for path in references:
        for line in compare(pq.read_table(path)):
            lines.setdefault(line.name, Line(line.name)).add(line)
    print(f"datatrove 0.10.1, pyarrow {pa.__version__}, {len(sources)} files\n\n{table_of(list(lines.values()))}")
    print("\nnear: values within 1 % of the limit, for small whole numbers within 1. raised: datatrove failed on the document.")
    chunks, differing = compare_chunks()
    print(f"\nspaCy's words: {chunks:,} distinct chunks of all files, {len(differing)} cut otherwise {differing[:5] or ''}")
    return 1 if differing or any(line.differing for line in lines.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
