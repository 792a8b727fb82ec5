"""Our profiles decide and measure what their published implementations did on recorded texts: always run, never skipped.

`recorded/datatrove.parquet` is what `datatrove_reference.py` wrote for `texts.py` (datatrove 0.10.1, spaCy 3.8.18);
`recorded/dclm.json.gz` what DCLM's functions (mlfoundations/dclm at c7ed275 and 15af3ce, uniseg 0.10.1) said of the same.
`python tests/parity/record.py` writes the first anew. More text, and real text, is compared by `make parity`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.schema import DROP, TEXT
from tests.parity.compare import compare
from tests.parity.texts import texts

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return texts()


def test_every_filter_rule_and_value_of_datatrove(table: pa.Table) -> None:
    recorded = pq.read_table(RECORDED / "datatrove.parquet")
    assert recorded["id"].to_pylist() == table["id"].to_pylist(), "the texts changed: run tests/parity/record.py"
    lines = list(compare(recorded.append_column(TEXT, table[TEXT])))
    assert [f"{line.name}: {line.differing} differ, {line.example}" for line in lines if line.differing] == []
    # A rule that drops nothing here would be compared in name only. No page is longer than a hundred thousand words.
    idle = {line.name for line in lines if ":" in line.name and not line.dropped}
    edits_only = {
        f"c4:{name}" for name in ("remove_citations", "filter_no_terminal_punct", "min_words_per_line", "max_word_length")
    } | {"c4:filter_javascript", "c4:filter_policy"}
    assert idle <= edits_only | {"quality:max_doc_words"}


@pytest.fixture(scope="module")
def dclm(table: pa.Table) -> list[dict[str, Any]]:
    with gzip.open(RECORDED / "dclm.json.gz", "rt", encoding="utf-8") as stream:
        rows: list[dict[str, Any]] = json.load(stream)
    assert [row["id"] for row in rows] == table["id"].to_pylist(), "the texts changed: record DCLM anew"
    return rows


QUALITY = {
    "page_length_filter": "page_length",
    "word_length_filter": "word_length",
    "symbol_ratio_filter": "symbol_ratio",
    "bullet_count_filter": "bullet_count",
    "ellipsis_count_filter": "ellipsis_count",
    "alphabetic_word_ratio_filter": "alphabetic_word_ratio",
    "stop_word_filter": "stop_word",
}
REPETITION = {
    "line": "repeated_lines",
    "paragraph": "repeated_paragraphs",
    "line_chars": "repeated_line_chars",
    "paragraph_chars": "repeated_paragraph_chars",
    **{str(n): f"repeated_{n}_grams" for n in range(2, 11)},
}


@pytest.mark.parametrize(
    ("stage", "family", "names"), [("gopher_quality", "quality", QUALITY), ("gopher_repetition", "repetition", REPETITION)]
)
def test_dclms_rules(table: pa.Table, dclm: list[dict[str, Any]], stage: str, family: str, names: dict[str, str]) -> None:
    """The first rule that fails, in DCLM's order."""
    verdicts = curate.apply(stage, table, profile="dclm")[DROP].to_pylist()
    expected = []
    for row in dclm:
        failed = [names[rule] for rule in names if not row[family][rule]["keep"]]
        expected.append(failed[0] if failed else None)
    mine = [verdict and verdict["reason"] for verdict in verdicts]
    # DCLM drops a page without a line that is not blank at its first rule, and gives it no name.
    assert [reason if reason != "empty" else "repeated_lines" for reason in mine] == expected


def test_dclms_repetition_measures(table: pa.Table, dclm: list[dict[str, Any]]) -> None:
    measured = curate.apply("gopher_repetition", table, profile="dclm", values=True)
    columns = {
        "line": "dup_line_frac",
        "paragraph": "dup_paragraph_frac",
        "line_chars": "dup_line_chars_frac",
        "paragraph_chars": "dup_paragraph_chars_frac",
        **{str(n): f"{'top' if n < 5 else 'dup'}_{n}_gram_chars_frac" for n in range(2, 11)},
    }
    for rule, column in columns.items():
        theirs = [row["repetition"][rule]["value"] for row in dclm]
        ours = measured[f"gopher_{column}"].to_pylist()
        assert [a for a, b in zip(ours, theirs, strict=True) if b is not None] == pytest.approx(
            [b for b in theirs if b is not None], abs=1e-9
        ), rule


def test_dclms_line_corrections(table: pa.Table, dclm: list[dict[str, Any]]) -> None:
    result = curate.apply("refinedweb_lines", table)
    kept = [verdict is None for verdict in result[DROP].to_pylist()]
    assert kept == [row["lines"]["keep"] for row in dclm]
    for text, keep, row, before in zip(result[TEXT].to_pylist(), kept, dclm, table[TEXT].to_pylist(), strict=True):
        if keep:
            assert text == row["lines"].get("text", before)
