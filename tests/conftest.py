"""Small corpora and runs that several tests share. Every document has a reason to be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings

# The first example of a kernel compiles it, and machines are busy: no time limit for an example, anywhere.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PLUGIN = str(Path(__file__).parent / "plugin")
sys.path.insert(0, PLUGIN)
# Ray workers and child processes look for the example package in the same place.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [PLUGIN, os.environ.get("PYTHONPATH")]))

SHARED = Path(__file__).parents[2] / "shared" / "data"

WritePipeline = Callable[..., Path]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real web data, which is not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture
def write_pipeline(tmp_path: Path) -> WritePipeline:
    """Write a pipeline file from its text; `{tmp}` stands for the test's folder."""

    def write(text: str, name: str = "p.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text.replace("{tmp}", str(tmp_path)))
        return path

    return write


Thin = Callable[[Iterable[Any]], Iterable[Any]]


@pytest.fixture(params=[pytest.param(7, id="every 7th"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def thin(request: pytest.FixtureRequest) -> Thin:
    """For a test that tries thousands of cases one by one: all of them among the slow tests, every seventh among the others."""
    return lambda cases: islice(cases, 0, None, request.param)


def document(number: int) -> dict[str, Any]:
    """Document `number`: most are plain; every 5th has a rule of dashes, every 7th no score, every 11th no text."""
    text = f"document {number} " + "word " * (number % 13)
    if number % 5 == 0:
        text += "\n-----\nafter the rule"
    return {
        "id": f"doc-{number}",
        "url": f"https://site-{number % 3}.example/{number}",
        "text": None if number % 11 == 10 else text,
        "score": None if number % 7 == 3 else (number * 37 % 101) / 101,
        "count": number % 10,
    }


CORPUS_SCHEMA = pa.schema(
    [("id", pa.string()), ("url", pa.string()), ("text", pa.string()), ("score", pa.float64()), ("count", pa.int32())]
)


def write_corpus(folder: Path, files: int = 3, rows: int = 100, row_group: int = 20) -> Path:
    """`files` Parquet files of `rows` documents each, in row groups small enough to be split."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(files):
        table = pa.Table.from_pylist([document(index * rows + row) for row in range(rows)], CORPUS_SCHEMA)
        pq.write_table(table, folder / f"part-{index}.parquet", row_group_size=row_group)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def contents(folder: Path, kinds: tuple[str, ...] = ("data", "dropped", "edited")) -> dict[str, bytes]:
    """Every byte of the final files of a run, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in kinds
        for path in sorted((folder / kind).rglob("*"))
        if path.is_file()
    }


def rows(folder: Path, kind: str = "data") -> list[dict[str, Any]]:
    """All rows of one kind of final file, in order."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder / kind).glob("*.parquet")):
        found += pq.read_table(path).to_pylist()
    return found
