"""The stage `line_dedup_global` on texts that can be checked by eye, and against plain Python."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import curate
from tests.conftest import WritePipeline, contents, rows
from tests.dedup.corpora import deal_finely

PIPELINE = "source: {{jsonl: {{paths: corpus/*.jsonl, split_bytes: 4000}}}}\nstages: [{{line_dedup_global: {{{options}}}}}]\n"


def write(folder: Path, files: list[list[str]]) -> None:
    folder.mkdir(exist_ok=True)
    for number, texts in enumerate(files):
        lines = [json.dumps({"id": f"{number}.{place}", "text": text}) for place, text in enumerate(texts)]
        (folder / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def kept(write_pipeline: WritePipeline, tmp_path: Path, options: str = "") -> dict[str, str]:
    curate.run(str(write_pipeline(PIPELINE.format(options=options))), out=str(tmp_path / "out"), inline=True)
    return {row["id"]: row["text"] for row in rows(tmp_path / "out")}


PAGES: list[list[str]] = [
    ["Menu | Home\nTides come twice a day.\nAll rights reserved 2019.", "Menu | Home"],
    ["MENU, home!\n\nHerons wait.\nAll rights reserved 2021.\nFin", "Herons wait.\n\nHérons wait\nMenu home\nNew."],
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Case, accents, punctuation and digits make no difference; what goes takes the line feed before it along.
        ("", {"0.0": PAGES[0][0], "1.0": "\nHerons wait.\nFin", "1.1": "\nNew."}),
        ("keep: none", {"0.0": "Tides come twice a day.", "1.0": "\nFin", "1.1": "\nNew."}),
        (
            "min_count: 4",
            {
                "0.0": PAGES[0][0],
                "1.0": "\nHerons wait.\nAll rights reserved 2021.\nFin",
                "1.1": "Herons wait.\n\nHérons wait\nNew.",
            },
        ),
        (
            "min_chars: 20",
            {"0.0": PAGES[0][0], "0.1": "Menu | Home", "1.0": "MENU, home!\n\nHerons wait.\nFin", "1.1": PAGES[1][1]},
        ),
    ],
)  # fmt: skip
def test_repeated_lines_are_cut(write_pipeline: WritePipeline, tmp_path: Path, options: str, expected: dict[str, str]) -> None:
    write(tmp_path / "corpus", PAGES)
    assert kept(write_pipeline, tmp_path, options) == expected
    dropped = {row["id"]: row["reason"] for row in rows(tmp_path / "out", "dropped")}
    assert dropped == ({} if "0.1" in expected else {"0.1": "nothing_left"})


def test_paragraphs_are_what_stands_between_empty_lines(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    notice = "This page may be copied\nby anyone."
    texts: list[list[str]] = [
        [f"{notice}\n\nOne."],
        [f"{notice}\n \t\n\nTwo.\nby anyone.", f"Three.\n\n{notice.upper()}\n\n\nFour."],
    ]
    write(tmp_path / "corpus", texts)
    assert kept(write_pipeline, tmp_path, "unit: paragraph") == {
        "0.0": texts[0][0],
        "1.0": "Two.\nby anyone.",
        "1.1": "Three.\n\n\nFour.",
    }


def test_a_document_that_would_lose_too_much_goes_with_its_text(write_pipeline: WritePipeline, tmp_path: Path) -> None:
    write(tmp_path / "corpus", [["a repeated line", "a repeated line\nand ten more."]])
    assert kept(write_pipeline, tmp_path, "max_removed_frac: 0.5") == {"0.0": "a repeated line"}
    (row,) = rows(tmp_path / "out", "dropped")
    assert (row["reason"], row["limit"], row["text"]) == ("too_many_chars_removed", 0.5, "a repeated line\nand ten more.")
    assert row["value"] == pytest.approx(16 / 29)


def test_the_same_comes_out_however_the_work_is_dealt(
    write_pipeline: WritePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(5)
    files: list[list[Any]] = [
        ["\n".join(draw.choices("abcdefghij", k=draw.randint(0, 6))) for _ in range(200)] for _ in range(3)
    ]
    write(tmp_path / "corpus", files)
    seen: set[str] = set()
    expected = {}
    for number, texts in enumerate(files):
        for place, text in enumerate(texts):
            new = [line for line in text.split("\n") if line not in seen and not seen.add(line)]  # type: ignore[func-returns-value]
            if any(new) or not text:
                expected[f"{number}.{place}"] = "\n".join(new)
    found = kept(write_pipeline, tmp_path)
    assert {name: text.replace("\n", "") for name, text in found.items()} == {
        name: text.replace("\n", "") for name, text in expected.items()
    }
    deal_finely(monkeypatch, 300)
    curate.run(str(tmp_path / "p.yaml"), out=str(tmp_path / "finely"), inline=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "finely")
