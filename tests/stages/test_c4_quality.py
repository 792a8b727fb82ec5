"""What golden cases cannot show of `c4_quality`: options that are refused, what a profile sets, edits that the books accept."""

from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.api.batch import Batch, Kernel, apply_edits
from curate.config.options import OptionError, build
from curate.schema import DROP, DROP_TYPE, EDITS, TEXT
from curate.stages.filters.c4_quality import C4Quality

PROFILES = tuple(C4Quality.profiles)
LINE = "This line ends as a sentence does. "


@cache
def kernel(profile: Any) -> Kernel:
    return C4Quality(profile=profile, values=True).open()


def run(texts: list[str | None], profile: str) -> list[dict[str, Any]]:
    batch = Batch(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], names=[TEXT]))
    rows: list[dict[str, Any]] = kernel(profile)(batch).records.to_pylist()
    return rows


def test_a_profile_sets_what_is_left_to_it() -> None:
    assert C4Quality(profile="dclm").min_line_words == 5
    assert C4Quality(profile="dclm", min_line_words=3).min_line_words == 3
    assert C4Quality(profile="dolma-1.6").citations is None


def test_false_and_null_switch_a_rule_off_alike() -> None:
    for profile in PROFILES:
        off = {"profile": profile, "terminal_punctuation": False, "lorem_ipsum": False}
        assert build(C4Quality, off) == build(C4Quality, {**off, "terminal_punctuation": None, "lorem_ipsum": None})


def test_a_rule_that_the_profile_does_not_have_is_refused() -> None:
    with pytest.raises(OptionError, match=r"policy: the profile 'dolma-1\.6' has no such rule"):
        build(C4Quality, {"profile": "dolma-1.6", "policy": True})
    assert build(C4Quality, {"profile": "dolma-1.6", "policy": False}).policy is None


def test_a_switch_is_no_number_and_a_number_no_switch() -> None:
    with pytest.raises(OptionError, match="citations"):
        build(C4Quality, {"citations": 1})
    with pytest.raises(OptionError, match="max_word_chars"):
        build(C4Quality, {"max_word_chars": True})


def test_all_rules_off_is_nothing_to_do() -> None:
    limits = C4Quality(profile="dolma-1.6").chosen_profile.limits
    with pytest.raises(OptionError, match="nothing to do"):
        build(C4Quality, {"profile": "dolma-1.6", **dict.fromkeys(limits)})
    assert build(C4Quality, {"profile": "dolma-1.6", **dict.fromkeys(limits), "values": True}).values


def test_a_document_that_was_dropped_before_keeps_its_text() -> None:
    batch = Batch(pa.RecordBatch.from_arrays([pa.array([LINE * 5 + "\n"] * 2, pa.large_string())], names=[TEXT]))
    drop = {"reason": "earlier", "value": None, "limit": None, "detail": None}
    batch = batch.put(DROP, pa.array([drop, None], DROP_TYPE))
    after = C4Quality().open()(batch).records.to_pylist()
    assert [row[TEXT] for row in after] == [LINE * 5 + "\n", (LINE * 5).strip()]
    assert [row[EDITS] is None for row in after] == [True, False]


PIECES = st.sampled_from([LINE, LINE * 5, "no end", "Two words.", " ", "\n", "\n", "\r\n", "[1]", "{", "lorem ipsum", "a b c!"])
TEXTS = st.lists(st.none() | st.lists(PIECES, max_size=10).map("".join), min_size=1, max_size=6)


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=100)
@given(TEXTS, st.integers(0, 6))
def test_edits_lead_from_the_text_before_and_a_cut_changes_nothing(profile: str, texts: list[str | None], cut: int) -> None:
    rows = run(texts, profile)
    for text, row in zip(texts, rows, strict=True):
        assert row[DROP] is None or (row[TEXT] == text and row[EDITS] is None)
        assert apply_edits(text or "", row[EDITS] or []) == (row[TEXT] or "")
        assert (row[EDITS] is None) == (row[TEXT] == text)
    parts = [run(part, profile) for part in (texts[:cut], texts[cut:]) if part]
    assert [row for part in parts for row in part] == rows


PIECES = st.sampled_from(
    [":)", ") )", "x:)", "o.O", "a.m.", "Words go on.", "[1]", "{", "http://a.b", " ", "  ", *"\n\r\x0b\x1c\x85\u2028"]
)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.lists(st.lists(PIECES, max_size=14).map("".join), min_size=1, max_size=4))
def test_the_words_left_over_are_counted_as_if_cut_anew(texts: list[str]) -> None:
    """Later stages take the count from here: a line has the same words whatever stood around it."""
    some = {"min_line_words": 2, "min_sentences": 1, "terminal_punctuation": False, "curly_bracket": False}
    stage: Any = C4Quality(profile="datatrove-0.10", **some)  # type: ignore[arg-type]
    batch = stage.open()(Batch(pa.record_batch({"text": pa.array(texts, pa.large_string())})))
    counts, anew = batch.word_counts("spacy"), Batch(batch.records.select(["text"])).word_counts("spacy")
    assert counts[~batch.dropped].tolist() == anew[~batch.dropped].tolist()
