"""The documents of a loop, split by a keyed hash of the id: training splits of the rounds, evaluation split, hold-out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError
from curate.mates.options import Rounds
from curate.mates.probe_recipe import draw_order
from curate.schema import ID, TEXT

PURPOSE = "rounds"
"""Purpose of a loop's samples: they are independent of a `sample` in the pipeline that has the same seed."""
CANDIDATES_PER_PROBE = 32
"""Documents that are read into memory for each probe. Probes are the first of them that are long enough."""


def documents_of_run(run: Path) -> Iterator[pa.Table]:
    """Ids and texts of a run's output, one file at a time."""
    for path in sorted((run / "data").glob("*.parquet")):
        yield pq.read_table(path, columns=[ID, TEXT])


class SplitDocuments:
    """The output of a run, as `documents_of_run` yields it, split as a loop's options say.

    The splits lie one after the other on the unit interval that ids are hashed to: one training split per round, which the
    stage `sample` draws; then the evaluation split; then the hold-out.
    """

    def __init__(self, run: Path, options: Rounds) -> None:
        self._run, self._options = run, options

    def __bool__(self) -> bool:
        return any((self._run / "data").glob("*.parquet"))

    def evaluation_texts(self) -> list[str]:
        """The first `max_items` texts of the evaluation split. Raises DataError where it is empty."""
        options = self._options
        texts: list[str] = []
        for table in self._interval(1 - options.holdout - options.judge, options.judge):
            texts += table[TEXT].to_pylist()[: options.max_items - len(texts)]
        if not texts:
            raise DataError(f"judge: no document of {self._run} is in a share of {options.judge}. Raise it.")
        return texts

    def hold_out(self, seed: int) -> pa.Table:
        """The hold-out; where it is large, the candidates that probes with this seed are drawn from first.

        Selecting the candidates while reading keeps memory bounded and changes no probe.
        """
        max_candidates = CANDIDATES_PER_PROBE * self._options.probes
        candidates = None
        for table in self._interval(1 - self._options.holdout, self._options.holdout):
            candidates = table if candidates is None else pa.concat_tables([candidates, table])
            if len(candidates) > max_candidates:
                first = draw_order(candidates[ID].to_pylist(), seed)[:max_candidates]
                candidates = candidates.take(np.sort(first))
        assert candidates is not None
        return candidates

    def _interval(self, start: float, share: float) -> Iterator[pa.Table]:
        """Ids and texts of the documents whose hash lies in an interval, one file at a time."""
        from curate.execution.apply import apply_stage

        sample = {"start": start, "share": share, "seed": self._options.seed, "purpose": PURPOSE}
        for table in documents_of_run(self._run):
            yield table.filter(apply_stage("sample", table, sample)["drop"].is_null())


def ids_digest(ids: Sequence[str]) -> str:
    """sha256 over ids, sorted, one per line."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()
