"""An influence model: what it learns from planted influences, what its card says, and the column that `influence` writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import curate
from curate.errors import DataError, DriftError, SpecError
from curate.lm.encoder import Regressor, begin
from curate.lm.train import torch_threads
from curate.models.influence import load_influence_card
from curate.train import metrics
from curate.train.recipe import fit_file

GOOD = ["theorem", "proof", "lemma", "integral", "tensor", "matrix", "vector", "scalar"]
PLAIN = ["market", "street", "window", "garden", "coffee", "letter", "winter", "summer"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def documents(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of two kinds of words, the share of one of which is their influence, and lengths that say nothing."""
    draw = np.random.default_rng(seed)
    shares = draw.random(count)
    texts = []
    for share in shares:
        words = [str(draw.choice(GOOD if draw.random() < share else PLAIN)) for _ in range(int(draw.integers(15, 60)))]
        texts.append(" ".join(words))
    return texts, 1e-3 * shares + 5e-3 + 1e-4 * draw.standard_normal(count)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over planted influences, and what it gives."""
    place = tmp_path_factory.mktemp("influence")
    texts, values = documents(400, 1)
    names = [f"doc-{n}" for n in range(len(texts))]
    pq.write_table(pa.table({"id": names, "group": names, "text": texts, "influence": values}), place / "probes.parquet")
    recipe = {
        "name": "influence-r1-v1", "kind": "influence", "documents": [{"source": {"parquet": {"paths": "probes.parquet"}}}],
        "width": 32, "layers": 1, "heads": 2, "hidden": 32, "vocab_size": 320, "window": 24, "max_windows": 4, "epochs": 6,
        "batch": 16, "validation": 0.15, "test": 0.2, "threads": 1,
    }  # fmt: skip
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    fit(place, place / "out")
    return place


def fit(folder: Path, out: Path, recipe: str = "recipe.yaml", **changes: Any) -> str:
    """The recipe, changed, into `out`."""
    plain = {**yaml.safe_load((folder / "recipe.yaml").read_text()), **changes}
    (folder / recipe).write_text(yaml.safe_dump(plain))
    return fit_file(str(folder / recipe), out=str(out), work=f"{out}-work", inline=True)


def test_planted_influence_is_learnt_and_length_is_not(folder: Path) -> None:
    found = json.loads((folder / "out" / "metrics.json").read_text())
    assert found["test"]["model"]["spearman"]["value"] > 0.85
    assert abs(found["test"]["length"]["spearman"]["value"]) < 0.3
    assert found["test"]["fasttext"]["spearman"]["value"] > 0.5
    texts, values = documents(200, 2)
    scored = curate.apply("influence", pa.table({"text": texts}), scorer=str(folder / "out"))["influence"].to_numpy()
    assert metrics.spearman(scored, values) > 0.85


def test_labels_are_standardised_by_what_was_learnt_from_and_the_card_says_how(folder: Path) -> None:
    """The numbers come back in the units of the labels, which the mean and the deviation on the card are of."""
    found, card = json.loads((folder / "out" / "metrics.json").read_text()), load_influence_card(str(folder / "out"))
    probes = pq.read_table(folder / "probes.parquet").to_pylist()
    assert (card.window, card.max_windows) == (24, 4)
    assert len({path.stat().st_mode for path in (folder / "out").iterdir()}) == 1  # who may read one may read all
    assert (card.label_mean, card.label_std) == (found["label_mean"], found["label_std"])
    assert card.label_std == pytest.approx(np.std([row["influence"] for row in probes]), rel=0.1)
    table = pa.Table.from_pylist(probes)
    scored = curate.apply("influence", table.drop_columns("influence"), scorer=str(folder / "out"))["influence"].to_numpy()
    assert card.label_mean + card.label_std * scored == pytest.approx(table["influence"].to_numpy(), abs=7e-4)
    assert abs(scored.mean()) < 0.2


@pytest.mark.slow
def test_shuffled_influences_are_not_learnt(folder: Path) -> None:
    table = pq.read_table(folder / "probes.parquet")
    values = np.random.default_rng(3).permutation(table["influence"].to_numpy())
    place = table.column_names.index("influence")
    pq.write_table(table.set_column(place, "influence", pa.array(values)), folder / "shuffled.parquet")
    fit(folder, folder / "shuffled", "s.yaml", documents=[{"source": {"parquet": {"paths": "shuffled.parquet"}}}])
    found = json.loads((folder / "shuffled" / "metrics.json").read_text())
    assert abs(found["test"]["model"]["spearman"]["value"]) < 0.3


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes_and_another_is_refused(folder: Path) -> None:
    fit(folder, folder / "again", "again.yaml")
    for name in ("model.safetensors", "head.safetensors", "tokenizer.json", "config.json"):
        assert (folder / "again" / name).read_bytes() == (folder / "out" / name).read_bytes()
    with pytest.raises(DriftError, match="was trained from a recipe that says something else"):
        fit(folder, folder / "again", "other.yaml", epochs=2)


def test_the_next_round_begins_where_the_last_one_ended(folder: Path) -> None:
    warm = begin(str(folder / "out"), window=24, max_windows=4, dropout=0.0, seed=0)
    assert torch.equal(warm.head.weight.detach(), load_file(folder / "out" / "head.safetensors")["weight"])
    fit(folder, folder / "second", "second.yaml", encoder="./out", epochs=1, lr=1e-6)  # too little to learn anything anew
    found = json.loads((folder / "second" / "metrics.json").read_text())
    assert found["test"]["model"]["spearman"]["value"] > 0.85
    assert "the model it began from, `out`" in (folder / "second" / "card.md").read_text()


@pytest.mark.slow
def test_the_body_of_a_causal_language_model_is_an_encoder_too(folder: Path) -> None:
    from curate.lm.model import CausalLM, Shape, save

    shape = Shape(vocab_size=320, width=32, layers=1, heads=2, hidden=32, context=24, bos=0)
    tokenizer = json.loads((folder / "out" / "tokenizer.json").read_text())
    (folder / "plain.json").write_text(json.dumps({**tokenizer, "post_processor": None}))
    save(CausalLM(shape), folder / "lm", folder / "plain.json")
    fit(folder, folder / "third", "third.yaml", encoder="./lm", lr=3e-3)
    found = json.loads((folder / "third" / "metrics.json").read_text())
    assert found["test"]["model"]["spearman"]["value"] > 0.7
    with pytest.raises(SpecError, match="window: 32 is more than the encoder sees, 24"):
        fit(folder, folder / "fourth", "fourth.yaml", encoder="./lm", window=32)


def test_a_score_is_that_of_the_text_alone_padded_to_full_windows(folder: Path) -> None:
    model = begin(str(folder / "out"), window=24, max_windows=4, dropout=0.0, seed=0).eval()
    texts = [*documents(30, 4)[0], "theorem", ""]
    together = model.predict(texts, 200)
    alone = [by_hand(model, text) for text in texts]
    assert together == pytest.approx(alone, abs=1e-4)
    assert len({*together.round(4)}) > 25
    # Of a text longer than all windows the end is not read.
    long = " ".join(GOOD * 40)
    assert model.predict([long], 200)[0] == pytest.approx(model.predict([f"{long} {' '.join(PLAIN * 40)}"], 200)[0], abs=1e-5)


def by_hand(model: Regressor, text: str) -> float:
    """Every window at its full length, and the mean over all tokens that are not padding."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = [ids[start : start + 22] for start in range(0, max(1, len(ids)), 22)][:4]
    total, count = torch.zeros(32), 0
    for piece in pieces:
        row = [1, *piece, 2]
        padded = torch.tensor([[*row, *[0] * (24 - len(row))]])
        mask = torch.tensor([[1] * len(row) + [0] * (24 - len(row))])
        with torch.inference_mode():
            hidden = model.encoder(input_ids=padded, attention_mask=mask).last_hidden_state[0]
        total, count = total + hidden[: len(row)].sum(dim=0), count + len(row)
    with torch.inference_mode():
        return float(model.head(total / count))


def test_a_run_scores_and_selects_and_asks_nothing_twice(folder: Path, tmp_path: Path) -> None:
    texts, values = documents(300, 5)
    names = [f"doc-{n}" for n in range(300)]
    (tmp_path / "in").mkdir()
    for number in range(3):
        rows = slice(number * 100, number * 100 + 100)
        pq.write_table(pa.table({"id": names[rows], "text": texts[rows]}), tmp_path / "in" / f"{number}.parquet")
    pipeline = {
        "name": "mates", "source": {"parquet": {"paths": "in/*.parquet"}},
        "stages": [{"influence": {"scorer": str(folder / "out")}}, {"select": {"column": "influence", "top": 0.2}}],
        "output": {"columns": ["id", "text", "influence"]},
    }  # fmt: skip
    (tmp_path / "mates.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(tmp_path / "mates.yaml"), out=str(tmp_path / "out"), inline=True)
    kept = pq.read_table(tmp_path / "out" / "data")
    assert len(kept) == 60
    wanted = {names[row] for row in np.argsort(-values)[:60]}
    assert len(wanted & {*kept["id"].to_pylist()}) > 42
    answers = [
        json.loads(line) for path in (tmp_path / "out").rglob("answers/*/*.jsonl") for line in path.read_text().splitlines()
    ]
    assert len({key for key, _ in answers}) == len(answers) == 300


def test_what_cannot_be_learnt_or_served_is_refused(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / "probes.parquet")
    pq.write_table(table.slice(0, 40), folder / "few.parquet")
    with pytest.raises(DataError, match=r"too few documents: .*\. Probe more"):
        fit(folder, tmp_path / "few", "few.yaml", documents=[{"source": {"parquet": {"paths": "few.parquet"}}}])
    with pytest.raises(SpecError, match="kind 'fasttext': this stage needs a model of kind 'influence'"):
        (tmp_path / "card.md").write_text("---\nkind: fasttext\n---\n")
        curate.apply("influence", pa.table({"text": ["a"]}), scorer=str(tmp_path))
    shutil.copytree(folder / "out", tmp_path / "copy")
    head = load_file(folder / "out" / "head.safetensors")
    save_file({name: 2 * tensor for name, tensor in head.items()}, tmp_path / "copy" / "head.safetensors")
    with pytest.raises(SpecError, match=r"the card is of a head.safetensors with sha256 \w{64}, this has \w{64}\. Copy both"):
        curate.apply("influence", pa.table({"text": ["a"]}), scorer=str(tmp_path / "copy"))
    (tmp_path / "copy" / "config.json").unlink()
    save_file(head, tmp_path / "copy" / "head.safetensors")
    with pytest.raises(SpecError, match=r"config.json is not in .*\. Copy the folder again, whole"):
        curate.apply("influence", pa.table({"text": ["a"]}), scorer=str(tmp_path / "copy"))
    with pytest.raises(SpecError, match=r"width \(30\) must be a multiple of heads \(4\)"):
        fit(folder, tmp_path / "odd", "odd.yaml", width=30, heads=4)
