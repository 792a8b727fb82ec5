"""`line_dedup` gives the text of its definition in plain Python, and edits that lead to it."""

import subprocess
import sys

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.api.batch import apply_edits


def plain(text: str, ignore_case: bool, min_line_chars: int) -> str:
    kept, seen = [], set()
    for line in text.split("\n"):
        key = line.strip().lower() if ignore_case else line.strip()
        long = bool(key) and len(line.strip()) >= min_line_chars
        if not long or key not in seen:
            kept.append(line)
        if long:
            seen.add(key)
    return "\n".join(kept)


TEXTS = st.lists(st.none() | st.text() | st.text("aAbİi\u0307ΣσςO \n\n\t\r中"), max_size=6)


@settings(max_examples=200)
@given(TEXTS, st.booleans(), st.integers(0, 3))
def test_arbitrary_texts_come_out_as_in_plain_python(texts: list[str | None], ignore_case: bool, min_line_chars: int) -> None:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    rows = curate.apply("line_dedup", table, ignore_case=ignore_case, min_line_chars=min_line_chars).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        expected = plain(text or "", ignore_case, min_line_chars)
        assert (row["text"] or "", row["drop"]) == (expected, None)
        assert bool(row["edits"]) == (expected != (text or ""))
        assert not row["edits"] or apply_edits(text or "", row["edits"]) == expected


def test_a_text_of_a_million_equal_lines_becomes_one_line() -> None:
    rows = curate.apply("line_dedup", pa.table({"text": ["a\n" * 1_000_000]})).to_pylist()
    assert rows[0]["text"] == "a\n"


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = "import sys; from curate.stages.filters.line_dedup import LineDedup; LineDedup(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
