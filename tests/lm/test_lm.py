"""Small language models: what is trained, what is saved, and what a loss counts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from curate.errors import RunError, SpecError
from curate.lm.loss import Forward, bits_per_character, continuation_nats, document_nats
from curate.lm.model import CausalLM, Shape, load, num_parameters, save
from curate.lm.token_stream import Tokens, token_stream, window_order
from curate.lm.train import StepLog, Trained, Training, TrainSegment, train

TOKENIZER = Path(__file__).parents[2] / "scorers" / "bpe-v1" / "tokenizer.json"
BOS = 0
SMALL = Shape(vocab_size=16_384, width=16, layers=2, heads=2, hidden=24, context=32, bos=BOS, rope_base=500.0)
TINY = Shape(vocab_size=8, width=16, layers=2, heads=2, hidden=24, context=16, bos=BOS)
SHORT = Training(tokens=20 * 4 * 16, batch=4, lr=1e-2, seed=3, checkpoint_every=6)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices: threads that wait for each other on a busy machine take six times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- the model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model = CausalLM(SMALL, seed=1)
    with torch.no_grad():  # far from its beginning, where most logits are near 0 and a wrong rotation would not show
        for parameter in model.parameters():
            parameter.mul_(5.0)
    save(model, folder, TOKENIZER)
    return folder


def test_hugging_face_computes_the_same_logits_from_the_saved_folder(saved: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(saved)
    assert type(theirs).__name__ == "LlamaForCausalLM"
    ids = torch.randint(SMALL.vocab_size, (3, SMALL.context), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = theirs(input_ids=ids).logits, load(saved)(ids)
    assert found.abs().max() > 1
    assert torch.allclose(found, expected, atol=1e-4)
    assert theirs.config.bos_token_id == theirs.config.eos_token_id == BOS


def test_hugging_face_loads_the_tokenizer_of_the_saved_folder(saved: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|endoftext|>", BOS)
    text = "The cat sat on the mat."
    assert tokenizer(text)["input_ids"] == Tokenizer.from_file(str(TOKENIZER)).encode(text).ids


def test_saving_twice_and_saving_what_was_loaded_give_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    save(load(saved), tmp_path / "again", TOKENIZER)
    assert contents(tmp_path / "again") == contents(saved)
    assert list(contents(saved)) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1  # who may read one may read all


@pytest.mark.parametrize("kv_heads, tied, shards", [(1, False, "1GB"), (2, True, "200KB")])
def test_a_llama_that_hugging_face_saved_is_read(tmp_path: Path, kv_heads: int, tied: bool, shards: str) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=kv_heads,
        intermediate_size=96, max_position_embeddings=50, bos_token_id=3, rms_norm_eps=1e-6, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0}, initializer_range=0.3,
    )  # fmt: skip
    theirs = LlamaForCausalLM(config)
    theirs.save_pretrained(tmp_path, max_shard_size=shards)
    ours = load(tmp_path)
    ids = torch.randint(300, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(input_ids=ids).logits
        assert expected.abs().max() > 1
        assert torch.allclose(ours(ids), expected, atol=1e-4)
    assert num_parameters(ours.shape) == sum(parameter.numel() for parameter in ours.parameters())
    save(ours, tmp_path / "again", with_bos(tmp_path, 3))
    again = LlamaForCausalLM.from_pretrained(tmp_path / "again")
    with torch.inference_mode():
        assert torch.allclose(again(input_ids=ids).logits, expected, atol=1e-4)


def with_bos(folder: Path, bos: int) -> Path:
    """The tokenizer, whose token that begins documents has another number."""
    tokenizer = json.loads(TOKENIZER.read_text())
    tokenizer["added_tokens"][0]["id"] = bos
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    "other", [{"rope_scaling": {"factor": 8}}, {"attention_bias": True}, {"head_dim": 7}, {"model_type": "mistral"}]
)
def test_a_model_of_another_kind_is_refused(saved: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | other))
    with pytest.raises(SpecError, match=f"a kind that is not known here: {{'{next(iter(other))}"):
        load(tmp_path)


def test_a_folder_without_a_model_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"has no config\.json"):
        load(tmp_path)
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"has no model\.safetensors"):
        load(tmp_path)
    del config["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match=r"describes no Llama: .*'width'"):
        load(tmp_path)


def test_weights_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 1}))
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises(SpecError, match=r"its tensors are not those .*k_proj\.weight"):
        load(tmp_path)


def test_a_bos_the_tokenizer_does_not_hold_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"bos \(5\) is not a special token. Special tokens: {0: '<|endoftext|>'}"):
        save(CausalLM(replace(TINY, bos=5)), tmp_path, TOKENIZER)


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others() -> None:
    one, same, other = (CausalLM(TINY, seed).embed_tokens.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("shape", [SMALL, TINY])
def test_parameters_are_counted_without_building_the_model(shape: Shape) -> None:
    assert num_parameters(shape) == sum(parameter.numel() for parameter in CausalLM(shape).parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, r"layers \(0\) is not positive"),
        ({"width": 18, "heads": 6}, r"width \(18\) is not heads \(6\) times an even number"),
        ({"kv_heads": 3}, r"heads \(2\) is not a multiple of kv_heads \(3\)"),
        ({"bos": 8}, r"bos \(8\) is not a token: there are 8"),
    ],
)
def test_an_impossible_shape_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_more_ids_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="17 ids at once, the model's context is 16"):
        CausalLM(TINY)(torch.zeros(1, 17, dtype=torch.int64))


# --- the stream


def test_every_document_of_a_stream_begins_with_bos() -> None:
    from tokenizers import Tokenizer

    texts = ["one two", "", "three <|endoftext|>"] * 1000
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    found = token_stream(iter(texts), TOKENIZER, BOS)
    assert found.dtype == np.uint16
    assert found.tolist() == [i for text in texts for i in [BOS, *tokenizer.encode(text, add_special_tokens=False).ids]]


def test_a_stream_needs_no_torch() -> None:
    code = "import sys, curate.lm.token_stream; print({'torch', 'tokenizers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_order_of_windows_is_a_permutation_that_seed_and_epoch_decide() -> None:
    orders = [window_order(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(map(tuple, orders))) == 9
    assert orders[0] == window_order(50, 0, 0).tolist()


# --- training


def repetitive(length: int = 2000) -> Tokens:
    """Seven tokens in a fixed round, after bos: each token says which is next, so only the unigram entropy is high."""
    return np.array([BOS, *(1 + k % 7 for k in range(length))], np.uint16)


def test_training_learns_what_single_tokens_do_not_tell(tmp_path: Path) -> None:
    stream = repetitive()
    counts = np.array(list(Counter(stream.tolist()).values())) / len(stream)
    entropy = -(counts * np.log(counts)).sum()
    trained = train(TINY, replace(SHORT, tokens=80 * 64), stream, tmp_path)
    assert (trained.steps, trained.tokens, len(trained.losses)) == (80, 5120, 80)
    assert trained.losses[0] == pytest.approx(math.log(8), abs=0.1)
    assert trained.losses[-1] < 0.1 * entropy


class Killed(Exception):
    pass


def killed_after(step: int) -> Callable[[StepLog], None]:
    def listener(found: StepLog) -> None:
        if found.step == step:
            raise Killed

    return listener


@pytest.mark.parametrize("kill", [(3,), (6,), (9, 15), (19,)])  # before, at and after a checkpoint; twice; in the last step
def test_a_killed_run_that_goes_on_ends_like_one_that_was_never_killed(kill: tuple[int, ...], tmp_path: Path) -> None:
    stream = np.random.default_rng(0).integers(0, 8, 500).astype(np.uint16)  # so short that the run begins it again
    whole = train(TINY, SHORT, stream, tmp_path / "whole", threads=1)
    for step in kill:
        with pytest.raises(Killed):
            train(TINY, SHORT, stream, tmp_path / "killed", threads=1, listener=killed_after(step))
    resumed = train(TINY, SHORT, stream, tmp_path / "killed", threads=1)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert resumed.losses == whole.losses
    assert (tmp_path / "killed" / "log.jsonl").read_text() == (tmp_path / "whole" / "log.jsonl").read_text()


def test_the_log_has_one_line_per_step_and_the_rate_climbs_and_falls(tmp_path: Path) -> None:
    train(TINY, replace(SHORT, warmup_frac=0.2), repetitive(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["tokens"]) for line in lines] == [(k, 64 * k) for k in range(1, 21)]
    rates = [line["lr"] for line in lines]
    assert rates[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert (rates[4], rates[-1]) == pytest.approx((0.01, 0.001))


def test_a_plateau_ends_in_a_straight_line_down(tmp_path: Path) -> None:
    train(TINY, replace(SHORT, warmup_frac=0.1, decay_frac=0.25), repetitive(), tmp_path)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([0.005, *[0.01] * 14, 0.0082, 0.0064, 0.0046, 0.0028, 0.001])


def segments(folder: Path, streams: Sequence[Tokens], **options: Any) -> Trained[CausalLM]:
    """Twenty steps, as many on each of the streams."""
    size, begin = 20 // len(streams), None
    for number, stream in enumerate(streams):
        segment = TrainSegment(first=number * size, until=(number + 1) * size, begin=begin)
        trained = train(TINY, SHORT, stream, folder / str(number), segment=segment, threads=1, **options)
        begin = folder / str(number) / "checkpoint.pt"
    return trained


def test_a_training_goes_on_with_another_stream_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """Two segments over the same windows equal one over both: optimizer and schedule go on. A segment that was killed
    ends in the same bits."""
    half = np.random.default_rng(0).integers(0, 8, 10 * 64 + 1).astype(np.uint16)
    whole = train(TINY, SHORT, half, tmp_path / "whole", threads=1)  # its second epoch has another order
    first_segment = segments(tmp_path / "segments", [half, half])
    assert first_segment.losses[:10] == whole.losses[:10]
    assert (first_segment.steps, len(first_segment.losses)) == (20, 20)
    with pytest.raises(Killed):
        segments(tmp_path / "killed", [half, half], listener=killed_after(17))
    again = segments(tmp_path / "killed", [half, half])
    assert again.losses == first_segment.losses
    for ours, theirs in zip(again.model.parameters(), first_segment.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    log = (tmp_path / "segments" / "1" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["lr"] for line in log] == [
        json.loads(line)["lr"] for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    ]


def test_bfloat16_learns_the_same_a_little_less_exactly(tmp_path: Path) -> None:
    plain = train(TINY, SHORT, repetitive(), tmp_path / "plain", threads=1)
    halved = train(TINY, replace(SHORT, dtype="bfloat16"), repetitive(), tmp_path / "halved", threads=1)
    assert halved.losses != plain.losses
    assert halved.losses == pytest.approx(plain.losses, abs=0.05)
    assert {parameter.dtype for parameter in halved.model.parameters()} == {torch.float32}
    with pytest.raises(SpecError, match=r"was trained with dtype None \(now bfloat16\)"):
        train(TINY, replace(SHORT, dtype="bfloat16"), repetitive(), tmp_path / "plain", threads=1)


def test_every_leg_begins_its_stream_anew(tmp_path: Path) -> None:
    """At a rate of almost nothing, where losses say which windows were seen, the second sees those that a first one would."""
    streams = [np.random.default_rng(seed).integers(0, 8, 10 * 64 + 1).astype(np.uint16) for seed in range(2)]
    still = replace(SHORT, lr=1e-12)
    train(TINY, still, streams[0], tmp_path / "first", segment=TrainSegment(until=10))
    second = train(
        TINY, still, streams[1], tmp_path / "second", segment=TrainSegment(first=10, begin=tmp_path / "first" / "checkpoint.pt")
    ).losses  # fmt: skip
    alone = train(TINY, still, streams[1], tmp_path / "alone", segment=TrainSegment(until=10)).losses
    assert second[10:] == pytest.approx(alone, rel=1e-6)


def test_a_leg_that_does_not_go_on_where_the_other_ended_is_refused(tmp_path: Path) -> None:
    segments(tmp_path, [repetitive(), repetitive()])
    begin = tmp_path / "0" / "checkpoint.pt"
    with pytest.raises(SpecError, match="has 10 steps behind it, and the segment begins after 8"):
        train(TINY, SHORT, repetitive(), tmp_path / "new", segment=TrainSegment(first=8, begin=begin))
    with pytest.raises(SpecError, match=r"trained with lr 0.01 \(now 0.5\)"):
        train(TINY, replace(SHORT, lr=0.5), repetitive(), tmp_path / "new", segment=TrainSegment(first=10, begin=begin))
    with pytest.raises(SpecError, match="a segment from step 10 to 30, and the training has steps 0 to 20"):
        train(TINY, SHORT, repetitive(), tmp_path / "new", segment=TrainSegment(first=10, until=30, begin=begin))


def test_training_that_is_done_is_not_done_again_however_often_it_would_save(tmp_path: Path) -> None:
    seen: list[StepLog] = []
    first = train(TINY, SHORT, repetitive(), tmp_path)
    second = train(TINY, replace(SHORT, checkpoint_every=1), repetitive(), tmp_path, listener=seen.append)
    assert (seen, second.losses) == ([], first.losses)


@pytest.mark.parametrize("batch", [4, 160])  # the larger goes through the model in three parts, of which one is smaller
def test_an_epoch_shows_every_window_once(batch: int, tmp_path: Path) -> None:
    """At a rate of almost nothing the model stays as it began, so the mean loss is that of the stream cut into windows."""
    stream = np.random.default_rng(0).integers(0, 8, 160 * 16 + 1).astype(np.uint16)
    losses = train(TINY, replace(SHORT, tokens=160 * 16, batch=batch, lr=1e-12), stream, tmp_path).losses
    ids = torch.from_numpy(stream.astype(np.int64))
    logits = CausalLM(TINY, SHORT.seed)(ids[:-1].view(-1, TINY.context))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:])
    assert np.mean(losses) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "training", "stream", "message"),
    [
        (replace(TINY, hidden=32), SHORT, repetitive(), r"checkpoint.pt was trained with hidden 24 \(now 32\)\. Change them"),
        (TINY, replace(SHORT, lr=0.5), repetitive(), r"trained with lr 0.01 \(now 0.5\)"),
        (TINY, SHORT, repetitive(2001), r"trained with stream \w{64} \(now \w{64}\)"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    shape: Shape, training: Training, stream: Tokens, message: str, tmp_path: Path
) -> None:
    train(TINY, SHORT, repetitive(), tmp_path)
    with pytest.raises(SpecError, match=message):
        train(shape, training, stream, tmp_path)


def test_a_loss_that_is_no_number_stops_training_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"step \d+: the loss is .*nan.* Lower lr or raise warmup_frac"):
        train(TINY, replace(SHORT, lr=1e30), repetitive(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, r"batch \(0\) is not positive"),
        ({"warmup_frac": 1.5}, r"warmup_frac \(1.5\) is not between 0 and 1"),
        ({"weight_decay": -0.1}, r"weight_decay \(-0.1\) or seed \(3\) is negative"),
        ({"betas": (0.9, 1.0)}, r"betas \(\(0.9, 1.0\)\) are not in \[0, 1\)"),
    ],
)
def test_impossible_training_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **change)


@pytest.mark.parametrize(
    ("tokens", "stream", "message"),
    [
        (63, repetitive(), r"tokens \(63\) are less than one step of 64"),
        (640, repetitive(15), "a stream of 16 tokens has no window of 17"),
        (640, repetitive() + np.uint16(1), "the stream has token 8, the model 8"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tokens: int, stream: Tokens, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        train(TINY, replace(SHORT, tokens=tokens), stream, tmp_path)


# --- losses


def uniform(size: int) -> Forward:
    return lambda ids: torch.zeros(*ids.shape, size)


def unigram(size: int) -> tuple[Forward, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Every token has its own nats, whatever comes before, so that the sum says which tokens were scored."""
    logits = torch.randn(size, generator=torch.Generator().manual_seed(0))
    return lambda ids: logits.expand(*ids.shape, size), -logits.double().log_softmax(-1).numpy()


def markov(size: int) -> tuple[Forward, Tensor]:
    """The next token depends on the last one only: what a window leaves out cannot matter."""
    table = torch.randn(size, size, generator=torch.Generator().manual_seed(0)) * 3
    return lambda ids: table[ids], -table.double().log_softmax(-1)


def documents(*lengths: int, size: int = 8) -> list[list[int]]:
    draw = np.random.default_rng(sum(lengths))
    return [draw.integers(0, size, length).tolist() for length in lengths]


def test_a_uniform_model_over_bytes_costs_eight_bits_a_byte() -> None:
    texts = ["a", "bytes and more bytes", "x" * 1000]
    nats = document_nats(uniform(256), [list(text.encode()) for text in texts], bos=0, window=64, stride=16, batch_tokens=512)
    assert bits_per_character(nats, texts) == pytest.approx(8.0, abs=1e-12)


def test_a_uniform_model_over_tokens_costs_their_number_times_log2_of_the_vocabulary() -> None:
    texts = ["Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich", "héé", "漢字"]
    stream = token_stream(texts, TOKENIZER, BOS).tolist()
    starts = [place for place, token in enumerate(stream) if token == BOS]
    tokens = [stream[a + 1 : b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]
    nats = document_nats(uniform(16_384), tokens, bos=BOS, window=8, stride=3, batch_tokens=64)
    expected = [len(ids) * 14 / len(text) for ids, text in zip(tokens, texts, strict=True)]
    assert bits_per_character(nats, texts) == pytest.approx(expected, abs=1e-9)


def test_two_tokenizers_that_give_a_text_the_same_probability_give_it_the_same_bits() -> None:
    """Letters one by one, of 27 equally likely ones, or three at a time, of 27 ** 3."""
    text = "curation" * 30
    letters = [ord(letter) - ord("a") for letter in text]
    triples = [27**2 * a + 27 * b + c for a, b, c in zip(letters[::3], letters[1::3], letters[2::3], strict=True)]
    one, three = (
        document_nats(uniform(27**k), [ids], bos=0, window=16, stride=5, batch_tokens=64)
        for k, ids in ((1, letters), (3, triples))
    )
    assert bits_per_character(one, [text]) == pytest.approx(bits_per_character(three, [text]), abs=1e-9)


def test_an_empty_document_costs_nothing_and_has_no_bits_per_character() -> None:
    nats = document_nats(uniform(4), [[], [1]], bos=0, window=8, stride=4, batch_tokens=64)
    assert nats.tolist() == [0.0, pytest.approx(math.log(4))]
    assert np.isnan(bits_per_character(nats, ["", "a"])).tolist() == [True, False]
    assert document_nats(uniform(4), [], bos=0, window=8, stride=4, batch_tokens=64).tolist() == []


def test_a_document_costs_the_same_alone_after_another_or_in_a_shuffled_batch() -> None:
    model = CausalLM(replace(TINY, context=32), seed=4)
    measure = partial(document_nats, model, bos=BOS, window=33, stride=8, batch_tokens=200)
    many = documents(5, 31, 32, 33, 100, 1, 17)
    together = measure(many)
    alone = [measure([document])[0] for document in many]
    after = [measure([many[4], document])[1] for document in many]
    order = np.random.default_rng(1).permutation(len(many))
    shuffled = measure([many[k] for k in order])
    assert together == pytest.approx(alone, rel=1e-6)
    assert together == pytest.approx(after, rel=1e-6)
    assert together[order] == pytest.approx(shuffled, rel=1e-6)
    assert (together > 0).all()  # the last one too


@settings(max_examples=60)
@given(st.data(), st.lists(st.integers(0, 60), max_size=6), st.integers(2, 20), st.integers(1, 64))
def test_every_token_is_scored_exactly_once(data: st.DataObject, lengths: list[int], window: int, batch_tokens: int) -> None:
    stride = data.draw(st.integers(1, window - 1))
    forward, nats = unigram(8)
    many = documents(*lengths)
    found = document_nats(forward, many, bos=0, window=window, stride=stride, batch_tokens=batch_tokens)
    assert found == pytest.approx([nats[document].sum() for document in many], rel=1e-6)
    assert found.sum() == pytest.approx(sum(nats[document].sum() for document in many), rel=1e-6)


@pytest.mark.parametrize("stride", [1, 5, 31])
def test_a_long_document_in_windows_costs_what_it_costs_in_one_under_a_markov_model(stride: int) -> None:
    forward, nats = markov(8)
    [document] = documents(3 * 32)
    windowed = document_nats(forward, [document], bos=0, window=32, stride=stride, batch_tokens=100)
    at_once = document_nats(forward, [document], bos=0, window=200, stride=1, batch_tokens=100)
    assert windowed == pytest.approx(at_once, rel=1e-6)
    assert windowed == pytest.approx(nats[[0, *document[:-1]], document].sum().item(), rel=1e-6)


def test_later_windows_give_every_token_as_much_context_as_the_stride_leaves() -> None:
    """Nats that grow with the ids seen so far: 1 for the first target of a window, 2 for the next."""

    def forward(ids: Tensor) -> Tensor:
        nats = torch.arange(1, ids.shape[1] + 1).expand(ids.shape).double()
        return torch.stack([-nats, torch.log(-torch.expm1(-nats))], dim=-1)

    [found] = document_nats(forward, [[0] * 13], bos=1, window=9, stride=3, batch_tokens=64)
    first, second, third = [1, 2, 3, 4, 5, 6, 7, 8], [6, 7, 8], [7, 8]
    assert found == pytest.approx(sum(first) + sum(second) + sum(third), rel=1e-6)


def test_a_batch_has_no_more_tokens_than_it_may_unless_one_window_alone_has() -> None:
    shapes: list[tuple[int, ...]] = []

    def forward(ids: Tensor) -> Tensor:
        shapes.append(tuple(ids.shape))
        return torch.zeros(*ids.shape, 8)

    measure = partial(document_nats, forward, documents(3, 9, 4, 50), bos=0, window=11, stride=10)
    measure(batch_tokens=25)
    measure(batch_tokens=5)
    assert shapes == [(2, 10)] * 3 + [(2, 4)] + [(1, 10)] * 5 + [(1, 9), (1, 4), (1, 3)]


def test_a_continuation_costs_what_it_adds_to_its_context() -> None:
    model = CausalLM(TINY, seed=5)
    contexts, continuations = documents(3, 7, 0, 5), documents(4, 2, 6, 0)
    found = continuation_nats(model, contexts, continuations, bos=BOS, window=17, batch_tokens=64)
    both = [[*a, *b] for a, b in zip(contexts, continuations, strict=True)]
    measure = partial(document_nats, model, bos=BOS, window=17, stride=1, batch_tokens=64)
    whole, before = measure(both), measure(contexts)
    assert found == pytest.approx(whole - before, abs=1e-5)


def test_a_context_that_does_not_fit_loses_its_beginning() -> None:
    model = CausalLM(TINY, seed=5)
    [context, continuation] = documents(40, 6)
    long, cut = (
        continuation_nats(model, [ids], [continuation], bos=BOS, window=17, batch_tokens=64) for ids in (context, context[-10:])
    )
    assert long.tolist() == cut.tolist()
    with pytest.raises(ValueError, match="continuation 0 has 40 tokens, a window has room for 16"):
        continuation_nats(model, [[]], [context], bos=BOS, window=17, batch_tokens=64)


def test_a_stride_without_context_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stride \(8\) is not between 1 and window - 1 \(7\)"):
        document_nats(uniform(4), [[1]], bos=0, window=8, stride=8, batch_tokens=64)


def test_hugging_face_models_are_measured_the_same_way(saved: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(saved)
    many = documents(5, 80, size=SMALL.vocab_size)
    ours, hers = (
        document_nats(forward, many, bos=BOS, window=33, stride=16, batch_tokens=128)
        for forward in (load(saved), lambda ids: theirs(input_ids=ids).logits)
    )
    assert ours == pytest.approx(hers, rel=1e-5)
