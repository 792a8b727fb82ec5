"""`--reuse`: adopt the leading steps of an earlier run whose results this run would repeat byte for byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from curate.api.source import Shard
from curate.errors import SpecError
from curate.events import Listener
from curate.pipeline import lockfile
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.storage.run_dir import LOCKFILE, MANIFEST, adoptable, shard_manifest, shards_folder, step_folder
from curate.storage.store import Store


def earlier_run(directory: str, store: Store) -> Store:
    """The folder of the run to reuse. Raises SpecError where it holds no run, or is `store` itself."""
    earlier = Store(directory)
    if not earlier.exists(LOCKFILE):
        raise SpecError(f"--reuse: {directory!r} holds no run (no {LOCKFILE}). Give the --out folder of an earlier run.")
    if earlier.root == store.root:
        raise SpecError(f"--reuse: {directory!r} is the --out folder itself. The same command without --reuse continues it.")
    return earlier


def adopt_steps(plan: Plan, shards: Sequence[Shard], store: Store, earlier: Store, listener: Listener) -> None:
    """Copy the leading steps of `earlier` that have the cache keys of `plan` and are complete; stop at the first other."""
    keys = (lockfile.load(earlier) or {})["steps"]
    for segment in plan.segments:
        if keys.get(segment.name) != segment.cache_key or not _is_complete(plan, shards, earlier, segment):
            listener.note(f"{segment.name}: not reused, it differs or is not complete in {earlier.root}")
            return
        if not earlier.exists(shards_folder(segment.name, "data")):
            listener.note(f"{segment.name}: not reused, {earlier.root} did not keep it (see keep_steps)")
            return
        store.adopt(earlier, adoptable(earlier.find(step_folder(segment.name))))
        listener.note(f"{segment.name}: taken over from {earlier.root}")


def _is_complete(plan: Plan, shards: Sequence[Shard], earlier: Store, segment: Segment) -> bool:
    """Whether the earlier run has done all shards: the same pieces of the same files, not only the same names."""
    first = plan.segments[0]
    if plan.limit is not None and earlier.exists(MANIFEST):  # a run with the same limit ended at the same shard
        shards = [shard for shard in shards if earlier.exists(shard_manifest(first.name, shard.name))]
    for shard in shards:
        name = shard_manifest(segment.name, shard.name)
        if not earlier.exists(name) or earlier.read_json(name)["shard"] != dataclasses.asdict(shard):
            return False
    return True
