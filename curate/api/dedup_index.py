"""A deduplication index: signatures of the documents a finished run kept. Later runs compare with it (`against:`).

    INDEX/dedup-index.json        stage, revision and options it was made with; rows and sha256 of its parts
    INDEX/parts/NAME.parquet      the signatures of one shard's kept documents, in canonical order

An index is self-contained: the run it was made of may be moved or deleted.
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
    """The content of `dedup-index.json`."""

    stage: str
    revision: int
    options: Mapping[str, Any]
    columns: tuple[str, ...]
    documents: int
    parts: tuple[Part, ...]

    @classmethod
    def load(cls, path: str) -> Index:
        """Read the index in folder `path`. Raises SpecError where there is none, or one of another version."""
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


def check_index(path: str, name: str, stage: Shuffle) -> None:
    """Raises SpecError unless the index was made by the stage `name` with the same options, and has the columns needed."""
    index = Index.load(path)
    if index.stage != name:
        raise SpecError(f"against: {path!r} is an index of stage {index.stage!r}, this is {name!r}. Make one of {name!r}.")
    if index.revision != stage.revision:
        raise SpecError(
            f"against: {path!r} was made by revision {index.revision} of {name!r}, this is revision {stage.revision}: their "
            "hashes differ. Run its pipeline again and make the index anew."
        )
    for option in stage.index_options:
        here = _plain(getattr(stage, option))
        if index.options[option] != here:
            raise SpecError(
                f"against: {path!r} was made with {option} {index.options[option]!r}, here it is {here!r}. Use the same."
            )
    missing = [column for column in stage.summary_columns if column not in index.columns]
    if missing:
        raise SpecError(f"against: {path!r} has no {missing[0]!r}, which this stage needs. Its run must have the same options.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
