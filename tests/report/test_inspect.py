"""A run in a notebook."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import curate
from curate.errors import SpecError
from curate.report.notebook import Inspection

TIDE = "The tide goes out and the crabs wait under the weed with us until it comes back. "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = tmp_path_factory.mktemp("inspect")
    texts = [" ".join((TIDE * 9).split()[: 10 + n]) + "." + ("\nShare <b>this</b>" if n % 10 == 0 else "") for n in range(100)]
    rows = {"id": [f"{n:02}" for n in range(100)], "url": [f"https://a.example/{n}" for n in range(100)], "text": texts}
    pq.write_table(pa.table(rows), folder / "in.parquet")
    stages = [{"gopher_quality": {"min_words": 50, "values": True}}, {"c4_quality": {"min_sentences": None}}]
    (folder / "run.yaml").write_text(yaml.safe_dump({"source": {"parquet": {"paths": "in.parquet"}}, "stages": stages}))
    curate.run(str(folder / "run.yaml"), out=str(folder / "out"), inline=True)
    return curate.inspect(folder / "out")


def test_tables_show_the_figures_as_text_and_as_html(run: Inspection) -> None:
    assert run.funnel[0]["rows_in"] == 100
    text = repr(run.funnel).splitlines()
    assert text[0].split() == list(run.funnel.columns)
    assert text[1].split()[:5] == ["source", "100", "0", "0", "100"]
    html = run.reasons._repr_html_()
    assert html.count("<tr>") == 1 + len(run.reasons) and "too_few_words" in html
    assert run.rules[0]["rule"] == "line_no_terminal_punctuation"
    assert run.hosts[0]["name"] == "a.example" and len(run.languages) == 0


def test_documents_are_found_by_what_happened_and_by_words(run: Inspection) -> None:
    short = run.documents("dropped", reason="too_few_words", num=3)
    assert len(short) == 3 and {row["reason"] for row in short} == {"too_few_words"}
    assert "limit 50" in repr(short[:1]) and "crabs" in repr(short[:1])
    near = run.documents("near", stage="gopher_quality", reason="too_few_words", num=100)
    assert {row["kind"] for row in near} == {"dropped", "kept"}
    assert [row["url"] for row in run.documents(words="a.example/77")] == ["https://a.example/77"]
    assert {row["reason"] for row in run.documents(reason="too_many_words", num=100)} == {"too_many_words"}
    assert len(run.documents("kept", num=0)) == 0


def test_edits_show_what_was_cut_and_markup_of_a_document_is_text(run: Inspection) -> None:
    edited = run.documents("edited", num=1)
    assert "[-" in repr(edited) and "Share <b>this</b>" in repr(edited)
    html = edited._repr_html_()
    assert "<del" in html and "Share &lt;b&gt;this&lt;/b&gt;" in html and "<b>" not in html


def test_a_name_that_there_is_not_is_told_with_the_known_ones(run: Inspection) -> None:
    with pytest.raises(SpecError, match=r"kind: 'droped'.*Did you mean 'dropped'"):
        run.documents("droped")
    with pytest.raises(SpecError, match=r"stage: 'gopher'.*gopher_quality"):
        run.documents(stage="gopher")
    with pytest.raises(SpecError, match=r"reason: 'short'.*too_few_words"):
        run.documents(reason="short")
