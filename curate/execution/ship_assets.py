"""Models and lists on their way to the nodes of a cluster: small ones travel with the job, large ones must be visible.

A job's working folder is copied to every node by Ray. Assets up to SHIP_BYTES together are linked into it, and the plan
the workers get names them by their place in it. Fingerprints are made before, from contents, so nothing else changes.
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
    """Copy the plan's local assets into `folder`; their path -> their place in it. Empty when they are too large."""
    local = sorted({path for step in plan.steps for path in step.stage.assets if not store.is_url(path)})
    paths = [path for path in local if not store.is_index(path)]  # tasks read these where the driver found them
    if sum(_size(path) for path in paths) > SHIP_BYTES:
        return {}
    places = {}
    for path in paths:
        places[path] = os.path.join("assets", store.hash_asset(path)[:16], os.path.basename(path.rstrip("/")))
        target = os.path.join(folder, places[path])
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
    return places


def _size(path: str) -> int:
    root = Path(path)
    return sum(file.stat().st_size for file in ([root] if root.is_file() else root.rglob("*")) if file.is_file())


def moved(plan: Plan, places: Mapping[str, str]) -> Plan:
    """The plan with assets at their new places."""
    segments = tuple(_segment(segment, places) for segment in plan.segments)
    return dataclasses.replace(plan, segments=segments, steps=tuple(_step(step, places) for step in plan.steps))


def _segment(segment: Segment, places: Mapping[str, str]) -> Segment:
    return dataclasses.replace(
        segment,
        global_stage=segment.global_stage and _step(segment.global_stage, places),
        steps=tuple(_step(step, places) for step in segment.steps),
        summarizes=segment.summarizes and _step(segment.summarizes, places),
    )


def _step(step: Step, places: Mapping[str, str]) -> Step:
    stage: Any = step.stage
    changed = {name: _place(getattr(stage, name), places) for name, mark in path_fields(type(stage)) if mark.kind == "asset"}
    if not changed:
        return step
    copy = object.__new__(type(stage))
    # Not through __init__: checks were made where the files are, and the new places exist on the nodes only.
    copy.__dict__.update({**stage.__dict__, **changed})
    return dataclasses.replace(step, stage=copy)


def _place(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, tuple):
        return tuple(places.get(path, path) for path in value)
    return places.get(value, value)
