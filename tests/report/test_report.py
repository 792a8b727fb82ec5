"""The report of a run: its figures are those of the run, and text from documents is text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import curate
from curate.cli.main import main
from curate.prox.self_test_pages import GOOD as PAGES
from curate.report.collectors import Dropped, Size
from curate.report.gather import gather
from curate.report.inspect_run import sample_documents
from curate.report.run import write_report

HOSTILE = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
SCORERS = Path(__file__).parents[2] / "scorers"
TOKENIZER = SCORERS / "bpe-v1" / "tokenizer.json"
GOOD = "The tide goes out and the crabs wait under the weed until it comes back. "


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred documents: short ones go, those in French go, lines of menus are cut, and one is hostile in every field."""
    folder = tmp_path_factory.mktemp("report")
    rows = []
    for number in range(300):
        words = 10 + number
        text = " ".join((GOOD * 40).split()[:words]) + "."
        if number % 3 == 0:
            text = f"Share\n{text}\nLog in to read our cookie policy"
        rows.append((f"{number}", f"https://host{number % 7}.example/{number}", text))
    rows += [
        (f"fr{n}", f"https://fr.example/{n}", "La mer se retire et les crabes attendent sous les algues. " * 9)
        for n in range(9)
    ]
    rows.append((HOSTILE, f"https://bad.example/{HOSTILE}", HOSTILE))
    columns = dict(zip(("id", "url", "text"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "in.parquet")
    pipeline = {
        "name": "tides", "source": {"parquet": {"paths": "in.parquet"}},
        "stages": [
            {"language": {"keep": ["en"], "min_score": 0.5}},
            {"gopher_quality": {"min_words": 50, "max_words": 200, "values": True}},
            {"c4_quality": {"min_sentences": None}},
            {"tokens": {"tokenizer": str(TOKENIZER)}},
        ],
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(folder / "run.yaml"), out=str(folder / "out"), inline=True)
    write_report(str(folder / "out"))
    return folder / "out"


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((run / "report.json").read_text())
    return figures


def test_the_funnel_and_the_reasons_are_those_of_the_manifest(run: Path, found: dict[str, Any]) -> None:
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    assert [row["stage"] for row in found["funnel"]] == list(stages)
    for row in found["funnel"]:
        account = stages[row["stage"]]
        assert (row["rows_in"], row["rows_out"]) == (account["rows_in"], account["rows_out"])
        assert row["rows_in"] == row["rows_out"] + row["dropped"] + row["failed"]
    assert found["funnel"][-1]["frac_of_all"] == found["documents_out"] / found["documents_in"]
    counts = {(row["stage"], row["reason"]): row["documents"] for row in found["reasons"]}
    assert counts == {(name, why): n for name, account in stages.items() for why, n in account["dropped"].items()}
    assert counts["gopher_quality", "too_many_words"] > counts["gopher_quality", "too_few_words"] > 0


def test_tokens_are_those_of_the_corpus_and_seconds_add_up(run: Path, found: dict[str, Any]) -> None:
    kept = pq.read_table(run / "data")
    assert found["tokens_out"] == found["funnel"][-1]["tokens_out"] == pc.sum(kept["tokens"]).as_py()
    first, last = found["funnel"][1], found["funnel"][-1]
    assert first["tokens_out"] == pytest.approx(last["tokens_out"] * first["chars_out"] / last["chars_out"], abs=1)
    assert sum(row["frac_of_seconds"] for row in found["funnel"]) == pytest.approx(1)
    assert found["files"] == {"data/part-00000.parquet": {"rows": kept.num_rows, "sha256": ANY}} and found["num_files"] == 1
    assert gather(str(run), Size(files=0))["files"] == {}


def test_a_stage_that_is_not_installed_any_more_costs_what_it_measured_of_others_and_nothing_else(
    run: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    assert found["scores_unread"] == [] and found["scores"]
    out = Path(shutil.copytree(run, tmp_path / "out"))
    saved = (out / "recipe.yaml").read_text()
    (out / "recipe.yaml").write_text(saved.replace("- gopher_quality:", "- rules_of_a_friend:\n    as: gopher_quality"))
    again = gather(str(out))
    assert [one["stage"] for one in again["scores_unread"]] == ["gopher_quality"]
    assert "rules_of_a_friend" in again["scores_unread"][0]["why"]
    assert again["reasons"] == found["reasons"] and again["hosts"] == found["hosts"]
    for one in again["scores"]:
        whole = next(other for other in found["scores"] if other["reason"] == one["reason"])
        assert sum(one["stopped"]) == sum(whole["stopped"]) > 0 == sum(one["passed"]) and one["limit"] == whole["limit"]
    page = Path(write_report(str(out))).read_text()
    assert "The limits of gopher_quality are not known" in page
    assert ">dropped by it<" in page and ">others<" not in page  # of whom nothing is known


def test_plots_are_told_in_plain_numbers_and_those_that_stop_most_come_first(run: Path, found: dict[str, Any]) -> None:
    page = (run / "report.html").read_text()
    assert "mathdefault" not in page and ">1,000</text>" in page
    order = sorted(found["scores"], key=lambda one: -sum(one["stopped"]))
    assert page.index(f">{order[0]['stage']}: {order[0]['reason']}<") < page.index(
        f">{order[-1]['stage']}: {order[-1]['reason']}<"
    )
    assert sum(order[0]["stopped"]) > 0 == sum(order[-1]["stopped"])


def test_every_reason_can_be_read(found: dict[str, Any]) -> None:
    dropped = [one for one in found["documents"] if one["kind"] == "dropped"]
    for row in found["reasons"]:
        own = [one for one in dropped if (one["stage"], one["reason"]) == (row["stage"], row["reason"])]
        assert min(row["documents"], 20) <= len(own) <= row["documents"]
        assert all(one["text"] for one in own)
    places = [(one["id"], one["stage"]) for one in dropped]
    assert len(places) == len({*places})


def test_documents_near_a_limit_are_the_nearest_on_both_sides(run: Path, found: dict[str, Any]) -> None:
    near = [one for one in found["documents"] if one.get("near") and one["reason"] == "too_few_words"]
    lost = sorted((one["value"] for one in near if one["kind"] == "dropped"), reverse=True)
    stayed = sorted(one["value"] for one in near if one["kind"] == "kept")
    dropped = pq.read_table(run / "dropped").filter(pc.field("reason") == "too_few_words")
    assert lost == sorted(dropped["value"].to_pylist(), reverse=True)[:6]
    kept = pq.read_table(run / "data").column("gopher_words").to_pylist()
    assert stayed == sorted(kept)[:6]


def test_histograms_count_everything_that_was_measured(run: Path, found: dict[str, Any]) -> None:
    scores = {one["reason"]: one for one in found["scores"]}
    words, reasons = scores["too_few_words"], {row["reason"]: row["documents"] for row in found["reasons"]}
    assert sum(words["stopped"]) == reasons["too_few_words"]
    measured = next(row for row in found["funnel"] if row["stage"] == "gopher_quality")["rows_in"]
    assert sum(words["stopped"]) + sum(words["passed"]) == measured
    assert words["limit"] == 50
    beyond = [n for n, edge in zip(words["stopped"], words["edges"], strict=False) if edge >= 50]
    assert sum(beyond) == 0


def test_edits_are_shown_with_what_was_cut_and_why(found: dict[str, Any]) -> None:
    edited = [one for one in found["documents"] if one["kind"] == "edited"]
    assert edited
    for one in edited:
        gone = "".join(part[1] for part in one["parts"] if part[0] == "gone")
        assert "Share" in gone or "cookie" in gone
        assert all(part[2] in one["reason"] for part in one["parts"] if part[0] in ("gone", "new"))
    rules = {row["rule"]: row["edits"] for row in found["rules"]}
    assert rules == {"line_no_terminal_punctuation": 2 * sum(row["edited"] for row in found["funnel"])}


def test_what_was_dropped_before_it_had_a_text_is_listed_too(tmp_path: Path) -> None:
    for name in ("casino-bonus", "tides"):
        (tmp_path / f"{name}.html").write_text(f"<html><body><p>{GOOD * 20}</p></body></html>")
    pipeline = {
        "source": {"html": {"paths": str(tmp_path), "url_prefix": "https://a.example/"}},
        "stages": ["url_filter", "extract", {"language": {"keep": ["en"]}}],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(pipeline))
    out = tmp_path / "out"
    curate.run(str(tmp_path / "run.yaml"), out=str(out), inline=True)
    (dropped,) = [one for one in gather(str(out))["documents"] if one["kind"] == "dropped"]
    assert dropped["reason"] == "blocked_word" and "casino" in dropped["url"] and "text" not in dropped
    assert "(no text on record)" in repr(curate.inspect(out).documents("dropped"))
    assert "(no text on record)" in "".join(sample_documents(str(out), stage="url_filter"))


def test_languages_and_hosts_before_and_after(run: Path, found: dict[str, Any], tmp_path: Path) -> None:
    languages = {row["name"]: row for row in found["languages"]}
    assert languages["fr"]["dropped"] == 9 and languages["en"]["kept"] == found["documents_out"]
    # Not on record: the column is left out, and several languages were kept.
    text = (run.parent / "run.yaml").read_text().replace("in.parquet", str(run.parent / "in.parquet"))
    for keep, known in (("- en", found["documents_out"]), ("- en\n    - de", None)):
        (tmp_path / "run.yaml").write_text(text.replace("- en", keep) + "output: {columns: [id, url, text]}\n")
        curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / keep[-2:]), inline=True)
        again = {row["name"]: row["kept"] for row in gather(str(tmp_path / keep[-2:]))["languages"]}
        assert again.get("en") == known and again["fr"] == (known and 0)
    hosts = {row["name"]: row for row in found["hosts"]}
    assert hosts["fr.example"]["kept"] == 0
    assert sum(row["kept"] for row in hosts.values()) == found["documents_out"]


def test_lengths_are_those_of_the_texts(run: Path, found: dict[str, Any]) -> None:
    lengths = found["lengths"]
    texts = pq.read_table(run / "data")["text"].to_pylist()
    assert sum(lengths["kept"]) == len(texts)
    gone = pq.read_table(run / "dropped")["text"]
    assert sum(lengths["dropped"]) == len(gone) - gone.null_count  # those whose texts are on record
    longest = [edge for edge, count in zip(lengths["edges"], lengths["kept"], strict=False) if count][-1]
    assert longest <= max(map(len, texts)) <= lengths["edges"][-1]


def test_samples_are_the_same_each_time_and_as_large_as_asked(run: Path, found: dict[str, Any]) -> None:
    assert gather(str(run))["documents"] == found["documents"]
    small = gather(str(run), Size(per_reason=2, per_stage=1, kept=3, near=0, chars=20))["documents"]
    kinds = [one["kind"] for one in small]
    assert (kinds.count("edited"), kinds.count("kept")) == (1, 3)
    assert max(len(one["text"]) for one in small if "text" in one) == 20


@pytest.mark.parametrize(
    ("stage", "reason", "limit", "lost", "stayed"),
    [
        ({"select": {"column": "q", "top": 0.75}}, "below_top", 9.0, range(9, 3, -1), range(10, 16)),
        ({"keep": {"column": "q", "min": 10.0}}, "too_low", 10.0, range(9, 3, -1), range(10, 16)),
        ({"keep": {"column": "q", "max": 29.0}}, "too_high", 29.0, range(30, 36), range(29, 23, -1)),
    ],
)
def test_a_score_is_shown_with_its_limit_though_nothing_was_recorded(
    stage: dict[str, Any], reason: str, limit: float, lost: range, stayed: range, tmp_path: Path
) -> None:
    scores = [float(n) for n in range(40)]
    texts = [f"{GOOD}Number {n}." for n in range(40)]
    pq.write_table(pa.table({"id": [str(n) for n in range(40)], "text": texts, "q": scores}), tmp_path / "in.parquet")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"source": {"parquet": {"paths": "in.parquet"}}, "stages": [stage]}))
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    found = gather(str(tmp_path / "out"))
    (one,) = found["scores"]
    assert (one["reason"], one["column"], one["limit"]) == (reason, "q", limit)
    assert (sum(one["stopped"]), sum(one["passed"])) == (10, 30)
    near = [(shown["kind"], shown["value"]) for shown in found["documents"] if shown.get("near")]
    assert near == [("dropped", n) for n in lost] + [("kept", n) for n in stayed]


@pytest.mark.parametrize(
    ("stage", "reason", "column"),
    [
        ({"language": {"min_score": 0.99}}, "low_language_score", "language_score"),
        ({"prox": {"scorer": str(SCORERS / "prox-mini-v1"), "engine": "torch"}}, "prox_drop", "prox_keep"),
    ],
)
def test_a_score_that_a_stage_makes_itself_is_shown_of_what_stayed_too(
    stage: dict[str, Any], reason: str, column: str, tmp_path: Path
) -> None:
    texts = [f"{page}\nNumber {n}" for n in range(4) for page in PAGES] + [f"Menu\nLog in\nxq{n}" for n in range(9)]
    pq.write_table(pa.table({"id": [str(n) for n in range(len(texts))], "text": texts}), tmp_path / "in.parquet")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"source": {"parquet": {"paths": "in.parquet"}}, "stages": [stage]}))
    done = curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    dropped = done.stages[next(iter(stage))].dropped[reason]
    one = next(one for one in gather(str(tmp_path / "out"))["scores"] if one["reason"] == reason)
    assert (one["column"], sum(one["stopped"]), sum(one["passed"])) == (column, dropped, done.documents_out)
    assert dropped > 0 < done.documents_out


def test_nothing_of_a_document_is_markup_and_nothing_is_asked_of_anyone(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count("<script") == 2  # the data, and our own
    assert "stroke: var(--series-0)" in page  # plots have the colours of the page, light or dark
    assert "<img" not in page and "src=" not in page.replace("img src=x", "")
    assert "default-src 'none'" in page and "script-src 'sha256-" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("stages", [[], [{"gopher_quality": {"min_words": 100_000}}], ["whitespace"]])
def test_a_run_without_values_edits_or_documents_has_a_report_too(stages: list[Any], tmp_path: Path) -> None:
    """Without URLs, and with a text that is null."""
    pq.write_table(pa.table({"id": ["a", "b"], "text": [GOOD, None]}), tmp_path / "in.parquet")
    pipeline = {"source": {"parquet": {"paths": "in.parquet"}}, "stages": stages}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(pipeline))
    done = curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    assert write_report(str(tmp_path / "out")) == str(tmp_path / "out" / "report.html")
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["documents_out"] == done.documents_out
    assert found["scores"] == found["hosts"] == found["rules"] == []


@pytest.mark.parametrize("texts", [[], [None, None]])
def test_a_run_without_texts_has_a_report_too(texts: list[str | None], tmp_path: Path) -> None:
    table = pa.table({"id": pa.array(["a", "b"][: len(texts)], pa.string()), "text": pa.array(texts, pa.string())})
    pq.write_table(table, tmp_path / "in.parquet")
    (tmp_path / "run.yaml").write_text("source: {parquet: {paths: in.parquet}}\nstages: []\n")
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    assert f"{len(texts)} documents in" in Path(write_report(str(tmp_path / "out"))).read_text()


def test_of_many_documents_without_text_one_of_every_reason_is_shown() -> None:
    reasons = ["common"] * 999 + ["rare"]
    columns = {name: pa.array([None] * 1000, kind) for name, kind in (("value", pa.float64()), ("limit", pa.float64()))}
    columns |= {name: pa.array([None] * 1000, pa.string()) for name in ("url", "detail", "file", "text")}
    columns |= {"id": pa.array([str(n) for n in range(1000)]), "offset": pa.array(range(1000)), "reason": pa.array(reasons)}
    dropped = Dropped(Size(), 100)
    dropped.add(pa.record_batch({**columns, "stage": pa.array(["url_filter"] * 1000)}))
    shown = [one["reason"] for one in dropped.documents()]
    assert shown.count("rare") == 1 and shown.count("common") >= 10


def test_a_rule_without_one_limit_for_all_has_no_histogram() -> None:
    columns = {name: pa.array([None] * 20, pa.string()) for name in ("url", "detail", "file", "text")}
    columns |= {"id": pa.array([str(n) for n in range(20)]), "offset": pa.array(range(20)), "stage": pa.array(["a"] * 20)}
    columns |= {"reason": pa.array(["one", "several"] * 10), "value": pa.array([5.0] * 20)}
    dropped = Dropped(Size(), 1)
    dropped.add(pa.record_batch({**columns, "limit": pa.array([1.0, 1.0, 1.0, 2.0] * 5)}))
    assert dropped.limits() == [(("a", "one"), 1.0)]


def test_numbers_that_are_none_do_not_spoil_the_page(tmp_path: Path) -> None:
    rows = {"id": ["a", "b"], "text": [GOOD, GOOD + "Again."], "q": [float("nan"), 0.5]}
    pq.write_table(pa.table(rows), tmp_path / "in.parquet")
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({"source": {"parquet": {"paths": "in.parquet"}}, "stages": ["whitespace"]})
    )
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    write_report(str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert sorted(one["scores"].get("q", -1) for one in found["documents"]) == [-1, 0.5]


def test_what_is_counted_in_a_sample_is_scaled_to_the_whole(run: Path, found: dict[str, Any]) -> None:
    some = gather(str(run), Size(rows=50))
    assert some["drawn_from"]["dropped"] <= 50 < found["drawn_from"]["dropped"]
    whole = sum(row["dropped"] for row in found["hosts"])
    assert sum(row["dropped"] for row in some["hosts"]) == pytest.approx(whole, rel=0.15)
    kept = sum(row["kept"] for row in some["hosts"])
    assert kept == found["documents_out"]


def test_a_run_that_is_not_over_has_no_report(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "half")
    (tmp_path / "half" / "manifest.json").unlink()
    done = CliRunner().invoke(main, ["report", str(tmp_path / "half")])
    assert done.exit_code == 1 and "is not complete, and a report is of a whole run" in done.output
    nothing = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert nothing.exit_code == 1 and "holds no run" in nothing.output


@pytest.fixture(scope="module")
def page(run: Path) -> Iterator[Any]:
    """The report in a browser; messages of its console are collected."""
    from tests.browser import opened

    with opened() as browser:
        made = browser.new_page(viewport={"width": 1100, "height": 900})
        made.heard = []
        made.on("console", lambda message: made.heard.append(message.text))
        made.on("pageerror", lambda error: made.heard.append(str(error)))
        made.goto(f"file://{run / 'report.html'}")
        yield made


@pytest.mark.slow
def test_a_dropped_document_is_found_from_its_reason_in_two_clicks(page: Any) -> None:
    page.click("button[data-reason=too_few_words]")
    page.click("#documents details >> nth=0")
    assert "tide" in page.inner_text("pre.document")
    outcomes = page.eval_on_selector_all("#documents .outcome", "found => found.map((one) => one.textContent)")
    assert outcomes and all("gopher_quality / too_few_words" in one for one in outcomes)


@pytest.mark.slow
def test_every_table_sorts_and_filters(page: Any) -> None:
    for number in range(page.locator("table.sortable").count()):
        table = page.locator("table.sortable").nth(number)
        for column in range(table.locator("thead th").count()):
            for way, sign in (("descending", -1), ("ascending", 1)):
                table.locator("thead th").nth(column).locator("button").click()
                assert table.locator("thead th").nth(column).get_attribute("aria-sort") == way
                cells = table.locator(f"tbody tr > :nth-child({column + 1})")
                values = cells.evaluate_all("found => found.map((one) => one.dataset.value ?? null)")
                numbers = [float(value) for value in values if value is not None]
                assert numbers == sorted(numbers, key=lambda value: sign * value)
        finder = page.locator("label.find input").nth(number)
        name = table.locator("tbody tr > :first-child").last.inner_text()
        finder.fill(name.upper())
        shown = table.locator("tbody tr:visible")
        assert shown.count() and all(name in text for text in shown.all_inner_texts())
        finder.fill("nothing of the kind")
        assert not shown.count()
        finder.fill("")
        assert shown.count() == table.locator("tbody tr").count()
    assert page.locator("table:not(.sortable)").count() == 0


@pytest.mark.slow
def test_words_are_found_and_a_hostile_document_runs_nothing(page: Any) -> None:
    for name in ("kind", "stage", "reason"):
        page.select_option(f"#{name}", "")
    page.fill("#search", "document.title OWNED -crabs")
    page.locator("#count", has_text=re.compile("^1 of")).wait_for()
    page.click("#documents details >> nth=0")
    assert HOSTILE in page.inner_text("pre.document")
    assert page.locator("pre.document mark").first.inner_text() == "document.title"
    for asked, least in (
        ("gopher_quality", False),
        ('"crabs wait under"', True),
        ('"crabs under"', False),
        ("crabs under", True),
        ("weed -tide", False),
    ):
        page.fill("#search", asked)
        page.wait_for_function("asked => asked === search.asked", arg=asked)
        assert (page.locator("#documents details").count() > 0) == least
    assert page.title() == "tides"
    assert page.heard == []


@pytest.mark.slow
def test_a_phone_scrolls_no_more_than_up_and_down(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1100, "height": 900})


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ink_stands_out_from_the_page(page: Any, scheme: str) -> None:
    """A contrast of 4.5 or more (WCAG 2.2, 1.4.3) for text, outcomes and links."""
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate("""() => {
        const style = getComputedStyle(document.documentElement);
        const names = ["page", "ink", "soft", "good", "bad", "series-1", "series-3"];
        return names.map((name) => style.getPropertyValue("--" + name).trim());
    }""")
    background, *others = [_luminance(colour) for colour in colours]
    for other in others:
        high, low = max(background, other), min(background, other)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_what_is_shown_does_not_depend_on_where_the_files_lie(run: Path, found: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(run.parent / "in.parquet", tmp_path)
    shutil.copy(run.parent / "run.yaml", tmp_path)
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    assert gather(str(tmp_path / "out"))["documents"] == found["documents"]
    drawn = [
        [json.loads(line)["id"] for line in sample_documents(str(out), dropped=True, num=5, as_json=True)]
        for out in (run, tmp_path / "out")
    ]
    assert drawn[0] == drawn[1]
