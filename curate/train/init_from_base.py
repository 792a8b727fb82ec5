"""A model that exists, made ready to be a refiner: the special tokens of its prompt come first, everything else moves up.

Its words keep their embeddings under ids that are higher by the number of special tokens; those begin where the model's
embeddings are, on average, with their spread, so that none of them stands out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import SpecError
from curate.lm.model import CausalLM, load
from curate.prox.line_prompt import SPECIAL


def begun(base: Path, tokenizer: Path, *, dropout: float, seed: int) -> CausalLM:
    """The model of `base`, with its tokenizer written to `tokenizer`. Raises SpecError for tokenizers that are no BPE."""
    tokenizer.write_text(json.dumps(_with_special_tokens(base / "tokenizer.json"), ensure_ascii=False), encoding="utf-8")
    old = load(base)
    model = CausalLM(replace(old.shape, vocab_size=old.shape.vocab_size + len(SPECIAL), bos=0), seed, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    grown = {"embed_tokens.weight", "lm_head.weight"}
    tensors = {name: _grown(tensor, generator) if name in grown else tensor for name, tensor in old.state_dict().items()}
    model.load_state_dict(tensors)
    return model


def _grown(table: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(len(SPECIAL), table.shape[1], generator=generator)
    return torch.cat([table.mean(dim=0) + table.std(dim=0) * noise, table])


def _with_special_tokens(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SpecError(f"base: {path} is not there. The folder needs a tokenizer.json")
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if plain["model"].get("type") != "BPE":
        raise SpecError(
            f"base: {path} is a tokenizer of kind {plain['model'].get('type')!r}, and only BPE can be extended here"
        )
    if taken := sorted({*plain["model"]["vocab"], *(token["content"] for token in plain["added_tokens"])} & {*SPECIAL}):
        raise SpecError(f"base: {path} has tokens that a refiner's prompt is made of: {', '.join(taken[:5])}")
    moved = len(SPECIAL)
    ours = {name: number for number, name in enumerate(SPECIAL)}
    plain["model"]["vocab"] = {**ours, **{piece: number + moved for piece, number in plain["model"]["vocab"].items()}}
    how = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    plain["added_tokens"] = [
        *({"id": number, "content": name, **how} for name, number in ours.items()),
        *({**token, "id": token["id"] + moved} for token in plain["added_tokens"]),
    ]
    # Those know tokens by their old ids, and a prompt is put together without them.
    plain["post_processor"] = plain["padding"] = plain["truncation"] = None
    return plain
