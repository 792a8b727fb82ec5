"""Runs the golden cases: every line of `stages/<stage>.jsonl` is one document, options, and what must come of it.

    {"why": "exactly the minimum is kept", "options": {"min_words": 2}, "text": "one two", "drop": null}

A case gives `text`, or `columns` as {name: value}. `drop` is the reason, or null where the document stays; `value`,
`limit` and `detail` of the drop reason and the columns under `expect` are compared where the case names them. `{lists}` stands
for the folder of the lists that options name.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import curate
from curate.config.options import build
from curate.config.registry import load_class
from curate.schema import DROP, TEXT
from curate.stages import STAGES

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
