"""What golden cases cannot show of `decontaminate`: how evaluation files are read and refused, cutting, and real benchmarks."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.api.batch import Batch
from curate.config.options import OptionError, build
from curate.errors import SpecError
from curate.stages.dedup.decontaminate import COLUMN, JOINT, Decontaminate
from curate.text.dedup.eval_texts import Passages, read_passages
from curate.text.dedup.ngram_overlap import Hits, NgramIndex
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.types import Words
from tests.bench.corpora import SHARED
from tests.text.test_overlap import cut, plain_overlaps

EVALS = SHARED.parent / "evals"
ITEMS = [
    {"question": "How many harbours freeze?", "choices": {"text": ["None does", "Three"], "label": ["A", "B"]}, "answer": 1},
    {"question": None, "choices": [{"text": "Two"}, {"text": "Half \ud83d a pair", "right": True}], "Answer": "Two"},
]
PASSAGES = [
    (1, "question", "How many harbours freeze?"),
    (1, "choices.text", "None does"),
    (1, "choices.text", "Three"),
    (1, "choices.label", "A"),
    (1, "choices.label", "B"),
    (3, "choices.text", "Two"),
    (3, "choices.text", "Half ? a pair"),
    (3, "Answer", "Two"),
]


def lines(items: Sequence[Any]) -> bytes:
    return "\n\n".join(map(json.dumps, items)).encode()


def listed(passages: Passages) -> list[tuple[int, str, str]]:
    return list(zip(passages.items.tolist(), passages.fields, passages.texts.to_pylist(), strict=True))


def test_json_lines_give_all_their_strings_and_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ITEMS))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(ITEMS)))
    for name in ("a.jsonl", "b.jsonl.gz"):
        passages = read_passages([str(tmp_path / name)])
        assert (passages.benchmarks, listed(passages)) == ([name], PASSAGES)


def test_parquet_gives_what_json_lines_give(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ITEMS[:1] * 3), tmp_path / "a.parquet", row_group_size=2)
    passages = read_passages([str(tmp_path / "a.parquet")])
    assert listed(passages) == [(item, field, text) for item in (1, 2, 3) for _, field, text in PASSAGES[:5]]


def test_files_of_a_folder_have_the_same_names_wherever_it_lies(tmp_path: Path) -> None:
    evals = tmp_path / "here" / "evals"
    (evals / "arc").mkdir(parents=True)
    (evals / "arc" / "test.jsonl").write_bytes(lines(ITEMS))
    (evals / "gsm.jsonl").write_bytes(lines(ITEMS))
    (evals / "manifest.json").write_text("{}")
    shutil.copytree(evals, tmp_path / "evals" / "evals")
    for folder in (evals, tmp_path / "evals" / "evals"):
        passages = read_passages([f"{folder}/"])
        assert passages.benchmarks == ["evals/arc/test.jsonl", "evals/gsm.jsonl"]
        assert passages.place(len(PASSAGES)) == "evals/gsm.jsonl:1 question"


def test_a_field_stands_for_those_inside_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ITEMS))

    def fields(*names: str) -> list[str]:
        return read_passages([str(tmp_path / "a.jsonl")], names).fields

    assert fields("choices") == ["choices.text"] * 2 + ["choices.label"] * 2 + ["choices.text"] * 2
    assert fields("Answer", "choices.label") == ["choices.label", "choices.label", "Answer"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", r"a\.jsonl' has no items"),
        ("a.jsonl", b"\n \n", r"a\.jsonl' has no items"),
        ("a.jsonl", b'{"q": "a"}\n{"q": ', r"a\.jsonl', line 2: no JSON: .* One object per line"),
        ("a.jsonl", b'\n["a"]', r"a\.jsonl', line 2: a list\. One object per line"),
        ("a.jsonl", b'{"q": 1}', r"a\.jsonl' gives no n-gram: none of its texts has 8 words"),
        ("a.jsonl", b'{"q": "a b c d e f g"}', r"gives no n-gram: .* set min_item_words lower"),
        (
            "a.jsonl.gz",
            gzip.compress(mtime=0, data=b'{"q": "a b c d e f g"}')[:-9],
            r"a\.jsonl\.gz' cannot be read: .* Is it whole",
        ),
        ("a.jsonl.gz", b'{"q": "a b c d e f g"}', r"a\.jsonl\.gz' cannot be read: .* Is it whole"),
        ("a.parquet", b"PAR1", r"a\.parquet' cannot be read"),
        ("a.csv", b"q\na b c d e f g h", r"a\.csv' is no evaluation file\. Known endings: \.parquet, \.jsonl, "),
    ],
)
def test_a_file_that_protects_nothing_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=message):
        Decontaminate(against=(str(tmp_path / name),)).open()


def test_a_path_that_gives_nothing_is_refused_beside_one_that_does(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text('{"q": "one two three four five six seven eight"}')
    (tmp_path / "sums.jsonl").write_text('{"q": "1 + 1 ="}')
    with pytest.raises(SpecError, match=r"sums\.jsonl' gives no n-gram"):
        Decontaminate(against=(str(tmp_path / "good.jsonl"), str(tmp_path / "sums.jsonl"))).open()
    Decontaminate(against=(str(tmp_path),)).open()


def test_a_folder_without_evaluation_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "manifest.json").write_text("{}")
    with pytest.raises(SpecError, match=r"evals' has no evaluation files\. Known endings: \.parquet"):
        Decontaminate(against=(str(tmp_path / "evals"),)).open()


def test_a_field_that_no_item_has_is_refused_with_those_they_have(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ITEMS))
    known = (
        r"fields: no item has a text 'qestion'\. Did you mean 'question'\? Known: Answer, choices\.label, choices\.text, quest"
    )
    with pytest.raises(SpecError, match=known):
        Decontaminate(against=(str(tmp_path / "a.jsonl"),), fields=("question", "qestion")).open()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": []}, "against"),
        ({"against": ["a/test.jsonl", "b/test.jsonl"]}, r"two paths are called 'test\.jsonl'"),
        ({"against": ["a.jsonl"], "fields": []}, "fields"),
        ({"against": ["a.jsonl"], "ngram": 0}, "ngram"),
        ({"against": ["a.jsonl"], "min_overlap": 0.0}, "min_overlap"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(Decontaminate, options)


def test_the_length_of_n_grams_is_that_of_the_method_unless_given() -> None:
    stages = (build(Decontaminate, {"against": ["a"], **more}) for more in ({}, {"method": "ratio"}, {"ngram": 5}))
    assert [stage.ngram for stage in stages] == [13, 8, 5]


def test_a_share_is_of_the_passage_that_has_most_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "a b c d e f", "r": ["a b c x", "no"]}\n{"q": "a b y"}\n')
    stage = Decontaminate(against=(str(tmp_path / "a.jsonl"),), ngram=2, min_item_words=2, report=True)
    after = stage.open()(Batch(pa.record_batch({"text": pa.array(["z", "a b c", None], pa.large_string())})))
    items = [{"benchmark": "a.jsonl", "item": 1, "share": 2 / 3}, {"benchmark": "a.jsonl", "item": 2, "share": 1 / 2}]
    assert after[COLUMN].to_pylist() == [None, items, None]
    assert after["drop"].to_pylist()[1] == {"reason": "contaminated", "value": 2, "limit": 1, "detail": "a.jsonl:1 r"}


WORDS = st.sampled_from(["a", "b", "c", "é", "c’", "𐐀", "-", " ", "\n", "\u3000"])
TEXTS = st.lists(st.lists(WORDS, max_size=40).map(" ".join), min_size=1, max_size=4)
CUT_PASSAGES = ["a b c", "b e", "c a b b"]


def plain_cut(text: str, stage: Decontaminate, n: int) -> tuple[str | None, str]:
    """Reason and text, by a mark on every character that goes."""
    words, starts = cut([text]), []
    stream = words.stream.tobytes()
    place = 0
    for word in (stream[a:b].decode() for a, b in zip(words.starts[:-1], words.starts[1:], strict=True)):
        place = text.index(word, place)
        starts.append((place, place + len(word)))
        place += len(word)
    _, places = plain_overlaps(CUT_PASSAGES, [text], n, 2, 0)
    gone = {
        char
        for _, first, last in places
        for char in range(starts[first][0] - stage.cut_chars, starts[last][1] + stage.cut_chars)
    }
    pieces = ["".join(text[i] for i in run) for is_gone, run in groupby(range(len(text)), gone.__contains__) if not is_gone]
    left = [piece for piece in pieces if len(piece) >= stage.min_piece_chars]
    if not places:
        return None, text
    if stage.max_pieces is not None and len(pieces) > stage.max_pieces:
        return "too_many_pieces", text
    return (None, JOINT.join(left)) if left else ("nothing_left", text)


@settings(max_examples=300)
@given(TEXTS, st.integers(1, 4), st.integers(0, 6), st.sampled_from([None, 1, 2, 4]), st.integers(0, 8))
def test_what_is_left_is_what_no_mark_was_put_on(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], n: int, chars: int, pieces: int | None, least: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_text(json.dumps({"q": CUT_PASSAGES}))
    stage = Decontaminate(
        against=(str(path),), ngram=n, min_item_words=2, action="cut", cut_chars=chars, max_pieces=pieces, min_piece_chars=least
    )
    after = stage.open()(Batch(pa.record_batch({"text": pa.array(texts, pa.large_string())})))
    drops = [(row or {}).get("reason") for row in after["drop"].to_pylist()]
    assert list(zip(drops, after["text"].to_pylist(), strict=True)) == [plain_cut(text, stage, n) for text in texts]
    for text, new, edits in zip(texts, after["text"].to_pylist(), edits_of(after), strict=True):
        for edit in reversed(edits):
            text = text[: edit["start"]] + edit["replacement"] + text[edit["end"] :]
        assert text == new


def edits_of(batch: Batch) -> list[list[dict[str, Any]]]:
    return [edits or [] for edits in batch["edits"].to_pylist()] if "edits" in batch else [[]] * len(batch)


def test_a_finished_run_tells_what_was_found_of_each_benchmark(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    for name, items in (("tides", ["a b c d", "b c d e"]), ("bread", ["f g h i"])):
        (tmp_path / "evals" / f"{name}.jsonl").write_text("\n".join(json.dumps({"q": item}) for item in items))
    texts = ["a b c d", "b c d e", "x b c d e", "f g h i and more", "no such words", "a b c"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    options = "against: [evals], ngram: 4, min_item_words: 4"
    # With `report` a document counts for every benchmark it has an item of, dropped or not.
    for name, more in (("dropped", ""), ("cut", ", action: cut, cut_chars: 0, min_piece_chars: 1, report: true")):
        (tmp_path / f"{name}.yaml").write_text(
            f"source: {{parquet: {{paths: in.parquet}}}}\nstages:\n  - decontaminate: {{{options}, as: clean{more}}}\n"
        )
        summary = curate.run(str(tmp_path / f"{name}.yaml"), out=str(tmp_path / name), inline=True)
        assert summary.stages["clean"].counts == {"evals/bread.jsonl": 1, "evals/tides.jsonl": 3}


real = pytest.mark.skipif(not EVALS.is_dir(), reason=f"no benchmark files in {EVALS}")


@pytest.fixture(scope="module")
def benchmarks() -> tuple[list[str], NgramIndex]:
    """All passages, and their index."""
    stage = Decontaminate(against=(str(EVALS),))
    passages = read_passages(stage.against)
    return passages.texts.to_pylist(), stage.index(passages)


def shares(index: NgramIndex, hits: Hits, own: np.ndarray) -> np.ndarray:
    """Of the passage own[r], the share of n-grams found in row r."""
    size = len(index.keys)
    first = np.maximum.accumulate(np.where(np.diff(index.keys, prepend=~index.keys[:1]) != 0, np.arange(size), 0))
    pairs = first * len(index.sizes) + index.owners
    rows, grams = np.divmod(np.unique(hits.rows * size + hits.grams), size)
    wanted = grams * len(index.sizes) + own[rows]
    mine = pairs[np.minimum(np.searchsorted(pairs, wanted), size - 1)] == wanted
    return np.asarray(np.bincount(rows[mine], minlength=len(own)) / index.sizes[own])


def words_of(texts: list[str]) -> Words:
    return cut_words(text_buffers(pa.array(texts, pa.large_string())), "uax29")


CAPITALS = {
    char: char.upper()
    for char in map(chr, range(sys.maxunicode + 1))
    if char.upper() != char and len(char.upper()) == 1 and char.upper().casefold() == char.casefold()
}
OTHERS = str.maketrans({**CAPITALS, "e": "E\u0301", "a": "À", "'": "’", '"': "”"})


def changed(text: str) -> str:
    """In capitals where a letter has one of its own, with other accents, quotes, signs and line breaks."""
    letters = text.translate(OTHERS)
    return "— " + " …\n".join(letters.split()) + " (—)"


CHANGES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda text: f"Of this nobody was sure. {text} So it was asked.",
    "changed": changed,
}


@real
@pytest.mark.slow
@pytest.mark.parametrize("change", ["verbatim", "changed"])
def test_every_passage_of_every_benchmark_is_found_where_it_is_quoted(
    benchmarks: tuple[list[str], NgramIndex], change: str
) -> None:
    texts, index = benchmarks
    own = np.flatnonzero(index.sizes)
    documents = [CHANGES[change](texts[passage]) for passage in own]
    found = shares(index, index.find(words_of(documents)), own)
    assert [texts[passage] for passage, share in zip(own, found, strict=True) if share < 1] == []
    assert len(own) > 200_000


@real
def test_no_passage_is_found_where_every_fifth_word_is_another(benchmarks: tuple[list[str], NgramIndex]) -> None:
    texts, index = benchmarks
    words = words_of([texts[passage] for passage in np.flatnonzero(index.sizes)[::7]])
    counted, documents = 0, []
    for first, last in zip(words.firsts, words.lasts, strict=True):
        spelled = []
        for w in range(first, last):
            word = bytes(words.stream[words.starts[w] : words.starts[w + 1]]).decode()
            if any(map(str.isalnum, word)):
                counted += 1
                word = word if counted % 5 else "qzxvq"
            spelled.append(word)
        documents.append(" ".join(spelled))
    assert len(index.find(words_of(documents)).rows) == 0
