"""Pages to text: charsets, limits, engines, and what becomes of pages that hang or crash and of their neighbours."""

from __future__ import annotations

import gc
import random
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate.api.batch import Batch, Kernel, drop_where
from curate.config.options import build
from curate.errors import SpecError
from curate.schema import DROP, FETCHED_AT_TYPE, HTML, TEXT
from curate.stages.extract.extract import Extract
from curate.text.html.decode import decode, without_controls

ENGINES = pytest.mark.parametrize("engine", ["trafilatura", "resiliparse"])
SENTENCES = [f"Sentence number {n} of the article says something with enough words in it." for n in range(12)]
NAV = '<nav><ul><li><a href="/a">Home</a></li><li><a href="/b">Contact us</a></li></ul></nav>'


def page(*paragraphs: str, head: str = "<title>A page</title>") -> str:
    """An article with navigation around it."""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in (*SENTENCES, *paragraphs))
    return f"<!DOCTYPE html><html><head>{head}</head><body>{NAV}<article>{body}</article></body></html>"


_kernels: dict[str, Kernel] = {}


def extract(*bodies: bytes | str | None, columns: dict[str, pa.Array] | None = None, **options: Any) -> list[dict[str, Any]]:
    """The rows that the stage makes of these pages, all in one batch. Children are shared between tests."""
    key = repr(sorted(options.items()))
    if key not in _kernels:
        _kernels[key] = build(Extract, options).open()
    return run(_kernels[key], *bodies, columns=columns)


def run(kernel: Kernel, *bodies: bytes | str | None, columns: dict[str, pa.Array] | None = None) -> list[dict[str, Any]]:
    html = pa.array([body.encode() if isinstance(body, str) else body for body in bodies], pa.large_binary())
    batch = kernel(Batch(pa.RecordBatch.from_pydict({HTML: html, **(columns or {})})))
    return [{DROP: None, **row} for row in batch.records.to_pylist()]


def text_of(body: bytes | str, **options: Any) -> str:
    text: str = extract(body, **options)[0][TEXT]
    return text


def drop_of(row: dict[str, Any]) -> tuple[str, float | None, float | None, str | None]:
    assert row[TEXT] is None and row["title"] is None and row["date"] is None
    return row[DROP]["reason"], row[DROP]["value"], row[DROP]["limit"], row[DROP]["detail"]


class TestDecoding:
    RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3
    CHINESE = "春眠不觉晓,处处闻啼鸟。夜来风雨声,花落知多少。" * 5
    JAPANESE = "いろはにほへと ちりぬるを わかよたれそ つねならむ ①" * 3
    KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았다."
    FRENCH = "Dès Noël où un zéphyr haï me vêt de glaçons würmiens, «je dîne d’exquis rôtis» — à l’œuf. "

    def test_latin_1_means_windows_1252(self) -> None:
        assert decode(self.FRENCH.encode("cp1252"), "text/html; charset=ISO-8859-1").text == self.FRENCH

    def test_the_header_is_believed(self) -> None:
        assert decode(self.RUSSIAN.encode("koi8-r"), 'text/html; charset="KOI8-R"').text == self.RUSSIAN

    @pytest.mark.parametrize(
        "declaration",
        [
            '<meta charset="{}">',
            '<meta http-equiv="Content-Type" content="text/html; charset={}">',
            '<?xml version="1.0" encoding="{}"?>',
            "<!-- <meta charset=utf-8> --><META CHARSET={} >",
        ],
    )
    def test_the_markup_is_believed_without_a_header(self, declaration: str) -> None:
        markup = declaration.format("Shift_JIS") + self.JAPANESE
        assert decode(markup.encode("cp932"), "text/html").text == markup

    @pytest.mark.parametrize(
        ("text", "encoding"),
        [(CHINESE, "gb18030"), (RUSSIAN, "cp1251"), (JAPANESE, "cp932"), (KOREAN, "cp949"), (FRENCH, "cp1252")],
    )
    def test_an_undeclared_encoding_is_detected(self, text: str, encoding: str) -> None:
        markup = f"<html><body><p>{text}</p></body></html>"
        assert decode(markup.encode(encoding)).text == markup

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
    def test_a_byte_order_mark_is_believed_and_removed(self, encoding: str) -> None:
        data = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + self.CHINESE.encode(encoding)
        assert decode(data, "text/html; charset=iso-8859-1").text == self.CHINESE

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_utf_16_is_known_by_its_zeros(self, encoding: str) -> None:
        assert decode(page().encode(encoding)).text == page()

    def test_valid_utf_8_beats_a_wrong_header(self) -> None:
        assert decode(self.FRENCH.encode(), "text/html; charset=ISO-8859-1").text == self.FRENCH

    @pytest.mark.parametrize("wrong", ["utf-8", "iso-8859-1", "utf-16", "nonsense"])
    def test_a_right_meta_beats_a_header_that_does_not_fit(self, wrong: str) -> None:
        markup = "<meta charset=gb2312>" + self.CHINESE
        assert decode(markup.encode("gb18030"), f"text/html; charset={wrong}").text == markup

    def test_a_wrong_declaration_falls_back_on_detection(self) -> None:
        markup = "<meta charset=utf-8>" + self.RUSSIAN
        assert decode(markup.encode("cp1251"), "text/html; charset=utf-8").text == markup

    def test_a_few_broken_bytes_do_not_change_the_encoding(self) -> None:
        data = self.RUSSIAN.encode() + b"\xff" + self.RUSSIAN.encode()
        assert decode(data, "text/html; charset=utf-8").text == f"{self.RUSSIAN}\ufffd{self.RUSSIAN}"

    def test_a_few_accents_are_western(self) -> None:
        # Detection alone says iso8859-2 to a page of the gold set like this one.
        assert decode("<p>One cup of flour, ½ cup of crème fraîche</p>".encode("cp1252")).encoding == "cp1252"

    def test_iso_2022_jp_is_read_where_declared(self) -> None:
        markup = "<meta charset=iso-2022-jp>" + self.JAPANESE.replace("①", "")
        assert decode(markup.encode("iso2022_jp")).text == markup

    def test_control_characters_are_removed(self) -> None:
        assert decode(b"a\0b\x07c\tline\r\nform\x0cfeed\x1b end, \xef\xbf\xbe and \xef\xbf\xbf too").text == (
            "abc\tline\r\nform feed end,  and  too"
        )

    def test_what_is_not_text_is_told_by_its_share_of_control_characters(self) -> None:
        noise = random.Random(1).randbytes(10_000)
        assert decode(noise).unreadable_frac > 0.05
        assert decode(page().encode()).unreadable_frac == 0

    @given(st.binary(max_size=300), st.none() | st.text(max_size=30).map("text/html; charset={}".format))
    def test_anything_can_be_decoded(self, data: bytes, content_type: str | None) -> None:
        text = decode(data, content_type).text
        text.encode()
        assert without_controls(text) == text

    def test_real_pages_without_a_declaration_come_out_right(self, shared: Path) -> None:
        """Ten Chinese pages in GBK, and how many of all pages have holes: 4 of 3,332 that are not in the page itself."""
        holes = []
        for path in sorted(shared.glob("html_gold_dev-*.parquet")):
            for row in pq.read_table(path, columns=["id", "html", "gold_text"]).to_pylist():
                text = decode(row["html"]).text
                if "\ufffd" in text and b"\xef\xbf\xbd" not in row["html"]:
                    holes.append(row["id"])
                if row["id"].startswith("zh_content_extraction/"):
                    gold = {char for char in row["gold_text"] if "\u4e00" <= char <= "\u9fff"}
                    assert len(gold & set(text)) >= 0.97 * len(gold), row["id"]
        assert len(holes) <= 4, holes


@ENGINES
class TestBothEngines:
    def test_the_article_is_found_and_the_navigation_left(self, engine: str) -> None:
        assert [line for line in text_of(page(), engine=engine).split("\n") if line] == SENTENCES

    def test_all_visible_text_has_the_navigation_too(self, engine: str) -> None:
        text = text_of(page("<script>var hidden = 1</script>"), engine=engine, content="all")
        assert "Contact us" in text and SENTENCES[-1] in text and "hidden" not in text

    def test_the_title_is_that_for_sharing_else_that_of_the_window(self, engine: str) -> None:
        og = '<meta property="og:title" content=" The  story ">'
        window = "<title>The story\n | The site</title>"
        pages = [page(head=head) for head in (og + window, '<meta property="og:title" content="">' + window, "")]
        assert [row["title"] for row in extract(*pages, engine=engine)] == ["The story", "The story | The site", None]

    def test_the_date_is_an_iso_date_or_null(self, engine: str) -> None:
        heads = ['<meta property="article:published_time" content="2019-03-07T22:15:00+01:00">', '<meta name="x" content="y">']
        assert [row["date"] for row in extract(*(page(head=head) for head in heads), engine=engine)] == ["2019-03-07", None]

    def test_no_date_lies_after_the_fetch(self, engine: str) -> None:
        body = page(head='<meta property="article:published_time" content="2031-03-07">')
        fetched = pa.array([datetime(2031, 3, 7, 23, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), None], FETCHED_AT_TYPE)
        rows = extract(body, body, body, columns={"fetched_at": fetched}, engine=engine)
        assert [row["date"] for row in rows] == ["2031-03-07", None, "2031-03-07"]

    def test_dates_do_not_depend_on_the_day_of_the_run(self, engine: str) -> None:
        # The day that is missing here used to be filled in from the clock.
        body = page(head='<meta property="article:published_time" content="2015-05">')
        assert extract(body, engine=engine)[0]["date"] == "2015-05-01"

    def test_plain_text_is_passed_through(self, engine: str) -> None:
        text = "  User-agent: *\n\nif a < b and c > d:\n  <b>not</b> markup; \u0416\u0416\u0416\n"
        types = pa.array(["text/plain; charset=windows-1251", "TEXT/PLAIN;charset=windows-1251"])
        rows = extract(*[text.encode("cp1251")] * 2, columns={"content_type": types}, engine=engine)
        assert [(row[TEXT], row["title"], row["date"]) for row in rows] == [(text, None, None)] * 2

    def test_control_characters_written_as_references_are_removed(self, engine: str) -> None:
        # A single one used to make trafilatura find no text on the whole page.
        assert "before and after" in text_of(page("before&#12;and&#x7;&#31; after&#65534;"), engine=engine).replace("  ", " ")

    def test_mojibake_is_repaired_and_good_text_left_alone(self, engine: str) -> None:
        bad = "Lâ€™Ã©tÃ© sur la plage, câ€™est trÃ¨s bien."
        good = "Ångström, ﬁne ligatures, “quotes”, Â as in Ânes, ½ and 北京 stay as they are."
        repaired = text_of(page(bad, good), engine=engine)
        assert "L’été sur la plage, c’est très bien." in repaired and good in repaired
        assert bad in text_of(page(bad, good), engine=engine, repair=False)

    def test_pages_without_text_are_dropped(self, engine: str) -> None:
        rows = extract(b"", " \n", "<html><body><script>x = 1</script></body></html>", engine=engine)
        assert [drop_of(row) for row in rows] == [("no_text", None, None, None)] * 3

    def test_what_is_no_page_is_unreadable(self, engine: str) -> None:
        rows = extract(None, "<!-- only a comment -->", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, engine=engine)
        assert [drop_of(row) for row in rows[:2]] == [
            ("unreadable_html", None, None, "null"),
            ("unreadable_html", None, None, "ParserError"),
        ]
        reason, value, limit, _ = drop_of(rows[2])
        assert reason == "unreadable_html" and value is not None and limit == 0.03 and value > limit

    def test_limits_are_kept_exactly(self, engine: str) -> None:
        def nested(depth: int) -> str:
            return "<html><body>" + "<div>" * (depth - 2) + SENTENCES[0] + "</div>" * (depth - 2) + "</body></html>"

        tags = "<html><body>" + "<p>word" * 98 + "</body></html>"
        size = len(tags)
        options: dict[str, Any] = {
            "engine": engine,
            "content": "all",
            "max_html_bytes": size,
            "max_nodes": 100,
            "max_depth": 50,
        }
        rows = extract(tags, tags + " ", tags.replace("<p>", "<b>", 1).replace("</html>", "<br>"), **options)
        assert rows[0][TEXT].split() == ["word"] * 98
        assert [drop_of(row) for row in rows[1:]] == [
            ("html_too_large", size + 1, size, None),
            ("too_many_nodes", 101, 100, None),
        ]
        rows = extract(nested(50), nested(51), **options)
        assert rows[0][TEXT] == SENTENCES[0]
        assert drop_of(rows[1]) == ("too_deep", 51, 50, None)

    def test_bait_ends_in_text_or_a_drop_reason(self, engine: str) -> None:
        start = "<html><head><title>T</title></head><body>"
        bait = {
            "3,000 divs in each other": start + "<div>" * 3000 + "hello" + "</div>" * 3000,
            "a million tags": start + "<p>a" * 1_000_000,
            "a huge attribute": start + f"<p class='{'x ' * 1_000_000}'>hello world</p>",
            "a million digits like dates": start + "<p>" + "2015-" * 300_000,
            "JSON that does not end": "<script type='application/ld+json'>" + '{"a":[' * 100_000 + "</script>" + start,
            "comments that do not end": start + "<!--" * 100_000,
            "ampersands": start + "&" * 1_000_000,
            "blanks": start + "<p>" + " " * 1_000_000 + "x",
            "charsets": "<meta " * 50_000 + "charset=",
        }
        good = page()
        rows = extract(*[body for name in bait for body in (bait[name], good)], engine=engine)
        assert {row[TEXT] for row in rows[1::2]} == {text_of(good, engine=engine)}
        found = dict(zip(bait, rows[::2], strict=True))
        assert drop_of(found["3,000 divs in each other"])[0] == "too_deep"
        assert drop_of(found["a million tags"])[:3] == ("too_many_nodes", 1_000_004, 200_000)
        assert {row[DROP]["reason"] if row[DROP] else "text" for row in found.values()} <= {
            "text", "too_deep", "too_many_nodes", "no_text", "unreadable_html"
        }  # fmt: skip

    def test_the_same_page_gives_the_same_text_among_any_others(self, engine: str, shared: Path) -> None:
        pages = pq.read_table(shared / "html_gold_dev-00000-of-00002.parquet", columns=[HTML])[HTML].to_pylist()[:50]
        first = extract(*pages, engine=engine)
        order = [*range(50), *range(50)]
        random.Random(2).shuffle(order)
        again = extract(*[pages[index] for index in order], engine=engine)
        assert again == [first[index] for index in order]


def test_a_page_that_takes_too_long_is_dropped_and_its_neighbours_their_text() -> None:
    slow = "<html><body>" + "<ul><li>w</li></ul>" * 40_000
    rows = extract(page(), slow, page("Another one."), slow, max_cpu_s=0.5)
    assert [drop_of(row) for row in rows[1::2]] == [("extraction_timeout", None, 0.5, None)] * 2
    assert [row[TEXT].split("\n")[-1] for row in rows[::2]] == [SENTENCES[-1], "Another one."]


def test_a_page_that_eats_the_memory_is_dropped_and_its_neighbours_their_text() -> None:
    greedy = "<html><body><p>" + "<b>some</b> words " * 180_000
    rows = extract(page(), greedy, page("Another one."), greedy, max_memory_bytes=384 * 2**20)
    assert [drop_of(row)[0] for row in rows[1::2]] == ["extraction_crash"] * 2
    assert [row[TEXT].split("\n")[-1] for row in rows[::2]] == [SENTENCES[-1], "Another one."]


def test_an_exception_of_the_engine_is_named() -> None:
    deep = "<html><body>" + "<pre><code>words here " * 900
    rows = extract(page(), deep, page(), max_depth=2_000)
    assert drop_of(rows[1]) == ("extraction_crash", None, None, "RecursionError")
    assert rows[0] == rows[2] and rows[0][DROP] is None


def test_a_page_whose_child_is_killed_is_tried_again_in_a_fresh_one() -> None:
    others = set(psutil.Process().children())
    kernel = Extract(engine="resiliparse").open()
    (child,) = set(psutil.Process().children()) - others
    slow = "<html><body>" + ("<div>" * 500 + "word" + "</div>" * 500) * 300
    killer = threading.Timer(0.5, child.kill)
    killer.start()
    rows = run(kernel, page(), slow, page("Another one."))
    assert not child.is_running()
    assert [row[DROP] for row in rows] == [None] * 3
    assert rows[2][TEXT].endswith("Another one.")


def test_the_child_ends_with_the_kernel() -> None:
    before = set(psutil.Process().children())
    kernel = Extract(engine="resiliparse").open()
    children = set(psutil.Process().children()) - before
    assert len(children) == 1
    del kernel
    gc.collect()
    assert not children & set(psutil.Process().children())


def test_a_drop_reason_that_stands_is_left_alone() -> None:
    html = pa.array([page().encode(), None], pa.large_binary())
    batch = drop_where(Batch(pa.RecordBatch.from_pydict({HTML: html})), pa.array([False, True]), "bad_record")
    rows = Extract(engine="resiliparse").open()(batch).records.to_pylist()
    assert [row[DROP] and row[DROP]["reason"] for row in rows] == [None, "bad_record"]


def test_recall_keeps_what_precision_leaves() -> None:
    teaser = "Read this other story of ours, it is about the very same thing."
    body = page().replace("</article>", f'<div class="teaser"><p>{teaser}</p></div></article>')
    assert [teaser in text_of(body, favor=favor) for favor in ("precision", "balanced", "recall")] == [False, False, True]


@pytest.mark.parametrize("options", [{"engine": "resiliparse"}, {"content": "all"}])
def test_favor_is_refused_where_it_means_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="favor: recall is for trafilatura's main text"):
        build(Extract, {"favor": "recall", **options})


@pytest.mark.parametrize("options", [{"max_depth": 2_001}, {"max_cpu_s": 0}, {"max_memory_bytes": 1000}, {"engine": "lynx"}])
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(options))):
        build(Extract, options)


def test_apply_takes_a_table() -> None:
    html = pa.array([page("Café").encode("cp1252"), b""], pa.large_binary())
    table = pa.table({HTML: html, "content_type": ["text/html; charset=latin1", None], "n": [1, 2]})
    result = curate.apply("extract", table, engine="resiliparse").to_pylist()
    assert [row["n"] for row in result] == [1, 2]
    assert result[0]["title"] == "A page" and result[0][TEXT].endswith("Café") and result[0][DROP] is None
    assert drop_of(result[1]) == ("no_text", None, None, None)


def test_an_empty_batch_stays_empty() -> None:
    assert extract(engine="resiliparse") == []
