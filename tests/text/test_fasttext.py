"""Tokens, features and scores of fastText models: a plain-Python twin, and the library itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SpecError
from curate.models.fasttext import load_model
from curate.models.fasttext_file import Arguments, ModelFile, write_model
from curate.text.unicode.buffers import text_buffers
from curate.text.words.fasttext import Features, Tokens, Vocabulary, count_words, cut_tokens, feature_rows, mean_weights

BLANKS = " \t\n\v\f\r\0"
WORDS = ["sea", "tide", "é", "海", "</s>", "__label__x", "a" * 40, "sea."]
texts_of_words = st.lists(
    st.lists(st.sampled_from([*WORDS, *BLANKS, "\u00a0"]) | st.text(max_size=3), max_size=12).map("".join),
    min_size=1,
    max_size=4,
)


def tokens_of(text: str) -> Iterator[str]:
    """What fastText's `readWord` and `getLine` make of a text."""
    for blank in BLANKS[1:]:
        text = text.replace(blank, " ")
    for word in filter(None, text.split(" ")):
        if word == "</s>":
            return
        if not word.startswith("__label__"):
            yield word


def fnv(word: str) -> int:
    value = 2166136261
    for byte in word.encode("utf-8", "surrogatepass"):
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) % 2**32
    return value - 2**32 if value >= 2**31 else value


def rows_of(text: str, words: list[str], ngrams: int, bucket: int, end: bool) -> list[int]:
    """The features of a text, in fastText's order."""
    tokens = [*tokens_of(text), *(["</s>"] if end else [])]
    hashes = [fnv(word) % 2**64 for word in tokens]
    rows = [words.index(word) for word in tokens if word in words]
    for i in range(len(tokens)):
        value = hashes[i]
        for j in range(i + 1, min(i + ngrams, len(tokens))):
            value = (value * 116049371 + hashes[j]) % 2**64
            rows.append(len(words) + value % bucket)
    return rows


def cut(texts: list[str]) -> Tokens:
    return cut_tokens(text_buffers(pa.array(texts, pa.large_string())), np.zeros(len(texts), np.bool_))


def vocabulary(words: list[str]) -> Vocabulary:
    return Vocabulary.of(text_buffers(pa.array(words, pa.large_string())))


@given(texts_of_words, st.integers(1, 4), st.booleans())
def test_features_are_those_of_the_plain_definition(texts: list[str], ngrams: int, end: bool) -> None:
    words = ["sea", "é", "</s>", "海"]
    flat, offsets = feature_rows(cut(texts), Features(vocabulary(words), ngrams, 1000, end))
    found = [flat[a:b].tolist() for a, b in pairwise(offsets)]
    assert found == [rows_of(text, words, ngrams, 1000, end) for text in texts]


@given(texts_of_words, st.integers(1, 3), st.booleans())
def test_a_score_is_the_mean_of_the_weights_of_the_features(texts: list[str], ngrams: int, end: bool) -> None:
    words = ["sea", "é", "</s>", "海"]
    features = Features(vocabulary(words), ngrams, 50, end)
    weights = np.random.default_rng(0).normal(size=(54, 2)).astype(np.float32)
    means = mean_weights(cut(texts), features, weights)
    for text, mean in zip(texts, means, strict=True):
        rows = rows_of(text, words, ngrams, 50, end)
        wanted = weights[rows].astype(np.float64).mean(axis=0) if rows else np.full(2, np.nan)
        np.testing.assert_allclose(mean, wanted, rtol=1e-12)


def test_tokens_of_some_rows_are_the_tokens_of_those_rows() -> None:
    texts = ["one two", "", "three", "four five six"]
    some = cut(texts)[np.array([False, True, False, True])]
    assert some.counts.tolist() == [0, 3]
    assert some.keys[some.firsts[1] : some.lasts[1]].tolist() == cut(["four five six"]).keys.tolist()


def test_a_word_listed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="word 1 of the vocabulary has the key of an earlier one"):
        vocabulary(["sea", "sea"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that the library trains and quantises."""
    import fasttext

    fasttext.FastText.eprint = lambda *args, **kwargs: None
    folder = tmp_path_factory.mktemp("models")
    draw = np.random.default_rng(5)
    lines = []
    for label, low in (("sea", 0), ("bread", 30), ("sky", 60)):
        for _ in range(200):
            lines.append(f"__label__{label} " + " ".join(f"w{n}" for n in draw.integers(low, low + 50, 20)))
    (folder / "train.txt").write_text("\n".join(lines) + "\n")

    def train(name: str, **options: object) -> object:
        # Eleven threads fill the whole input matrix (see tests/scorers.py).
        model = fasttext.train_supervised(str(folder / "train.txt"), dim=12, lr=0.3, thread=11, verbose=0, **options)
        model.save_model(str(folder / name))
        return model

    quantised = train("bigrams.bin", wordNgrams=2, bucket=5000)
    quantised.quantize(cutoff=300, qnorm=True, input=str(folder / "train.txt"))  # type: ignore[attr-defined]
    quantised.save_model(str(folder / "pruned.ftz"))  # type: ignore[attr-defined]
    train("trigrams.bin", wordNgrams=3, bucket=5000)
    train("words.bin")
    train("letters.bin", minn=2, maxn=3, bucket=5000)
    train("ova.bin", loss="ova")
    (folder / "train.txt").write_text("".join(f"__label__{n % 300} w{n} w{n + 1}\n" for n in range(900)))
    many = train("many.bin")
    many.quantize(qout=True, input=str(folder / "train.txt"))  # type: ignore[attr-defined]
    many.save_model(str(folder / "many.ftz"))  # type: ignore[attr-defined]
    return folder


@pytest.mark.parametrize("name", ["words.bin", "bigrams.bin", "trigrams.bin", "pruned.ftz"])
def test_folded_models_score_as_the_library_does(models: Path, name: str) -> None:
    file, library = ModelFile(str(models / name)), load_model(str(models / name))
    folded = file.fold(end_of_line=True)
    draw = np.random.default_rng(7)
    texts = [" ".join(f"w{n}" for n in draw.integers(0, 130, size)) for size in draw.integers(0, 60, 300)]
    texts += ["", "w1", "unknown", "w1\tw2\vw3\0w4", "w5 </s> w6 w7", "__label__sea w8", "é w9\u00a0w10"]
    found = folded.probabilities(mean_weights(cut(texts), folded.features, folded.weights))
    for text, row in zip(texts, found, strict=True):
        wanted = {label: min(1.0, p) for p, label in library.predict(f"{text}\n", -1, 0.0, "strict")}
        assert {label: pytest.approx(p, abs=2e-6) for label, p in wanted.items()} == dict(
            zip(folded.labels, row.tolist(), strict=True)
        )


@pytest.mark.parametrize("name", ["letters.bin", "ova.bin", "many.bin", "many.ftz"])
def test_models_of_other_kinds_are_left_to_the_library(models: Path, name: str) -> None:
    assert not ModelFile(str(models / name)).folds


def test_every_cut_of_a_model_file_is_refused(models: Path, tmp_path: Path) -> None:
    whole = (models / "pruned.ftz").read_bytes()
    for size in [*range(1, 200, 7), *range(200, len(whole), len(whole) // 50), len(whole) - 1]:
        (tmp_path / "cut.ftz").write_bytes(whole[:size])
        with pytest.raises(SpecError, match="cut short"):
            ModelFile(str(tmp_path / "cut.ftz"))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04 something else, long enough to have a header of its own")
    with pytest.raises(SpecError, match="does not begin as files of versions 11 and 12 do"):
        ModelFile(str(tmp_path / "model.bin"))


def damaged(model: bytes, **changes: Any) -> bytes:
    """A model file with other numbers in its header: arguments, or rows and columns of its matrices."""
    arguments = list(struct.unpack_from(Arguments.FORMAT, model, 8))
    names = list(Arguments.__dataclass_fields__)
    for name, value in changes.items():
        arguments[names.index(name)] = value
    return model[:8] + struct.pack(Arguments.FORMAT, *arguments) + model[8 + struct.calcsize(Arguments.FORMAT) :]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bucket": -7}, r"n-grams without buckets \(-7\)"),
        ({"bucket": 0}, r"n-grams without buckets \(0\)"),
        ({"bucket": 2_000_000_000}, "rows for 111 words and 2,000,000,000 buckets"),
        ({"dim": 13}, "rows of 12 and 12 numbers, where its header says 13"),
    ],
)
def test_a_header_that_its_matrices_do_not_bear_out_is_refused(
    models: Path, tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    (tmp_path / "model.bin").write_bytes(damaged((models / "bigrams.bin").read_bytes(), **changes))
    with pytest.raises(SpecError, match=message):
        ModelFile(str(tmp_path / "model.bin"))


def test_matrices_that_do_not_fit_words_and_labels_are_refused(tmp_path: Path) -> None:
    def write(words: list[bytes], rows: int, labels: list[str], output: int) -> str:
        path = str(tmp_path / "model.bin")
        given = Arguments(dim=2, epoch=1, word_ngrams=1, bucket=0)
        counted = [(word, 1) for word in words], [(label, 1) for label in labels]
        write_model(path, given, *counted, np.ones((rows, 2), np.float32), np.ones((output, 2), np.float32))
        return path

    both = ["__label__0", "__label__1"]
    assert ModelFile(write([b"sea", b"tide"], 2, both, 2)).fold(end_of_line=False).weights.shape == (2, 1)
    with pytest.raises(SpecError, match="1 rows for 2 words and 0 buckets"):
        ModelFile(write([b"sea", b"tide"], 1, both, 2))
    with pytest.raises(SpecError, match="3 rows of output for 2 labels"):
        ModelFile(write([b"sea", b"tide"], 2, both, 3))
    with pytest.raises(SpecError, match="word 1 of the vocabulary has the key of an earlier one"):
        ModelFile(write([b"sea", b"sea"], 2, both, 2)).fold(end_of_line=False)


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=20), st.integers(1, 3))
def test_words_are_counted_with_documents_and_groups(texts: list[list[int]], documents_per_group: int) -> None:
    """From a table of two slots, so that it grows."""
    keys = np.array([word + 1 for text in texts for word in text], np.uint64)
    documents = np.array([number for number, text in enumerate(texts) for _ in text], np.int64)
    firsts, counts = count_words(keys, documents, documents // documents_per_group, slots=2)
    found = {int(keys[first]): row for first, row in zip(firsts, counts.tolist(), strict=True)}
    assert found == {
        int(key): [
            int((keys == key).sum()),
            len(set(documents[keys == key].tolist())),
            len(set((documents[keys == key] // documents_per_group).tolist())),
        ]
        for key in set(keys.tolist())
    }
    assert all(keys[:first].tolist().count(keys[first]) == 0 for first in firsts)
