"""Per-document losses of language models, kept shard by shard so that a run cut short goes on where it was.

The work folder has `seeds/part-NNNN.parquet` (number, id, text, group, domain) and, for each model,
`losses/MODEL/part-NNNN.parquet` (number, nats, tokens): a document's summed negative log-likelihood, alone after the
beginning-of-text token (`lm/loss.py`). A file says in its metadata what it depends on, and one that says something else
is refused. Every document has one loss per model, or there is an error with its name.

Two backends give the same numbers to 1e-3 of a nat per token: torch with `transformers`, and vLLM's prompt log-probabilities.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError, DriftError, SpecError
from curate.events import Listener
from curate.storage import store
from curate.train.causal_lm import DOWNSTREAM
from curate.train.recipe import OpenEngine

ABOUT = b"curate.losses"
DOCUMENTS_PER_PART = 2000


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How losses are measured; what they depend on besides model and documents."""

    backend: Literal["torch", "vllm"] = "torch"
    window: int = 2048
    """Tokens that a model sees at once, at most."""
    stride: int = 512
    """New tokens per further window of a document that does not fit."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The dtype of the weights. In 16 bits losses of short documents tie, and a tie counts as not ordered."""
    batch_tokens: int = 16_384
    gpus: float = 0
    """GPUs per model, on Ray."""

    def __post_init__(self) -> None:
        if not 1 <= self.stride < self.window:
            raise ValueError(f"stride ({self.stride}) must be at least 1 and less than window ({self.window})")


@dataclass(frozen=True)
class Part:
    """One model over one file of documents."""

    model: str
    name: str
    """The file, in `seeds/` and in the model's folder."""


@dataclass(frozen=True)
class LossWork:
    """The job of a worker."""

    folder: str
    measure: Measure
    device: str
    digest: str
    """Hash of the documents."""

    def file(self, part: Part) -> Path:
        return Path(self.folder) / "losses" / slug(part.model) / part.name

    def about(self, model: str) -> dict[str, Any]:
        """Everything that a file of losses depends on."""
        kept = {key: value for key, value in asdict(self.measure).items() if key not in ("backend", "batch_tokens", "gpus")}
        return {"model": _identity(model), "documents": self.digest, **kept}


@lru_cache(maxsize=64)
def _identity(model: str) -> str:
    """What identifies a model: the hash of its files without evaluation results, or its name on the hub."""
    if not os.path.isdir(model):
        return model
    digest = hashlib.sha256()
    for path in sorted(Path(model).rglob("*")):
        if path.is_file() and path.name != DOWNSTREAM:
            digest.update(f"{path.relative_to(model)}\0{store.file_hash(str(path))}\n".encode())
    return digest.hexdigest()


def slug(model: str) -> str:
    """A folder name for a model: the last two parts of its path or name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "/".join(Path(model).parts[-2:]))


def measure_losses(
    models: Sequence[str], work: LossWork, open_engine: OpenEngine, listener: Listener
) -> npt.NDArray[np.float64]:
    """Losses in nats of all documents under all models. Shape (documents, models).

    Raises DriftError for losses of other documents or settings, DataError where one is missing.
    """
    slugs = [slug(model) for model in models]
    if len(set(slugs)) < len(slugs):
        raise SpecError(f"models: two end alike, so their losses would share a folder: {slugs}. Rename one.")
    names = sorted(path.name for path in (Path(work.folder) / "seeds").glob("part-*.parquet"))
    parts = {model: [Part(model, name) for name in names] for model in models}
    todo = {model: [part for part in parts[model] if not _done(work, part)] for model in models}
    total = len(models) * len(names)
    listener.phase("losses", total, total - sum(map(len, todo.values())))
    if any(todo.values()):
        _measure_rest(todo, work, open_engine, listener)
    return np.stack([_read(work, model, names) for model in models], axis=1)


def _measure_rest(todo: Mapping[str, Sequence[Part]], work: LossWork, open_engine: OpenEngine, listener: Listener) -> None:
    resources = {"num_gpus": work.measure.gpus} if work.measure.gpus else {}
    engine = open_engine([work.folder, *(model for model in todo if os.path.isdir(model))])
    try:
        for outcome in engine.hold(open_model, work, todo, resources):
            if outcome is None:
                listener.tick()
            elif outcome.error:
                raise outcome.error
            else:
                listener.advance("losses", f"{slug(outcome.item.model)} {outcome.item.name}", None)
    finally:
        engine.close()


def _done(work: LossWork, part: Part) -> bool:
    path = work.file(part)
    if not path.exists():
        return False
    found, wanted = json.loads(pq.read_schema(path).metadata[ABOUT]), work.about(part.model)
    if found != wanted:
        differ = sorted(key for key in wanted if found.get(key) != wanted[key])
        raise DriftError(f"{path} was measured with another {', '.join(differ)}. Remove {path.parent}, or give another --work.")
    return True


def _read(work: LossWork, model: str, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """The losses of one model, in the order of the documents."""
    found = []
    for name in names:
        wanted = pq.read_table(Path(work.folder) / "seeds" / name, columns=["number", "id"])
        losses = pq.read_table(work.file(Part(model, name)))
        known = dict(zip(losses["number"].to_pylist(), losses["nats"].to_pylist(), strict=True))
        for number, label in zip(wanted["number"].to_pylist(), wanted["id"].to_pylist(), strict=True):
            nats = known.get(number)
            if nats is None or not np.isfinite(nats):
                raise DataError(
                    f"document {label!r} has no loss under {model!r} ({work.file(Part(model, name))}: {nats}). "
                    "Remove that file to measure it again."
                )
            found.append(nats)
    return np.array(found, np.float64)


@contextlib.contextmanager
def open_model(work: LossWork, model: str) -> Iterator[Callable[[Part], int]]:
    """Load a model; the function that measures a part and writes it, whole or not at all. Then the model is let go."""
    loaded: _Loaded = (_Vllm if work.measure.backend == "vllm" else _Torch)(model, work)
    about = json.dumps(work.about(model))

    def measure(part: Part) -> int:
        documents = pq.read_table(Path(work.folder) / "seeds" / part.name, columns=["number", "text"])
        encoded = loaded.tokenizer(documents["text"].to_pylist(), add_special_tokens=False, verbose=False)
        tokens: list[list[int]] = encoded["input_ids"]
        nats = loaded.nats(tokens)
        table = pa.table({"number": documents["number"], "nats": nats, "tokens": [len(ids) for ids in tokens]})
        path = work.file(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({ABOUT: about}), path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
        return len(documents)

    try:
        yield measure
    finally:
        loaded.close()


class _Loaded(Protocol):
    """A model and its tokenizer."""

    tokenizer: Any

    def nats(self, documents: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]: ...
    def close(self) -> None: ...


class _Torch:
    def __init__(self, model: str, work: LossWork) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._work = work
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self._bos = _bos_of(model, self.tokenizer)
        dtype = getattr(torch, work.measure.dtype)
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self._model = loaded.to(work.device).eval()
        _check_window(work.measure, self._model.config, model)

    def nats(self, documents: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        from curate.lm.loss import document_nats

        measure = self._work.measure
        return document_nats(
            lambda ids: self._model(input_ids=ids, use_cache=False).logits, documents, bos=self._bos,
            window=measure.window, stride=measure.stride, batch_tokens=measure.batch_tokens,
            device=self._work.device,
        )  # fmt: skip

    def close(self) -> None:
        del self._model


class _Vllm:
    def __init__(self, model: str, work: LossWork) -> None:
        from transformers import AutoConfig
        from vllm import LLM

        self._measure = work.measure
        # A prompt holds the last target too, and one token is always generated.
        _check_window(work.measure, AutoConfig.from_pretrained(model), model, spare=2)
        self._llm = LLM(
            model=model, dtype=work.measure.dtype, max_model_len=work.measure.window + 1, enforce_eager=True,
            max_logprobs=1, seed=0, disable_log_stats=True,
        )  # fmt: skip
        self.tokenizer = self._llm.get_tokenizer()
        self._bos = _bos_of(model, self.tokenizer)

    def nats(self, documents: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        from vllm import SamplingParams, TokensPrompt

        from curate.lm.loss import windows_of

        measure = self._measure
        windows = [
            window
            for owner, ids in enumerate(documents)
            for window in windows_of(owner, np.asarray(ids, np.int64), self._bos, measure.window, measure.stride)
        ]
        prompts = [TokensPrompt(prompt_token_ids=window.ids.tolist()) for window in windows]
        asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        sums = np.zeros(len(documents))
        for window, answer in zip(windows, self._llm.generate(prompts, asked, use_tqdm=False), strict=True):
            scored = list(zip(window.ids.tolist(), answer.prompt_logprobs, strict=True))[-window.scored :]
            sums[window.owner] -= sum(entry[token].logprob for token, entry in scored)
        return sums

    def close(self) -> None:
        """Two engines in one process wait for each other."""
        self._llm.llm_engine.engine_core.shutdown()


def _bos_of(model: str, tokenizer: Any) -> int:
    """The id before the first token, so that the first token has a loss too. Raises SpecError where there is none."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise SpecError(
        f"{model!r} has neither a token for the beginning of a text nor one for its end. Name one in its tokenizer."
    )


def _check_window(measure: Measure, config: Any, model: str, spare: int = 0) -> None:
    """Raises SpecError unless the model can see a whole window: losses of models with other windows do not compare."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and measure.window - 1 + spare > limit:
        most = limit + 1 - spare
        raise SpecError(f"window: {measure.window} is more than {model!r} sees, {most} here. Lower it, for all models.")
