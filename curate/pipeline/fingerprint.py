"""What identifies a step: its options, revision and assets, and the step before it."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from curate.api.stage import Barrier, Stage
from curate.config.options import asset_paths, path_fields, values_of
from curate.pipeline.spec import Pipeline
from curate.pipeline.steps import Step
from curate.storage import store
from curate.storage.store import Found


def _base_print(pipeline: Pipeline, inputs: Sequence[Found], limit: int | None) -> str:
    options = {name: value for name, value in values_of(pipeline.source).items() if name not in ("paths", "split_bytes")}
    listing = [[found.url, found.size, found.tag] for found in inputs]
    return _digest([pipeline.source_kind, options, listing, limit])


def _chain(before: str, step: Step) -> str:
    return _digest([before, step.name, identity_of(step)])


def _sketch_print(before: str, step: Step) -> str:
    """A segment that ends in a barrier depends on what the barrier sketches, not on what it decides later."""
    assert isinstance(step.stage, Barrier)
    identity = identity_of(step)
    wanted = step.stage.sketch_options
    options = {name: identity["options"][name] for name in wanted if name in identity["options"]}
    assets = {name: digest for name, digest in identity["assets"].items() if name.split()[0] in (*wanted, "asset")}
    return _digest([before, "sketch", {**identity, "options": options, "assets": assets}])


def identity_of(step: Step) -> dict[str, Any]:
    """What makes a step's result: kind, options (assets by content), revision; for foreign stages, their source too."""
    paths = {name for name, _ in path_fields(type(step.stage))}
    options = {name: value for name, value in values_of(step.stage).items() if name not in paths}
    assets = {f"{name} {number}": store.hash_asset(path) for number, (name, path) in enumerate(_assets(step.stage))}
    identity = {"kind": step.kind, "revision": step.stage.revision, "options": options, "assets": assets}
    module = type(step.stage).__module__
    if not module.startswith("curate."):
        identity["code"] = _digest(inspect.getsource(sys.modules[module]))
    return identity


def _assets(stage: Stage) -> Iterable[tuple[str, str]]:
    """(option, path) of every asset, and those a stage names without an option."""
    named = asset_paths(stage)
    return [*named, *(("asset", path) for path in stage.assets if path not in {path for _, path in named})]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
