"""Training scorers: the artefact, its splits and its vocabulary, length and `</s>`, and what is refused."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import curate
from curate.errors import CurateError, DataError, DriftError, SpecError
from curate.models.card import TRANSFORMS, load_card, prepare
from curate.models.fasttext import load_model
from curate.models.fasttext_file import ModelFile
from curate.text.unicode.buffers import text_buffers
from curate.text.words.fasttext import cut_tokens, mean_weights
from curate.train import metrics, metrics_report
from curate.train.documents import Corpus, groups_of, load_corpus
from curate.train.fasttext_trainer import Labelled, Model, Splits, balanced, split_by_group
from curate.train.recipe import Recipe, fit_file, load_recipe
from curate.train.softmax import predict
from curate.train.vocabulary import VocabularyRule, choose_words
from tests.conftest import contents

SEA = [f"sea{n}" for n in range(60)]
BREAD = [f"bread{n}" for n in range(60)]
COMMON = [f"w{n}" for n in range(60)]


def letters(word: str) -> str:
    """Digits as letters: a vocabulary does not store runs of digits."""
    return "".join(chr(ord("a") + int(char)) if char.isdigit() else char for char in word)


def write_texts(path: Path, own: list[str], number: int, seed: int, words: int = 40) -> None:
    """`number` texts over their own words and common ones, three to a group."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(number):
        size = int(draw.integers(words // 2, words * 2))
        chosen = [letters(str(draw.choice(own if draw.random() < 0.3 else COMMON))) for _ in range(size)]
        texts.append(" ".join(chosen[: size // 2]) + "\n" + " ".join(chosen[size // 2 :]))
    rows = {
        "id": [f"{path.stem}-{n}" for n in range(number)],
        "text": texts,
        "url": [f"https://{path.stem}-{n // 3}.example/{n}" for n in range(number)],
        "kind": ["even" if n % 2 == 0 else "odd" for n in range(number)],
        "number": list(range(number)),
    }
    pq.write_table(pa.table(rows), path)


RECIPE: dict[str, Any] = {
    "name": "sea-v1",
    "kind": "fasttext",
    "column": "sea",
    "transform": ["newlines_to_spaces"],
    "hyperparameters": {"lr": 0.5, "dim": 10, "epochs": 10, "bucket": 2000},
    "positives": [{"source": {"parquet": {"paths": "sea.parquet"}}, "about": "texts about the sea"}],
    "negatives": [{"source": {"parquet": {"paths": "bread.parquet"}}, "about": "texts about bread"}],
}


def write_recipe(folder: Path, changes: Mapping[str, Any] | None = None, name: str = "recipe.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump({**RECIPE, **(changes or {})}, sort_keys=False))
    return str(path)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "sea.parquet", SEA, 400, 1)
    write_texts(folder / "bread.parquet", BREAD, 600, 2)
    return folder


@pytest.fixture(scope="module")
def scorer(texts: Path) -> Path:
    fit_file(write_recipe(texts), out=str(texts / "sea-v1"))
    return texts / "sea-v1"


def test_a_planted_signal_is_found_on_groups_not_seen(scorer: Path) -> None:
    found = json.loads((scorer / "metrics.json").read_text())
    assert found["auc"]["value"] > 0.97 and found["auc"]["low"] > 0.9 and found["f1"] >= 0.9
    assert found["texts"]["training"] == 2 * found["positives"]["training"]  # balanced


def test_shuffled_labels_are_not_learnt(texts: Path, tmp_path: Path) -> None:
    odd = {"source": {"parquet": {"paths": str(texts / "*.parquet")}}, "where": {"kind": ["odd"]}}
    even = {**odd, "where": {"kind": ["even"]}}
    fit_file(write_recipe(tmp_path, {"positives": [odd], "negatives": [even], "test": 0.4}), out=str(tmp_path / "x-v1"))
    assert abs(json.loads((tmp_path / "x-v1" / "metrics.json").read_text())["auc"]["value"] - 0.5) < 0.08


def test_the_same_recipe_gives_the_same_bytes(texts: Path, scorer: Path, tmp_path: Path) -> None:
    fit_file(write_recipe(texts), out=str(tmp_path / "sea-v1"))
    for file in ("model.bin", "card.md", "metrics.json"):
        assert (tmp_path / "sea-v1" / file).read_bytes() == (scorer / file).read_bytes()


def test_the_recipe_beside_a_scorer_can_be_run_from_there(scorer: Path, tmp_path: Path) -> None:
    fit_file(str(scorer / "recipe.yaml"), out=str(tmp_path / "again"))
    assert (tmp_path / "again" / "model.bin").read_bytes() == (scorer / "model.bin").read_bytes()
    before = contents_of(scorer)
    assert fit_file(str(scorer / "recipe.yaml")).endswith(f"in {scorer}")  # a recipe's own folder, if that bears its name
    assert contents_of(scorer) == before


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_scorer_is_not_overwritten_by_another_of_the_same_documents(texts: Path, scorer: Path, tmp_path: Path) -> None:
    """Here texts have changed, and their ids have not."""
    for file in ("sea.parquet", "bread.parquet"):
        (tmp_path / file).write_bytes((texts / file).read_bytes())
    fit_file(write_recipe(tmp_path), out=str(tmp_path / "sea-v1"))
    before = contents_of(tmp_path / "sea-v1")
    write_texts(tmp_path / "sea.parquet", SEA, 400, 77)
    with pytest.raises(DriftError, match="has another model of the same recipe and documents: texts changed under their ids"):
        fit_file(write_recipe(tmp_path), out=str(tmp_path / "sea-v1"))
    assert contents_of(tmp_path / "sea-v1") == before


def test_the_library_reads_the_model_and_scores_alike(texts: Path, scorer: Path) -> None:
    library = load_model(str(scorer / "model.bin"))
    some = pq.read_table(texts / "sea.parquet")["text"].to_pylist()[:50]
    ours = curate.load_scorer(str(scorer))(some)["sea"]
    # Without a line end the library adds no `</s>`, as the card says.
    theirs = [{label: p for p, label in library.predict(text.replace("\n", " "), -1, 0.0, "strict")} for text in some]
    np.testing.assert_allclose(ours, [min(1, row["__label__1"]) for row in theirs], atol=2e-6)


def test_trainer_and_server_give_a_text_one_score(texts: Path, scorer: Path) -> None:
    """And line ends are blanks to both: a text whose lines are glued together has other words."""
    recipe = load_recipe(write_recipe(texts))
    options: Any = recipe.options
    splits = split_of(recipe)
    training, chosen = balanced(splits.training, options.seed), options.hyperparameters
    model = Model(training, options)
    trained = predict(model.examples(splits.test, chosen), model.train(model.examples(training, chosen), chosen))[:, 1]
    load, some = curate.load_scorer(str(scorer)), splits.test.corpus.texts.to_pylist()
    served = load(some)["sea"]
    assert all("\n" in text for text in some) and len(some) > 100
    np.testing.assert_allclose(np.minimum(1, trained + 1e-5), served, atol=1e-7)
    assert served.tolist() == load([text.replace("\n", " ") for text in some])["sea"].tolist()
    assert (served != load([text.replace("\n", "") for text in some])["sea"]).sum() > 10


def test_the_card_says_what_the_scorer_was_made_of(scorer: Path) -> None:
    card, text = load_card(str(scorer)), (scorer / "card.md").read_text()
    assert card.columns == {"sea": "__label__1"} and card.transform == ("newlines_to_spaces",) and card.end_of_line == "drop"
    assert "texts about the sea" in text and "texts about bread" in text and "training_ids_sha256" in text
    front = yaml.safe_load(text.split("---")[1])
    assert set(front["thresholds"]) == {"docs", "chars", "tokens"} and len(front["thresholds"]["chars"]) == 7


def test_a_threshold_of_the_card_keeps_its_share_of_the_pool(texts: Path, tmp_path: Path) -> None:
    """Of the pool's groups that were not learnt from: the files of the training texts are in it, and do not count."""
    write_texts(tmp_path / "pool.parquet", SEA + BREAD, 500, 8)
    pool = [{"source": {"parquet": {"paths": [str(texts / "sea.parquet"), str(tmp_path / "pool.parquet")]}}}]
    fit_file(write_recipe(texts, {"pool": pool}, "pool.yaml"), out=str(tmp_path / "sea-v1"))
    front = yaml.safe_load((tmp_path / "sea-v1" / "card.md").read_text().split("---")[1])
    recipe = load_recipe(str(texts / "pool.yaml"))
    learnt = set(split_of(recipe).training.corpus.groups)
    corpus = load_corpus(recipe.documents["pool"], ["host"])
    unseen = corpus.take(np.flatnonzero([group not in learnt for group in corpus.groups]))
    assert 500 < len(unseen) < 700
    scores = curate.load_scorer(str(tmp_path / "sea-v1"))(unseen.texts)["sea"].astype(np.float64)
    kept = scores >= front["thresholds"]["chars"]["0.1"]
    assert 0.095 < unseen.chars[kept].sum() / unseen.chars.sum() <= 0.1001


def split_of(recipe: Recipe) -> Splits:
    options: Any = recipe.options
    parts = [load_corpus(recipe.documents[key], options.group) for key in ("positives", "negatives")]
    labelled = Labelled(Corpus.joined(parts), np.repeat([True, False], [len(part) for part in parts]))
    return split_by_group(labelled, options)


def test_a_model_that_is_not_the_cards_is_refused(scorer: Path, tmp_path: Path) -> None:
    for file in scorer.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    curate.load_scorer(str(tmp_path))
    model = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(model[:-1] + b"\x7f")
    with pytest.raises(SpecError, match=r"the card is of a model with sha256 .* Copy card and model again, together"):
        curate.load_scorer(str(tmp_path))


def test_another_recipe_under_the_same_name_is_refused(texts: Path, scorer: Path) -> None:
    with pytest.raises(DriftError, match=r"from a recipe that says something else. .* raise the version in 'name'"):
        fit_file(write_recipe(texts, {"seed": 1}, "other.yaml"), out=str(scorer))


def test_the_same_recipe_on_other_documents_is_refused(texts: Path, scorer: Path, tmp_path: Path) -> None:
    for file in ("sea.parquet", "bread.parquet"):
        (tmp_path / file).write_bytes((texts / file).read_bytes())
    fit_file(write_recipe(tmp_path), out=str(tmp_path / "sea-v1"))
    write_texts(tmp_path / "sea.parquet", SEA, 300, 9)
    with pytest.raises(DriftError, match="from this recipe on other documents"):
        fit_file(write_recipe(tmp_path), out=str(tmp_path / "sea-v1"))


def test_no_group_is_in_two_splits(texts: Path) -> None:
    splits = split_of(load_recipe(write_recipe(texts, {"validation": 0.1}, "three.yaml")))
    groups = [set(part.corpus.groups) for part in (splits.training, splits.validation, splits.test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert sum(len(part) for part in (splits.training, splits.validation, splits.test)) == 1000
    assert 0.1 < len(splits.test) / 1000 < 0.3 and 0.05 < len(splits.validation) / 1000 < 0.15


def test_disjoint_parts_share_no_group(texts: Path) -> None:
    def part(low: float, high: float) -> set[str]:
        items = [{"source": {"parquet": {"paths": "bread.parquet"}}, "part": [low, high]}]
        recipe = load_recipe(write_recipe(texts, {"negatives": items}, "part.yaml"))
        return set(load_corpus(recipe.documents["negatives"], ["host"]).groups)

    first, second = part(0.0, 0.4), part(0.4, 1.0)
    assert not first & second and len(first) + len(second) == 200 and 50 < len(first) < 110


def test_a_document_without_its_group_column_is_its_own_group() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"id": ["a", "b", "c"], "url": ["https://x.example/1", None, "http://[broken"], "source": ["s", "s", None]}
    )
    assert groups_of(batch, ["host"]) == ["x.example", "id|b", "id|c"]
    assert groups_of(batch, ["source", "host"]) == ["s|x.example", "id|b", "id|c"]
    assert groups_of(batch, ["source"]) == ["s", "s", "id|c"]


def test_personal_and_rare_words_are_not_stored() -> None:
    """Twenty documents of five groups, and nothing that looks like an address or a number."""
    texts, groups = [], []
    for n in range(60):
        words = ["everywhere", "everywhere", "me@x.example", "call", "5551234", "v2", "naïve"]
        words += ["rare"] if n < 19 else []
        words += ["onesided"] if n % 15 < 4 else []
        texts.append(" ".join(words))
        groups.append(f"group {n % 15}")
    columns = text_buffers(pa.array(texts, pa.large_string()))
    tokens = cut_tokens(columns, np.zeros(len(texts), np.bool_))
    found = choose_words(columns, tokens, groups, VocabularyRule(min_documents=16))
    assert [(word.text.decode(), word.count, word.documents, word.groups) for word in found] == [
        ("everywhere", 120, 60, 15), ("call", 60, 60, 15), ("naïve", 60, 60, 15), ("v2", 60, 60, 15), ("rare", 19, 19, 15),
    ]  # fmt: skip
    default = choose_words(columns, tokens, groups, VocabularyRule())
    assert [word.text for word in default] == [b"everywhere", b"call", "naïve".encode(), b"v2"]
    everything = choose_words(columns, tokens, groups, VocabularyRule(min_documents=1, min_groups=1, personal=True))
    assert {word.text for word in everything} == {word.encode() for text in texts for word in text.split()}


# -- </s> -------------------------------------------------------------------------------------------------------------


def margins(folder: Path, texts: list[str]) -> list[float]:
    """log(p / (1 - p)), the 1e-5 taken off that fastText adds."""
    scores = curate.load_scorer(str(folder))(texts)["sea"].astype(np.float64) - 1e-5
    return [math.log(p / (1 - p)) for p in scores]


@pytest.fixture(scope="module")
def by_end_of_line(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scorers of single words that drop `</s>`, set it to zero, and keep it."""
    folder = tmp_path_factory.mktemp("ends")
    for name in ("drop", "zero", "keep"):
        words = {**RECIPE["hyperparameters"], "word_ngrams": 1, "epochs": 3}
        recipe = write_recipe(texts, {"end_of_line": name, "hyperparameters": words, "name": f"{name}-v1"}, f"{name}.yaml")
        fit_file(recipe, out=str(folder / f"{name}-v1"))
    return {name: folder / f"{name}-v1" for name in ("drop", "zero", "keep")}


def test_without_the_end_of_line_a_repeated_text_has_the_margin_of_one(by_end_of_line: dict[str, Path]) -> None:
    text = " ".join(map(letters, [*SEA[:5], *COMMON[:15]]))
    once, twice, four, eight = margins(by_end_of_line["drop"], [" ".join([text] * k) for k in (1, 2, 4, 8)])
    assert twice == pytest.approx(once, abs=1e-5) and four == pytest.approx(once, abs=1e-5)
    assert eight == pytest.approx(once, abs=1e-5) and abs(once) > 0.1


def test_with_its_row_at_zero_the_margin_still_shrinks_with_length(by_end_of_line: dict[str, Path]) -> None:
    """n / (n + 1) of what it would be: 20 words against four times as many, [20/21] / [80/81] = 0.9643."""
    text = " ".join(map(letters, [*SEA[:5], *COMMON[:15]]))
    once, four = margins(by_end_of_line["zero"], [text, " ".join([text] * 4)])
    assert once / four == pytest.approx((20 / 21) / (80 / 81), abs=1e-4)


def test_kept_it_turns_the_order_of_short_and_long_texts(by_end_of_line: dict[str, Path]) -> None:
    """One model, with what `</s>` weighs and without."""
    folded = ModelFile(str(by_end_of_line["keep"] / "model.bin")).fold(end_of_line=True)
    without = folded.weights.copy()
    without[folded.features.vocabulary.num_words - 1] = 0  # the last word
    draw = np.random.default_rng(4)
    texts = [" ".join(map(letters, draw.choice(COMMON, size))) for _ in range(200) for size in (2, 100)]
    tokens = cut_tokens(text_buffers(pa.array(texts, pa.large_string())), np.zeros(len(texts), np.bool_))
    orders = [
        [short > long for short, long in mean_weights(tokens, folded.features, weights).reshape(-1, 2).tolist()]
        for weights in (folded.weights, without)
    ]
    assert orders[0] != orders[1]


def test_with_bigrams_a_repeated_text_has_nearly_the_score_of_one(scorer: Path) -> None:
    """The seams make bigrams of their own."""
    text = " ".join(map(letters, [*SEA[:5], *COMMON[:15]]))
    scores = curate.load_scorer(str(scorer))([" ".join([text] * k) for k in (1, 2, 4, 8)])["sea"]
    assert np.ptp(scores) < 0.02


# -- choosing ---------------------------------------------------------------------------------------------------------


def test_autotune_keeps_to_its_time_and_says_what_it_tried(texts: Path, tmp_path: Path) -> None:
    weak = {"lr": 0.001, "dim": 10, "epochs": 1, "bucket": 2000}
    changes = {"hyperparameters": weak, "autotune_s": 2, "validation": 0.1}
    started = time.monotonic()
    fit_file(write_recipe(texts, changes, "tuned.yaml"), out=str(tmp_path / "sea-v1"))
    assert 2 < time.monotonic() - started < 30
    found = json.loads((tmp_path / "sea-v1" / "metrics.json").read_text())
    assert found["trials"][0]["lr"] == 0.001 and len(found["trials"]) > 1
    best = max(found["trials"], key=lambda trial: trial["auc"])
    assert found["hyperparameters"] == {name: best[name] for name in found["hyperparameters"]}
    assert found["auc"]["value"] > 0.9


def test_a_rate_that_breaks_the_weights_is_named(texts: Path, tmp_path: Path) -> None:
    wild = {"lr": 1e30, "dim": 10, "epochs": 5, "bucket": 2000}
    with pytest.raises(CurateError, match=r"weights are no longer numbers at lr 1e\+30. Lower it"):
        fit_file(write_recipe(texts, {"hyperparameters": wild}, "wild.yaml"), out=str(tmp_path / "sea-v1"))


def test_auc_counts_ties_half_and_f1_the_positive_class() -> None:
    truth = np.array([True, True, False, False])
    assert metrics.auc(truth, np.array([0.9, 0.4, 0.4, 0.1])) == pytest.approx((2 + 1 + 0.5) / 4)
    assert metrics.auc(truth, np.zeros(4)) == 0.5 and math.isnan(metrics.auc(truth | True, np.zeros(4)))
    assert metrics.f1(truth, np.array([True, False, True, False])) == 0.5
    assert metrics.spearman(np.array([1.0, 2, 3]), np.array([10.0, 30, 20])) == pytest.approx(0.5)


def test_a_length_weighted_threshold_keeps_its_share_of_characters() -> None:
    """10 % of the characters are 6 % of the documents where good documents are long, and three files give a rough estimate."""
    draw = np.random.default_rng(0)
    chars = np.exp(draw.normal(7.0, 1.0, 200_000)).astype(np.int64) + 1
    scores = np.log(chars) * 0.5 + draw.normal(size=len(chars))
    limit = metrics.thresholds(scores, chars, (0.1,))["0.1"]
    kept = scores >= limit
    assert chars[kept].sum() / chars.sum() == pytest.approx(0.1, abs=1e-3)
    assert kept.mean() < 0.07
    few = metrics.thresholds(scores[:600], chars[:600], (0.1,))["0.1"]
    error = metrics.threshold_errors(scores[:600], chars[:600], [str(n) for n in range(600)], (0.1,))["0.1"]
    assert 0.005 < error < 0.04 and abs(chars[scores >= few].sum() / chars.sum() - 0.1) < 4 * error


def test_thresholds_are_of_the_texts_that_have_a_score() -> None:
    """As `select` takes its share; a text of which no word is known is dropped there."""
    names = [str(n) for n in range(40)]
    corpus = Corpus(pa.array(names, pa.large_string()), names, names, names)
    scores = np.where(np.arange(40) < 20, np.arange(40) / 100, np.nan)
    found = metrics_report.spread(corpus, scores)
    assert found["thresholds"]["docs"]["0.1"] == pytest.approx(0.18, abs=1e-4)
    assert found["thresholds_of"] == "20 texts of groups it has not seen"
    with pytest.raises(DataError, match="none of 40 texts holds a word that the scorer knows"):
        metrics_report.spread(corpus, np.full(40, np.nan))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "fastest"}, r"recipe.yaml:2: kind: unknown kind of recipe 'fastest'. Did you mean 'fasttext'\?"),
        ({"name": "sea"}, r"recipe.yaml:1: name: 'sea' must be letters, digits, '-' and a version, such as 'edu-v1'"),
        ({"autotune_s": 5}, r"autotune_s: hyper-parameters are chosen on validation groups. Set 'validation' above 0"),
        ({"column": "text"}, r"column: 'text' has a meaning of its own. Choose another name"),
        ({"vocabulary": {"min_groups": 900}}, r"no word passes the vocabulary rule"),
        ({"test": 0.001}, r"test has \d positives and \d negatives, in \d groups. Give more groups"),
        ({"pool": [{"source": {"parquet": {"paths": "sea.parquet"}}}], "test": 0.99}, r"training has|every group of the pool"),
        (
            {"negatives": [{"source": {"parquet": {"paths": "sea.parquet"}}, "where": {"number": ["x"]}}]},
            r"no values of 'number'",
        ),
        ({"colum": "x"}, r"unknown key 'colum'. Did you mean 'column'\?"),
        ({"transform": ["lower"]}, r"transform: 'lower' is unknown. Did you mean 'lowercase'\?"),
        ({"positives": []}, r"positives: \[\] must be a list of items"),
        ({"positives": [{"source": {"parquet": {"paths": "none*.parquet"}}}]}, r"matches no file"),
        ({"positives": [{"where": {}}]}, r"positives, item 1: no 'source'"),
        ({"validation": 0.5, "test": 0.5}, r"validation \(0.5\) and test \(0.5\) leave nothing to learn from"),
        ({"hyperparameters": {"lr": -1}}, r"hyperparameters.lr: -1: must be greater than 0"),
        ({"group": ["thread"]}, r"the source has no column 'thread'. .*Known: "),
        (
            {"positives": [{"source": {"parquet": {"paths": "sea.parquet"}}, "where": {"kind": ["prime"]}}]},
            r"recipe.yaml:\d+: nothing is left of this source. Look at 'where' and 'part'",
        ),
        ({"positives": [{"source": {"parquet": {"paths": "sea.parquet"}}, "part": [0.5, 0.2]}]}, r"0 <= from < to <= 1"),
    ],
)
def test_a_recipe_that_cannot_be_carried_out_is_refused(
    texts: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for file in texts.glob("*.parquet"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CurateError, match=message):
        fit_file(write_recipe(tmp_path, changes), out=str(tmp_path / "sea-v1"))
    assert not (tmp_path / "sea-v1" / "card.md").exists()


# -- serving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform", [["lowercase"], ["strip"], ["collapse_whitespace", "lowercase"], [], ["newlines_to_spaces"]]
)
def test_a_column_is_prepared_as_its_texts_are(transform: list[str]) -> None:
    texts = ["ΌΔΟΣ İI\u00a0x ", "plain ASCII Text\r\n two", "", None, "ǅ\u2028y\n\n", "STRASSE ẞ"]
    wanted = []
    for text in texts:
        for name in transform:
            text = None if text is None else TRANSFORMS[name](text)
        wanted.append(text)
    assert prepare(pa.array(texts), transform).to_pylist() == wanted


def test_a_single_text_is_no_list_of_texts_and_a_column_is(texts: Path, scorer: Path) -> None:
    load = curate.load_scorer(str(scorer))
    with pytest.raises(TypeError, match="give a list of texts"):
        load("the sea")
    column = pq.read_table(texts / "sea.parquet")["text"]
    assert load(column)["sea"].tolist() == load(column.to_pylist())["sea"].tolist()


def test_a_text_without_a_known_word_has_no_score(texts: Path, by_end_of_line: dict[str, Path]) -> None:
    assert np.isnan(curate.load_scorer(str(by_end_of_line["drop"]))(["unheard of", "", None])["sea"]).all()


def test_two_scorers_in_a_row_give_what_they_give_alone(
    texts: Path, scorer: Path, by_end_of_line: dict[str, Path], tmp_path: Path
) -> None:
    """They read a text once; a document dropped in between takes its tokens with it."""
    (tmp_path / "p.yaml").write_text(
        yaml.safe_dump({
            "source": {"parquet": {"paths": str(texts / "*.parquet")}},
            "stages": [
                {"score": {"scorer": str(scorer), "column": "first"}},
                {"keep": {"column": "first", "min": 0.3}},
                {"score": {"scorer": str(by_end_of_line["keep"]), "column": "second", "as": "again"}},
            ],
        })
    )  # fmt: skip
    curate.run(str(tmp_path / "p.yaml"), out=str(tmp_path / "out"), inline=True)
    assert contents(tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "data")
    alone = curate.load_scorer(str(by_end_of_line["keep"]))(table["text"].to_pylist())["sea"]
    assert table["second"].to_numpy().tolist() == alone.tolist() and 100 < len(table) < 1000


def test_items_are_read_in_all_their_forms(tmp_path: Path) -> None:
    from curate.train.eval_items import read_items

    rows: list[dict[str, object]] = [
        {"query": "2 + 2 =", "choices": ["3", "4"], "gold": 1},
        {"context": "The cat ", "continuation": "sat."},
        {"text": "Alone."},
        {"text": "  "},
        {"question": "of another kind"},
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = read_items([str(tmp_path / "*.jsonl")], 10).values()
    assert found == [("2 + 2 =", " 4"), ("The cat", " sat."), ("", "Alone.")]
    (few,) = read_items([str(tmp_path / "*.jsonl")], 2).values()
    assert few == [found[0], found[2]]
    with pytest.raises(SpecError, match=r"reference: .*none.* matches no file"):
        read_items([str(tmp_path / "none*")], 1, "reference")


def test_a_piece_of_a_tokenizer_is_one_that_many_groups_have(tmp_path: Path) -> None:
    """However often one group writes a word."""
    from tokenizers import Tokenizer

    from curate.train.tokenizer import train_tokenizer

    texts = [f"Zanzibar quixotic {'quixotic ' * 50 if number == 0 else ''}Zanzibar" for number in range(6)]
    texts = [text if number == 0 else "Zanzibar Zanzibar" for number, text in enumerate(texts)]
    corpus = Corpus(pa.array(texts, pa.large_string()), [*"abcdef"], [*"abcdef"], [*"abcdef"])
    train_tokenizer(corpus, 265, 5, ["[PAD]"], tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.token_to_id("[PAD]") == 0
    assert tokenizer.encode("ZANZIBAR").tokens == ["zanzibar"]
    assert len(tokenizer.encode("quixotic").tokens) == len("quixotic")
    with pytest.raises(DataError, match="the documents give 265 pieces that 5 groups have, not 400"):
        train_tokenizer(corpus, 400, 5, ["[PAD]"], tmp_path / "more.json")
