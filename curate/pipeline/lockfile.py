"""The lockfile of a run (`recipe.yaml`): what an output directory was made of, and whether a plan may continue it.

The lockfile is the pipeline with every default spelled out, and what identifies each of its steps.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from curate.config.options import values_of
from curate.errors import DriftError, SpecError
from curate.pipeline.columns import measured_columns
from curate.pipeline.plan import Plan
from curate.schema import TEXT
from curate.storage.run_dir import INPUTS, LOCKFILE
from curate.storage.store import InputFile, Store
from curate.version import VERSION

_PACKAGES = ("pyarrow", "numpy", "ray", "trafilatura", "resiliparse", "py3langid", "fasttext", "tokenizers", "ftfy")


def contents(plan: Plan, inputs: Sequence[InputFile]) -> dict[str, Any]:
    """The lockfile as plain values."""
    pipeline = plan.pipeline
    stages = []
    for step in plan.steps:
        options = values_of(step.stage)
        stages.append({step.type: {**options, **({"as": step.name} if step.name != step.type else {})}})
    return {
        "name": pipeline.name,
        "source": {pipeline.source_kind: values_of(pipeline.source)},
        "stages": stages,
        "output": dataclasses.asdict(pipeline.output) | {"columns": list(plan.output)},
        "keep_steps": pipeline.keep_steps if isinstance(pipeline.keep_steps, str) else list(pipeline.keep_steps),
        "limit": plan.limit,
        "values": {step.name: list(names) for step in plan.steps if (names := measured_columns(step.stage))},
        "edits": [step.name for step in plan.steps if TEXT in step.stage.writes],
        "identities": {step.name: dict(step.identity) for step in plan.steps},
        "steps": {segment.name: segment.cache_key for segment in plan.segments},
        "sketches": {segment.summarizes.name: segment.name for segment in plan.segments if segment.summarizes},
        "fingerprint": plan.cache_key,
        "num_inputs": len(inputs),
    }


def versions() -> dict[str, str]:
    """Versions of everything that may change a result."""
    found = {"curate": VERSION, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(store: Store, plan: Plan, inputs: Sequence[InputFile]) -> None:
    """Write the listing of the inputs, then the lockfile."""
    store.write_json(INPUTS, [[found.url, found.size, found.tag] for found in inputs])
    text = yaml.safe_dump(contents(plan, inputs), sort_keys=False, allow_unicode=True, width=120)
    store.write_text(LOCKFILE, f"# Written by curate {VERSION}. Defaults are spelled out.\n{text}")


def load(store: Store) -> dict[str, Any] | None:
    """The lockfile as plain values, or None in a fresh directory."""
    if not store.exists(LOCKFILE):
        return None
    saved: dict[str, Any] = yaml.safe_load(store.read_text(LOCKFILE))
    return saved


def opened(directory: str) -> tuple[Store, dict[str, Any]]:
    """The folder of a run and its lockfile. Raises SpecError where there is none."""
    store = Store(directory)
    saved = load(store)
    if saved is None:
        raise SpecError(f"{directory!r} holds no run (no {LOCKFILE}). Give the --out folder of a run.")
    return store, saved


def check(store: Store, plan: Plan, inputs: Sequence[InputFile]) -> None:
    """Raises DriftError, saying what changed, when the directory was begun with another pipeline or other inputs."""
    saved = load(store)
    if saved is None or saved["fingerprint"] == plan.cache_key:
        return
    changes = list(_changes(saved, contents(plan, inputs))) + list(_input_changes(store, inputs))
    raise DriftError(
        f"{store.root} was built from another pipeline: {'; '.join(changes[:3]) or 'the order of stages changed'}. "
        f"Use another --out (with --reuse {store.root} to take over the steps that did not change), or delete it."
    )


def _changes(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    before, after = saved["identities"], wanted["identities"]
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in before or name not in after:
            yield f"stage {name!r} is {'new' if name in after else 'gone'}"
        elif before[name] != after[name]:
            yield from _option_changes(name, before[name], after[name])
    for key in ("limit", "output", "keep_steps"):
        if saved[key] != wanted[key]:
            yield f"{key} was {saved[key]!r}, is now {wanted[key]!r}"
    ((old_kind, old), (new_kind, new)) = (
        (kind, options) for side in (saved, wanted) for kind, options in side["source"].items()
    )
    if old_kind != new_kind:
        yield f"source was {old_kind!r}, is now {new_kind!r}"
    for name in new if old_kind == new_kind else ():
        if name != "paths" and old.get(name) != new[name]:
            yield f"source: {name} was {old.get(name)!r}, is now {new[name]!r}"


def _option_changes(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = (
        {**side["options"], **side["assets"], "revision": side["revision"], "code": side.get("code")}
        for side in (before, after)
    )
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            what = "has other content" if key in after["assets"] else f"was {old.get(key)!r}, is now {new.get(key)!r}"
            yield f"stage {name!r}: {key} {what}"


def _input_changes(store: Store, inputs: Sequence[InputFile]) -> Iterator[str]:
    saved = {name: [size, tag] for name, size, tag in store.read_json(INPUTS)}
    now = {found.url: [found.size, found.tag] for found in inputs}
    for name in [*now, *(name for name in saved if name not in now)]:
        if saved.get(name) != now.get(name):
            yield f"input {name!r} is {'new' if name not in saved else 'gone' if name not in now else 'changed'}"
