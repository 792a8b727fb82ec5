"""The five stages of shares: one reading of the text for all of them, one rule each."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import curate.text.rules.char_shares
from curate.api.batch import Batch
from curate.api.stage import Stage
from curate.config.options import build
from curate.config.registry import load_class
from curate.errors import SpecError
from curate.schema import DROP, TEXT
from curate.stages import STAGES
from curate.text.unicode.buffers import TextBuffers

SHARES = {
    "boilerplate": "boilerplate_paragraphs_frac",
    "brackets": "brackets_frac",
    "digits": "digits_frac",
    "urls": "url_chars_frac",
    "whitespace": "whitespace_frac",
}
NAMES = sorted(SHARES)


def run(batch: Batch, name: str, **options: Any) -> Batch:
    stage: Stage = build(load_class(name, STAGES, "stage"), options)
    return stage.open()(batch)


def batch_of(*texts: str | None) -> Batch:
    return Batch(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], names=[TEXT]))


def test_five_stages_in_a_row_read_the_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def counting(texts: TextBuffers) -> npt.NDArray[np.int64]:
        reads.append(len(texts.starts))
        return count(texts)

    count = curate.text.rules.char_shares.count_shares
    monkeypatch.setattr(curate.text.rules.char_shares, "count_shares", counting)
    batch = batch_of("terms of use\n\n12 (34) http://a", "plain", None)
    for name in NAMES:
        batch = run(batch, name, values=True)
    assert reads == [3]
    assert batch.names == [TEXT, *(column for name in NAMES for column in (DROP, SHARES[name])[name != NAMES[0] :])]


def test_rows_that_were_filtered_keep_what_was_measured_of_them() -> None:
    batch = run(batch_of("1111", "abc", "(a)"), "digits")
    batch = run(batch.filter(~batch.dropped), "brackets", values=True, max_brackets_frac=None)
    assert batch["brackets_frac"].to_pylist() == [0.0, 2 / 3]


def test_a_text_that_was_rewritten_is_measured_anew() -> None:
    batch = run(batch_of("1111"), "digits", values=True)
    batch = run(batch.put(TEXT, pa.array(["abcd"], pa.large_string())), "digits", values=True)
    assert batch["digits_frac"].to_pylist() == [0.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_with_nothing_to_do_is_refused(name: str) -> None:
    limit = f"max_{SHARES[name]}"
    with pytest.raises(SpecError, match="there is nothing to do"):
        build(load_class(name, STAGES, "stage"), {limit: None})
    assert build(load_class(name, STAGES, "stage"), {limit: None, "values": True}).writes == {SHARES[name]: pa.float64()}


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_a_share(name: str) -> None:
    limit = f"max_{SHARES[name]}"
    with pytest.raises(SpecError, match=limit):
        build(load_class(name, STAGES, "stage"), {limit: 1.5})
