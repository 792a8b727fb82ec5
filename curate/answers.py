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
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from curate.store import Store


def key_of(about: str, ids: Iterable[int]) -> str:
    """The key of what is asked: `about` says of whom and how, `ids` are the tokens of the prompt."""
    digest = hashlib.sha256(f"{about}\0".encode())
    digest.update(np.fromiter(ids, np.uint32).tobytes())
    return digest.hexdigest()


class Answers:
    """Answers by key. With a folder of a store they outlive this process; without, they are only in memory."""

    def __init__(self, store: Store | None = None, folder: str = "", cache: str | None = None) -> None:
        self._store, self._folder = store, folder
        self._cache = Store(cache) if cache else None
        self._known: dict[str, Any] = {}
        for name in store.list(folder) if store else []:
            assert store is not None
            if name.endswith(".jsonl"):
                self._known.update(tuple(json.loads(line)) for line in store.read_text(f"{folder}/{name}").split("\n") if line)

    def with_cache(self, cache: str | None) -> Answers:
        """These, and those in a folder that runs share."""
        self._cache = Store(cache) if cache else None
        return self

    def find(self, keys: Iterable[str]) -> tuple[dict[str, Any], int]:
        """The answers that are known, and how many of them only the cache had, which are logged now."""
        wanted = dict.fromkeys(keys)
        found = {key: self._known[key] for key in wanted if key in self._known}
        if self._cache is None:
            return found, 0
        fresh = {
            key: self._cache.read_json(_file(key)) for key in wanted if key not in found and self._cache.exists(_file(key))
        }
        self._log(fresh)
        return {**found, **fresh}, len(fresh)

    def add(self, answers: Mapping[str, Any]) -> None:
        """Keep new answers: plain values of JSON."""
        self._log(answers)
        if self._cache is not None:
            for key, answer in answers.items():
                self._cache.write_json(_file(key), answer)

    def _log(self, answers: Mapping[str, Any]) -> None:
        if not answers:
            return
        self._known.update(answers)
        if self._store is not None:
            lines = "".join(json.dumps([key, answer]) + "\n" for key, answer in answers.items())
            self._store.write_text(f"{self._folder}/{uuid.uuid4().hex}.jsonl", lines)


def _file(key: str) -> str:
    return f"{key[:2]}/{key}.json"


def answers_folder(segment: str, shard: str) -> str:
    """Where the answers to a shard lie."""
    return os.path.join("steps", segment, "answers", shard)
