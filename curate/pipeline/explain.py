"""Stages and plans in words: `curate stages`, `curate stages NAME`, `curate plan`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from annotated_types import Ge, Gt, Le, Lt

from curate.api.global_stage import GlobalStage
from curate.api.rules import Profile, Rule, RuleStage
from curate.config.options import PathKind, values_of
from curate.config.registry import load_class, table_of
from curate.pipeline.plan import Plan
from curate.pipeline.steps import ALWAYS, Segment
from curate.schema import EDITED, HTML, TEXT
from curate.sources.source import Shard
from curate.stages import STAGES
from curate.storage.store import InputFile

# Staged Parquet (zstd level 1) of web text takes about 0.42 bytes per byte; the corpus (level 3) about 0.38.
_STAGED, _FINAL = 0.42, 0.38
_TEXT_PER_HTML = 0.12


def describe_stages() -> str:
    """The table of stages with the first line of each docstring."""
    rows = summaries(table_of("curate.stages", STAGES))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def summaries(table: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, what it does) of every stage of a table."""
    return [(name, _summary(load_class(name, table, "stage"))) for name in sorted(table)]


def _summary(cls: type[Any]) -> str:
    """The first sentence of the module that holds a stage."""
    text = inspect.getdoc(inspect.getmodule(cls)) or inspect.getdoc(cls) or ""
    return text.split("\n\n")[0].replace("\n", " ")


def describe_stage(name: str) -> str:
    """Everything about one stage: its module's docstring, options with types and defaults, columns, reasons."""
    cls = load_class(name, table_of("curate.stages", STAGES), "stage")
    lines = [
        f"{name}{'  (barrier)' if issubclass(cls, GlobalStage) else ''}",
        "",
        inspect.getdoc(inspect.getmodule(cls)) or "",
        "",
        "options:",
    ]
    lines += [f"  {line}" for line in _options(cls)] or ["  none"]
    for label, attribute in (("reasons", "reasons"), ("writes", "writes")):
        value = inspect.getattr_static(cls, attribute)
        if not isinstance(value, property):
            shown = [f"{k}: {v}" for k, v in value.items()] if isinstance(value, dict) else list(value)
            lines += ["", f"{label}: {', '.join(shown) or 'none'}"]
    if issubclass(cls, RuleStage):  # its reasons and columns are those of a profile
        default = getattr(cls, "profile", None)
        lines += ["", "profiles, each with its rules in the order in which they are tried, and its limits:"]
        for profile, rules in cls.profiles.items():
            lines += ["", *(f"  {line}" for line in _profile_lines(profile, rules, profile == default))]
    return "\n".join(lines)


def _profile_lines(name: str, profile: Profile, default: bool) -> Iterator[str]:
    """What a profile is, and per rule: reason, what is measured, and the limit beyond which a document is dropped."""
    yield f"{name}{' (default)' if default else ''}"
    yield from (f"  {line}" for line in textwrap.wrap(profile.about, 100))
    rows = [(rule.reason, *_test_and_limit(rule)) for rule in profile.rules]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for reason, test, limit in rows:
        yield f"    {reason:<{widths[0]}}  {test:<{widths[1]}}  {limit:>{widths[2]}}"


def _test_and_limit(rule: Rule) -> tuple[str, str]:
    if isinstance(rule.limit, bool):  # a switch
        return rule.measure, "on" if rule.limit else "off"
    return str(rule).removeprefix(f"{rule.reason}: "), "off" if rule.limit is None else f"{rule.limit:,}"


def _options(cls: type[Any]) -> Iterator[str]:
    hints = typing.get_type_hints(cls, include_extras=True)
    notes = _field_notes(cls)
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = "required" if required else f"default {json.dumps(_default(field), default=str)}"
        yield f"{field.name}: {_type_name(hints[field.name])}, {default}"
        if field.name in notes:
            yield f"    {notes[field.name]}"


def _default(field: dataclasses.Field[Any]) -> Any:
    make: Any = field.default_factory
    return make() if field.default is dataclasses.MISSING else field.default


def _field_notes(cls: type[Any]) -> dict[str, str]:
    """The string that follows a field in the class body, for every field that has one."""
    import ast

    notes: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        if not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                notes[ast.unparse(node.target)] = str(after.value.value).replace("\n", " ")
    return notes


def _type_name(hint: Any) -> str:
    """A type as a user reads it: `float 0..1`, `path`, `one of a, b`, `list of path`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        marks = hint.__metadata__
        if any(isinstance(mark, PathKind) for mark in marks):
            return "path"
        return f"{_type_name(arguments[0])}{_bounds(marks)}"
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else json.dumps(arguments[0])
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type_name(arguments[1])}"
    if arguments:
        return " or ".join("null" if part is type(None) else _type_name(part) for part in arguments)
    return str(
        {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(hint.__name__, hint.__name__)
    )


def _bounds(marks: Sequence[Any]) -> str:
    low = next(
        (f"{mark.ge}" for mark in marks if isinstance(mark, Ge)), next((f">{m.gt}" for m in marks if isinstance(m, Gt)), "")
    )
    high = next(
        (f"{mark.le}" for mark in marks if isinstance(mark, Le)), next((f"<{m.lt}" for m in marks if isinstance(m, Lt)), "")
    )
    return f" {low}..{high}" if low or high else ""


def describe_plan(plan: Plan, inputs: Sequence[InputFile], shards: Sequence[Shard]) -> str:
    """Inputs, segments with their stages and options, what is written, and estimates of disk and memory."""
    size = sum(found.size for found in inputs)
    documents = sum(shard.documents or 0 for shard in shards) or None
    counts = f"{len(inputs):,} files, {size / 1e6:,.1f} MB, {len(shards):,} shards"
    lines = [
        f"{plan.pipeline.name}: {plan.pipeline.source_kind}, {counts}" + (f", {documents:,} documents" if documents else "")
    ]
    for segment in plan.segments:
        lines += ["", *_segment_lines(segment)]
    lines += ["", f"output: {', '.join(plan.output)}"]
    lines += [f"recorded for every document: {', '.join(plan.recorded)}"] if plan.recorded else []
    lines += ["", *_estimates(plan, size, shards)]
    return "\n".join(lines)


def _segment_lines(segment: Segment) -> Iterator[str]:
    resources = ", ".join(f"{name} {amount:g}" for name, amount in segment.resources.items()) or "1 CPU"
    yield f"step {segment.name}  ({resources} per worker)"
    if segment.global_stage:
        yield f"  after the barrier {segment.global_stage.name}: {_inline(segment.global_stage.stage)}"
    for step in segment.steps:
        yield f"  {step.name}{f' ({step.type})' if step.type != step.name else ''}: {_inline(step.stage)}"
    if segment.summarizes:
        yield f"  sketch for the barrier {segment.summarizes.name}"
    yield f"  writes {', '.join(name for name in segment.writes if name != EDITED)}"


def _inline(stage: Any) -> str:
    return (
        ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values_of(stage).items())
        or "no options"
    )


def _estimates(plan: Plan, size: int, shards: Sequence[Shard]) -> Iterator[str]:
    """Upper bounds: nothing dropped. Text is estimated from the input's size, the rest from the columns."""
    from_html = HTML in plan.source.columns
    text = size * 4 * _TEXT_PER_HTML if from_html else size / _FINAL
    yield "estimates, if nothing were dropped (web text; the first shards of a run tell better):"
    for segment in plan.segments:
        columns = len([name for name in segment.writes if name not in (*ALWAYS, TEXT, EDITED)])
        held = text * _STAGED if TEXT in segment.writes and segment.index == 0 else 0
        kept = "kept" if plan.pipeline.keep_steps == "all" else "deleted at the end unless keep_steps names it"
        yield f"  steps/{segment.name}: about {held / 1e6:,.0f} MB of text and {columns} more columns, {kept}"
    yield f"  data: about {text * _FINAL / 1e6:,.0f} MB"
    largest = max((shard.size for shard in shards), default=0)
    yield f"  memory: about 0.5 GB per worker (largest shard {largest / 1e6:,.1f} MB is streamed in batches of 32 MiB)"
    for segment in plan.segments:
        if segment.global_stage:
            assert isinstance(segment.global_stage.stage, GlobalStage)
            yield f"  barrier {segment.global_stage.name}: {segment.global_stage.stage.footprint}"
