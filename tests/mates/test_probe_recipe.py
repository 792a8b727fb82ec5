"""`curate probe`: influences of documents on a small model that is warm in two kinds of text, by a reference of one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curate.errors import DataError, DriftError, SpecError
from curate.lm.model import CausalLM, Shape, save
from curate.lm.token_stream import token_stream
from curate.lm.train import Training, train
from curate.mates import probe_recipe as oracle
from curate.mates.watch import watch
from curate.models.influence import load_influence_card
from curate.train import metrics
from curate.train.recipe import fit_file

VOCAB = 320
SUBJECTS = {
    "cooking": ("the cook", "a baker", "my aunt", "bakes", "fries", "salts", "the bread", "some fish", "a soup"),
    "sailing": ("the mate", "a sailor", "our captain", "hoists", "lashes", "trims", "the sail", "some rope", "a mast"),
}


def texts(kind: str, count: int, seed: int) -> list[str]:
    draw, words = np.random.default_rng(seed), SUBJECTS[kind]

    def sentence() -> str:
        return " ".join(words[3 * place + int(draw.integers(3))] for place in range(3)) + "."

    return [" ".join(sentence() for _ in range(12)) for _ in range(count)]


def train_tokenizer(path: Path) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([text for kind in SUBJECTS for text in texts(kind, 20, 0)], trainer)
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its pool, its reference, and a recipe."""
    folder = tmp_path_factory.mktemp("world")
    rows = [(kind, text) for kind in SUBJECTS for text in texts(kind, 40, 1)]
    columns = {"id": [f"{k}-{n}" for n, (k, _) in enumerate(rows)], "kind": [k for k, _ in rows], "text": [t for _, t in rows]}
    short = {"id": ["short"], "kind": ["cooking"], "text": ["the cook bakes."]}
    pq.write_table(pa.concat_tables([pa.table(columns), pa.table(short)]), folder / "pool.parquet")
    split = [text.split(" fries", 1) for text in texts("cooking", 60, 2) if " fries" in text]
    items = [{"context": before, "continuation": f"fries{after[:40]}"} for before, after in split]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    tokenizer = train_tokenizer(folder / "tokenizer.json")
    shape = Shape(vocab_size=VOCAB, width=16, layers=1, heads=2, hidden=32, context=64, bos=0)
    training = Training(tokens=60 * 8 * 64, batch=8, lr=1e-2, decay_frac=0.0, seed=0, checkpoint_every=100)
    stream = token_stream([t for pair in zip(*(texts(k, 100, 3) for k in SUBJECTS), strict=True) for t in pair], tokenizer, 0)
    trained = train(shape, training, stream, folder / "model", threads=1)
    save(trained.model, folder / "model", tokenizer)
    recipe = {
        "name": "influence-r1-v1", "kind": "oracle", "checkpoint": "model", "reference": ["items.jsonl"],
        "pool": [{"source": {"parquet": {"paths": "pool.parquet"}}}], "group": ["id"], "domain": ["kind"],
        "probes": 70, "length": 48, "mode": "both", "threads": 1,
    }  # fmt: skip
    (folder / "probe.yaml").write_text(yaml.safe_dump(recipe))
    fit_file(str(folder / "probe.yaml"), out=str(folder / "out"), work=str(folder / "work"), inline=True)
    return folder


def probe(world: Path, folder: Path, *, inline: bool = True, **changes: Any) -> pa.Table:
    """The recipe with changes, in folders of its own."""
    recipe = {**yaml.safe_load((world / "probe.yaml").read_text()), **changes}
    path = world / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    fit_file(str(path), out=str(folder / "out"), work=str(folder / "work"), inline=inline, workers=2)
    return pq.read_table(folder / "out" / "probes.parquet")


def test_what_is_like_the_reference_has_more_influence(world: Path) -> None:
    table = pq.read_table(world / "out" / "probes.parquet")
    assert table.column_names == ["id", "group", "domain", "text", "influence", "gradient", "before"]
    assert len(set(table["id"].to_pylist())) == 70
    cooking = np.array(table["domain"].to_pylist()) == "cooking"
    assert metrics.auc(cooking, table["influence"].to_numpy()) > 0.95
    assert metrics.auc(cooking, table["gradient"].to_numpy()) > 0.95
    found = json.loads((world / "out" / "metrics.json").read_text())
    assert list(found["by_kind"]) == ["cooking", "sailing"]
    assert found["agreement"] > 0.9
    assert found["reference_loss"] == table["before"][0].as_py() == pytest.approx(1.0, abs=1.0)


def test_a_probe_is_the_beginning_of_a_document_of_so_many_tokens(world: Path) -> None:
    encoder = Tokenizer.from_file(str(world / "tokenizer.json"))
    whole = {row["id"]: row["text"] for row in pq.read_table(world / "pool.parquet").to_pylist()}
    for row in pq.read_table(world / "out" / "probes.parquet").to_pylist():
        assert whole[row["id"]].startswith(row["text"])
        assert "".join(encoder.decode([n]) for n in encoder.encode(whole[row["id"]]).ids[:48]) == row["text"]


def test_a_run_that_was_cut_short_goes_on_to_the_same_bytes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (world / "out" / "probes.parquet").read_bytes()
    written = oracle._write

    def breaks(table: pa.Table, path: Path) -> None:
        if path.parent.name == "influences" and len(list(path.parent.glob("*.parquet"))) == 2:
            raise KeyboardInterrupt
        written(table, path)

    monkeypatch.setattr(oracle, "_write", breaks)
    with pytest.raises(KeyboardInterrupt):
        probe(world, tmp_path / "cut")
    monkeypatch.setattr(oracle, "_write", written)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "work" / "influences").iterdir()}
    assert len(before) == 2
    probe(world, tmp_path / "cut")
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert (tmp_path / "cut" / "out" / "probes.parquet").read_bytes() == whole


@pytest.mark.slow
def test_two_replicas_on_ray_find_what_one_process_does(world: Path, tmp_path: Path) -> None:
    probe(world, tmp_path / "ray", inline=False, replicas=2)
    assert (tmp_path / "ray" / "out" / "probes.parquet").read_bytes() == (world / "out" / "probes.parquet").read_bytes()


def test_another_seed_draws_other_documents_and_one_way_is_asked_alone(world: Path, tmp_path: Path) -> None:
    table = pq.read_table(world / "out" / "probes.parquet")
    steps = {row["id"]: row for row in table.to_pylist()}
    fewer = probe(world, tmp_path / "fewer", probes=20, mode="one_step")
    assert fewer.column_names == ["id", "group", "domain", "text", "influence", "before"]
    assert fewer["id"].to_pylist() == table["id"].to_pylist()[:20]
    assert [steps[row["id"]]["influence"] for row in fewer.to_pylist()] == fewer["influence"].to_pylist()
    other = probe(world, tmp_path / "other", probes=20, mode="gradient", seed=1)
    assert other["id"].to_pylist() != fewer["id"].to_pylist()
    expected = [steps[row["id"]]["gradient"] for row in other.to_pylist() if row["id"] in steps]
    found = [row["influence"] for row in other.to_pylist() if row["id"] in steps]
    assert found == pytest.approx(expected, rel=1e-4)


def test_influences_of_another_checkpoint_or_reference_are_not_mixed(world: Path, tmp_path: Path) -> None:
    probe(world, tmp_path / "first", probes=32)
    (world / "other.jsonl").write_text(json.dumps({"text": "a sailor trims the sail."}) + "\n")
    for changes, what in (({"reference": ["other.jsonl"]}, "reference"), ({"lr": 1e-4}, "lr"), ({"mode": "gradient"}, "mode")):
        with pytest.raises(DriftError, match=f"was probed with another {what}"):
            probe(world, tmp_path / "first", probes=32, **changes)
    shutil.copytree(world / "model", world / "moved")
    state = torch.load(world / "moved" / "checkpoint.pt", weights_only=True)
    state["optimizer"]["state"][0]["exp_avg"].mul_(2)
    torch.save(state, world / "moved" / "checkpoint.pt")
    with pytest.raises(DriftError, match="was probed with another checkpoint"):
        probe(world, tmp_path / "first", probes=32, checkpoint="moved")


def test_a_reference_of_texts_in_parquet_says_the_same_as_one_in_json_lines(world: Path, tmp_path: Path) -> None:
    rows = [{"text": text} for text in texts("cooking", 5, 7)]
    (world / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), world / "texts.parquet")
    found = [
        probe(world, tmp_path / form, probes=10, reference=[f"texts.{form}"])["influence"].to_pylist()
        for form in ("jsonl", "parquet")
    ]
    assert found[0] == found[1]


def test_every_new_checkpoint_of_a_folder_gets_an_influence_model_once(world: Path) -> None:
    """As a training of one's own leaves them: the second comes later, and is probed by other documents."""
    recipe = {name: value for name, value in yaml.safe_load((world / "probe.yaml").read_text()).items() if name != "checkpoint"}
    small = {"width": 16, "layers": 1, "heads": 2, "hidden": 16, "vocab_size": 310, "window": 48, "epochs": 1}
    plain = {**recipe, "mode": "gradient", "probes": 60, "influence": {**small, "validation": 0.25, "test": 0.25}}
    (world / "watch.yaml").write_text(yaml.safe_dump(plain))
    (world / "run").mkdir()
    (world / "run" / "logs").mkdir()
    shutil.copytree(world / "model", world / "run" / "checkpoint-1")

    def told() -> list[str]:
        return watch(str(world / "run"), str(world / "watch.yaml"), settled=0.0, inline=True)

    assert watch(str(world / "run"), str(world / "watch.yaml"), settled=1000.0, inline=True) == []  # it may not be whole yet
    first = told()
    assert len(first) == 1
    assert first[0].startswith("checkpoint-1: 60 influences")
    shutil.copytree(world / "model", world / "run" / "checkpoint-2")
    assert [line.split(":")[0] for line in told()] == ["checkpoint-2"]
    assert told() == []
    folders = [world / "run" / f"checkpoint-{number}" / "influence" for number in (1, 2)]
    assert all(load_influence_card(str(folder / "scorer")).window == 48 for folder in folders)
    ids = [pq.read_table(folder / "probes" / "probes.parquet")["id"].to_pylist() for folder in folders]
    assert ids[0] != ids[1]
    with pytest.raises(SpecError, match="give a recipe of kind 'oracle' with a section 'influence'"):
        watch(str(world / "run"), str(world / "probe.yaml"))
    with pytest.raises(SpecError, match=r"no 'checkpoint'\. Name the folder of one, or use 'curate watch'"):
        fit_file(str(world / "watch.yaml"), out=str(world / "none"), work=str(world / "none-work"), inline=True)


def test_what_cannot_be_probed_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"80 of 81 documents have 48 tokens, 81 are wanted\. Give a larger pool"):
        probe(world, tmp_path / "many", probes=81)
    bare = world / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(world / "model" / name, bare / name)
    with pytest.raises(SpecError, match=r"bare has no checkpoint.pt or optimizer.pt, so a step would be one of an optimizer"):
        probe(world, tmp_path / "bare", checkpoint="bare")
    assert len(probe(world, tmp_path / "given", checkpoint="bare", lr=1e-3, probes=4)) == 4
    other = CausalLM(Shape(vocab_size=VOCAB, width=32, layers=1, heads=2, hidden=32, context=64, bos=0))
    save(other, world / "wide", world / "tokenizer.json")
    shutil.copy(world / "model" / "checkpoint.pt", world / "wide")
    with pytest.raises(SpecError, match="is not the state of AdamW over this model's matrices"):
        probe(world, tmp_path / "wide", checkpoint="wide")


@pytest.mark.slow
def test_a_checkpoint_of_the_trainer_of_transformers_is_probed_with_its_moments(world: Path, tmp_path: Path) -> None:
    """GPT-NeoX, whose optimizer's state lies beside it as that Trainer leaves it."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    named = dict(model.named_parameters())
    decayed = [p for name, p in named.items() if p.dim() == 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.01},
            {"params": [p for p in named.values() if p.dim() != 2], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    for text in texts("cooking", 3, 9):
        ids = torch.from_numpy(token_stream([text], world / "tokenizer.json", 0)[:60].astype(np.int64))[None]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = world / "checkpoint-3"
    model.save_pretrained(folder)
    shutil.copy(world / "tokenizer.json", folder)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    warm = probe(world, tmp_path / "neox", checkpoint="checkpoint-3", probes=12)
    assert metrics.spearman(warm["influence"].to_numpy(), warm["gradient"].to_numpy()) > 0.9
    (folder / "optimizer.pt").rename(folder / "lost.pt")
    cold = probe(world, tmp_path / "cold", checkpoint="checkpoint-3", probes=12, lr=1e-3)
    assert cold["influence"].to_pylist() != warm["influence"].to_pylist()
