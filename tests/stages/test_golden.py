"""Runs the golden cases: every line of `stages/<stage>.jsonl` is one document, options, and what must come of it.

    {"why": "exactly the minimum is kept", "options": {"min_words": 2}, "text": "one two", "drop": null}

A case gives `text`, or `columns` as {name: value}. `drop` is the reason, or null where the document stays; `value`,
`limit` and `detail` of the drop reason and the columns under `expect` are compared where the case names them. `{lists}` stands
for the folder of the lists that options name.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import curate
from curate.api.batch import Batch
from curate.config.options import build
from curate.config.registry import load_class
from curate.schema import DROP, TEXT
from curate.stages import STAGES
from curate.stages.filters.url_filter import UrlFilter

FOLDER = Path(__file__).parents[1] / "stages"
LISTS = Path(__file__).parents[1] / "lists"
KEYS = {"why", "options", "text", "columns", "drop", "value", "limit", "detail", "expect"}


def cases() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                case = json.loads(line.replace("{lists}", str(LISTS)))
                yield pytest.param(path.stem, case, id=f"{path.stem}: {case['why']}")


@pytest.mark.parametrize(("stage", "case"), list(cases()))
def test_golden(stage: str, case: dict[str, Any]) -> None:
    assert set(case) <= KEYS and ("text" in case) != ("columns" in case)
    options = case.get("options", {})
    kinds = build(load_class(stage, STAGES, "stage"), options).reads
    given = case.get("columns", {TEXT: case.get("text")})
    table = pa.table({name: pa.array([value], kinds.get(name)) for name, value in given.items()})
    result = curate.apply(stage, table, **options).to_pylist()[0]
    assert (result[DROP] or {}).get("reason") == case["drop"]
    for field in ("value", "limit", "detail"):
        if field in case:
            assert result[DROP][field] == close_to(case[field]), field
    for name, value in case.get("expect", {}).items():
        assert result[name] == close_to(value), name


def close_to(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value


def test_a_host_of_a_million_dots_takes_linear_time(tmp_path: Path) -> None:
    (tmp_path / "domains.txt").write_text("blocked.example\nshort.it\n")
    stage = UrlFilter(domains=(str(tmp_path / "domains.txt"),)).open()

    def seconds(dots: int) -> float:
        urls = pa.array([f"http://{'a.' * dots}blocked.example/", f"http://{'a.' * dots}example/"])
        started = time.process_time()
        after = stage(Batch(pa.record_batch({"url": urls})))
        spent = time.process_time() - started
        assert [row and row["reason"] for row in after["drop"].to_pylist()] == ["blocked_domain", None]
        return spent

    short, long = (min(seconds(dots) for _ in range(3)) for dots in (50_000, 200_000))
    assert long < 0.1 or long < 8 * short
