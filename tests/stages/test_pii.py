"""`pii` finds the labelled values, replaces equal ones equally, wherever they stand, and leaves its own output alone."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.api.batch import Batch, apply_edits
from curate.config.options import build
from curate.errors import SpecError
from curate.schema import EDITS, TEXT
from curate.stages.filters.pii import Pii
from tests.pii import found_in, labelled, scores

STAGE = Pii()
KERNEL = STAGE.open()
LABELLED = [item.text for item in labelled("positives.jsonl") + labelled("near_misses.jsonl")]


def run(texts: list[str | None], stage: Pii | None = None) -> list[dict[str, Any]]:
    kernel = stage.open() if stage else KERNEL
    rows: list[dict[str, Any]] = kernel(Batch(pa.record_batch({TEXT: pa.array(texts, pa.large_string())}))).records.to_pylist()
    return [{EDITS: None, **row} for row in rows]


def test_the_labelled_set_is_found_with_few_mistakes() -> None:
    measured = scores()
    assert all(score.values >= 40 and score.near_misses >= 40 for score in measured.values())
    assert {kind: score for kind, score in measured.items() if score.precision < 0.98 or score.recall < 0.98} == {}
    assert sum(score.values for score in measured.values()) >= 300 and sum(s.near_misses for s in measured.values()) >= 300


def test_the_mistakes_on_the_labelled_set_are_known() -> None:
    items = labelled("positives.jsonl") + labelled("near_misses.jsonl")
    found = found_in([item.text for item in items])
    wrong = [
        item.text
        for item, values in zip(items, found, strict=True)
        if Counter(values) != Counter((item.kind, value) for value in item.values)
    ]
    assert wrong == ["Note: NL91 ABNA 0417 1643 01 (see above)."]  # wrong check digits; the rest looks like a phone number


def test_a_second_run_changes_nothing_on_the_labelled_set() -> None:
    once = run(list(LABELLED))
    twice = run([row[TEXT] for row in once])
    assert [row[TEXT] for row in twice] == [row[TEXT] for row in once]
    assert all(not any(value for name, value in row.items() if name.startswith("pii_")) for row in twice)


PIECES = [
    "anna@posteo-mail.de", "x@y.io", "8.8.44.4", "2001:4860::8888", "212-555-2368", "+44 20 0000 1234", "020 0000 1234",
    "tel: ", "4111 1111 1111 1111", "378282246310005", "DE89370400440532013000", "AKIAIOSFODNN7EXAMPLE",
    "+", "@", "..", ".", "-", " ", "(",
    ")", "1", "0", "55", "::", ":", "a", "é", "中", "/", "\n", "<", ">", ",", "_", "555-0147", "@example.com", "192.0.2.1",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.none(), st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)), max_size=5)


@settings(max_examples=300)
@given(TEXTS)
def test_edits_lead_to_the_text_and_documents_do_not_see_each_other(texts: list[str | None]) -> None:
    together = run(texts)
    assert together == [row for text in texts for row in run([text])]
    assert together[::-1] == run(texts[::-1])
    for text, row in zip(texts, together, strict=True):
        assert row[TEXT] == (apply_edits(text, row[EDITS]) if text and row.get(EDITS) else text)


@settings(max_examples=500, derandomize=True)
@given(TEXTS)
def test_a_second_run_changes_nothing(texts: list[str | None]) -> None:
    once = [row[TEXT] for row in run(texts)]
    assert [row[TEXT] for row in run(once)] == once


def test_stand_ins_are_plainly_nobodys() -> None:
    texts: list[str | None] = [f"u{n}@posteo-mail.de 8.8.44.{n} 2001:4860::{n:x} 212-555-{2000 + n}" for n in range(1, 200)]
    networks = [ip_network(name) for name in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
    for row in run(texts):
        email, v4, v6, phone = row[TEXT].split()
        assert re.fullmatch(r"[a-z]+\.\d+@example\.(com|org|net)", email)
        assert all(any(ip_address(address) in network for network in networks) for address in (v4, v6))
        assert re.fullmatch(r"\+1-[2-9]\d\d-555-01\d\d", phone)


def test_equal_values_have_equal_stand_ins_however_they_are_written() -> None:
    pairs = [
        ("Anna@Posteo-Mail.DE", "anna@posteo-mail.de"),
        ("(212) 555-2368", "+1 212 555 2368"),
        ("2001:4860:0:0::8888", "2001:4860::8888"),
    ]
    for one, other in pairs:
        first, second = run([one, f"elsewhere {other} too"])
        assert second[TEXT] == f"elsewhere {first[TEXT]} too"


def test_another_process_chooses_the_same_stand_ins_and_another_seed_others() -> None:
    text = "anna@posteo-mail.de 8.8.44.4 212-555-2368"
    code = f"from tests.stages.test_pii import run; print(run([{text!r}])[0]['text'])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    mine = run([text])[0][TEXT]
    assert other == mine
    assert not set(mine.split()) & set(run([text], Pii(seed=1))[0][TEXT].split())


@pytest.mark.parametrize(
    "piece",
    ["a@", "1", "1-", "-", ":", "a:", "1.", "0 ", "(", "+", "eyJ", "eyJa.", "-----BEGIN PRIVATE KEY-----", "AB12", "a.", "sk-",
     "x@y.", "+49 ", "tel 1 ", "4111 ", "4111 1111 1111 1111 ", "::1 ", "é@"],
)  # fmt: skip
def test_time_is_linear_in_hostile_texts(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        best = float("inf")
        for _ in range(2):
            started = time.perf_counter()
            run([text])
            best = min(best, time.perf_counter() - started)
        return best

    seconds(1000)
    short, long = seconds(25_000), seconds(500_000)
    assert long < 100 * short + 0.5  # 20 times, where quadratic time would be 400


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kinds": []}, "kinds names one kind or more"), ({"kinds": ["ip", "ip"]}, "each once"),
     ({"kinds": ["ipv4"]}, "kinds.0: 'ipv4'"),
     ({"seed": -1}, "seed: -1"), ({"replacement": "fake"}, "replacement: 'fake'"), ({"max_matches": -1}, "max_matches: -1")],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(Pii, options)


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = "import sys; from curate.stages.filters.pii import Pii; Pii(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_matches_of_a_shuffled_batch_are_those_of_the_ordered_one() -> None:
    order = list(range(len(LABELLED)))
    random.Random(0).shuffle(order)
    ordered, shuffled = run(list(LABELLED)), run([LABELLED[n] for n in order])
    assert shuffled == [ordered[n] for n in order]
