"""Scorer cards and fastText: a tiny classifier trained here, served as a stage, a library call and a language engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.errors import SpecError
from tests.conftest import WritePipeline, rows
from tests.scorers import train

ROOT = Path(__file__).parents[2]

CARD = """---
kind: fasttext
model: model.bin
columns: {tide: __label__sea}
transform: [newlines_to_spaces, lowercase]
---
A toy: texts about the sea against texts about bread.
"""
SEA = ["the tide and the waves", "salt water and waves", "a harbour at low tide", "waves and the salt wind"]
BREAD = ["flour and yeast", "knead the dough", "bake the loaf", "dough with flour and salt"]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("scorers") / "tide-v1", CARD, {"sea": SEA, "bread": BREAD})


def test_a_scorer_tells_its_classes_apart_and_leaves_null_alone(scorer: Path) -> None:
    scores = curate.load_scorer(str(scorer))(["Waves at\nlow TIDE", "knead the flour", None, ""])["tide"]
    assert scores.dtype == np.float32 and scores[0] > 0.8 and scores[1] < 0.2 and np.isnan(scores[2]) and 0 <= scores[3] <= 1


def test_the_transform_of_the_card_is_applied(scorer: Path) -> None:
    load = curate.load_scorer(str(scorer))
    assert load(["WAVES\r\nAND SALT"])["tide"] == load(["waves and salt"])["tide"]


def test_score_then_keep_in_a_run(scorer: Path, tmp_path: Path, write_pipeline: WritePipeline) -> None:
    pq.write_table(pa.table({"text": [*SEA, *BREAD, None]}), tmp_path / "in.parquet")
    path = write_pipeline(
        f"source: {{parquet: {{paths: in.parquet}}}}\nstages:\n  - score: {{scorer: {scorer}, column: sea}}\n"
        "  - keep: {column: sea, min: 0.5}\n"
    )
    curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    assert [row["text"] for row in rows(tmp_path / "out")] == SEA
    assert [row["reason"] for row in rows(tmp_path / "out", "dropped")] == ["too_low"] * 4 + ["no_score"]


def test_a_score_may_not_take_the_place_of_the_text(scorer: Path) -> None:
    with pytest.raises(SpecError, match=r"column: 'text' has a meaning of its own. Choose another name"):
        curate.apply("score", pa.table({"text": ["waves"]}), scorer=str(scorer), column="text")


def test_apply_scores_a_table(scorer: Path) -> None:
    table = curate.apply("score", pa.table({"text": ["waves"]}), scorer=str(scorer))
    assert table["tide"][0].as_py() > 0.5


def test_a_retrained_model_is_another_recipe(scorer: Path, tmp_path: Path) -> None:
    from curate.storage.store import hash_asset

    copy = tmp_path / "copy"
    copy.mkdir()
    for file in scorer.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert hash_asset(str(copy)) == hash_asset(str(scorer))
    (copy / "model.bin").write_bytes(b"other")
    assert hash_asset(str(copy)) != hash_asset(str(scorer))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (CARD.replace("transform: [newlines_to_spaces, lowercase]\n", ""), r"no 'transform'. Say how text was prepared"),
        (CARD.replace("lowercase]", "lowercased]"), r"transform: 'lowercased' is unknown. Did you mean 'lowercase'\?"),
        (CARD.replace("kind: fasttext", "kind: fastext"), r"kind: 'fastext': must be 'fasttext'"),
        (CARD.replace("model.bin", "gone.bin"), r"model 'gone.bin' is not in"),
        (CARD.replace("transform:", "sha265: 12\ntransform:"), r"key 'sha265': did you mean 'sha256'\?"),
        (CARD.replace("tide:", "text:"), r"column: 'text' has a meaning of its own"),
        ("no front matter", r"no front matter. Begin the card with '---'"),
    ],
)
def test_a_card_that_says_too_little_is_refused(tmp_path: Path, scorer: Path, card: str, message: str) -> None:
    (tmp_path / "model.bin").write_bytes((scorer / "model.bin").read_bytes())
    (tmp_path / "card.md").write_text(card)
    with pytest.raises(SpecError, match=message):
        curate.load_scorer(str(tmp_path))


def test_a_label_the_model_does_not_have_is_named(tmp_path: Path, scorer: Path) -> None:
    (tmp_path / "model.bin").write_bytes((scorer / "model.bin").read_bytes())
    (tmp_path / "card.md").write_text(CARD.replace("__label__sea", "__label__see"))
    with pytest.raises(SpecError, match=r"has no label '__label__see'. Known: __label__bread, __label__sea."):
        curate.load_scorer(str(tmp_path))


def test_any_fasttext_model_identifies_languages_by_path(scorer: Path) -> None:
    table = curate.apply(
        "language",
        pa.table({"text": ["the tide\nand the waves", "knead the dough", ""]}),
        engine="fasttext",
        model=str(scorer / "model.bin"),
        keep=["sea"],
    )
    assert table["language"].to_pylist() == ["sea", "bread", "und"]
    assert [value and value["reason"] for value in table["drop"].to_pylist()] == [None, "other_language", "other_language"]


def test_what_is_no_scorer_is_told_from_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"edu-v9' is not there\. .*'curate fit' .*: bpe-v1, preselect-mini-v1, prox-mini-v1"):
        curate.load_scorer(str(ROOT / "scorers" / "edu-v9"))
    with pytest.raises(SpecError, match=r"has no card\.md"):
        curate.load_scorer(str(tmp_path))
    for name, what in (("prox-mini-v1", "a refiner, for the stages"), ("bpe-v1", "a tokenizer, for the stage 'tokens'")):
        with pytest.raises(SpecError, match=what):
            curate.load_scorer(str(ROOT / "scorers" / name))
    with pytest.raises(SpecError, match=r"list is no pyarrow\.Table"):
        curate.apply("whitespace", ["text"])
