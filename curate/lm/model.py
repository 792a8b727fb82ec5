"""A small causal language model: the Llama architecture, in the names and files of Hugging Face.

Logits equal those of `transformers.LlamaForCausalLM` on the saved folder, so whatever reads that format can evaluate the model.
The same seed gives the same parameters, and the same parameters the same bytes on disk. Of models from elsewhere those can be
read that are a Llama without biases or a scaled rotation, with tied embeddings or not, and with grouped heads or not.

Source: Touvron et al. 2023, "LLaMA"; Su et al. 2021, "RoFormer", for the rotary embedding; Shazeer 2020 for SwiGLU; Ainslie et
al. 2023, "GQA".
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.errors import SpecError

# Ours: Hugging Face's.
_NAMES = {
    "vocab_size": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "hidden": "intermediate_size", "context": "max_position_embeddings", "bos": "bos_token_id", "rope_base": "rope_theta",
    "kv_heads": "num_key_value_heads", "tied": "tie_word_embeddings", "eps": "rms_norm_eps",
}  # fmt: skip
# What a configuration may say of things that are not in a Shape; the first is what is written, and what silence means.
_ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",), "hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,),
    "rope_scaling": (None,), "pretraining_tp": (1,),
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
    """Context length in tokens."""
    bos: int
    """The token that begins every document."""
    rope_base: float = 10_000.0
    kv_heads: int = 0
    """Heads of keys and values, each of which so many heads of queries share; 0 for as many as `heads`."""
    tied: bool = True
    """Logits are made with the embeddings."""
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        for name in ("vocab_size", "width", "layers", "heads", "hidden", "context", "rope_base"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) is not positive")
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) is not heads ({self.heads}) times an even number, which the rotation needs")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        if not 0 <= self.bos < self.vocab_size:
            raise ValueError(f"bos ({self.bos}) is not a token: there are {self.vocab_size}, from 0")

    def begin(self, seed: int) -> CausalLM:
        """A model with random weights."""
        return CausalLM(self, seed)

    def facts(self) -> dict[str, Any]:
        """The facts that a checkpoint depends on; options that every model from scratch shares are left out."""
        return {name: value for name, value in asdict(self).items() if name not in ("kv_heads", "tied", "eps")}


def num_parameters(shape: Shape) -> int:
    """The number of parameters; tied embeddings count once."""
    attention = 2 * shape.width**2 + 2 * shape.width * (shape.width // shape.heads) * shape.kv_heads
    layer = attention + 3 * shape.width * shape.hidden + 2 * shape.width
    return (1 if shape.tied else 2) * shape.vocab_size * shape.width + shape.layers * layer + shape.width


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        kv_width = shape.width // shape.heads * shape.kv_heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.width, kv_width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor | None) -> Tensor:
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (project(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for project in (self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(
            rotated(q, cos, sin), rotated(k, cos, sin), v,
            attn_mask=seen, is_causal=seen is None, enable_gqa=self.heads != self.kv_heads,
        )  # fmt: skip
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
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, seen: Tensor | None) -> Tensor:
        x = x + self._dropped(self.self_attn(self.input_layernorm(x), cos, sin, seen))
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
        self.norm = nn.RMSNorm(shape.width, eps=shape.eps)
        self.lm_head = None if shape.tied else nn.Linear(shape.width, shape.vocab_size, bias=False)
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
        return F.linear(hidden, (self.lm_head or self.embed_tokens).weight).float()

    def hidden(self, ids: Tensor, seen: Tensor | None = None) -> Tensor:
        """The last hidden states (batch, length, width). `seen`, broadcast to (batch, heads, length, length), is the attention
        mask, True where a position is attended to; without it attention is causal."""
        length = ids.shape[1]
        if length > self.shape.context:
            raise ValueError(f"{length} ids at once, the model's context is {self.shape.context}: use shorter windows")
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length], seen)
        out: Tensor = self.norm(x)
        return out


def _config(shape: Shape, eos: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "dtype": "float32", "eos_token_id": eos,
        **{name: values[0] for name, values in _ONLY.items() if values[0] is not None},
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
    tensors = {_theirs(name): tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / "config.json").unlink(missing_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")
    let_read(folder, like="tokenizer.json")
    (folder / "config.json.tmp").write_text(
        json.dumps(_config(model.shape, model.shape.bos if eos is None else eos), indent=2) + "\n"
    )
    os.replace(folder / "config.json.tmp", folder / "config.json")


def let_read(folder: Path, like: str) -> None:
    """safetensors 0.8 writes for the owner alone. Weights are for those who may read the file `like`, beside them."""
    for weights in folder.glob("*.safetensors"):
        shutil.copymode(folder / like, weights)


def _theirs(name: str) -> str:
    return name if name.startswith("lm_head") else f"model.{name}"


def shape_of(folder: Path) -> Shape:
    """The shape of the Llama in a `config.json`. Raises SpecError for a variant that is not supported here."""
    if not (folder / "config.json").is_file():
        raise SpecError(f"{folder} has no config.json. A model is a folder with that and *.safetensors")
    config = json.loads((folder / "config.json").read_text())
    rotation = config.get("rope_parameters") or {}  # as newer versions of transformers write it
    if other := _unknown(config, rotation):
        raise SpecError(f"{folder}: a model of a kind that is not known here: {other}. Load it with transformers")
    # What silence means in a configuration of Hugging Face's.
    config = {"tie_word_embeddings": False, "rms_norm_eps": 1e-6, "rope_theta": rotation.get("rope_theta", 1e4), **config}
    config["bos_token_id"] = config.get("bos_token_id") or 0
    try:
        return Shape(**{ours: config[theirs] for ours, theirs in _NAMES.items() if theirs in config})
    except (TypeError, ValueError) as error:
        raise SpecError(f"{folder}: its config.json describes no Llama: {error}") from error


def load(folder: Path) -> CausalLM:
    """A Llama in Hugging Face's format, in float32. Raises SpecError for a variant that is not supported here."""
    model = CausalLM(shape_of(folder))
    tensors: dict[str, Tensor] = {}
    for file in sorted({*folder.glob("model.safetensors"), *folder.glob("model-*-of-*.safetensors")}):
        tensors |= load_file(file)
    if not tensors:
        raise SpecError(f"{folder} has no model.safetensors. Save the model anew with transformers")
    given = {name.removeprefix("model."): tensor.float() for name, tensor in tensors.items() if "rotary_emb" not in name}
    if model.shape.tied:
        given.pop("lm_head.weight", None)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: tensor.shape for name, tensor in given.items()} != wanted:
        odd = sorted({*given} ^ {*wanted}) or [name for name in wanted if given[name].shape != wanted[name]]
        raise SpecError(f"{folder}: its tensors are not those that its config.json describes: {', '.join(odd[:5])}")
    model.load_state_dict(given)
    return model


def _unknown(config: dict[str, Any], rotation: dict[str, Any]) -> dict[str, Any]:
    """The settings of a configuration that are not supported here."""
    other = {name: config[name] for name, values in _ONLY.items() if name in config and config[name] not in values}
    if rotation.get("rope_type", "default") != "default":
        other["rope_parameters"] = rotation
    if config.get("head_dim") not in (None, config.get("hidden_size", 0) // max(1, config.get("num_attention_heads", 1))):
        other["head_dim"] = config["head_dim"]
    return other
