"""Options and columns of `gopher_quality`; its verdicts are in gopher_quality.jsonl."""

import subprocess
import sys

import pyarrow as pa
import pytest

import curate
from curate.errors import SpecError
from curate.stages.gopher_quality import GopherQuality

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
        "import sys; from curate.stages.gopher_quality import GopherQuality; GopherQuality(); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
