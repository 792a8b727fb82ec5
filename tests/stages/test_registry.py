"""The tables of stages and sources: sorted, complete, and every reason with a golden case."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest

from curate.api.global_stage import GlobalStage
from curate.api.rules import RuleStage
from curate.api.stage import Stage
from curate.config.registry import load_class
from curate.sources import SOURCES
from curate.stages import STAGES

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parents[1] / "stages"
# Cases for these are built in code (pages, models, whole corpora): tests/stages/test_extract.py and so on.
OWN_TESTS = {
    "annotate", "bloom_dedup", "exact_dedup", "extract", "influence", "label_lines", "line_dedup_global", "minhash", "prox",
    "prox_chunk", "prox_doc", "score", "select", "tokens", "toxicity",
}  # fmt: skip


@pytest.mark.parametrize("table", [STAGES, SOURCES], ids=["stages", "sources"])
def test_the_table_is_sorted(table: dict[str, str]) -> None:
    assert list(table) == sorted(table)


def test_every_stage_is_in_the_table() -> None:
    """A stage lies in a module of its name; helpers beside it have other names."""
    for path in (ROOT / "curate" / "stages").rglob("*.py"):
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name, cls in inspect.getmembers(module, inspect.isclass):
            own = cls.__module__ == module.__name__ and issubclass(cls, Stage)
            if own and name == "".join(part.capitalize() for part in path.stem.split("_")):
                assert STAGES[path.stem] == f"{module.__name__}:{name}"


@pytest.mark.parametrize("name", STAGES)
def test_the_class_is_named_after_the_stage(name: str) -> None:
    cls = load_class(name, STAGES, "stage")
    assert issubclass(cls, Stage)
    assert cls.__name__ == "".join(part.capitalize() for part in name.split("_"))


@pytest.mark.parametrize("name", sorted(set(STAGES) - OWN_TESTS))
def test_every_reason_has_a_golden_case(name: str) -> None:
    cls = load_class(name, STAGES, "stage")
    if issubclass(cls, GlobalStage):
        pytest.fail(f"{name} is a global stage and needs tests of its own: list it in OWN_TESTS")
    cases = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text().split("\n") if line.strip()]
    given = {case["drop"] for case in cases}
    if issubclass(cls, RuleStage):
        reasons = {rule.reason for profile in cls.profiles.values() for rule in profile.rules}
    else:
        reasons = set(inspect.getattr_static(cls, "reasons"))
    assert given >= {*reasons, None}
    assert all(case["why"] for case in cases)
