"""A chat model behind an OpenAI-compatible endpoint (`/v1/chat/completions`).

Replies are logged (`storage/response_log.py`) batch by batch, under keys of the model's name, the parameters and the prompt. A
shard that is retried repeats no request, and equal prompts are sent once. When a request fails, the replies to the others of
its batch are logged before the error is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import SpecError
from curate.models.http import JsonServer
from curate.storage.response_log import ResponseLog, key_of

_BATCH = 64
"""Requests per batch."""


@dataclass(frozen=True)
class Reply:
    text: str
    finished: bool
    """Whether the model ended it; False if it was truncated."""


@dataclass(frozen=True)
class Chat:
    """A model at an endpoint, with its sampling parameters."""

    server: JsonServer
    served_as: str
    temperature: float
    max_tokens: int
    """Maximum length of a reply."""
    cache: str | None = None

    def ask(self, prompts: Sequence[str], log: ResponseLog) -> list[Reply]:
        """The reply to each prompt, in their order."""
        about = f"{self.served_as} chat {self.temperature} {self.max_tokens}"
        keys = [key_of(about, prompt.encode()) for prompt in prompts]
        by_key = dict(zip(keys, prompts, strict=True))
        replies = log.find(by_key, self.cache)
        missing = [key for key in by_key if key not in replies]
        for start in range(0, len(missing), _BATCH):
            replies.update(self._send({key: by_key[key] for key in missing[start : start + _BATCH]}, log))
        return [Reply(*replies[key]) for key in keys]

    def _send(self, prompts: Mapping[str, str], log: ResponseLog) -> dict[str, Any]:
        """The replies of a batch by key. Replies that came are logged before an error of another one is raised."""
        futures = self.server.post("v1/chat/completions", [self._body(prompt) for prompt in prompts.values()])
        by_key = dict(zip(prompts, futures, strict=True))
        came = {key: future for key, future in by_key.items() if not (future.cancelled() or future.exception())}
        log.add({key: _plain_reply(future.result()) for key, future in came.items()}, self.cache)
        return {key: _plain_reply(future.result()) for key, future in by_key.items()}

    def _body(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self.served_as, "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature, "max_tokens": self.max_tokens,
        }  # fmt: skip


def _plain_reply(answer: Any) -> list[Any]:
    """Text, and whether the reply is complete, as JSON. An empty reply has null as its content."""
    try:
        choice = answer["choices"][0]
        return [str(choice["message"]["content"] or ""), choice.get("finish_reason") == "stop"]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise SpecError(f"endpoint: this is no answer to a chat: {str(answer)[:300]}. Is it /v1/chat/completions?") from error
