"""Language models behind a server with the OpenAI API, such as `vllm serve`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import CurateError, SpecError
from curate.lm.query import Query, QueryScores
from curate.models.http import JsonServer
from curate.models.lm_types import (
    BIDIRECTIONAL,
    POOLER,
    TOP_LOGPROBS,
    BaseLineClassifier,
    Completion,
    Serving,
    load_encoder,
    next_token_scores,
)

LINE_CLASSIFIER_ARGUMENTS = (
    f"--runner pooling --convert embed --pooler-config '{json.dumps(POOLER)}' --hf-overrides '{json.dumps(BIDIRECTIONAL)}' "
    "--dtype float32"
)
"""Arguments of `vllm serve` for a line classifier."""
_MAX_CONCURRENT_REQUESTS = 32


class ServedLineClassifier(BaseLineClassifier):
    """A line classifier behind `vllm serve`, as a pooling model."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._server = JsonServer("engine", serving.engine, _MAX_CONCURRENT_REQUESTS)
        try:
            self._name = serving.served_as or _served_name(self._server, serving)
            self.check_bidirectional(f"Start it so: vllm serve {serving.model} {LINE_CLASSIFIER_ARGUMENTS}")
        except CurateError:
            self.close()
            raise

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        request = {
            "model": self._name, "task": "token_embed", "use_activation": False, "encoding_format": "base64",
            "embed_dtype": "float32", "endianness": "little",
        }  # fmt: skip
        width = self.output_embeddings.shape[1]
        for response in self._server.post("pooling", [{**request, "input": list(ids)} for ids in prompts]):
            yield np.frombuffer(base64.b64decode(response.result()["data"][0]["data"]), "<f4").reshape(-1, width)

    def close(self) -> None:
        self._server.close()


def _served_name(server: JsonServer, serving: Serving) -> str:
    """The model's name on the server. Raises SpecError where several models are served, none of which has its name."""
    names = [str(entry["id"]) for entry in server.get("v1/models")["data"]]
    if serving.model in names or len(names) == 1:
        return serving.model if serving.model in names else names[0]
    raise SpecError(f"engine: {serving.engine} serves {names}. Say which with 'served_as'.")


class ServedModel:
    """A causal language model behind a server, with concurrent requests."""

    def __init__(self, serving: Serving) -> None:
        self._server = JsonServer("engine", serving.engine, _MAX_CONCURRENT_REQUESTS)
        self.encoder = load_encoder(serving.model, serving.revision)
        self._name = serving.served_as or _served_name(self._server, serving)

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        options = {"max_tokens": 1, "logprobs": TOP_LOGPROBS, "return_tokens_as_token_ids": True}
        choices = self._complete([{"prompt": list(query.ids), **options} for query in queries])
        scores = []
        for query, choice in zip(queries, choices, strict=True):
            top = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
            scores.append(next_token_scores(query, {_token_id(name): value for name, value in top[0].items()}))
        return scores

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        options = {"structured_outputs": {"grammar": grammar}} if grammar else {}
        bodies = [{"prompt": list(ids), "max_tokens": max_tokens, "skip_special_tokens": False, **options} for ids in prompts]
        return [Completion(c["text"], c["finish_reason"] == "stop", max_tokens) for c in self._complete(bodies)]

    def _complete(self, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        """The first choice of every response."""
        requests = [{"model": self._name, "temperature": 0.0, **body} for body in bodies]
        for response in self._server.post("v1/completions", requests):
            yield response.result()["choices"][0]

    def close(self) -> None:
        self._server.close()


def _token_id(name: str) -> int:
    """17 for `token_id:17`. Raises SpecError for the token's text, which servers give that do not know the option."""
    prefix, _, number = name.partition(":")
    if prefix != "token_id" or not number.isdigit():
        raise SpecError(
            f"engine: the server names a token {name!r}, not by its id. Use one that knows return_tokens_as_token_ids."
        )
    return int(number)
