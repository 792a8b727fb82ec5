"""Cleanup programs as text: what is read as a call, what is a fault, what was cut off; what is written is read back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.prox.program import (
    ALL_LINES,
    LAST_LINE,
    MAX_CALLS,
    MAX_CHARS,
    BadCall,
    Call,
    DropDoc,
    Fault,
    KeepChunk,
    KeepDoc,
    Normalize,
    Program,
    RemoveLines,
    decide_document,
    parse,
    write,
)

NUMBERS = st.integers(0, 30) | st.integers(0, LAST_LINE)
RANGES = st.tuples(NUMBERS, NUMBERS).map(lambda pair: RemoveLines(min(pair), max(pair)))
STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")) | st.text("ab\"'\\=,()#ntrxu0\t\r ")
SOURCES = STRINGS.filter(lambda text: bool(text.strip()) and (len(text) > 2 or not any(map(str.isalnum, text))))
CALLS = RANGES | st.builds(Normalize, SOURCES, STRINGS) | st.sampled_from([KeepChunk(), KeepDoc(), DropDoc(), ALL_LINES])


@given(st.lists(CALLS, max_size=8))
def test_what_is_written_is_read_back(calls: list[Call]) -> None:
    assert parse(write(calls)) == Program(tuple(calls))


@given(CALLS, st.data())
def test_every_beginning_of_a_call_was_cut_off(call: Call, data: st.DataObject) -> None:
    """On the last line; before others it is a fault."""
    text = write([call])
    begun = text[: data.draw(st.integers(1, len(text) - 1))]
    assert parse(f"keep_doc()\n{begun}") == Program((KeepDoc(),), truncated=True)
    assert parse(f"{begun}\nkeep_doc()") == Program((KeepDoc(),), (Fault(1, "unfinished_call"),))


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("remove_lines(line_start=0, line_end=5)", RemoveLines(0, 5)),
        ("remove_lines(start=1, end=1)", RemoveLines(1, 1)),
        ("remove_lines(line_end=5, start=0)", RemoveLines(0, 5)),
        ("remove_lines(0, 2)", RemoveLines(0, 2)),
        ("remove_lines(0, line_end=2)", RemoveLines(0, 2)),
        ("remove_lines(007, 010)", RemoveLines(7, 10)),
        ("remove_lines(line_start=[012], line_end=[1000])", RemoveLines(12, 1000)),
        ("remove_lines(999999999, 999999999)", RemoveLines(LAST_LINE, LAST_LINE)),
        ("remove_lines(all=True)", ALL_LINES),
        ("remove_lines(line_start=0, line_end=2, all=True)", ALL_LINES),
        ("\t remove_lines ( 0 ,2 )  \r", RemoveLines(0, 2)),
        ("remove_lines(0,2)# the menu (all of it)", RemoveLines(0, 2)),
        ("keep_chunk()", KeepChunk()),
        ("untouch_doc( )", KeepChunk()),
        ("keep_doc()", KeepDoc()),
        ("drop_doc()", DropDoc()),
        ('normalize(source_str="Home | News", target_str="News")', Normalize("Home | News", "News")),
        ('normalize(target_str="News", source_str="Home")', Normalize("Home", "News")),
        ('normalize(source_str="Home")', Normalize("Home", "")),
        ("normalize('►©','')", Normalize("►©", "")),
        ("normalize('Home', target_str=\"'\")", Normalize("Home", "'")),
        ("normalize(\"it's\", '\"')", Normalize("it's", '"')),
        ('normalize("http://a.com/?p=12&q=3, (x) # y")', Normalize("http://a.com/?p=12&q=3, (x) # y", "")),
        (r'normalize("\\ \" \' \t \r \x41 \u00e9")', Normalize("\\ \" ' \t \r A é", "")),
        (r'normalize("C:\dir \x4 \u00e \N{DASH} \0")', Normalize(r"C:\dir \x4 \u00e \N{DASH} \0", "")),
        (r'normalize("\ud83d\ude00", "\uD83D\uDE00")', Normalize("😀", "😀")),
        (r'normalize("\\n\\x41")', Normalize(r"\n\x41", "")),
        ('normalize("]]")', Normalize("]]", "")),
        ('normalize("abc", "a")', Normalize("abc", "a")),
    ],
)
def test_a_line_that_is_a_call(line: str, call: Call) -> None:
    assert parse(f"{line}\nkeep_doc()") == Program((call, KeepDoc()))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("The first lines are a menu.", "not_a_call"),
        ("```python", "not_a_call"),
        ("remove_lines", "unfinished_call"),
        ("remove_lines 0, 2", "not_a_call"),
        ("(0, 2)", "not_a_call"),
        ("remove_lines_foo(line_start=0, line_end=2)", "unknown_call"),
        ("Keep_Chunk()", "unknown_call"),
        ("__import__('os').remove('x')", "unknown_call"),
        ("keep_chunk(1)", "bad_arguments"),
        ("remove_lines()", "bad_arguments"),
        ("remove_lines(3)", "bad_arguments"),
        ("remove_lines(1, 2, 3)", "bad_arguments"),
        ("remove_lines(1, 2,)", "bad_arguments"),
        ("remove_lines(line_start=1, start=2)", "bad_arguments"),
        ("remove_lines(1, line_start=2)", "bad_arguments"),
        ("remove_lines(line_start=1, 2)", "bad_arguments"),
        ("remove_lines(from=1, to=2)", "bad_arguments"),
        ("remove_lines(line_start 1, line_end 2)", "bad_arguments"),
        ("remove_lines(1 2)", "bad_arguments"),
        ("remove_lines(1, 2.0)", "bad_arguments"),
        ("remove_lines(all=False)", "bad_arguments"),
        ("remove_lines(1, 2, True)", "bad_arguments"),
        ("remove_lines(-3, 2)", "bad_number"),
        ("remove_lines(0, 1000000000)", "bad_number"),
        ("remove_lines(0, [2)", "bad_number"),
        ("remove_lines(0, ٣)", "bad_number"),
        ('remove_lines(0, "2")', "bad_number"),
        ("remove_lines(5, 2)", "empty_range"),
        ("remove_lines(0, 2); keep_chunk()", "text_after_call"),
        ("remove_lines(0, 2))", "text_after_call"),
        ("normalize()", "bad_arguments"),
        ('normalize(target_str="abc")', "bad_arguments"),
        ('normalize("abc", "b", "c")', "bad_arguments"),
        ('normalize("abc" "def")', "bad_arguments"),
        ("normalize(abc)", "bad_arguments"),
        ("normalize(source_str=abc)", "bad_string"),
        ("normalize(source_str=5)", "bad_string"),
        ('normalize("abc)', "unfinished_call"),
        (r'normalize("abc\")', "unfinished_call"),
        (r'normalize("abc\n")', "newline_in_string"),
        (r'normalize("abc", "\x0a")', "newline_in_string"),
        (r'normalize("abc\ud83d")', "lone_surrogate"),
        (r'normalize("abc", "\ude00\ud83d")', "lone_surrogate"),
        ('normalize("abc\udc80")', "lone_surrogate"),
        ('normalize("")', "source_too_short"),
        ('normalize(" \xa0  ")', "source_too_short"),
        ('normalize("ab")', "source_too_short"),
        ('normalize("é.")', "source_too_short"),
    ],
)
def test_a_line_that_is_a_fault(line: str, what: str) -> None:
    assert parse(f"# the top\n{line}\nkeep_doc()") == Program((KeepDoc(),), (Fault(2, what),))


@pytest.mark.parametrize("program", ["", "\n\n", " \t\r\n\f", "# nothing", "  # remove_lines(0, 2)\n\n#"])
def test_blank_lines_and_comments_say_nothing(program: str) -> None:
    assert parse(program) == Program(())


@pytest.mark.parametrize(
    "line",
    [
        "remove_li",
        "n",
        "  drop_doc",
        "remove_lines(line_start=5, line_en",
        "remove_lines(line_start=5, line_end=7",
        "remove_lines(line_start=[00",
        "remove_lines( ",
        "remove_lines(all=Tr",
        "remove_lines(1, 2, al",
        "remove_lines ",
        "keep_chunk(",
        'normalize(source_str="http://a.com/?p=12, (x)',
        "normalize('a', ",
        'normalize("abc\\',
        'normalize("abc\\u00',
        'normalize("abc"',
    ],
)
def test_a_last_line_that_only_lacks_its_end_was_cut_off(line: str) -> None:
    assert parse(line) == Program((), truncated=True)


@pytest.mark.parametrize(
    "line",
    [
        "remove_lx",
        "remo ",
        "remove_lines(x",
        "remove_lines(start=1, star",
        "remove_lines(1234567890",
        "remove_lines(1, 2, all=f",
        "keep_chunk(1",
        'normalize("abc", "b", ',
        'normalize("abc", s',
    ],
)
def test_a_last_line_that_no_end_would_make_a_call_is_a_fault(line: str) -> None:
    assert (len(parse(line).faults), parse(line).truncated) == (1, False)


def test_a_long_program_is_cut_at_a_line_break() -> None:
    line = "keep_chunk()".ljust(49)
    whole = MAX_CHARS // 50
    program = "\n".join([line] * (whole + 1))
    assert parse(program) == Program((KeepChunk(),) * whole, truncated=True)
    assert parse(program[:MAX_CHARS]) == Program((KeepChunk(),) * (whole + 1))
    # The line before the cut is whole, so what it lacks was not cut off.
    begun = "#" * (MAX_CHARS - 10) + "\nkeep_chu\n" + "keep_chunk()"
    assert parse(begun) == Program((), (Fault(2, "unfinished_call"),), truncated=True)


def test_a_program_of_exactly_the_longest_length_is_whole() -> None:
    program = "#" * (MAX_CHARS - 13) + "\nkeep_chunk()"
    assert parse(program) == Program((KeepChunk(),))
    assert parse(program + "\nkeep_chunk()") == Program((KeepChunk(),), truncated=True)
    assert parse("#" * (MAX_CHARS + 1)) == Program((), truncated=True)


def test_calls_beyond_the_greatest_number_are_not_read() -> None:
    assert parse("drop_doc()\n" * MAX_CALLS) == Program((DropDoc(),) * MAX_CALLS)
    assert parse("drop_doc()\n" * MAX_CALLS + "# end") == Program((DropDoc(),) * MAX_CALLS)
    assert parse("drop_doc()\n" * (MAX_CALLS + 1) + "prose") == Program((DropDoc(),) * MAX_CALLS, truncated=True)


@pytest.mark.parametrize(
    ("first", "last", "what"), [(-1, 2, "bad_number"), (0, LAST_LINE + 1, "bad_number"), (3, 2, "empty_range")]
)
def test_lines_that_no_program_can_name_are_refused(first: int, last: int, what: str) -> None:
    with pytest.raises(BadCall, match=what):
        RemoveLines(first, last)


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ("ab", "", "source_too_short"),
        ("a\nb", "", "newline_in_string"),
        ("abc", "\n", "newline_in_string"),
        ("abc", "\ud800", "lone_surrogate"),
    ],
)
def test_strings_that_no_program_can_hold_are_refused(source: str, target: str, what: str) -> None:
    with pytest.raises(BadCall, match=what):
        Normalize(source, target)


@pytest.mark.parametrize(
    ("output", "decision"),
    [
        ("keep_doc()", "keep"),
        (" \ndrop_doc()\n", "drop"),
        ("", "unknown"),
        ("drop_doc() keep_doc()", "unknown"),
        ("Drop_doc()", "unknown"),
        ("drop_doc", "unknown"),
        ("a dropdown menu", "unknown"),
    ],
)
def test_a_document_is_decided_by_nothing_but_the_call(output: str, decision: str) -> None:
    assert decide_document(output) == decision


@given(st.text() | st.text("remove_lins(start=0123,)[]\"'\\#\n \t"))
@settings(max_examples=300)
def test_any_text_is_read_and_what_was_read_is_read_back(text: str) -> None:
    program = parse(text)
    assert parse(write(program.calls)) == Program(program.calls)


@pytest.mark.parametrize(
    "line",
    [
        "remove_lines(" + "0" * MAX_CHARS,
        "remove_lines([" + "0" * MAX_CHARS,
        "remove_lines(" + "[" * MAX_CHARS,
        "remove_lines(" + " " * MAX_CHARS,
        "remove_lines" + " " * MAX_CHARS,
        "remove_lines(" * 5000,
        "remove_lines(start=" * 3000,
        'normalize("' + "\\" * MAX_CHARS,
        'normalize("' + "\\u12" * 16000,
        'normalize("' + "\\'" * 30000,
        'normalize("' + "'\"" * 30000,
        "a" * MAX_CHARS,
        "n\n" * 30000,
    ],
)
def test_time_to_read_a_line_grows_with_its_length(line: str) -> None:
    def seconds(chars: int) -> float:
        started = time.process_time()
        for end in ("", ")", "\n"):
            parse(line[: chars - 1] + end)
        return time.process_time() - started

    # The best of three tries, against a quarter of the line: machines differ, and the garbage of other tests
    # may be collected meanwhile.
    short, long = (min(seconds(chars) for _ in range(3)) for chars in (MAX_CHARS // 4, MAX_CHARS))
    assert long < 1 and (long < 0.1 or long < 8 * short)
