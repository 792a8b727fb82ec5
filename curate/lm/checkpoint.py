"""Models in Hugging Face's format: initialisation of trainings, and checkpoints with the optimizer's state beside them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curate.errors import SpecError
from curate.lm.model import CausalLM, let_read, load, save, shape_of
from curate.storage import store


class HuggingFace(nn.Module):
    """A causal language model of any architecture of `transformers`, in float32, as logits of ids."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) of ids (batch, length)."""
        logits: Tensor = self.inner(input_ids=ids, use_cache=False).logits
        return logits


@dataclass(frozen=True)
class Base:
    """A model to train, in a folder: from scratch with its `config.json` alone, or from the weights beside that."""

    folder: Path
    context: int
    """Context length in training."""

    def __post_init__(self) -> None:
        most = self.config.get("max_position_embeddings") or self.config.get("n_positions") or self.context
        if self.context > most:
            raise SpecError(f"context: {self.context} is more than the model in {self.folder} sees at once, {most}. Lower it")

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_config(self.folder)

    @property
    def vocab_size(self) -> int:
        return int(self.config["vocab_size"])

    @property
    def bos(self) -> int:
        return bos_of(self.folder)

    def begin(self, seed: int) -> CausalLM | HuggingFace:
        """The model: a Llama as CausalLM, others as in `transformers`. Without dropout, so that a resumed training is exact."""
        if any(self.folder.glob("*.safetensors")):
            return open_model(self.folder)
        if other := sorted(path.name for path in self.folder.glob("*.bin")):
            raise SpecError(f"{self.folder} has weights in {other[0]}, and only *.safetensors is read. Save the model anew")
        if self.config.get("model_type") == "llama":
            return CausalLM(shape_of(self.folder), seed)
        from transformers import AutoConfig, AutoModelForCausalLM

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            begin: Any = AutoModelForCausalLM.from_config
            model = begin(AutoConfig.from_pretrained(self.folder), dtype=torch.float32)
        return HuggingFace(model.eval())

    def facts(self) -> dict[str, Any]:
        files = [self.folder / "config.json", *sorted(self.folder.glob("*.safetensors"))]
        digest = hashlib.sha256("".join(store.file_hash(str(file)) for file in files).encode()).hexdigest()
        return {"base": digest, "context": self.context}


def save_model(model: nn.Module, folder: Path, tokenizer: Path) -> None:
    """Write a folder that `open_model` loads, with the tokenizer."""
    if isinstance(model, CausalLM):
        save(model, folder, tokenizer)
        return
    assert isinstance(model, HuggingFace)
    model.inner.save_pretrained(folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    let_read(folder, like="config.json")


def open_model(folder: Path) -> CausalLM | HuggingFace:
    """The model of a folder: a Llama as CausalLM, others as in `transformers`. Raises SpecError where there is none."""
    if read_config(folder).get("model_type") == "llama":
        return load(folder)
    from transformers import AutoModelForCausalLM

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return HuggingFace(model.eval())
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder}: transformers cannot load it as a causal language model: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a folder. Raises SpecError where there is none."""
    if not (folder / "config.json").is_file():
        raise SpecError(f"{folder} has no config.json. A model is a folder with that and *.safetensors")
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def bos_of(folder: Path) -> int:
    """The id that begins every text. Raises SpecError where the configuration has none."""
    config = read_config(folder)
    for name in ("bos_token_id", "eos_token_id"):
        if isinstance(config.get(name), int):
            return int(config[name])
    raise SpecError(f"{folder}: config.json has neither bos_token_id nor eos_token_id. Add one, which comes before every text")


def open_optimizer(folder: Path, model: nn.Module, files: Sequence[str], *, lr: float | None) -> torch.optim.AdamW:
    """AdamW with the moments, rates and decay that the checkpoint has in one of `files`; `lr` in place of its own.

    Raises SpecError for a state of another model, and where there is none and no `lr` either: moments are half of what a step
    is made of, so doing without them must be asked for.
    """
    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if p.dim() == 2]}, {"params": [p for p in parameters if p.dim() != 2]}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.1)
    found = next((folder / name for name in files if (folder / name).is_file()), None)
    if found is not None:
        saved = torch.load(found, map_location="cpu", weights_only=True)
        saved = saved.get("optimizer", saved)
        _check(saved, groups, found)
        optimizer.load_state_dict(saved)
    elif lr is None:
        raise SpecError(
            f"{folder} has no {' or '.join(files)}, so a step would be one of an optimizer that has seen nothing. "
            "Put the state beside the model, or give 'lr' to probe without it"
        )
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] if lr is None else lr
    return optimizer


def _check(saved: dict[str, Any], groups: list[dict[str, Any]], path: Path) -> None:
    """Raises SpecError unless the moments are of the model's parameters, in the order of the groups."""
    wanted = [tuple(parameter.shape) for group in groups for parameter in group["params"]]
    order = [number for group in saved["param_groups"] for number in group["params"]]
    shapes = [tuple(saved["state"][number]["exp_avg"].shape) if number in saved["state"] else None for number in order]
    if [len(group["params"]) for group in saved["param_groups"]] != [len(group["params"]) for group in groups] or any(
        found not in (None, shape) for found, shape in zip(shapes, wanted, strict=True)
    ):
        raise SpecError(
            f"{path} is not the state of AdamW over this model's matrices, then its other parameters. Save it so, or remove it "
            "and give 'lr'"
        )
