"""A small causal language model: the Llama architecture, in the names and files of Hugging Face.

Logits equal those of `transformers.LlamaForCausalLM` on the saved folder, so whatever reads that format can evaluate the model.
Embeddings are tied. The same seed gives the same parameters, and the same parameters the same bytes on disk.

Source: Touvron et al. 2023, "LLaMA"; Su et al. 2021, "RoFormer", for the rotary embedding; Shazeer 2020 for SwiGLU.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.errors import SpecError

EPS = 1e-5
# Ours: Hugging Face's.
_NAMES = {
    "vocab_size": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "hidden": "intermediate_size", "context": "max_position_embeddings", "bos": "bos_token_id", "rope_base": "rope_theta",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of a model."""

    vocab_size: int
    width: int
    layers: int
    heads: int
    hidden: int
    """Width inside the MLP."""
    context: int
    """The most ids a model sees at once."""
    bos: int
    """The token that begins every document."""
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "hidden", "context", "rope_base"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) is not positive")
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) is not heads ({self.heads}) times an even number, which the rotation needs")
        if not 0 <= self.bos < self.vocab_size:
            raise ValueError(f"bos ({self.bos}) is not a token: there are {self.vocab_size}, from 0")


def num_parameters(shape: Shape) -> int:
    """Tied embeddings count once."""
    layer = 4 * shape.width**2 + 3 * shape.width * shape.hidden + 2 * shape.width
    return shape.vocab_size * shape.width + shape.layers * layer + shape.width


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        split = (*x.shape[:2], self.heads, -1)
        q, k, v = (project(x).view(split).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(rotated(q, cos, sin), rotated(k, cos, sin), v, is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of numbers by an angle that grows with the position. A pair is half a head apart, not side by side."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.input_layernorm = nn.RMSNorm(shape.width, eps=EPS)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=EPS)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self._dropped(self.self_attn(self.input_layernorm(x), cos, sin))
        out: Tensor = x + self._dropped(self.mlp(self.post_attention_layernorm(x)))
        return out

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and self.training else x


class CausalLM(nn.Module):
    """Predicts, at every position, the id that follows."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, seed: int = 0, *, dropout: float = 0.0) -> None:
        """`dropout` is the share of what a layer adds that is left out in training mode, as torch draws it."""
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=EPS)
        size = shape.width // shape.heads
        frequencies = 1.0 / shape.rope_base ** (torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(shape.context).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """As GPT-2: what adds to the residual stream starts smaller, because 2 * layers such terms add up."""
        for name, parameter in self.named_parameters():
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            if parameter.dim() == 2:
                parameter.normal_(0.0, 0.02 / math.sqrt(2 * self.shape.layers) if residual else 0.02, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, length, vocab_size) in float32 of ids (batch, length)."""
        return self.logits(self.hidden(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocab_size) in float32 of hidden states (..., width)."""
        return F.linear(hidden, self.embed_tokens.weight).float()

    def hidden(self, ids: Tensor) -> Tensor:
        """What the logits are made of (batch, length, width)."""
        length = ids.shape[1]
        if length > self.shape.context:
            raise ValueError(f"{length} ids at once, the model's context is {self.shape.context}: use shorter windows")
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        out: Tensor = self.norm(x)
        return out


def _config(shape: Shape, eos: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_act": "silu",
        "rms_norm_eps": EPS, "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
        "num_key_value_heads": shape.heads, "eos_token_id": eos,
        **{theirs: getattr(shape, ours) for ours, theirs in _NAMES.items()},
    }  # fmt: skip


def save(model: CausalLM, folder: Path, tokenizer: Path, eos: int | None = None) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load. `config.json` comes last: with it, all is there.

    `eos` is the token after which a model that writes has ended; without it, that is the one which begins the next document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = tokenizer.read_text(encoding="utf-8")
    special = {token["id"]: token["content"] for token in json.loads(text)["added_tokens"]}
    if model.shape.bos not in special:
        raise SpecError(f"{tokenizer}: bos ({model.shape.bos}) is not a special token. Special tokens: {special}")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[model.shape.bos]}
    tensors = {f"model.{name}": tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / "config.json").unlink(missing_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "config.json.tmp").write_text(
        json.dumps(_config(model.shape, model.shape.bos if eos is None else eos), indent=2) + "\n"
    )
    os.replace(folder / "config.json.tmp", folder / "config.json")


def load(folder: Path) -> CausalLM:
    """What `save` wrote. SpecError for another Llama (grouped heads, scaled rotation), which would be computed wrongly."""
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(**{name: config.get(theirs, 0) for name, theirs in _NAMES.items()})
    ours = _config(shape, config.get("eos_token_id", shape.bos))
    if config != ours:
        other = sorted(name for name in {*config, *ours} if config.get(name) != ours.get(name))
        raise SpecError(f"{folder}: not a model written here, its config.json differs in {other}. Load it with transformers")
    model = CausalLM(shape)
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
    return model
