"""Options and columns of `gopher_quality`; its drop reasons are in gopher_quality.jsonl."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.api.batch import Batch
from curate.errors import SpecError
from curate.schema import DROP
from curate.stages.filters.gopher_quality import PROFILES, GopherQuality

CASES = Path(__file__).with_name("gopher_quality.jsonl")
ONE_ROW = pa.table({"text": ["one"]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": 5, "max_words": 4}, r"min_words \(5\) is greater than max_words \(4\)"),
        ({"min_mean_word_chars": 5, "max_mean_word_chars": 4.5}, r"min_mean_word_chars \(5.0\) is greater than"),
        ({"stop_words": ["The", "of"]}, "stop_words: 'The' never matches"),
        ({"stop_words": ["of the", "of"]}, "stop_words: 'of the' never matches"),
        ({"stop_words": ["of,", "of"]}, "stop_words: 'of,' never matches"),
        ({"stop_words": ["", "of"]}, "stop_words: '' never matches"),
        ({"stop_words": ["of", "of"]}, r"min_stop_words \(2\) is greater than the number of stop_words"),
        ({"max_bullet_lines_frac": 1.5}, "max_bullet_lines_frac: 1.5"),
        ({"min_words": -1}, "min_words: -1"),
        ({f"{option}": None for option in GopherQuality.__dataclass_fields__ if option.startswith("m")}, "nothing to do"),
        ({"max_symbol_ratio": 0.1}, "max_symbol_ratio: the profile 'ours' has no such rule"),
        ({"profile": "dclm", "max_hash_ratio": 0.1}, "max_hash_ratio: the profile 'dclm' has no such rule"),
        ({"profile": "dclm", "unit": "uax29"}, "unit: the profile 'dclm' is made of whitespace words"),
        ({"profile": "dclm", "stop_words": ["The"]}, "stop_words: 'The' never matches"),
        ({"profile": "dolma-1.6", "min_median_word_chars": 5, "max_median_word_chars": 4}, "is greater than max_median"),
        ({"profile": "datatrove-0.10", "stop_words": ["of"]}, r"min_stop_words \(2\) is greater than the number of stop_words"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        curate.apply("gopher_quality", ONE_ROW, **options)


def test_measured_values_are_columns_only_when_asked_for() -> None:
    assert GopherQuality().writes == {}
    assert list(GopherQuality(values=True).writes) == [
        "gopher_words",
        "gopher_mean_word_chars",
        "gopher_hash_ratio",
        "gopher_ellipsis_ratio",
        "gopher_bullet_lines_frac",
        "gopher_ellipsis_lines_frac",
        "gopher_alpha_words_frac",
        "gopher_stop_words",
    ]


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = (
        "import sys; from curate.stages.filters.gopher_quality import GopherQuality; "
        "GopherQuality(); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_option_left_out_has_the_number_of_the_profile() -> None:
    ours, dolma = GopherQuality(), GopherQuality(profile="dolma-1.6")
    assert (ours.min_words, ours.max_hash_ratio, ours.max_symbol_words_frac, ours.unit) == (50, 0.1, None, "whitespace")
    assert (dolma.min_words, dolma.max_hash_ratio, dolma.max_symbol_words_frac) == (50, None, 0.1)
    assert GopherQuality(profile="datatrove-0.10").unit == "spacy"


def test_stop_words_may_stand_in_capitals_or_beside_signs_where_they_are_compared_as_written() -> None:
    stage = GopherQuality(profile="dolma-1.6", stop_words=("The", "of,"), min_words=None)
    assert stage.stop_words == ("The", "of,")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_reason_of_every_profile_has_a_golden_case(profile: str) -> None:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    given = {case["drop"] for case in cases if case.get("options", {}).get("profile", "ours") == profile}
    assert given == {*(rule.reason for rule in PROFILES[profile].rules), None}


@pytest.mark.parametrize("profile", PROFILES)
def test_a_share_of_nothing_is_what_the_source_makes_of_it(profile: str) -> None:
    stage = GopherQuality(profile=profile, values=True)  # type: ignore[arg-type]
    after = stage.open()(Batch(pa.record_batch({"text": pa.array(["", None, " \n"], pa.large_string())})))
    ratios = [column for column in stage.writes if column.endswith(("_ratio", "words_frac"))]
    nothing = {"ours": 0.0, "dolma-1.6": 0.0, "dclm": np.inf}.get(profile, np.nan)
    assert ratios
    for column in ratios:
        np.testing.assert_array_equal(after[column].to_numpy(zero_copy_only=False), [nothing] * 3)


def test_the_first_rule_that_fails_gives_the_drop_reason() -> None:
    """`#` has too few words, too many hashes, no letters and no stop words; the profile's order decides."""
    batch = Batch(pa.record_batch({"text": pa.array(["#", "# # #"], pa.large_string())}))
    (first, second) = GopherQuality().open()(batch)[DROP].to_pylist()
    assert first["reason"] == second["reason"] == "too_few_words" and (first["value"], first["limit"]) == (0, 50)
    (first, _) = GopherQuality(min_words=None).open()(batch)[DROP].to_pylist()
    assert first["reason"] != "too_few_words"
