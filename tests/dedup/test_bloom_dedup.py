"""The stage `bloom_dedup` against a plain set in the filter's place, and how it is dealt out."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import curate
from curate.errors import SpecError
from curate.execution.global_stages import scan
from tests.conftest import WritePipeline, contents, rows
from tests.dedup.corpora import deal_finely

PIPELINE = """
source: {{jsonl: {{paths: corpus/*.jsonl, split_bytes: 4000}}}}
stages: [{{bloom_dedup: {{ngram: 4, min_ngram: 2, false_positive_rate: 0.000001{options}}}}}]
"""

WORDS = ["tide", "heron", "marsh", "reed", "gull", "mud", "sand", "ebb"]


def write(folder: Path) -> list[list[str]]:
    """Texts made of a few dozen paragraphs of one to twelve words."""
    draw = random.Random(3)
    paragraphs = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(60)]
    files = [["\n".join(draw.choices([*paragraphs, ""], k=draw.randint(0, 5))) for _ in range(80)] for _ in range(3)]
    folder.mkdir(exist_ok=True)
    for number, texts in enumerate(files):
        lines = [json.dumps({"id": f"{number}.{place}", "text": text}) for place, text in enumerate(texts)]
        (folder / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return files


def ngrams(paragraph: str) -> list[tuple[str, ...]]:
    words = paragraph.split()
    if len(words) < 4:
        return [tuple(words)] if len(words) >= 2 else []
    return [tuple(words[at : at + 4]) for at in range(len(words) - 3)]


def by_set(texts: dict[str, str], mode: str) -> tuple[dict[str, str], dict[str, float]]:
    """What is left of every text, and the shares for which documents go, by a set that takes nothing for known wrongly."""
    seen: set[tuple[str, ...]] = set()
    left, gone = {}, {}
    for name, text in texts.items():
        paragraphs = text.split("\n")
        every = [gram for paragraph in paragraphs for gram in ngrams(paragraph)]
        share = sum(gram in seen for gram in every) / len(every) if every else 0.0
        if mode != "paragraph" and share > 0.8:
            gone[name] = share
            continue
        kept = []
        for paragraph in paragraphs:
            grams = ngrams(paragraph)
            if mode == "document" or not sum(gram in seen for gram in grams) > 0.8 * len(grams):
                seen.update(grams)
                kept.append(paragraph)
        if any(kept) or not len(kept) < len(paragraphs):
            left[name] = "\n".join(kept)
    return left, gone


@pytest.mark.parametrize("mode", ["both", "paragraph", "document"])
def test_documents_and_paragraphs_that_are_known_go(write_pipeline: WritePipeline, tmp_path: Path, mode: str) -> None:
    files = write(tmp_path / "corpus")
    texts = {f"{number}.{place}": text for number, part in enumerate(files) for place, text in enumerate(part)}
    curate.run(str(write_pipeline(PIPELINE.format(options=f", mode: {mode}"))), out=str(tmp_path / "out"), inline=True)
    left, gone = by_set(texts, mode)
    found = {row["id"]: row["text"] for row in rows(tmp_path / "out")}
    assert {name: text.strip("\n") for name, text in found.items()} == {name: text.strip("\n") for name, text in left.items()}
    dropped = rows(tmp_path / "out", "dropped")
    assert {row["id"]: row["value"] for row in dropped if row["reason"] == "known_document"} == pytest.approx(gone)
    assert bool(gone) == (mode != "paragraph") and len(found) < len(texts)


@pytest.mark.parametrize("filters", [1, 2])
def test_the_same_comes_out_however_the_work_is_dealt(
    write_pipeline: WritePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: int
) -> None:
    write(tmp_path / "corpus")
    path = write_pipeline(PIPELINE.format(options=f", filters: {filters}"))
    curate.run(str(path), out=str(tmp_path / "one"), inline=True)
    deal_finely(monkeypatch, 1)
    monkeypatch.setattr(scan, "CHECKPOINT", 0)
    path.write_text(path.read_text().replace("split_bytes: 4000", "split_bytes: 1500"))
    curate.run(str(path), out=str(tmp_path / "many"), inline=True)
    assert len(list((tmp_path / "many").glob("steps/*/barrier/leg-0-*"))) > 5
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_filters_side_by_side_know_nothing_of_each_other(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    files = write(tmp_path / "corpus")
    curate.run(str(write_pipeline(PIPELINE.format(options=", filters: 3"))), out=str(tmp_path / "out"), inline=True)
    left: dict[str, str] = {}
    for number, part in enumerate(files):
        left |= by_set({f"{number}.{place}": text for place, text in enumerate(part)}, "both")[0]
    assert {row["id"] for row in rows(tmp_path / "out")} == set(left)


def test_a_filter_that_would_not_fit_is_refused_with_a_way_out(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    write(tmp_path / "corpus")
    path = write_pipeline(PIPELINE.format(options=", max_filter_bytes: 1000"))
    with pytest.raises(SpecError, match=r"takes [\d,]+ bytes, max_filter_bytes is 1,000. Set filters: \d+ or more"):
        curate.run(str(path), out=str(tmp_path / "out"), inline=True)
