"""Training of other architectures, and by several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig

from curate.errors import RunError, SpecError
from curate.lm.checkpoint import Base, open_model, save_model
from curate.lm.launch import train_together
from curate.lm.model import CausalLM, save
from curate.lm.train import TrainSegment, train
from tests.lm.test_lm import SHORT, SMALL, TINY, TOKENIZER, Killed, killed_after

NEOX: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
STREAM = np.tile(np.arange(8, dtype=np.uint16), 100)


def test_another_architecture_learns_from_nothing_and_goes_on_after_a_kill_to_the_same_bits(tmp_path: Path) -> None:
    config: Any = GPTNeoXConfig(**NEOX)
    config.save_pretrained(tmp_path / "base")
    base = Base(tmp_path / "base", context=16)
    first, same, other = (next(base.begin(seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    whole = train(base, SHORT, STREAM, tmp_path / "whole", threads=1)
    assert whole.losses[-1] < 0.9 * whole.losses[0]
    with pytest.raises(Killed):
        train(base, SHORT, STREAM, tmp_path / "killed", threads=1, listener=killed_after(9))
    again = train(base, SHORT, STREAM, tmp_path / "killed", threads=1)
    assert again.losses == whole.losses
    save_model(again.model, tmp_path / "saved", TOKENIZER)
    assert len({path.stat().st_mode for path in (tmp_path / "saved").iterdir()}) == 1  # who may read one may read all
    ids = torch.tensor([[0, 1, 2, 3]])
    with torch.inference_mode():
        loaded: Any = GPTNeoXForCausalLM.from_pretrained(tmp_path / "saved")
        theirs = loaded.eval()(input_ids=ids).logits
        assert torch.equal(open_model(tmp_path / "saved")(ids), theirs)
        torch.testing.assert_close(whole.model(ids), theirs)


def test_training_goes_on_from_the_weights_of_a_folder(tmp_path: Path) -> None:
    model = CausalLM(SMALL, seed=5)
    save(model, tmp_path / "base", TOKENIZER)
    begun = Base(tmp_path / "base", context=16).begin(seed=0)
    assert all(torch.equal(a, b) for a, b in zip(begun.parameters(), model.parameters(), strict=True))
    (tmp_path / "base" / "model.safetensors").unlink()
    fresh = Base(tmp_path / "base", context=16)
    assert not torch.equal(next(fresh.begin(seed=0).parameters()), next(model.parameters()))
    assert (fresh.vocab_size, fresh.bos) == (SMALL.vocab_size, SMALL.bos)
    llama: Any = LlamaConfig(vocab_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=24, num_hidden_layers=1)
    llama.save_pretrained(tmp_path / "llama")
    assert isinstance(Base(tmp_path / "llama", context=16).begin(seed=0), CausalLM)


def test_a_base_that_sees_too_little_or_is_another_one_by_now_is_refused(tmp_path: Path) -> None:
    config: Any = GPTNeoXConfig(**NEOX)
    config.save_pretrained(tmp_path / "base")
    with pytest.raises(SpecError, match=r"context: 64 is more than the model in .*base sees at once, 32\. Lower it"):
        Base(tmp_path / "base", context=64)
    with pytest.raises(SpecError, match=r"has no config\.json"):
        Base(tmp_path, context=16)
    train(Base(tmp_path / "base", context=16), SHORT, STREAM, tmp_path / "run", threads=1)
    larger: Any = GPTNeoXConfig(**{**NEOX, "intermediate_size": 48})
    larger.save_pretrained(tmp_path / "base")
    with pytest.raises(SpecError, match=r"was trained with base \w+ \(now \w+\)"):
        train(Base(tmp_path / "base", context=16), SHORT, STREAM, tmp_path / "run", threads=1)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """The sums differ in their order only; killed in the middle of a segment, they go on to the same bits."""
    alone = train(TINY, SHORT, STREAM, tmp_path / "alone", threads=1)
    heard: list[int] = []
    segment = TrainSegment(until=12)
    half = train_together(2, TINY, SHORT, STREAM, tmp_path / "half", segment=segment, listener=heard.append)
    whole = train_together(2, TINY, SHORT, STREAM, tmp_path / "half", segment=TrainSegment())
    again = train_together(2, TINY, SHORT, STREAM, tmp_path / "again", segment=TrainSegment())
    assert half.steps == 12
    assert heard == sorted(heard) and heard[-1] <= 12
    np.testing.assert_allclose(whole.losses, alone.losses, rtol=1e-4)
    assert whole.losses == again.losses
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))


@pytest.mark.slow
def test_processes_that_fail_say_why(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"(?s)training by 2 processes failed:.*batch \(3\) is not a multiple of the 2 processes"
    ):
        train_together(2, TINY, replace(SHORT, batch=3), STREAM, tmp_path, segment=TrainSegment())
