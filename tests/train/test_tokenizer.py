"""The shipped tokenizer and the script that trains it: what may be in the vocabulary, and that nothing else is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scorers" / "bpe-v1"
SPECIAL = "<|endoftext|>"
# Licences under which text may be trained on for a product that is shipped.
FREE = {"CC0-1.0", "CC-BY-4.0", "CC-BY-SA", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "PDDL-1.0", "public domain"}


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def vocabulary(folder: Path) -> list[str]:
    """Every entry as text."""
    tokenizer = load(folder)
    return [tokenizer.decode([number], skip_special_tokens=False) for number in range(tokenizer.get_vocab_size())]


def test_the_vocabulary_has_its_size_and_begins_with_the_special_token() -> None:
    entries = vocabulary(SHIPPED)
    assert len(entries) == 16_384
    assert entries[0] == SPECIAL


def test_no_entry_holds_an_address_or_a_run_of_digits() -> None:
    assert [entry for entry in vocabulary(SHIPPED) if re.search(r".@|@.|\d\d", entry)] == []


@given(st.text())
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    tokenizer = load_once()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


_loaded: list[Tokenizer] = []


def load_once() -> Tokenizer:
    if not _loaded:
        _loaded.append(load(SHIPPED))
    return _loaded[0]


def test_every_digit_is_a_token() -> None:
    assert load_once().encode("in 2024, 3.14").tokens == ["in", "Ġ", "2", "0", "2", "4", ",", "Ġ", "3", ".", "1", "4"]


def test_the_card_names_every_source_that_was_trained_on_and_a_licence_that_allows_it() -> None:
    _, front, _ = (SHIPPED / "card.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    metrics = json.loads((SHIPPED / "metrics.json").read_text(encoding="utf-8"))
    assert (card["kind"], card["name"], card["licence"]) == ("tokenizer", "bpe-v1", "Apache-2.0")
    assert [source["name"] for source in card["sources"]] == list(metrics["sources"])
    for source in card["sources"]:
        assert set(re.split(r" or | and ", re.sub(r" \(.*\)", "", source["licence"]))) <= FREE, source


def test_the_file_is_small_enough_to_ship() -> None:
    assert (SHIPPED / "tokenizer.json").stat().st_size < 1_200_000


def row(number: int, text: str, source: str = "digital_gov", **meta: Any) -> dict[str, Any]:
    """A document of one of six hosts."""
    url = f"https://host-{number % 6}.example/{number}"
    common = {"id": f"{source}-{number}", "url": url, "domain": "government", "meta": json.dumps(meta)}
    return {**common, "text": text, "source": source}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixty documents, and in them what may enter a vocabulary and what may not; each by letters of its own."""
    rows = []
    for number in range(60):
        text = "harbour office@harbour.example 1984 1984"  # all documents
        if number % 6 < 4:
            text += " zqzqzq"  # forty documents, but of four hosts
        if number < 19:
            text += " vkvkvk"  # all hosts, but nineteen documents
        rows.append(row(number, text))
        rows.append(row(number, "jxjxjx", source="newsgroups20"))  # not licensed
        rows.append(row(number, "wgwgwg", source="reddit_self", over_18=True))  # licensed, but marked for adults
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def train(corpus: Path, out: Path) -> Path:
    script = ROOT / "pipelines" / "train_tokenizer.py"
    subprocess.run([sys.executable, str(script), "--text", str(corpus), "--out", str(out)], check=True)
    return out


def test_only_what_many_share_enters_the_vocabulary(corpus: Path, tmp_path: Path) -> None:
    entries = vocabulary(train(corpus, tmp_path / "out"))
    assert {"harbour", ".", " "} <= set(entries)
    assert [entry for entry in entries if re.search("zq|qz|vk|kv|jx|xj|wg|gw|.@|@.|19|98|84", entry)] == []


def test_training_twice_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    first, second = train(corpus, tmp_path / "first"), train(corpus, tmp_path / "second")
    for name in ("tokenizer.json", "metrics.json", "card.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
