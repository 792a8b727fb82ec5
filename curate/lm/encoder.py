"""A text regressor: an encoder, mean pooling over the tokens of a text, and a linear head.

A text that exceeds one window has several, which are encoded separately, with the tokenizer's special tokens; all tokens have
the same weight. Windows of similar length form a batch, which keeps padding small; padding is masked. Any encoder of
`transformers` works, and so does the body of a causal language model.

Source: Yu et al. 2024, "MATES" (arXiv:2406.06046), whose windows are 2 of 512 tokens, always padded to their full length.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.errors import SpecError
from curate.lm.model import let_read

HEAD = "head.safetensors"
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """The windows of several texts, and for each window the number of its text."""

    ids: list[list[int]]
    owner: list[int]
    texts: int


class Regressor(nn.Module):
    """An encoder with a scalar output per text."""

    def __init__(self, encoder: Any, tokenizer: Any, *, window: int, max_windows: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder, self.tokenizer = encoder, tokenizer
        self.window, self.max_windows = window, max_windows
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        limit = getattr(encoder.config, "max_position_embeddings", None)
        if limit is not None and window > limit:
            raise SpecError(f"window: {window} is more than the encoder sees, {limit}. Lower it, and raise max_windows")

    def windows(self, texts: Sequence[str]) -> Windows:
        """The first `max_windows` windows of each text."""
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.window, return_overflowing_tokens=True, verbose=False
        )
        ids, owner, seen = [], [], np.zeros(len(texts), np.int64)
        for row, number in zip(encoded["input_ids"], encoded["overflow_to_sample_mapping"], strict=True):
            if seen[number] < self.max_windows and row:
                ids.append(row)
                owner.append(number)
                seen[number] += 1
        return Windows(ids, owner, len(texts))

    def forward(self, windows: Windows) -> Tensor:
        """One number for each text, all windows at once. Shape (texts,); that of a text without tokens is the bias."""
        return self._read(windows, [range(len(windows.ids))])

    @torch.inference_mode()
    def predict(self, texts: Sequence[str], batch_tokens: int) -> F32:
        """The same, some windows at a time, the longest first, so that memory runs out at once or not at all."""
        windows = self.windows(texts)
        order = sorted(range(len(windows.ids)), key=lambda row: -len(windows.ids[row]))
        batches: list[list[int]] = []
        for row in order:
            if not batches or (len(batches[-1]) + 1) * len(windows.ids[batches[-1][0]]) > batch_tokens:
                batches.append([])
            batches[-1].append(row)
        found: F32 = self._read(windows, batches).float().cpu().numpy()
        return found

    def _read(self, windows: Windows, batches: Sequence[Sequence[int]]) -> Tensor:
        device = self.head.weight.device
        sums = torch.zeros(windows.texts, self.head.in_features, device=device)
        counts = torch.zeros(windows.texts, 1, device=device)
        for batch in batches:
            if not batch:
                continue
            longest = max(len(windows.ids[row]) for row in batch)
            ids, mask = torch.zeros(len(batch), longest, dtype=torch.int64), torch.zeros(len(batch), longest, dtype=torch.int64)
            for place, row in enumerate(batch):
                length = len(windows.ids[row])
                ids[place, :length], mask[place, :length] = torch.tensor(windows.ids[row]), 1
            owner, mask = torch.tensor([windows.owner[row] for row in batch], device=device), mask.to(device)
            hidden = self.encoder(input_ids=ids.to(device), attention_mask=mask).last_hidden_state.float()
            sums = sums.index_add(0, owner, (hidden * mask[..., None]).sum(dim=1))
            counts = counts.index_add(0, owner, mask.sum(dim=1, keepdim=True).float())
        numbers: Tensor = self.head(self.dropout(sums / counts.clamp(min=1))).squeeze(-1)
        return numbers


def begin(source: str, *, window: int, max_windows: int, dropout: float, seed: int) -> Regressor:
    """An encoder of a folder or of the hub, with a head that knows nothing; or a regressor that was saved, with its own."""
    torch.manual_seed(seed)
    encoder, tokenizer = _load(source)
    model = Regressor(encoder, tokenizer, window=window, max_windows=max_windows, dropout=dropout)
    if (Path(source) / HEAD).is_file():
        model.head.load_state_dict(load_file(Path(source) / HEAD))
    return model


def tiny(
    tokenizer: Path, special: Sequence[str], *, width: int, layers: int, heads: int, hidden: int, window: int, seed: int
) -> tuple[Any, Any]:
    """A BERT that begins from nothing, and a tokenizer from a `tokenizer.json` with tokens that pad, begin and end a window."""
    from tokenizers import Tokenizer, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    pad, first, last = special
    plain = Tokenizer.from_file(str(tokenizer))
    marks = [(name, plain.token_to_id(name)) for name in (first, last)]
    plain.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=marks)
    kind: Any = PreTrainedTokenizerFast
    loaded = kind(tokenizer_object=plain, pad_token=pad, cls_token=first, sep_token=last)
    config = BertConfig(
        vocab_size=len(loaded), hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=hidden, max_position_embeddings=window,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False), loaded


def save(model: Regressor, folder: Path) -> None:
    """Write what `begin` loads, all in float32."""
    with _quiet():
        model.encoder.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    save_file({name: tensor.cpu().contiguous() for name, tensor in model.head.state_dict().items()}, folder / HEAD)
    let_read(folder, like="config.json")


def _load(source: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    with _quiet():
        try:
            kwargs = {"add_pooling_layer": False} if _is_bert(source) else {}
            encoder = AutoModel.from_pretrained(source, dtype=torch.float32, **kwargs)
            return encoder, AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise SpecError(f"encoder: transformers cannot load {source!r}: {error}") from error


def _is_bert(source: str) -> bool:
    """Whose pooler is not used, and would be a matrix of chance if the files have none."""
    path = Path(source) / "config.json"
    return path.is_file() and json.loads(path.read_text()).get("model_type") in ("bert", "roberta", "xlm-roberta")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without a word on tensors that the body of a model does not take, such as a language model's head."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
