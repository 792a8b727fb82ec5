"""`toxicity`: documents dropped and lines cut by a classifier that is trained here, and what stays as it was."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.api.batch import Batch, apply_edits
from curate.config.options import build
from curate.errors import SpecError
from curate.report.whatif import parse_changes
from curate.schema import DROP, EDITS, TEXT
from curate.stages.filters.toxicity import Toxicity
from tests.conftest import WritePipeline, contents, rows
from tests.scorers import train

CARD = """---
kind: fasttext
model: model.bin
columns: {toxic: __label__rude}
transform: [newlines_to_spaces, lowercase]
---
A toy: rude texts against polite ones.
"""
BOTH = CARD.replace("{toxic: __label__rude}", "{toxic: __label__rude, polite: __label__kind}")
RUDE = ["you stupid rotten fool", "shut up you rotten pig", "what a stupid pig", "go away fool and shut up"]
KIND = ["thank you for the lovely tea", "please come in and sit down", "what a lovely garden", "thank you and good night"]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(train(tmp_path_factory.mktemp("scorers") / "rude-v1", CARD, {"rude": RUDE, "kind": KIND}))


def run(scorer: str, texts: Sequence[str | None], **options: Any) -> list[Row]:
    kernel = build(Toxicity, {"scorer": scorer, **options}).open()
    after = kernel(Batch(pa.record_batch({TEXT: pa.array(texts, pa.large_string())})))
    return [{DROP: None, EDITS: None, **row} for row in after.records.to_pylist()]


def reasons(after: list[Row]) -> list[str | None]:
    return [row[DROP] and row[DROP]["reason"] for row in after]


def test_toxic_documents_go_and_every_document_has_its_score(scorer: str) -> None:
    after = run(scorer, [*RUDE, *KIND, None], max=0.5)
    assert reasons(after) == ["toxic"] * 4 + [None] * 4 + ["no_score"]
    assert [row[DROP] for row in after[:4]] == [
        {"reason": "toxic", "value": row["toxic"], "limit": 0.5, "detail": None} for row in after[:4]
    ]
    assert [row[TEXT] for row in after] == [*RUDE, *KIND, None] and {row[EDITS] for row in after} == {None}
    assert min(row["toxic"] for row in after[:4]) > 0.5 > max(row["toxic"] for row in after[4:8])


def test_scores_are_those_of_the_stage_that_scores(scorer: str) -> None:
    texts = pa.table({TEXT: [*RUDE, *KIND, "", "Fool!\nThank you."]})
    assert curate.apply("toxicity", texts, scorer=scorer, max=0.5)["toxic"].equals(
        curate.apply("score", texts, scorer=scorer)["toxic"]
    )


@pytest.mark.parametrize("unit", ["document", "line"])
def test_exactly_the_limit_stays_and_anything_above_goes(scorer: str, unit: str) -> None:
    score = run(scorer, RUDE[:1], max=None)[0]["toxic"]
    gone = "toxic" if unit == "document" else "nothing_left"
    assert reasons(run(scorer, RUDE[:1], max=score, unit=unit)) == [None]
    assert reasons(run(scorer, RUDE[:1], max=float(np.nextafter(score, 0)), unit=unit)) == [gone]


@pytest.mark.parametrize("unit", ["document", "line"])
def test_without_a_limit_scores_are_written_and_nothing_goes(scorer: str, unit: str) -> None:
    after = run(scorer, [*RUDE, *KIND, None], max=None, unit=unit)
    assert reasons(after) == [None] * 9 and {row[EDITS] for row in after} == {None}
    assert [row["toxic"] > 0.5 for row in after] == [True] * 4 + [False] * 5
    assert TEXT not in build(Toxicity, {"scorer": scorer, "max": None, "unit": unit}).writes


def test_toxic_lines_are_cut_wherever_they_stand(scorer: str) -> None:
    rude, kind = RUDE[0], KIND[0]
    expected = {
        f"{rude}\n{kind}": kind,
        f"{kind}\n{rude}": kind,
        f"{kind}\n{rude}\n{kind}": f"{kind}\n{kind}",
        f"{rude}\n{rude}\n{kind}\n\n{rude}\n{kind}\n{rude}\n{rude}": f"{kind}\n\n{kind}",
        f"{kind}\r\n{rude}\r\n": f"{kind}\r\n",
        f"é {kind}\n\n{rude}\n": f"é {kind}\n\n",
        f"{kind}\n \n": f"{kind}\n \n",
    }
    after = run(scorer, list(expected), max=0.5, unit="line")
    assert reasons(after) == [None] * len(expected)
    assert [row[TEXT] for row in after] == list(expected.values())
    for text, row in zip(expected, after, strict=True):
        assert row[TEXT] == (apply_edits(text, row[EDITS]) if row[EDITS] else text)
        assert {edit["rule"] for edit in row[EDITS] or ()} <= {"toxic_line"}


def test_the_score_of_a_document_is_that_of_its_worst_line(scorer: str) -> None:
    rude, kind = (row["toxic"] for row in run(scorer, [RUDE[0], KIND[0]], max=None))
    after = run(scorer, [f"{KIND[0]}\n\n{RUDE[0]}\n", KIND[0], RUDE[0]], max=0.5, unit="line")
    assert [row["toxic"] for row in after] == [rude, kind, rude]


def test_blank_lines_are_not_scored(scorer: str) -> None:
    after = run(scorer, ["", "\n", " \n\t", None, f"\n\n{KIND[0]}"], max=0.0, unit="line")
    assert reasons(after) == ["no_score"] * 4 + ["nothing_left"]
    assert np.isnan([row["toxic"] for row in after]).tolist() == [True] * 4 + [False]


def test_a_document_that_loses_more_than_its_share_goes_as_it_was(scorer: str) -> None:
    text = f"{KIND[0]}\n{RUDE[0]}"
    share = (len(RUDE[0]) + 1) / len(text)
    for limit, reason in ((None, None), (share, None), (float(np.nextafter(share, 0)), "too_many_chars_removed")):
        (row,) = run(scorer, [text], max=0.5, unit="line", max_removed_frac=limit)
        assert reasons([row]) == [reason]
        assert (row[TEXT], bool(row[EDITS])) == ((text, False) if reason else (KIND[0], True))
    assert row[DROP] == {"reason": "too_many_chars_removed", "value": share, "limit": limit, "detail": None}
    assert reasons(run(scorer, [f"{RUDE[0]}\n\n{RUDE[1]}"], max=0.5, unit="line")) == ["nothing_left"]


@pytest.mark.parametrize("unit", ["document", "line"])
def test_documents_do_not_see_each_other(scorer: str, unit: str) -> None:
    draw = random.Random(0)
    texts: list[str | None] = [None, "", *RUDE, *KIND]
    texts += ["\n".join(draw.choices([*RUDE, *KIND, "", " "], k=draw.randint(1, 6))) for _ in range(60)]
    together = run(scorer, texts, max=0.5, unit=unit)
    assert str(together) == str([row for text in texts for row in run(scorer, [text], max=0.5, unit=unit)])
    assert str(together[::-1]) == str(run(scorer, texts[::-1], max=0.5, unit=unit))


def test_of_several_columns_one_is_chosen_and_written(scorer: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes((Path(scorer) / "model.bin").read_bytes())
    (tmp_path / "card.md").write_text(BOTH)
    (row,) = run(str(tmp_path), KIND[:1], column="polite", max=0.5)
    assert reasons([row]) == ["toxic"] and row["polite"] > 0.5 and "toxic" not in row
    with pytest.raises(SpecError, match=r"column: the card has 2 columns \(toxic, polite\); say which"):
        build(Toxicity, {"scorer": str(tmp_path), "max": 0.5})
    with pytest.raises(SpecError, match=r"column: the card has no 'polit'\. Did you mean 'polite'\?"):
        build(Toxicity, {"scorer": str(tmp_path), "max": 0.5, "column": "polit"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'max' is required"),
        ({"max": 0.5, "max_removed_frac": 0.5}, "max_removed_frac: lines are cut with 'unit: line' and a 'max' only"),
        ({"max": None, "unit": "line", "max_removed_frac": 0.5}, "max_removed_frac: lines are cut"),
        ({"max": 0.5, "unit": "line", "max_removed_frac": 2}, "max_removed_frac: 2"),
        ({"max": 0.5, "unit": "sentence"}, "unit: 'sentence'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(scorer: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(Toxicity, {"scorer": scorer, **options})


PIPELINE = "source: {{parquet: {{paths: in/*.parquet}}}}\nstages:\n  - toxicity: {{scorer: {scorer}, {options}}}\n{more}"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"id": [f"d{n}" for n in range(9)], TEXT: [*RUDE, *KIND, None]}), folder / "a.parquet")
    return folder


def test_a_run_drops_toxic_documents_and_what_another_limit_would_do_is_counted(
    corpus: Path, scorer: str, tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    def run_with(limit: float) -> Path:
        options = f"max: {limit}, values: true"
        path = write_pipeline(PIPELINE.format(scorer=scorer, options=options, more="output: {columns: [id, text, toxic]}\n"))
        curate.run(str(path), out=str(tmp_path / str(limit)), inline=True)
        return tmp_path / str(limit)

    out = run_with(0.5)
    assert [row[TEXT] for row in rows(out)] == KIND
    assert [row["reason"] for row in rows(out, "dropped")] == ["toxic"] * 4 + ["no_score"]
    middle = sorted(row["values"]["toxic"] for row in rows(out, "dropped")[:4])[1]
    for limit in (middle, 0.0, 1.0):
        moved, again = curate.whatif(str(out), parse_changes([f"toxicity.max={limit}"])), run_with(limit)
        assert moved.documents_out == (4, len(rows(again)))
        counted = {"toxic": 0, "no_score": 0}
        for row in rows(again, "dropped"):
            counted[row["reason"]] += 1
        assert moved.stages["toxicity"][1].dropped == {reason: count for reason, count in counted.items() if count}


def test_a_run_cuts_toxic_lines_and_the_cut_ones_can_be_read_afterwards(
    scorer: str, corpus: Path, tmp_path: Path, write_pipeline: WritePipeline
) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], TEXT: [f"{KIND[0]}\n{RUDE[0]}\n{KIND[1]}", KIND[2]]}), corpus / "a.parquet")
    path = write_pipeline(PIPELINE.format(scorer=scorer, options="max: 0.5, unit: line", more=""))
    curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    assert [row[TEXT] for row in rows(tmp_path / "out")] == [f"{KIND[0]}\n{KIND[1]}", KIND[2]]
    assert any("edited/" in name for name in contents(tmp_path / "out"))
    with pytest.raises(SpecError, match="stage 'toxicity' does not hold measured values against limits"):
        curate.whatif(str(tmp_path / "out"), {"toxicity.max": 0.6})
