"""Ship models and lists to the nodes of a cluster: small ones travel with the job, large ones must be visible there.

Ray copies a job's working folder to every node. Assets of up to SHIP_BYTES together are copied into it, and the plan that
workers get has their paths in that folder. Cache keys are computed before, from contents, so nothing else changes.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.config.options import path_fields
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment, Step
from curate.storage import store

SHIP_BYTES = 256 * 2**20


def pack(plan: Plan, folder: str) -> Mapping[str, str]:
    """Copy the plan's local assets into `folder`. Returns their path -> their path in it; empty when they are too large."""
    local = sorted({path for step in plan.steps for path in step.stage.assets if not store.is_url(path)})
    paths = [path for path in local if not store.is_index(path)]  # tasks read these where the driver found them
    if sum(_size(path) for path in paths) > SHIP_BYTES:
        return {}
    shipped = {}
    for path in paths:
        shipped[path] = os.path.join("assets", store.hash_asset(path)[:16], os.path.basename(path.rstrip("/")))
        target = os.path.join(folder, shipped[path])
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
    return shipped


def _size(path: str) -> int:
    root = Path(path)
    return sum(file.stat().st_size for file in ([root] if root.is_file() else root.rglob("*")) if file.is_file())


def with_shipped_assets(plan: Plan, shipped: Mapping[str, str]) -> Plan:
    """The plan with the paths that assets have on the nodes."""
    segments = tuple(_segment(segment, shipped) for segment in plan.segments)
    return dataclasses.replace(plan, segments=segments, steps=tuple(_step(step, shipped) for step in plan.steps))


def _segment(segment: Segment, shipped: Mapping[str, str]) -> Segment:
    return dataclasses.replace(
        segment,
        global_stage=segment.global_stage and _step(segment.global_stage, shipped),
        steps=tuple(_step(step, shipped) for step in segment.steps),
        summarizes=segment.summarizes and _step(segment.summarizes, shipped),
    )


def _step(step: Step, shipped: Mapping[str, str]) -> Step:
    stage: Any = step.stage
    changed = {
        name: _shipped_path(getattr(stage, name), shipped) for name, mark in path_fields(type(stage)) if mark.kind == "asset"
    }
    if not changed:
        return step
    copy = object.__new__(type(stage))
    # Not through __init__: checks were made where the files are, and the new paths exist on the nodes only.
    copy.__dict__.update({**stage.__dict__, **changed})
    return dataclasses.replace(step, stage=copy)


def _shipped_path(value: Any, shipped: Mapping[str, str]) -> Any:
    if isinstance(value, tuple):
        return tuple(shipped.get(path, path) for path in value)
    return shipped.get(value, value)
