"""Options and columns of `dclm_page`; its drop reasons are in dclm_page.jsonl."""

import subprocess
import sys

import pyarrow as pa
import pytest

import curate
from curate.errors import SpecError
from curate.stages.filters.dclm_page import DclmPage

ONE_ROW = pa.table({"text": ["one"]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_chars": 190_001}, r"min_chars \(190001\) is greater than max_chars \(190000\)"),
        ({"min_paragraphs": 5, "max_paragraphs": 4}, r"min_paragraphs \(5\) is greater than max_paragraphs \(4\)"),
        ({"min_alnum_chars_frac": 1.5}, "min_alnum_chars_frac: 1.5"),
        ({"min_chars": None, "max_chars": None}, "every rule is off and 'values' is false"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        curate.apply("dclm_page", ONE_ROW, **options)


def test_only_the_limits_of_dclms_own_configurations_are_on() -> None:
    stage = DclmPage()
    on = {
        rule.option: getattr(stage, rule.option)
        for rule in stage.chosen_profile.rules
        if getattr(stage, rule.option) is not None
    }
    assert on == {"min_chars": 1, "max_chars": 190_000}


def test_measured_values_are_columns_only_when_asked_for() -> None:
    assert DclmPage().writes == {}
    assert list(DclmPage(values=True).writes) == [
        "dclm_chars",
        "dclm_words",
        "dclm_lines",
        "dclm_paragraphs",
        "dclm_alnum_chars_frac",
        "dclm_max_line_chars",
        "dclm_mean_line_chars",
    ]


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = "import sys; from curate.stages.filters.dclm_page import DclmPage; DclmPage(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
