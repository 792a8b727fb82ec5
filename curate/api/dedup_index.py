"""An index: the sketches of the documents that a finished run kept, for later runs to be held against (`against:`).

    INDEX/dedup-index.json        what made it: stage, revision, options that must be the same; rows and sha256 of its parts
    INDEX/parts/NAME.parquet      one per shard with documents left: the rows of its sketch, in canonical order

A run and its index need not lie in one place: nothing of the run is read when the index is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.api.global_stage import Shuffle
from curate.errors import SpecError
from curate.storage.store import INDEX, Store


@dataclass(frozen=True)
class Part:
    """One file of an index."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """What `dedup-index.json` says."""

    stage: str
    revision: int
    options: Mapping[str, Any]
    columns: tuple[str, ...]
    documents: int
    parts: tuple[Part, ...]

    @classmethod
    def load(cls, path: str) -> Index:
        """Raises SpecError where there is no index."""
        store = Store(path)
        if not store.exists(INDEX):
            raise SpecError(
                f"{path!r} is no index (no {INDEX}). Make one of a finished run: curate index DIR STAGE --out INDEX"
            )
        try:
            value = store.read_json(INDEX)
            parts = tuple(Part(**part) for part in value.pop("parts"))
            return cls(**{**value, "columns": tuple(value["columns"]), "parts": parts})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SpecError(f"{path!r}: {INDEX} is not what this version writes ({error!r}). Make the index anew.") from error


def check_index(path: str, kind: str, barrier: Shuffle) -> None:
    """Raises SpecError unless an index was made by the same stage with the same options, and has the columns needed."""
    index = Index.load(path)
    if index.stage != kind:
        raise SpecError(f"against: {path!r} is an index of stage {index.stage!r}, this is {kind!r}. Make one of {kind!r}.")
    if index.revision != barrier.revision:
        raise SpecError(
            f"against: {path!r} was made by revision {index.revision} of {kind!r}, this is revision {barrier.revision}: their "
            "hashes differ. Run its pipeline again and make the index anew."
        )
    for name in barrier.index_options:
        here = _plain(getattr(barrier, name))
        if index.options[name] != here:
            raise SpecError(
                f"against: {path!r} was made with {name} {index.options[name]!r}, here it is {here!r}. Use the same."
            )
    missing = [name for name in barrier.summary_columns if name not in index.columns]
    if missing:
        raise SpecError(f"against: {path!r} has no {missing[0]!r}, which this stage needs. Its run must have the same options.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
