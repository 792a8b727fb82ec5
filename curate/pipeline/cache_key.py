"""Cache keys: what a step's result depends on. Equal keys mean equal results."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.api.global_stage import GlobalStage
from curate.api.stage import Stage
from curate.config.options import added_options, asset_paths, path_fields, values_of
from curate.pipeline.spec import Pipeline
from curate.storage import store
from curate.storage.store import InputFile


def input_key(pipeline: Pipeline, inputs: Sequence[InputFile], limit: int | None) -> str:
    """Key of the documents read: the source's options, the listing of its files, the limit."""
    options = {name: value for name, value in values_of(pipeline.source).items() if name not in ("paths", "split_bytes")}
    listing = [[file.url, file.size, file.tag] for file in inputs]
    return digest([pipeline.source_kind, options, listing, limit])


def identity_of(stage_type: str, stage: Stage) -> dict[str, Any]:
    """What makes a stage's result: type, revision, options, assets by content; the source code of a plug-in."""
    paths = {name for name, _ in path_fields(type(stage))}
    options = {name: value for name, value in values_of(stage).items() if name not in paths}
    defaults = {field.name: field.default for field in dataclasses.fields(stage)}  # type: ignore[arg-type]
    for name in added_options(type(stage)):
        if options.get(name) == defaults[name]:
            del options[name]
    assets = {f"{name} {number}": store.hash_asset(path) for number, (name, path) in enumerate(_assets(stage))}
    identity = {"kind": stage_type, "revision": stage.revision, "options": options, "assets": assets}
    module = type(stage).__module__
    if not module.startswith("curate."):
        identity["code"] = digest(inspect.getsource(sys.modules[module]))
    return identity


def step_key(before: str, name: str, identity: Mapping[str, Any]) -> str:
    """Key of a step's result; `before` is the key of the step before."""
    return digest([before, name, identity])


def summary_key(before: str, stage: GlobalStage, identity: Mapping[str, Any]) -> str:
    """Key of a segment that ends in a global stage: it depends on the summaries, not on the later decision."""
    wanted = stage.summary_options
    options = {name: identity["options"][name] for name in wanted if name in identity["options"]}
    assets = {name: content for name, content in identity["assets"].items() if name.split()[0] in (*wanted, "asset")}
    return digest([before, "sketch", {**identity, "options": options, "assets": assets}])


def _assets(stage: Stage) -> Iterable[tuple[str, str]]:
    """(option, path) of every asset, and those a stage names without an option."""
    named = asset_paths(stage)
    return [*named, *(("asset", path) for path in stage.assets if path not in {path for _, path in named})]


def digest(value: Any) -> str:
    """128 bits of SHA-256 over canonical JSON, as hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
