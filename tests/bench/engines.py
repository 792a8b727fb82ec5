"""Ray Data over shard descriptors against plain Ray tasks, under the same work: throughput, overhead, a worker's death.

Both engines run `curate.execution.worker.run_segment_task`. `many`: 400 shards of 50 documents, where the engine's own cost
shows. `large`: 1 GB of text in 25 shards, where it should not. Start-up of Ray is outside both clocks. Every figure is the
median of three runs in one Ray session, the engines in turn.
"""

from __future__ import annotations

import os
import pickle
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from curate.execution.global_stages.partition import Context
from curate.execution.ray_engine import RayEngine
from curate.execution.runner import survey
from curate.execution.segment import SegmentTask
from curate.execution.worker import run_segment_task
from curate.pipeline.spec import load
from curate.storage.store import Store
from tests.bench.corpora import large, many

PATIENCE_S = 90

Map = Callable[[Any, Any, list[Any]], Iterator[Any]]


def plain_tasks(engine: RayEngine) -> Map:
    """What `curate run` does."""

    def run(function: Any, context: Any, items: list[Any]) -> Iterator[Any]:
        return (outcome for outcome in engine.map(function, context, items, {}) if outcome)

    return run


def ray_data(function: Any, context: Any, items: list[Any]) -> Iterator[Any]:
    """The same over Ray Data: one descriptor per block, a task pool."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    shared = ray.put(context)

    def work(row: dict[str, Any]) -> dict[str, Any]:
        return {"result": pickle.dumps(function(ray.get(shared), pickle.loads(row["item"])))}

    rows = [{"item": pickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(work, num_cpus=1)
    return (pickle.loads(row["result"]) for row in dataset.iter_rows())


def die_on_third(context: Any, item: int) -> int:
    """A worker that is killed by one of its items."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def measure(rounds: int = 3) -> str:
    engine = RayEngine(workers=2)
    lines = ["Ray Data over shard descriptors against plain Ray tasks, 2 workers, median of three"]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            inputs = {
                "many (400 shards of 50 documents)": many(folder / "many", 400),
                "large (1 GB, 25 shards)": large(folder / "large")[0],
            }
            for label, source in inputs.items():
                times: dict[str, list[float]] = {"plain tasks": [], "Ray Data": []}
                for number in range(rounds):
                    for kind, run in (("plain tasks", plain_tasks(engine)), ("Ray Data", ray_data)):
                        times[kind].append(_run_once(run, source, folder / f"{number}-{kind}"))
                medians = {kind: statistics.median(values) for kind, values in times.items()}
                lines.append(f"  {label}: plain tasks {medians['plain tasks']:.2f} s, Ray Data {medians['Ray Data']:.2f} s")
        lines.append(
            f"  a worker killed by item 3 of 8: plain tasks {_survivors(plain_tasks(engine))}, Ray Data {_survivors(ray_data)}"
        )
    finally:
        engine.close()
    return "\n".join(lines)


def _run_once(run: Map, source: Path, out: Path) -> float:
    pipeline = source.parent / f"{source.name}.yaml"
    pipeline.write_text(f"source: {{parquet: {{paths: '{source}/*.parquet'}}}}\nstages: []\n")
    plan, _, shards = survey(load(str(pipeline)))
    started = time.perf_counter()
    done = list(run(run_segment_task, Context(plan, Store(str(out))), [SegmentTask(0, shard) for shard in shards]))
    assert len(done) == len(shards)
    return time.perf_counter() - started


def _survivors(run: Map) -> str:
    """What is left of eight items when one kills its worker every time it is tried."""
    outcomes: list[Any] = []
    errors: list[str] = []

    def collect() -> None:
        try:
            outcomes.extend(run(die_on_third, None, list(range(8))))
        except Exception as error:
            errors.append(type(error).__name__)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        return f"is still trying after {PATIENCE_S} s"
    if errors:
        return f"fails as a whole ({errors[0]})"
    failed = [outcome.item for outcome in outcomes if getattr(outcome, "error", None)]
    return f"gives {len(outcomes) - len(failed)} results and names item {failed}"


if __name__ == "__main__":
    print(measure())
