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

_AT_ONCE = 64
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

    def ask(self, prompts: Sequence[str], answers: ResponseLog) -> list[Reply]:
        """The reply to each prompt, in their order."""
        about = f"{self.served_as} chat {self.temperature} {self.max_tokens}"
        keys = [key_of(about, prompt.encode()) for prompt in prompts]
        asked = dict(zip(keys, prompts, strict=True))
        found = answers.find(asked, self.cache)
        left = [key for key in asked if key not in found]
        for start in range(0, len(left), _AT_ONCE):
            found.update(self._group({key: asked[key] for key in left[start : start + _AT_ONCE]}, answers))
        return [Reply(*found[key]) for key in keys]

    def _group(self, asked: Mapping[str, str], answers: ResponseLog) -> dict[str, Any]:
        replies = self.server.post("v1/chat/completions", [self._body(prompt) for prompt in asked.values()])
        good = {key: reply for key, reply in zip(asked, replies, strict=True) if not (reply.cancelled() or reply.exception())}
        answers.add({key: _plain_reply(reply.result()) for key, reply in good.items()}, self.cache)
        return {key: _plain_reply(reply.result()) for key, reply in zip(asked, replies, strict=True)}

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
