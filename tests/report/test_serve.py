"""All documents of a run in a browser: what is found, who may ask, and what people say."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import curate
from curate.cli.main import main
from curate.errors import SpecError
from curate.report.search_query import Search
from curate.report.serve import PER_PAGE, Browser, Query, application, precision, read_audit, wilson
from curate.report.sql import connect

TIDE = "The tide goes out and the crabs wait under the weed with us until it comes back. "
HOSTILE = "<script>document.title = 'owned'</script>"
TOKEN = "t0ken"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    texts = [" ".join((TIDE * 20).split()[: 10 + n]) + "." + (f"\nShare {HOSTILE}" if n % 10 == 0 else "") for n in range(200)]
    texts[199] += " ΟΔΟΣ in İstanbul."
    urls = [f"https://Host{n % 3}.example:80/{n}" for n in range(200)]
    pq.write_table(pa.table({"id": [f"{n:03}" for n in range(200)], "url": urls, "text": texts}), folder / "in.parquet")
    stages = [{"gopher_quality": {"min_words": 100, "values": True}}, {"c4_quality": {"min_sentences": None}}]
    pipeline = {"name": "tides", "source": {"parquet": {"paths": "in.parquet"}}, "stages": stages}
    (folder / "run.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(folder / "run.yaml"), out=str(folder / "out"), inline=True)
    return folder / "out"


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "out"))


def ids(run: Path, **asked: str) -> list[str]:
    """Of all pages."""
    browser, found = Browser(str(run)), []
    count, first = browser.find(Query.of(asked))
    for page in range(-(-count // PER_PAGE)):
        found += [row["id"] for row in browser.find(Query.of({**asked, "page": str(page)}))[1]]
    assert len(found) == count and len(first) == min(count, PER_PAGE)
    return found


def test_every_document_is_on_one_page_by_what_happened_to_it(done: Path) -> None:
    dropped, kept = ids(done), ids(done, kind="kept")
    assert sorted([*dropped, *kept]) == [f"{n:03}" for n in range(200)]
    assert dropped == sorted(dropped)
    assert set(ids(done, kind="edited")) <= {*kept}


def test_documents_are_found_by_reason_host_words_and_numbers(done: Path) -> None:
    words = dict(zip(*(pq.read_table(done / "dropped")[name].to_pylist() for name in ("id", "value")), strict=True))
    assert ids(done, stage="gopher_quality", reason="too_few_words") == sorted(words)
    assert ids(done, column="value", low="50", high="60") == sorted(name for name, value in words.items() if 50 <= value <= 60)
    assert ids(done, host="HOST1.example") == [name for name in sorted(words) if int(name) % 3 == 1]
    assert ids(done, words=".EXAMPLE:80/77") == ["077"]
    assert ids(done, words="owned", kind="edited") == [f"{n:03}" for n in range(90, 200, 10)]
    assert ids(done, words="owned -SHARE", kind="edited") == []
    # The first ends before the weed.
    assert ids(done, words='weed "crabs wait"', stage="gopher_quality") == sorted(words)[1:]
    assert ids(done, words='"wait crabs"') == []
    assert ids(done, words="crabs -1.example -2.EXAMPLE") == [name for name in sorted(words) if int(name) % 3 == 0]
    assert ids(done, words="ΟΔΟΣ İstanbul", kind="kept") == ["199"]
    assert len(ids(done, words="-ΟΔΟΣ", kind="kept")) == len(ids(done, kind="kept")) - 1
    assert ids(done, reason="nothing of the kind") == []
    assert ids(done, words="100%' OR 1=1 --") == []


def test_a_search_finds_all_its_words_and_marks_them() -> None:
    search = Search.of('Weed "the crabs" -Tide -"out to sea" crab')
    assert search == Search(("Weed", "the crabs", "crab"), ("Tide", "out to sea"))
    assert search.finds("Under the WEED wait The Crabs.") and not search.finds("The crabs and the weed of the tide")
    assert not search.finds("the weed and crabs")
    text = "Weeds: the crabs (a crab)."
    assert "".join(piece for piece, _ in search.pieces(text)) == text
    assert [piece for piece, hit in search.pieces(text) if hit] == ["Weed", "the crabs", "crab"]
    assert [piece for piece, hit in Search.of("crab crabs").pieces("crabs") if hit] == ["crabs"]
    assert Search.of("  ").finds("") and list(Search.of("").pieces("(a)")) == [("(a)", False)]
    assert [piece for piece, hit in Search.of("(a)").pieces("b (A)") if hit] == ["(A)"]


def test_what_cannot_be_asked_is_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="low, high and page are numbers"):
        Query.of({"low": "much"})
    with pytest.raises(SpecError, match=r"kind: 'all'\. Known: dropped, edited, kept"):
        Query.of({"kind": "all"})
    with pytest.raises(SpecError, match=r"column: 'text'. Numbers that dropped documents have: value, limit"):
        Browser(str(done)).find(Query.of({"column": "text", "low": "1"}))
    with pytest.raises(SpecError, match="holds no run"):
        Browser(str(tmp_path))
    with pytest.raises(SpecError, match="is a URL"):
        application("s3://bucket/out", TOKEN)
    nothing = CliRunner().invoke(main, ["serve", str(tmp_path)])
    assert nothing.exit_code == 1 and "holds no run" in nothing.output


@pytest.mark.parametrize("name", ['a" >= 0 OR true --', "x'; DROP TABLE page; --", "a.b", "ä ß", '"', '""', "\\", "select"])
def test_a_column_of_the_input_is_a_column_whatever_its_name(tmp_path: Path, name: str) -> None:
    table = pa.table({"id": ["a", "b", "c"], "text": ["one", "two", "three"], name: [1, 2, 3]})
    pq.write_table(table, tmp_path / "in.parquet")
    columns = {"output": {"columns": ["id", "text", name]}}
    pipeline = {
        "name": "odd",
        "source": {"parquet": {"paths": "in.parquet"}},
        "stages": [{"sample": {"share": 1.0}}],
        **columns,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    assert ids(tmp_path / "out", kind="kept", column=name, low="2") == ["b", "c"]
    assert ids(tmp_path / "out", kind="kept", column=name, high="1", words="one") == ["a"]


def test_a_query_reaches_no_file(tmp_path: Path) -> None:
    """Nor a variable of the program, not even if a statement were to come out of data."""
    variable_of_the_caller = pa.table({"a": [1]})
    assert len(variable_of_the_caller) == 1
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for statement in (
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        "SET enable_external_access = true",
        "SELECT * FROM variable_of_the_caller",
    ):
        with pytest.raises(Exception, match=r"disabled|locked|does not exist"):
            connect().execute(statement)
    assert not (tmp_path / "out.csv").exists()


def test_without_the_token_nothing_is_told(run: Path) -> None:
    client = application(str(run), TOKEN).test_client()
    for answer in (client.get("/"), client.get("/guess/"), client.get("/guess/audit"), client.post("/audit", data={})):
        assert answer.status_code == 403 and "tide" not in answer.text
    page = client.get(f"/{TOKEN}/?kind=edited&words=%3CSCRIPT%3E")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text and "<mark>&lt;script&gt;</mark>" in page.text
    assert "Set-Cookie" not in page.headers
    assert client.get(f"/{TOKEN}/?low=much").status_code == 400
    assert client.get(f"/{TOKEN}/?page=" + "9" * 40).status_code == 200


def test_what_people_say_is_kept_and_counted_by_reason(run: Path) -> None:
    client = application(str(run), TOKEN).test_client()
    said = {"000": "bad", "001": "bad", "002": "good"}
    places = {row["id"]: row["place"] for row in Browser(str(run)).find(Query.of({}))[1]}
    for name, verdict in [("001", "good"), *said.items()]:
        form = {
            "kind": "dropped", "id": name, "place": places[name], "stage": "gopher_quality", "reason": "too_few_words",
            "verdict": verdict,
        }  # fmt: skip
        answer = client.post(f"/{TOKEN}/audit", data={**form, "back": "page=1"}, headers={"Origin": "http://localhost"})
        assert (answer.status_code, answer.location) == (303, f"/{TOKEN}/?page=1")
    assert {row["id"]: row["verdict"] for row in read_audit(run / "audit.jsonl")} == said
    assert len((run / "audit.jsonl").read_text().splitlines()) == 4  # nothing is taken back, the last word counts
    (found,) = precision(read_audit(run / "audit.jsonl"))
    assert (found["seen"], found["right"]) == (3, 2)
    assert "67%" in client.get(f"/{TOKEN}/audit").text
    assert 'value="good" aria-pressed="true"' in client.get(f"/{TOKEN}/").text
    assert client.post(f"/{TOKEN}/audit", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post(f"/{TOKEN}/audit", data={**form, "back": "//evil.example"}).location.startswith(f"/{TOKEN}/?")
    assert client.post(f"/{TOKEN}/audit", data={**form, "verdict": "ugly"}).status_code == 400


def test_an_odd_name_or_a_torn_line_does_not_spoil_the_record(run: Path) -> None:
    client = application(str(run), TOKEN).test_client()
    form = {"kind": "kept", "id": "a\u2028b", "verdict": "good"}
    client.post(f"/{TOKEN}/audit", data=form)
    with open(run / "audit.jsonl", "a") as file:
        file.write('{"kind": "dro')
    assert [row["id"] for row in read_audit(run / "audit.jsonl")] == ["a\u2028b"]
    assert client.get(f"/{TOKEN}/").status_code == 200


def test_documents_that_share_an_id_and_stages_that_edit_the_same_one_are_told_apart(tmp_path: Path) -> None:
    texts = [f"{TIDE}\nShare this\nWrite to someone{n}@mail.org today." for n in range(60)]
    names = [f"{n // 3:02}" for n in range(60)]
    pq.write_table(pa.table({"id": names, "text": texts}), tmp_path / "in.parquet")
    stages = [{"c4_quality": {"min_sentences": None}}, {"pii": {"kinds": ["email"]}}]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"source": {"parquet": {"paths": "in.parquet"}}, "stages": stages}))
    curate.run(str(tmp_path / "run.yaml"), out=str(tmp_path / "out"), inline=True)
    for asked in ({"kind": "kept"}, {"kind": "edited", "stage": "pii"}, {"kind": "edited", "stage": "c4_quality"}):
        assert ids(tmp_path / "out", **asked) == names, asked
    pages = [Browser(str(tmp_path / "out")).find(Query.of({"kind": "edited", "page": str(page)}))[1] for page in range(5)]
    rows = [(row["id"], row["place"], row["stage"]) for page in pages for row in page]
    assert len(rows) == len({*rows}) == 120
    assert rows == sorted(rows, key=lambda row: (row[0], int(row[1].split()[-1]), row[2]))


def test_intervals_of_shares_are_those_of_the_table() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for hits, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application(str(run), TOKEN), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{TOKEN}/"
    server.shutdown()
    thread.join()


@pytest.mark.slow
def test_a_document_is_found_read_and_judged_in_a_browser(address: str, run: Path) -> None:
    from tests.browser import opened

    with opened() as browser:
        page: Any = browser.new_page()
        page.goto(address)
        page.select_option("[name=reason]", "too_few_words")
        page.fill("[name=words]", "example:80/77")
        page.click("text=Find")
        assert page.inner_text("[role=status]").startswith("1 documents")
        page.click("article button[value=bad]")
        page.wait_for_selector("button[value=bad][aria-pressed=true]")
        page.goto(page.url.split("?")[0] + "?kind=edited")
        assert "Share" in page.inner_text("del >> nth=0")
        assert page.title() == "tides"
    (row,) = (json.loads(line) for line in (run / "audit.jsonl").read_text().splitlines())
    assert (row["id"], row["verdict"]) == ("077", "bad")
