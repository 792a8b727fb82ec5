"""A chat model behind an endpoint of OpenAI's kind (`/v1/chat/completions`), asked with texts.

Its answers are logged (`answers.py`) as groups of requests come back, under keys that hold the model's name, how it is asked
and the prompt: a shard that is tried again asks for none of them a second time, and equal prompts are asked once. When a
request fails, the answers to others of its group are logged before the error is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import SpecError
from curate.models.http import JsonServer
from curate.storage.response_log import ResponseLog, key_of

_AT_ONCE = 64
"""Requests whose answers are logged together."""


@dataclass(frozen=True)
class Reply:
    text: str
    finished: bool
    """The model came to an end; it was not cut off."""


@dataclass(frozen=True)
class Chat:
    """Which model, where, and how it is asked."""

    server: JsonServer
    served_as: str
    temperature: float
    max_tokens: int
    """Of a reply."""
    cache: str | None = None

    def ask(self, prompts: Sequence[str], answers: ResponseLog) -> list[Reply]:
        """A reply to each prompt, in their order."""
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
    """Text, and whether it is whole, as JSON; a model that says nothing has no content."""
    try:
        choice = answer["choices"][0]
        return [str(choice["message"]["content"] or ""), choice.get("finish_reason") == "stop"]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise SpecError(f"endpoint: this is no answer to a chat: {str(answer)[:300]}. Is it /v1/chat/completions?") from error
