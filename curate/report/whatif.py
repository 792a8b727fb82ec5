"""Recount a finished run with other thresholds, from the values it recorded: `curate whatif`. No text is read, no stage runs.

What was measured of a document lies in `dropped/` (column `values`) or in `data/` and `values/`, row by row the same
documents. Every document is judged anew by the rules of the changed stages, in the order of the run:

- it fails where it used to pass: it is dropped there, and later stages do not see it;
- it fails as before, or for another reason of the same stage;
- it passes where it was dropped: it goes on. Stages that come later have not seen it, so what they would do is not known.
  It counts as `unseen`; where no later stage can drop a document it is kept.

Counts are exact otherwise. A barrier after a changed stage decides from all documents and would decide anew: it is named
in a note, and its verdicts are those of the run. The recorded values must give the verdicts of the run by the rules of the
run; where they do not, the stage is no longer what it was, and that is an error.

Decisions. The flips to show are those with the smallest keyed hash of their ordinal, the order in which texts of dropped
documents are sampled, so that many of them have a text to read. One file is held at a time, and of it only the columns
that rules ask for; ids and URLs are read for the documents shown.
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
from curate.report.replay import DropReason, Flags, LimitCheck, PastRun, StageReplay, judges_of
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
    """Pass now, and go on to stages that have not seen them."""

    @property
    def rows_out(self) -> int:
        return self.rows_in - sum(self.dropped.values()) - self.failed - self.unseen


@dataclass(frozen=True)
class Flip:
    """A document that fares otherwise. Without a verdict it was kept, or goes on."""

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
    """Plain values; a value that is no finite number has no place in JSON and is null."""
    value = asdict(flip)
    for verdict in (value["before"], value["after"]):
        if verdict and not math.isfinite(verdict["value"]):
            verdict["value"] = None
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
    """Judge every document of a finished run anew; `num` flipped documents are named per direction.

    Raises SpecError where the run is not finished, or the changes are not thresholds on values it recorded.
    """
    store, saved = lockfile.opened(directory)
    if not store.exists(MANIFEST):
        raise SpecError(f"{directory!r} is not complete. The same curate run command continues it; then ask again.")
    if not changes:
        raise SpecError("no change is given. Give STAGE.OPTION=VALUE, such as gopher_quality.min_words=30")
    summary = Summary.from_json(store.read_json(MANIFEST))
    run = PastRun(store, saved)
    judges = judges_of(run, changes)
    columns = list(dict.fromkeys(column for judge in judges for column in judge.columns))
    tally = _Tally(run, judges, num)
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
        lost=_flips(store, run, judges, tally.lost.best, kept=True),
        gained=_flips(store, run, judges, tally.gained.best, kept=False),
        notes=_notes(run, judges, tally),
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
    """Documents by (stage, reason), as they are and as they would be. Reason 0 is none: kept."""

    def __init__(self, run: PastRun, judges: Sequence[StageReplay], num: int) -> None:
        self.run, self.judges = run, judges
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
        stages, reasons, unseen = self._judged(block)
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
        edited = [judge.position for judge in self.judges if judge.edits]
        if self.chars_out is None or block.chars is None or np.isin(block.stages[gained], edited).any():
            self.chars_out = None
            return
        before, after = self.chars_out
        self.chars_out = before + int(block.chars[kept].sum()), after + int(block.chars[(kept & ~lost) | gained].sum())

    def _judged(self, block: _Block) -> tuple[Codes, Codes, Flags]:
        """Stage and reason of every document as they would be; and where it goes on from that stage, unseen by later ones."""
        stages, reasons = block.stages.copy(), block.reasons.copy()
        unseen, undecided = np.zeros(len(stages), np.bool_), np.ones(len(stages), np.bool_)
        for judge in self.judges:
            fell = block.stages == judge.position
            own = fell & np.isin(block.reasons, [self.reason_code(reason) for reason in judge.reasons])
            judged = undecided & (own | (block.stages > judge.position))
            self._check(judge, block, judged)
            now = self._first(judge.after, block.values)
            drops, passes = judged & (now > 0), judged & own & (now == 0)
            stages[drops], reasons[drops] = judge.position, now[drops]
            reasons[passes] = 0
            stages[passes] = self.run.end if judge.last else judge.position
            unseen |= passes & (not judge.last)
            undecided &= ~(drops | passes | fell)
        return stages, reasons, unseen

    def _first(self, checks: Sequence[LimitCheck], values: Values) -> Codes:
        """The reason of the first rule that fails; 0 where none does."""
        found = np.zeros(len(next(iter(values.values()))), np.int64)
        for check in reversed(checks):
            found[check.fails(values[check.column])] = self.reason_code(check.reason)
        return found

    def _check(self, judge: StageReplay, block: _Block, judged: Flags) -> None:
        said = np.where(block.stages == judge.position, block.reasons, 0)
        wrong = np.flatnonzero(judged & (self._first(judge.before, block.values) != said))
        if len(wrong):
            raise AccountingError(
                f"{block.file}, row {wrong[0]}: the recorded values do not give the verdict of stage {judge.name!r}. "
                "The stage has changed since the run, or the file has: run again."
            )

    def check(self, summary: Summary) -> None:
        """The files hold what the manifest says."""
        for name, (before, _) in self.funnel(summary.documents_in).items():
            account = summary.stages.get(name)
            wanted = (account.dropped, account.failed) if account else (Counter(), 0)
            if (+before.dropped, before.failed) != (+wanted[0], wanted[1]):
                raise AccountingError(f"stage {name!r}: dropped/ and {MANIFEST} do not agree. A file was changed: run again.")
        if self.before[(self.run.end, 0)] != summary.documents_out:
            raise AccountingError(f"data/ and {MANIFEST} do not agree. A file was changed: run again.")

    def funnel(self, documents: int) -> dict[str, tuple[Count, Count]]:
        """Per stage, its documents before and after."""
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


# -- what is shown


def _flips(store: Store, run: PastRun, judges: Sequence[StageReplay], picks: Sequence[_Pick], *, kept: bool) -> list[Flip]:
    """The picked documents with their ids and verdicts, in the order of their hashes."""
    at = {judge.position: judge for judge in judges}
    labels: dict[tuple[str, int], tuple[str | None, str | None]] = {}
    for file in dict.fromkeys(pick.file for pick in picks):
        rows = [pick.row for pick in picks if pick.file == file]
        labels |= {(file, row): label for row, label in zip(rows, _labels(store, file, rows, kept), strict=True)}
    flips = []
    for pick in picks:
        judge = at[pick.stage]
        before = None if kept else judge.verdict(judge.before, pick.values)
        flips.append(Flip(*labels[(pick.file, pick.row)], before, judge.verdict(judge.after, pick.values)))
    return flips


def _labels(store: Store, file: str, rows: list[int], kept: bool) -> list[tuple[str | None, str | None]]:
    table = read_with_values(store, file, [ID, URL]) if kept else pq.ParquetFile(store.open(file)).read([ID, URL])
    picked = table.take(pa.array(rows)).to_pylist()
    return [(row[ID], row[URL]) for row in picked]


def _notes(run: PastRun, judges: Sequence[StageReplay], tally: _Tally) -> list[str]:
    notes = []
    if total := sum(tally.unseen.values()):
        notes.append(
            f"{total:,} documents would go on to later stages, which have not seen them: at most as many more are kept"
        )
    barriers = [name for name in run.later(judges[0].position) if issubclass(run.class_of(name), GlobalStage)]
    if barriers:
        notes.append(
            f"{', '.join(barriers)} would decide anew from the documents that arrive: shown are the verdicts of the run"
        )
    return notes
