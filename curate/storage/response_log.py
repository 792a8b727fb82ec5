"""What models answered, kept as it comes: a shard that is tried again asks nothing twice, and gets the same bytes.

The answers to one shard of one step are files of JSON lines in `steps/NAME/answers/SHARD/`, one file for each time the model
was asked, whole or absent. They are read when the shard begins. Floating-point answers of a model may differ from one run of
it to the next; read back from here they do not.

A cache is the same across runs, one small file per answer under its key, in a folder of the user's. Keys hold all that an
answer depends on: the model, how it is asked, the tokens (`key_of`).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from curate.storage.store import Store


def key_of(about: str, ids: Iterable[int]) -> str:
    """The key of what is asked: `about` says of whom and how, `ids` are the tokens of the prompt."""
    digest = hashlib.sha256(f"{about}\0".encode())
    digest.update(np.fromiter(ids, np.uint32).tobytes())
    return digest.hexdigest()


class ResponseLog:
    """Answers by key. With a folder of a store they outlive this process; without, they are only in memory."""

    def __init__(self, store: Store | None = None, folder: str = "") -> None:
        self._store, self._folder = store, folder
        self._known: dict[str, Any] = {}
        for name in store.list(folder) if store else []:
            assert store is not None
            if name.endswith(".jsonl"):
                lines = store.read_text(f"{folder}/{name}").split("\n")
                self._known.update(tuple(json.loads(line)) for line in lines if line)

    def find(self, keys: Iterable[str], cache: str | None = None) -> dict[str, Any]:
        """The answers that are known, here or in the cache."""
        wanted = dict.fromkeys(keys)
        found = {key: self._known[key] for key in wanted if key in self._known}
        if cache is None:
            return found
        shared = Store(cache)
        fresh = {key: shared.read_json(_file(key)) for key in wanted if key not in found and shared.exists(_file(key))}
        self.add(fresh)
        return {**found, **fresh}

    def add(self, answers: Mapping[str, Any], cache: str | None = None) -> None:
        """Keep new answers, plain values of JSON."""
        if not answers:
            return
        self._known.update(answers)
        if self._store is not None:
            lines = "".join(json.dumps([key, answer]) + "\n" for key, answer in answers.items())
            self._store.write_text(f"{self._folder}/{uuid.uuid4().hex}.jsonl", lines)
        if cache is not None:
            for key, answer in answers.items():
                Store(cache).write_json(_file(key), answer)


def _file(key: str) -> str:
    return f"{key[:2]}/{key}.json"
