"""Recount a finished run with other thresholds, from the values it recorded: `curate whatif`. No text is read, no stage runs.

The values of a dropped document are in `dropped/` (column `values`), those of a kept one in `data/` and `values/`, which have
the same rows. The rules of the changed stages are applied again to every document, in the order of the run:

- A document fails where it passed: it is dropped there, and later stages do not see it.
- A document fails as before, or for another reason of the same stage.
- A document passes where it was dropped: it goes on. Later stages have not seen it, so their results are not known. It counts
  as `unseen`, or as kept if no later stage can drop documents.

All other counts are exact. A global stage after a changed stage depends on all documents, and its result would change too: a
note names it, and its drop reasons are those of the run. The old rules must give the drop reasons of the run; otherwise the
stage has changed since, which is an error.

The documents shown have the smallest keyed hash of their ordinals. Texts of dropped documents are sampled by the same hash, so
many of them have a text. Only one file is in memory, with the columns that the rules need; ids and URLs are read for the
documents shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.api.global_stage import GlobalStage
from curate.config.yaml_file import read_scalar
from curate.errors import AccountingError, SpecError
from curate.execution.accounting import KILLED, VALUES
from curate.execution.sampling import SAMPLE_KEY
from curate.execution.summary import Summary
from curate.pipeline import lockfile
from curate.pipeline.steps import TEXT_CHARS
from curate.report.replay import DropReason, Flags, LimitCheck, PastRun, StageReplay, replays_of
from curate.report.run_files import as_floats, parquet_files, read_with_values
from curate.schema import ID, ORDINAL, URL, mix
from curate.storage.run_dir import MANIFEST, values_file
from curate.storage.store import Store

Values = Mapping[str, npt.NDArray[np.float64]]
Codes = npt.NDArray[np.int64]


@dataclass
class Count:
    """One stage's documents."""

    rows_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    unseen: int = 0
    """Documents that pass now, and go on to stages that have not seen them."""

    @property
    def rows_out(self) -> int:
        return self.rows_in - sum(self.dropped.values()) - self.failed - self.unseen


@dataclass(frozen=True)
class Flip:
    """A document with another outcome. A drop reason of None means that it was kept, or goes on to later stages."""

    id: str | None
    url: str | None
    before: DropReason | None
    after: DropReason | None


@dataclass
class WhatIf:
    """The funnel of a run as it is and as it would be, and some of the documents that make the difference."""

    out: str
    changes: dict[str, tuple[Any, Any]]
    """Stage and option -> value before, value after."""
    documents_in: int
    documents_out: tuple[int, int]
    chars_out: tuple[int, int] | None
    """Code points of the texts that are kept; null where that is not known: no text in `data/`, or gained texts are edited."""
    unseen: int
    """Documents that would go on to stages that have not seen them; at most as many more would be kept."""
    num_lost: int
    """Kept before, dropped now."""
    num_gained: int
    """Dropped before, kept now or unseen."""
    num_moved: int
    """Dropped before and now, by another stage or for another reason."""
    stages: dict[str, tuple[Count, Count]]
    lost: list[Flip]
    gained: list[Flip]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        stages = {name: [_count_json(count) for count in pair] for name, pair in self.stages.items()}
        flips = {name: [_flip_json(flip) for flip in getattr(self, name)] for name in ("lost", "gained")}
        return {**asdict(self), "stages": stages, **flips}


def _count_json(count: Count) -> dict[str, Any]:
    return {**asdict(count), "dropped": dict(sorted(count.dropped.items())), "rows_out": count.rows_out}


def _flip_json(flip: Flip) -> dict[str, Any]:
    """Plain values. A value that is not finite is null, because JSON has no such numbers."""
    value = asdict(flip)
    for drop_reason in (value["before"], value["after"]):
        if drop_reason and not math.isfinite(drop_reason["value"]):
            drop_reason["value"] = None
    return value


def parse_changes(arguments: Iterable[str]) -> dict[str, Any]:
    """`STAGE.OPTION=VALUE` -> {"STAGE.OPTION": value}; values are read as in a pipeline file."""
    changes: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise SpecError(f"{argument!r} must be STAGE.OPTION=VALUE, such as gopher_quality.min_words=30")
        if name in changes:
            raise SpecError(f"{name!r} is given twice. Give one value for each option.")
        try:
            changes[name] = read_scalar(value)
        except ValueError as error:
            raise SpecError(f"{argument!r}: {value!r} cannot be read: {error}") from error
    return changes


def recount(directory: str, changes: Mapping[str, Any], *, num: int = 10) -> WhatIf:
    """Apply changed limits to every document of a finished run, and name `num` flipped documents per direction.

    Raises SpecError if the run is not finished, or if a change is not a limit on recorded values.
    """
    store, saved = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete. The same curate run command continues it; then ask again.")
    if not changes:
        raise SpecError("no change is given. Give STAGE.OPTION=VALUE, such as gopher_quality.min_words=30")
    summary = Summary.from_json(store.read_json(MANIFEST))
    run = PastRun(store, saved)
    replays = replays_of(run, changes)
    columns = list(dict.fromkeys(column for replay in replays for column in replay.columns))
    tally = _Tally(run, replays, num)
    for block in _blocks(store, columns, tally):
        tally.add(block)
    tally.check(summary)
    return WhatIf(
        out=store.root,
        changes={
            name: (run.options[name.rpartition(".")[0]][name.rpartition(".")[2]], value) for name, value in changes.items()
        },
        documents_in=summary.documents_in,
        documents_out=(summary.documents_out, tally.after[(run.end, 0)]),
        chars_out=tally.chars_out,
        unseen=sum(tally.unseen.values()),
        num_lost=tally.lost.seen,
        num_gained=tally.gained.seen,
        num_moved=tally.moved,
        stages=tally.funnel(summary.documents_in),
        lost=_flips(store, run, replays, tally.lost.best, kept=True),
        gained=_flips(store, run, replays, tally.gained.best, kept=False),
        notes=_notes(run, replays, tally),
    )


# -- documents


@dataclass(frozen=True)
class _Block:
    """The documents of one file: the stage each was dropped by (the end of the run for a kept one), the reason, values."""

    file: str
    ordinals: npt.NDArray[np.uint64]
    stages: Codes
    reasons: Codes
    values: Values
    chars: Codes | None
    """Null where `values/` does not have them."""


def _blocks(store: Store, columns: list[str], tally: _Tally) -> Iterator[_Block]:
    for name in parquet_files(store, "dropped"):
        wanted = [ORDINAL, "stage", "reason", TEXT_CHARS, *(f"{VALUES}.{column}" for column in columns)]
        table = pq.ParquetFile(store.open(name), read_dictionary=["stage", "reason"]).read(wanted).combine_chunks()
        values = table[VALUES].combine_chunks()
        yield _Block(
            name,
            table[ORDINAL].to_numpy(),
            _codes(table["stage"], tally.stage_code),
            _codes(table["reason"], tally.reason_code),
            {column: as_floats(values.field(column)) for column in columns},
            table[TEXT_CHARS].fill_null(0).to_numpy(),
        )
    for name in parquet_files(store, "data"):
        table = read_with_values(store, name, [ORDINAL, *columns])
        size = table.num_rows
        values = {column: as_floats(table[column]) for column in columns}
        chars = _chars(store, values_file(name))
        yield _Block(name, table[ORDINAL].to_numpy(), np.full(size, tally.run.end), np.zeros(size, np.int64), values, chars)


def _chars(store: Store, name: str) -> Codes | None:
    file = pq.ParquetFile(store.open(name))
    return file.read([TEXT_CHARS])[TEXT_CHARS].to_numpy() if TEXT_CHARS in file.schema_arrow.names else None


def _codes(column: pa.ChunkedArray, code: Callable[[str], int]) -> Codes:
    """Numbers for the strings of a dictionary column."""
    array = column.unify_dictionaries().combine_chunks()
    table = np.array([code(name) for name in array.dictionary.to_pylist()], np.int64)
    return np.asarray(table[array.indices.to_numpy()])


@dataclass(frozen=True, order=True)
class _Pick:
    """A flipped document; smallest hashes first."""

    hash: int
    file: str
    row: int
    stage: int
    values: Mapping[str, float] = field(compare=False)


class _Draw:
    """The `size` flipped documents with the smallest hashes, and how many there are."""

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, 0
        self.best: list[_Pick] = []

    def offer(self, block: _Block, where: Flags, stages: Codes) -> None:
        rows = np.flatnonzero(where)
        self.seen += len(rows)
        hashes = mix(block.ordinals[rows], SAMPLE_KEY)
        first = np.argsort(hashes, kind="stable")[: self.size]
        picks = [
            _Pick(
                int(hashes[i]),
                block.file,
                int(rows[i]),
                int(stages[rows[i]]),
                {c: float(v[rows[i]]) for c, v in block.values.items()},
            )
            for i in first
        ]
        self.best = sorted([*self.best, *picks])[: self.size]


class _Tally:
    """Counts documents by (stage, reason), before and after the changes. Reason 0 means kept."""

    def __init__(self, run: PastRun, replays: Sequence[StageReplay], num: int) -> None:
        self.run, self.replays = run, replays
        self._reasons: dict[str, int] = {"": 0}
        self.before: Counter[tuple[int, int]] = Counter()
        self.after: Counter[tuple[int, int]] = Counter()
        self.unseen: Counter[int] = Counter()
        self.moved = 0
        self.chars_out: tuple[int, int] | None = (0, 0)
        self.lost, self.gained = _Draw(num), _Draw(num)

    def stage_code(self, name: str) -> int:
        return self.run.order.index(name)

    def reason_code(self, name: str) -> int:
        return self._reasons.setdefault(name, len(self._reasons))

    def add(self, block: _Block) -> None:
        stages, reasons, unseen = self._replayed(block)
        kept, goes_on = block.stages == self.run.end, unseen | ((stages == self.run.end) & (block.stages < self.run.end))
        lost = kept & (stages < self.run.end)
        self.lost.offer(block, lost, stages)
        self.gained.offer(block, goes_on, block.stages)
        self.moved += int((~kept & ~goes_on & ((stages != block.stages) | (reasons != block.reasons))).sum())
        self._count_chars(block, kept, lost, goes_on & ~unseen)
        self.before += _pairs(block.stages, block.reasons)
        self.after += _pairs(stages[~unseen], reasons[~unseen])
        self.unseen += Counter(stages[unseen].tolist())

    def _count_chars(self, block: _Block, kept: Flags, lost: Flags, gained: Flags) -> None:
        """Add the kept texts, unless their lengths are not known."""
        edited = [replay.position for replay in self.replays if replay.edits]
        if self.chars_out is None or block.chars is None or np.isin(block.stages[gained], edited).any():
            self.chars_out = None
            return
        before, after = self.chars_out
        self.chars_out = before + int(block.chars[kept].sum()), after + int(block.chars[(kept & ~lost) | gained].sum())

    def _replayed(self, block: _Block) -> tuple[Codes, Codes, Flags]:
        """The new stage and reason of every document, and where a document goes on to stages that have not seen it."""
        stages, reasons = block.stages.copy(), block.reasons.copy()
        unseen, undecided = np.zeros(len(stages), np.bool_), np.ones(len(stages), np.bool_)
        for replay in self.replays:
            fell = block.stages == replay.position
            own = fell & np.isin(block.reasons, [self.reason_code(reason) for reason in replay.reasons])
            replayed = undecided & (own | (block.stages > replay.position))
            self._check(replay, block, replayed)
            now = self._first(replay.after, block.values)
            drops, passes = replayed & (now > 0), replayed & own & (now == 0)
            stages[drops], reasons[drops] = replay.position, now[drops]
            reasons[passes] = 0
            stages[passes] = self.run.end if replay.last else replay.position
            unseen |= passes & (not replay.last)
            undecided &= ~(drops | passes | fell)
        return stages, reasons, unseen

    def _first(self, checks: Sequence[LimitCheck], values: Values) -> Codes:
        """The reason of the first rule that fails; 0 where none does."""
        found = np.zeros(len(next(iter(values.values()))), np.int64)
        for check in reversed(checks):
            found[check.fails(values[check.column])] = self.reason_code(check.reason)
        return found

    def _check(self, replay: StageReplay, block: _Block, replayed: Flags) -> None:
        said = np.where(block.stages == replay.position, block.reasons, 0)
        wrong = np.flatnonzero(replayed & (self._first(replay.before, block.values) != said))
        if len(wrong):
            raise AccountingError(
                f"{block.file}, row {wrong[0]}: the recorded values do not give the drop reason of stage {replay.name!r}. "
                "The stage has changed since the run, or the file has: run again."
            )

    def check(self, summary: Summary) -> None:
        """Compare with the manifest. Raises AccountingError where the files differ from it."""
        for name, (before, _) in self.funnel(summary.documents_in).items():
            counts = summary.stages.get(name)
            dropped, failed = (counts.dropped, counts.failed) if counts else (Counter(), 0)
            if (+before.dropped, before.failed) != (+dropped, failed):
                raise AccountingError(f"stage {name!r}: dropped/ and {MANIFEST} do not agree. A file was changed: run again.")
        if self.before[(self.run.end, 0)] != summary.documents_out:
            raise AccountingError(f"data/ and {MANIFEST} do not agree. A file was changed: run again.")

    def funnel(self, documents: int) -> dict[str, tuple[Count, Count]]:
        """The counts of every stage before and after."""
        one = self._counts(documents, self.before, Counter())
        other = self._counts(documents, self.after, self.unseen)
        return {name: (one[name], other[name]) for name in self.run.order}

    def _counts(self, documents: int, pairs: Counter[tuple[int, int]], unseen: Counter[int]) -> dict[str, Count]:
        names = {code: name for name, code in self._reasons.items()}
        counts: dict[str, Count] = {}
        for position, stage in enumerate(self.run.order):
            dropped = Counter({names[reason]: number for (at, reason), number in pairs.items() if at == position and number})
            failed = dropped.pop(KILLED, 0)
            counts[stage] = Count(documents, dropped, failed, unseen[position])
            documents = counts[stage].rows_out
        return counts


def _pairs(stages: Codes, reasons: Codes) -> Counter[tuple[int, int]]:
    found, numbers = np.unique(stages << 32 | reasons, return_counts=True)
    return Counter(
        {(int(pair) >> 32, int(pair) & 0xFFFFFFFF): int(number) for pair, number in zip(found, numbers, strict=True)}
    )


# -- flips and notes


def _flips(store: Store, run: PastRun, replays: Sequence[StageReplay], picks: Sequence[_Pick], *, kept: bool) -> list[Flip]:
    """The picked documents with their ids and drop reasons, in the order of their hashes."""
    at = {replay.position: replay for replay in replays}
    labels: dict[tuple[str, int], tuple[str | None, str | None]] = {}
    for file in dict.fromkeys(pick.file for pick in picks):
        rows = [pick.row for pick in picks if pick.file == file]
        labels |= {(file, row): label for row, label in zip(rows, _labels(store, file, rows, kept), strict=True)}
    flips = []
    for pick in picks:
        replay = at[pick.stage]
        before = None if kept else replay.drop_reason(replay.before, pick.values)
        flips.append(Flip(*labels[(pick.file, pick.row)], before, replay.drop_reason(replay.after, pick.values)))
    return flips


def _labels(store: Store, file: str, rows: list[int], kept: bool) -> list[tuple[str | None, str | None]]:
    table = read_with_values(store, file, [ID, URL]) if kept else pq.ParquetFile(store.open(file)).read([ID, URL])
    picked = table.take(pa.array(rows)).to_pylist()
    return [(row[ID], row[URL]) for row in picked]


def _notes(run: PastRun, replays: Sequence[StageReplay], tally: _Tally) -> list[str]:
    notes = []
    if total := sum(tally.unseen.values()):
        notes.append(
            f"{total:,} documents would go on to later stages, which have not seen them: at most as many more are kept"
        )
    names = [name for name in run.later(replays[0].position) if issubclass(run.class_of(name), GlobalStage)]
    if names:
        notes.append(
            f"{', '.join(names)} would decide anew from the documents that arrive: shown are the drop reasons of the run"
        )
    return notes
