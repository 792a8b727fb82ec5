"""The README of a corpus: the hub can read it, it says what was lost, and nothing of where it was made."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import curate
from curate.execution.dataset_card import _languages

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    texts = [f"The tide goes out and the crabs wait, and the {n} of us with them. " * 12 for n in range(30)]
    texts[0] = "# A heading, and [a link](https://bad.example) with <b>markup</b> in the text that the card begins with. " * 9
    rows = {"id": [f"{n:02}" for n in range(31)], "text": [*texts, "The tide goes out, and the crabs wait with us for it."]}
    pq.write_table(pa.table(rows), folder / "in.parquet")
    stages = [
        {"language": {"keep": ["en"]}},
        {"gopher_quality": {"min_words": 50}},
        {"score": {"scorer": str(ROOT / "scorers" / "preselect-mini-v1")}},
    ]
    pipeline = {"name": "tides", "source": {"parquet": {"paths": "in.parquet"}}, "stages": stages}
    pipeline["output"] = {"license": "odc-by"}
    (folder / "run.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(folder / "run.yaml"), out=str(folder / "out"), inline=True)
    return folder / "out"


def test_it_says_what_was_lost_and_what_chose(out: Path) -> None:
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pretty_name"] == "tides"
    assert front["size_categories"] == ["n<1K"]
    assert (front["license"], front["language"]) == ("odc-by", ["en"]) and "The collection is under `odc-by`" in card
    assert "30 documents of 31" in card
    assert "| `gopher_quality` | 31 | 1 | 0 | 96.8% |" in card and "`too_few_words` 1" in card
    assert "### `preselect-mini-v1`, in `score`" in card and "Not for choosing the text that a model is trained on" in card
    assert '"min_words": 50' in card


def test_it_names_no_folder_of_the_machine_and_texts_in_it_are_code(out: Path) -> None:
    card = (out / "README.md").read_text()
    assert str(out.parent) not in card and str(ROOT) not in card
    assert all(line.startswith("    ") for line in card.splitlines() if "bad.example" in line)
    assert card.count("bad.example") >= 1


def test_the_same_run_writes_the_same_card(out: Path) -> None:
    curate.run(str(out.parent / "run.yaml"), out=str(out.parent / "again"), inline=True)
    assert (out.parent / "again" / "README.md").read_bytes() == (out / "README.md").read_bytes()


def test_a_licence_may_be_named_when_the_run_is_over(out: Path) -> None:
    path, manifest = out.parent / "run.yaml", (out / "manifest.json").read_bytes()
    path.write_text(path.read_text().replace("odc-by", "cc-by-4.0"))
    assert curate.run(str(path), out=str(out), inline=True).already_done
    assert "license: cc-by-4.0" in (out / "README.md").read_text()
    assert (out / "manifest.json").read_bytes() == manifest
    path.write_text(path.read_text().replace("cc-by-4.0", "odc-by"))
    curate.run(str(path), out=str(out), inline=True)
    assert "license: odc-by" in (out / "README.md").read_text()


@pytest.mark.slow
def test_the_hubs_library_loads_the_folder_by_its_card(out: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    found = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path))
    assert sorted(found["id"]) == sorted(pq.read_table(out / "data")["id"].to_pylist())


def test_languages_are_named_where_the_hub_knows_the_names() -> None:
    assert _languages({"stages": [{"language": {"keep": ["en", "eng_Latn", "deu"]}}, {"tokens": {}}]}) == ["en", "deu"]
    assert _languages({"stages": [{"language": {"keep": None}}]}) == _languages({"stages": []}) == []
