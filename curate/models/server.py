"""Language models behind a server that speaks the API of OpenAI."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import CurateError, SpecError
from curate.models.http import JsonServer
from curate.models.lm_types import (
    BIDIRECTIONAL,
    MAX_CONCURRENT_REQUESTS,
    POOLER,
    TOP,
    Ask,
    BaseLineClassifier,
    Decided,
    Serving,
    Written,
    as_decided,
    load_encoder,
)

SERVE_READER = (
    f"--runner pooling --convert embed --pooler-config '{json.dumps(POOLER)}' --hf-overrides '{json.dumps(BIDIRECTIONAL)}' "
    "--dtype float32"
)
"""How `vllm serve` is started for a reader."""


class ServedLineClassifier(BaseLineClassifier):
    """In `vllm serve`."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._server = JsonServer("engine", serving.engine, MAX_CONCURRENT_REQUESTS)
        try:
            self._name = serving.served_as or _served_name(self._server, serving)
            self.check(f"Start it so: vllm serve {serving.model} {SERVE_READER}")
        except CurateError:
            self.close()
            raise

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        how = {
            "model": self._name, "task": "token_embed", "use_activation": False, "encoding_format": "base64",
            "embed_dtype": "float32", "endianness": "little",
        }  # fmt: skip
        width = self._embeddings.shape[1]
        for answer in self._server.post("pooling", [{**how, "input": list(ids)} for ids in prompts]):
            yield np.frombuffer(base64.b64decode(answer.result()["data"][0]["data"]), "<f4").reshape(-1, width)

    def close(self) -> None:
        self._server.close()


def _served_name(server: JsonServer, serving: Serving) -> str:
    names = [str(entry["id"]) for entry in server.get("v1/models")["data"]]
    if serving.model in names or len(names) == 1:
        return serving.model if serving.model in names else names[0]
    raise SpecError(f"engine: {serving.engine} serves {names}. Say which with 'served_as'.")


class ServedModel:
    """A server of the kind of `vllm serve`, asked with several requests at once."""

    def __init__(self, serving: Serving) -> None:
        self._server = JsonServer("engine", serving.engine, MAX_CONCURRENT_REQUESTS)
        self.encoder = load_encoder(serving.model, serving.revision)
        self._name = serving.served_as or _served_name(self._server, serving)

    def _complete(self, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        asked = [{"model": self._name, "temperature": 0.0, **body} for body in bodies]
        for answer in self._server.post("v1/completions", asked):
            yield answer.result()["choices"][0]

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        more = {"max_tokens": 1, "logprobs": TOP, "return_tokens_as_token_ids": True}
        found = []
        for ask, choice in zip(asks, self._complete([{"prompt": list(ask.ids), **more} for ask in asks]), strict=True):
            tops = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
            found.append(as_decided(ask, {_token_id(name): value for name, value in tops[0].items()}))
        return found

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        more = {"structured_outputs": {"grammar": grammar}} if grammar else {}
        bodies = [{"prompt": list(ids), "max_tokens": max_tokens, "skip_special_tokens": False, **more} for ids in prompts]
        return [Written(c["text"], c["finish_reason"] == "stop", max_tokens) for c in self._complete(bodies)]

    def close(self) -> None:
        self._server.close()


def _token_id(name: str) -> int:
    """Of `token_id:17`. Raises SpecError for a word, which a server gives that does not know what it was asked for."""
    kind, _, number = name.partition(":")
    if kind != "token_id" or not number.isdigit():
        raise SpecError(
            f"engine: the server names a token {name!r}, not by its id. Use one that knows return_tokens_as_token_ids."
        )
    return int(number)
