"""Options and columns of `fineweb_quality`; its drop reasons are in fineweb_quality.jsonl."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.api.batch import Batch
from curate.errors import SpecError
from curate.stages.filters.fineweb_quality import PROFILES, FinewebQuality

CASES = Path(__file__).with_name("fineweb_quality.jsonl")
OFF = {option: None for option in FinewebQuality.__dataclass_fields__ if option.startswith("m")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OFF, "nothing to do"),
        ({"max_short_lines_frac": 1.5}, "max_short_lines_frac: 1.5"),
        ({"stop_chars": ["..."]}, "stop_chars: '...' is not one character"),
        ({"profile": "fineweb-2024-04", "min_lines": 1}, "min_lines: the profile 'fineweb-2024-04' has no such rule"),
        ({"profile": "datatrove-0.10", "unit": "whitespace"}, "unit: the profile 'datatrove-0.10' is made of spacy words"),
        ({"profile": "datatrove"}, "profile: 'datatrove'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        curate.apply("fineweb_quality", pa.table({"text": ["one"]}), **options)


def test_measured_values_are_columns_only_when_asked_for() -> None:
    assert FinewebQuality().writes == {}
    names = ["lines", "line_punct_frac", "short_lines_frac", "dup_line_chars_frac", "newline_ratio"]
    assert list(FinewebQuality(values=True).writes) == [f"fineweb_{name}" for name in names]
    assert list(FinewebQuality(values=True, profile="fineweb-2024-04").writes) == [f"fineweb_{name}" for name in names[1:]]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_reason_of_every_profile_has_a_golden_case(profile: str) -> None:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    given = {case["drop"] for case in cases if case.get("options", {}).get("profile", "ours") == profile}
    assert given == {*(rule.reason for rule in PROFILES[profile].rules), None}


def test_words_are_not_cut_where_no_rule_needs_them() -> None:
    """They cost more than all the rest."""
    batch = Batch(pa.record_batch({"text": pa.array(["one"], pa.large_string())}))
    FinewebQuality(max_newline_ratio=None).open()(batch)
    assert not batch._views
    FinewebQuality().open()(batch)
    assert "words:uax29" in batch._views


def test_every_closing_mark_and_no_other_is_passed_over() -> None:
    chars = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    options = {**OFF, "min_line_punct_frac": 1.0, "values": True}
    after = curate.apply("fineweb_quality", pa.table({"text": [f"a{char}" for char in chars]}), **options, stop_chars=["a"])
    passed = [char in "a\"'" or char.isspace() or unicodedata.category(char) in ("Pe", "Pf", "Pi") for char in chars]
    broken = [len(f"a{char}".splitlines()) > 1 for char in chars]
    assert not any(broken)
    np.testing.assert_array_equal(after["fineweb_line_punct_frac"].to_numpy(), np.array(passed, np.float64))


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = (
        "import sys; from curate.stages.filters.fineweb_quality import FinewebQuality; FinewebQuality();"
        " sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
