"""How the three kinds of barriers come to a decision: the tasks, and the order in which the driver has them run.

Everything a task leaves is a file of `steps/NAME/barrier/`, whole or absent, and a task whose last file is there is done; so
a run that was cut off goes on in the middle of a phase. What comes out is the same however tasks are dealt out.

A shuffle runs on bundles of shards and on groups of keys, as many of both as make a task's share of the sketches BUNDLE_BYTES.
Rows go from all tasks of one phase to all tasks of the next through spill files (`spill.py`), one per task, with one block for
every task of the next. Blocks shrink with the square of the number of tasks: so that they stay above BLOCK_BYTES, a share is
larger where there are more than 64 GiB of sketches, and with it the memory of a task, some five times its share.

On paper, `minhash` over 10^10 documents: 2.9 TB of sketches, shares of 0.87 GB, 3,300 tasks a phase of 4 to 5 GB each; 3.4 TB
of band keys in 11 million blocks of 300 kB. What follows is a tenth of that where one document in ten has a near-duplicate.
The driver holds names and sizes of the shards, 200,000 of 50,000 documents, and of the tasks of one phase.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.barriers import KEY, Fold, Phase, Poll, Question, Shuffle, Worked, groups_of
from curate.errors import BooksError
from curate.index import Index
from curate.kernels import decision_file, shard_decision_file
from curate.plan import Plan, Segment
from curate.schema import INDEXED, ORDINAL, POSITION_BITS
from curate.sources.source import Shard
from curate.spill import read_group, write_spill
from curate.stage import Decision
from curate.store import Store
from curate.tables import read_batches, schema

BUNDLE_BYTES = 128 * 2**20
"""Bytes of sketch files that a task has at hand, more or less, where there are few."""
BLOCK_BYTES = 256 * 2**10
"""What a block has at least, where there are many."""
CHECKPOINT = 4
"""A state is saved after so many times its size in sketches."""

B = TypeVar("B", Poll, Shuffle, Fold)
RunAll = Callable[[str, Callable[[Any, Any], Any], Sequence[Any], Callable[[Any], bool]], None]
"""Label, function, items, whether an item is done: runs those that are not, and raises what one of them raised."""


@dataclass(frozen=True)
class Context:
    """What all items of a run share; sent to a worker once."""

    plan: Plan
    store: Store


@dataclass(frozen=True)
class SketchFile:
    """One sketch: of a shard of this run, or of an index of an earlier one."""

    bundle: int
    store: str
    """The folder of the index; empty for this run."""
    name: str
    shard: str
    first: int
    """The smallest ordinal in it; where it has no rows, that of the next one that does."""
    rows: int
    bytes: int
    weight: int


def _folder(segment: Segment) -> str:
    return f"steps/{segment.name}/barrier"


def _write_table(store: Store, name: str, table: pa.Table) -> None:
    with store.create(name) as path:
        pq.write_table(table, path, compression="zstd")


def sketch_file(segment: Segment, shard: str) -> str:
    """The sketch of a shard, left by the segment before the barrier."""
    return f"steps/{segment.name}/sketch/{shard}.parquet"


# -- polls


@dataclass(frozen=True)
class Match:
    """The sketch of one shard to summarise, in one round."""

    segment: int
    shard: Shard
    round: int


@dataclass(frozen=True)
class Decide:
    """All summaries of a round, in shard order."""

    segment: int
    shards: tuple[Shard, ...]
    round: int


def question_file(segment: Segment, number: int) -> str:
    return f"{_folder(segment)}/question-{number}.parquet"


def summary_file(segment: Segment, item: Match) -> str:
    return f"{_folder(segment)}/round-{item.round}/{item.shard.name}.parquet"


def _question(store: Store, segment: Segment, number: int) -> Question | None:
    return Question(pq.read_table(store.open(question_file(segment, number)))) if number else None


def run_match(context: Context, item: Match) -> None:
    """Summarise one sketch for the barrier before segment `item.segment`."""
    plan, store = context.plan, context.store
    segment = plan.segments[item.segment]
    rows = pq.read_table(store.open(sketch_file(plan.segments[item.segment - 1], item.shard.name)))
    poll = _barrier(segment, Poll)
    _write_table(store, summary_file(segment, item), poll.match(rows, _question(store, segment, item.round)))


def run_decide(context: Context, item: Decide) -> None:
    """Write the decision or the next round's question."""
    store, segment = context.store, context.plan.segments[item.segment]
    names = (summary_file(segment, Match(item.segment, shard, item.round)) for shard in item.shards)
    summaries = (pq.read_table(store.open(name)) for name in names)
    answer = _barrier(segment, Poll).decide(summaries, _question(store, segment, item.round))
    if isinstance(answer, Decision):
        _write_table(store, decision_file(segment), answer.rows)
    else:
        _write_table(store, question_file(segment, item.round + 1), answer.rows)


def _barrier(segment: Segment, kind: type[B]) -> B:
    assert segment.barrier is not None
    barrier = segment.barrier.stage
    assert isinstance(barrier, kind)
    return barrier


def _poll(store: Store, segment: Segment, shards: Sequence[Shard], run_all: RunAll) -> None:
    number = 0
    while not store.exists(decision_file(segment)):
        items = [Match(segment.index, shard, number) for shard in shards]
        label = f"{segment.name}: match, round {number + 1}"
        run_all(label, run_match, items, lambda item: store.exists(summary_file(segment, item)))
        number += 1
        decide = [Decide(segment.index, tuple(shards), number - 1)]
        run_all(
            f"{segment.name}: decide", run_decide, decide, lambda item: store.exists(question_file(segment, item.round + 1))
        )  # fmt: skip


# -- bundles of sketches


def _layout_file(segment: Segment) -> str:
    return f"{_folder(segment)}/layout.parquet"


def _lay_out(store: Store, segment: Segment, before: Segment, shards: Sequence[Shard], indexes: Sequence[str]) -> None:
    """Deal the sketches of all shards and indexes into bundles of neighbours, once: a continued run has the same ones."""
    if store.exists(_layout_file(segment)):
        return
    files: list[dict[str, Any]] = []
    for shard in shards:
        ledger = store.read_json(f"steps/{before.name}/ledger/{shard.name}.json")
        record, sketch = ledger["files"]["sketch"], ledger["sketch"]
        place = {"store": "", "name": sketch_file(before, shard.name), "shard": shard.name, "first": sketch["first"]}
        files.append({**place, "rows": record["rows"], "bytes": record["bytes"], "weight": sketch["weight"]})
    for number, path in enumerate(indexes):
        first = INDEXED + (number << POSITION_BITS)
        for part in Index.load(path).parts:
            place = {"store": path, "name": part.name, "shard": "", "first": first}
            files.append({**place, "rows": part.rows, "bytes": part.bytes, "weight": 0})
            first += part.rows
    total = sum(file["bytes"] for file in files)
    share = max(BUNDLE_BYTES, math.isqrt(BLOCK_BYTES * total))
    bundle, held, following = 0, 0, None
    for file in files:
        if held and held + file["bytes"] > share:
            bundle, held = bundle + 1, 0
        file["bundle"], held = bundle, held + file["bytes"]
    for file in reversed(files):
        following = file["first"] if file["first"] is not None else following
        file["first"] = INDEXED if following is None else following
    columns = {
        "bundle": pa.int64(), "store": pa.string(), "name": pa.string(), "shard": pa.string(), "first": pa.uint64(),
        "rows": pa.int64(), "bytes": pa.int64(), "weight": pa.int64(),
    }  # fmt: skip
    groups = max(1, -(-total // share))
    table = pa.Table.from_pylist(files, schema(columns)).replace_schema_metadata({"groups": str(groups)})
    _write_table(store, _layout_file(segment), table)


@dataclass(frozen=True)
class Layout:
    """How the sketches are dealt into bundles, and keys into groups."""

    files: tuple[SketchFile, ...]
    groups: int

    @classmethod
    def load(cls, store: Store, segment: Segment) -> Layout:
        table = pq.read_table(store.open(_layout_file(segment)))
        files = tuple(SketchFile(**row) for row in table.to_pylist())
        return cls(files, int(table.schema.metadata[b"groups"]))

    @property
    def bundles(self) -> int:
        return self.files[-1].bundle + 1 if self.files else 0

    def bundle(self, number: int) -> list[SketchFile]:
        return [file for file in self.files if file.bundle == number]

    def bundles_of(self, ordinals: Any) -> Any:
        """The bundle of every ordinal."""
        firsts: dict[int, int] = {}
        for file in self.files:
            if file.rows:
                firsts.setdefault(file.bundle, file.first)
        numbers = np.array(list(firsts), np.int64)
        return numbers[np.searchsorted(np.array(list(firsts.values()), np.uint64), ordinals, side="right") - 1]


def _sketches(context: Context, files: Sequence[SketchFile], columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """The rows of sketches, in order; documents of an index under the ordinals they have here."""
    for file in files:
        at = file.first
        store = Store(file.store) if file.store else context.store
        for records in read_batches(store, file.name, list(columns), 16_384):
            if file.store:
                ordinals = pa.array(np.arange(at, at + records.num_rows, dtype=np.uint64))
                records = records.set_column(records.schema.get_field_index(ORDINAL), ORDINAL, ordinals)
                at += records.num_rows
            yield records


# -- shuffles


@dataclass(frozen=True)
class Task:
    """One group, or one bundle, of a phase."""

    segment: int
    number: int
    """Of the phase, from 0."""
    phase: Phase
    before: Phase | None
    parts_before: int
    part: int

    @property
    def name(self) -> str:
        return f"{self.phase.name} {self.part}"

    def __hash__(self) -> int:  # columns of a phase are a dict
        return hash((self.segment, self.number, self.part))


def _spill(segment: Segment, number: int, part: int) -> str:
    return f"{_folder(segment)}/phase-{number}/{part:05d}.rows"


def _marker(segment: Segment, number: int, part: int) -> str:
    return f"{_folder(segment)}/phase-{number}/{part:05d}.json"


def _entering(context: Context, layout: Layout, item: Task) -> pa.Table:
    """The rows of a task's group or bundle, from all tasks of the phase before."""
    if item.before is None:
        return pa.table({})
    segment = context.plan.segments[item.segment]
    names = [_spill(segment, item.number - 1, part) for part in range(item.parts_before)]
    group = None if item.phase.whole else item.part
    count = layout.groups if KEY in item.before.writes else layout.bundles
    return read_group(context.store, names, group, count, schema(item.before.writes))


def run_task(context: Context, item: Task) -> None:
    """One group or bundle of a phase: its rows, spilled for the next phase, then its counts."""
    segment = context.plan.segments[item.segment]
    barrier = _barrier(segment, Shuffle)
    layout = Layout.load(context.store, segment)
    files = layout.bundle(item.part) if item.phase.over == "shard" else []
    rows = _entering(context, layout, item)
    if item.phase.over == "shard" and item.before:
        rows = rows.sort_by(ORDINAL)
    done = barrier.work(item.phase, rows, _sketches(context, files, item.phase.sketches))
    _write_worked(context, layout, item, done)


def _write_worked(context: Context, layout: Layout, item: Task, done: Worked) -> None:
    segment, rows = context.plan.segments[item.segment], done.rows.select(list(item.phase.writes))
    if KEY in item.phase.writes:
        groups, count = groups_of(rows, layout.groups), layout.groups
    else:
        groups, count = layout.bundles_of(rows[ORDINAL].to_numpy()), layout.bundles
    write_spill(context.store, _spill(segment, item.number, item.part), rows, groups, count)
    marker = {"rows": rows.num_rows, "counts": dict(done.counts)}
    context.store.write_json(_marker(segment, item.number, item.part), marker)


@dataclass(frozen=True)
class Settle:
    """The decision on the shards of one bundle to write down."""

    segment: int
    number: int
    parts: int
    bundle: int

    @property
    def name(self) -> str:
        return f"bundle {self.bundle}"


def _settled(segment: Segment, bundle: int) -> str:
    return f"{_folder(segment)}/settled-{bundle:05d}.json"


def run_settle(context: Context, item: Settle) -> None:
    """One decision file per shard of a bundle."""
    store, segment = context.store, context.plan.segments[item.segment]
    barrier, layout = _barrier(segment, Shuffle), Layout.load(store, segment)
    names = [_spill(segment, item.number, part) for part in range(item.parts)]
    rows = read_group(store, names, item.bundle, layout.bundles, schema(barrier.decisions))
    rows = rows.sort_by([(name, "ascending") for name in barrier.decisions]).combine_chunks()
    ordinals = rows[ORDINAL].to_numpy()
    files = [file for file in layout.bundle(item.bundle) if not file.store]
    edges = np.searchsorted(ordinals, np.array([*(file.first for file in files), INDEXED], np.uint64)).tolist()
    if edges[0]:
        raise BooksError(f"{segment.name}: decisions on documents of no shard. This is a bug: please report it.")
    for file, start, stop in zip(files, edges[:-1], edges[1:], strict=True):
        _write_table(store, shard_decision_file(segment, file.shard), rows.slice(start, stop - start))
    store.write_json(_settled(segment, item.bundle), rows.num_rows)


def _shuffle(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    barrier, layout = _barrier(segment, Shuffle), Layout.load(store, segment)
    phase: Phase | None = barrier.first
    before: Phase | None = None
    number = parts_before = 0
    total: Counter[str] = Counter()
    while phase is not None:
        parts = layout.bundles if phase.over == "shard" else 1 if phase.whole else layout.groups
        items = [Task(segment.index, number, phase, before, parts_before, part) for part in range(parts)]
        label = f"{segment.name}: {phase.name}"
        run_all(label, run_task, items, lambda item: store.exists(_marker(segment, item.number, item.part)))
        rows, counts = _counted(store, [_marker(segment, number, part) for part in range(parts)])
        total.update({name: count for name, count in counts.items() if not name.startswith("_")})
        _forget(store, segment, number - 1, parts_before)
        before, parts_before = phase, parts
        phase, number = barrier.following(phase, rows, counts), number + 1
    settle = [Settle(segment.index, number - 1, parts_before, bundle) for bundle in range(layout.bundles)]
    label = f"{segment.name}: decisions"
    run_all(label, run_settle, settle, lambda item: store.exists(_settled(segment, item.bundle)))
    _forget(store, segment, number - 1, parts_before)
    return total


def _counted(store: Store, markers: Sequence[str]) -> tuple[int, Counter[str]]:
    rows, counts = 0, Counter[str]()
    for name in markers:
        marker = store.read_json(name)
        rows += marker["rows"]
        counts.update(marker["counts"])
    return rows, counts


def _forget(store: Store, segment: Segment, number: int, parts: int) -> None:
    """Delete the rows of a phase that the next has taken in; markers stay."""
    for part in range(parts):
        store.delete(_spill(segment, number, part))


# -- folds


@dataclass(frozen=True)
class Leg:
    """Neighbouring sketches of one chain, between two savings of its state."""

    segment: int
    chain: int
    number: int
    weight: int
    """Of the whole chain."""
    files: tuple[SketchFile, ...]

    @property
    def name(self) -> str:
        return f"chain {self.chain}, leg {self.number}"


def _state_file(segment: Segment, chain: int, number: int) -> str:
    return f"{_folder(segment)}/state-{chain}-{number}.bin"


def _leg_marker(segment: Segment, chain: int, number: int) -> str:
    return f"{_folder(segment)}/leg-{chain}-{number}.json"


def run_leg(context: Context, item: Leg) -> None:
    """Decisions on the shards of a leg, then the state after it, then the marker."""
    store, segment = context.store, context.plan.segments[item.segment]
    barrier, counts = _barrier(segment, Fold), Counter[str]()
    if item.number:
        with store.reading(_state_file(segment, item.chain, item.number - 1)) as file:
            state = barrier.load(file)
    else:
        state = barrier.begin(item.weight)
    for sketch in item.files:
        done = [barrier.fold(state, records) for records in _sketches(context, [sketch], barrier.sketches)]
        for worked in done:
            counts.update(worked.counts)
        rows = pa.concat_tables([schema(barrier.decisions).empty_table(), *(worked.rows for worked in done)])
        _write_table(store, shard_decision_file(segment, sketch.shard), rows)
    with store.create(_state_file(segment, item.chain, item.number)) as path, open(path, "wb") as target:
        barrier.save(state, target)
    store.write_json(_leg_marker(segment, item.chain, item.number), {"rows": 0, "counts": dict(counts)})
    if item.number:
        store.delete(_state_file(segment, item.chain, item.number - 1))


def _fold(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    barrier, layout = _barrier(segment, Fold), Layout.load(store, segment)
    chains = [list(_legs(segment, barrier, layout, chain)) for chain in range(barrier.chains)]
    total: Counter[str] = Counter()
    for number in range(max(map(len, chains), default=0)):
        items = [legs[number] for legs in chains if number < len(legs)]
        label = f"{segment.name}: leg {number + 1}"
        run_all(label, run_leg, items, lambda leg: store.exists(_leg_marker(segment, leg.chain, leg.number)))
        total.update(_counted(store, [_leg_marker(segment, leg.chain, number) for leg in items])[1])
    return total


def _legs(segment: Segment, barrier: Fold, layout: Layout, chain: int) -> Iterator[Leg]:
    files = [file for file in layout.files if (file.first >> POSITION_BITS) % barrier.chains == chain or not file.rows]
    files = [file for file in files if file.rows or chain == 0]
    weight = sum(file.weight for file in files)
    most = max(BUNDLE_BYTES, CHECKPOINT * barrier.state_bytes(weight))
    legs: list[list[SketchFile]] = [[]]
    held = 0
    for file in files:
        if held and held + file.bytes > most:
            legs.append([])
            held = 0
        legs[-1].append(file)
        held += file.bytes
    for number, leg in enumerate(legs):
        if leg:
            yield Leg(segment.index, chain, number, weight, tuple(leg))


# -- the driver's part


def decide(plan: Plan, segment: Segment, store: Store, shards: Sequence[Shard], run_all: RunAll) -> None:
    """Come to the decision of the barrier before a segment, or find it made."""
    assert segment.barrier is not None
    barrier = segment.barrier.stage
    if isinstance(barrier, Poll):
        _poll(store, segment, shards, run_all)
        return
    if store.exists(counts_file(segment)):
        return
    indexes = barrier.indexes if isinstance(barrier, Shuffle) else ()
    _lay_out(store, segment, plan.segments[segment.index - 1], shards, indexes)
    made = _shuffle(store, segment, run_all) if isinstance(barrier, Shuffle) else _fold(store, segment, run_all)
    store.write_json(counts_file(segment), dict(sorted(made.items())))


def counts_file(segment: Segment) -> str:
    """What a shuffle or fold counted on the way; written last, it means that the decision is made."""
    return f"steps/{segment.name}/decision/counts.json"


def counted(store: Store, segment: Segment) -> dict[str, int]:
    """What the barrier before a segment counted, empty for a poll."""
    if segment.barrier is None or isinstance(segment.barrier.stage, Poll):
        return {}
    return dict(json.loads(store.read_text(counts_file(segment))))
