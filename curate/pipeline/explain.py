"""Stages and plans in words: `curate stages`, `curate stages NAME`, `curate plan`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, Lt

from curate.api.global_stage import GlobalStage
from curate.api.rules import AS_PROFILE, Profile, Rule, RuleStage
from curate.api.source import Shard
from curate.config.options import PathKind, build, values_of
from curate.config.registry import load_class, table_of
from curate.errors import CurateError, SpecError
from curate.pipeline.plan import Plan
from curate.pipeline.steps import ALWAYS, Segment
from curate.schema import EDITED, HTML, TEXT
from curate.stages import STAGES
from curate.storage.store import InputFile

# Staged Parquet (zstd level 1) of web text takes about 0.42 bytes per byte; the corpus (level 3) about 0.38.
_STAGED, _FINAL = 0.42, 0.38
_TEXT_PER_HTML = 0.12
_PACKAGE = Path(__file__).parents[2]
T = TypeVar("T")


def describe_stages() -> str:
    """The table of stages with the first sentence of each module's docstring."""
    rows = summaries(table_of("curate.stages", STAGES))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def summaries(table: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, what it does) of every stage of a table."""
    return [(name, _essay(load_class(name, table, "stage")).split("\n\n")[0].replace("\n", " ")) for name in sorted(table)]


def _essay(cls: type[Any]) -> str:
    """The docstring of the module that holds a stage, or of the class where the module has none."""
    return inspect.getdoc(inspect.getmodule(cls)) or inspect.getdoc(cls) or ""


@dataclass(frozen=True)
class OptionNotes:
    """One option of a stage, as a user reads it."""

    name: str
    type: str
    default: str | None
    """As YAML would have it; None where the option is required."""
    note: str


@dataclass(frozen=True)
class StageNotes:
    """What a user needs to know about a stage."""

    name: str
    is_global: bool
    example: str
    """A line of YAML to copy into `stages:`."""
    options: tuple[OptionNotes, ...]
    reasons: tuple[str, ...] | None
    """Drop reasons with these options. None, here and below: they depend on a model or on another option."""
    reads: Mapping[str, str] | None
    """Columns, with their types."""
    writes: Mapping[str, str] | None
    profiles: Mapping[str, Profile]
    default_profile: str | None
    essay: str
    """The docstring of the module: definitions, sources, decisions."""


# Options that make a stage of those that cannot do without any. Paths and numbers are examples.
_EXAMPLES = {
    "annotate": '{endpoint: "http://localhost:8000", served_as: my-model}',
    "decontaminate": "{against: [benchmarks/]}",
    "influence": "{scorer: influence-v1}",
    "keep": "{column: language_score, min: 0.8}",
    "label_lines": "{reference: main_text}",
    "prox": "{scorer: prox-mini-v1}",
    "prox_chunk": "{scorer: prox-mini-v1}",
    "prox_doc": "{scorer: prox-mini-v1}",
    "sample": "{share: 0.1}",
    "score": "{scorer: preselect-mini-v1}",
    "select": "{column: preselect, top: 0.1}",
    "tokens": "{tokenizer: tokenizer.json}",
    "toxicity": "{scorer: my-toxicity-v1, max: 0.5}",
    "unigram_logprob": "{unigrams: unigrams.csv}",
}


def stage_notes(name: str) -> StageNotes:
    """Collect options, reasons and columns of a stage from its class. Raises SpecError for a name that is not known."""
    cls = load_class(name, table_of("curate.stages", STAGES), "stage")
    stage = _an_instance(cls, _EXAMPLES.get(name))
    profiles = cls.profiles if issubclass(cls, RuleStage) else {}
    return StageNotes(
        name=name,
        is_global=issubclass(cls, GlobalStage),
        example=f"- {name}: {_EXAMPLES[name]}" if name in _EXAMPLES else _plain_example(name, cls),
        options=tuple(_options(cls, stage)),
        reasons=_property(cls, stage, "reasons", tuple),
        reads=_property(cls, stage, "reads", _type_names),
        writes=_property(cls, stage, "writes", _type_names),
        profiles=profiles,
        default_profile=getattr(cls, "profile", None) if profiles else None,
        essay=_essay(cls),
    )


def _an_instance(cls: type[Any], example: str | None) -> Any:
    """The stage with the options of its example, or with its defaults; None where it needs more than that."""
    try:
        return build(cls, yaml.safe_load(example) if example else {})
    except SpecError:
        return None


def _plain_example(name: str, cls: type[Any]) -> str:
    required = [field.name for field in dataclasses.fields(cls) if _is_required(field)]
    return f"- {name}" + (f": {{{', '.join(f'{option}: ...' for option in required)}}}" if required else "")


def _property(cls: type[Any], stage: Any, name: str, convert: Callable[[Any], T]) -> T | None:
    """A property of a stage. None where it cannot be told before a model is at hand."""
    value = inspect.getattr_static(cls, name)
    if isinstance(value, property):
        if stage is None:
            return None
        try:
            value = getattr(stage, name)
        except (CurateError, OSError):
            return None
    return convert(value)


def _type_names(columns: Mapping[str, Any]) -> dict[str, str]:
    return {name: _ARROW_NAMES.get(str(kind), str(kind)) for name, kind in columns.items()}


_ARROW_NAMES = {"large_string": "text", "string": "text", "double": "number", "float": "number"}


def describe_stage(name: str) -> str:
    """Everything about one stage: a line of YAML, options, reasons, columns, rules of its profiles, the essay."""
    notes = stage_notes(name)
    lines = [f"{name}{'  (global stage)' if notes.is_global else ''}", "", f"  {notes.example}", "", "options:"]
    for option in notes.options:
        lines.append(f"  {option.name}: {option.type}, {'required' if option.default is None else f'default {option.default}'}")
        lines += [f"      {line}" for line in textwrap.wrap(option.note, 110)]
    lines += [] if notes.options else ["  none"]
    unknown = "depends on the model and the options"
    lines += ["", f"drop reasons: {unknown if notes.reasons is None else ', '.join(notes.reasons) or 'none'}"]
    for label, columns in (("reads", notes.reads), ("writes", notes.writes)):
        shown = unknown if columns is None else ", ".join(f"{column} ({kind})" for column, kind in columns.items()) or "nothing"
        lines.append(f"{label}: {shown}")
    if notes.profiles:
        lines += ["", "profiles, each with its rules in the order in which they are tried, and its limits:"]
        for profile, rules in notes.profiles.items():
            lines += ["", *(f"  {line}" for line in _profile_lines(profile, rules, profile == notes.default_profile))]
    return "\n".join([*lines, "", notes.essay])


def _profile_lines(name: str, profile: Profile, default: bool) -> Iterator[str]:
    """What a profile is, and per rule: reason, what is measured, and the limit beyond which a document is dropped."""
    yield f"{name}{' (default)' if default else ''}"
    yield from (f"  {line}" for line in textwrap.wrap(profile.about, 100))
    rows = [rule_cells(rule) for rule in profile.rules]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for reason, test, limit in rows:
        yield f"    {reason:<{widths[0]}}  {test:<{widths[1]}}  {limit:>{widths[2]}}"


def rule_cells(rule: Rule) -> tuple[str, str, str]:
    """A rule as three cells of a table: drop reason, the test by which a document is dropped, its limit."""
    if isinstance(rule.limit, bool):  # a switch
        return rule.reason, rule.measure, "on" if rule.limit else "off"
    return rule.reason, str(rule).removeprefix(f"{rule.reason}: "), "off" if rule.limit is None else f"{rule.limit:,}"


def _options(cls: type[Any], stage: Any) -> Iterator[OptionNotes]:
    """Options with their defaults. What a profile decides is shown as the default profile has it."""
    hints = typing.get_type_hints(cls, include_extras=True)
    notes = _field_notes(cls)
    for field in dataclasses.fields(cls):
        default = None
        if not _is_required(field):
            value = _default(field)
            if value == AS_PROFILE and stage is not None:
                value = getattr(stage, field.name)
            default = json.dumps(value, default=str, ensure_ascii=False).replace(f"{_PACKAGE}/", "")
        yield OptionNotes(field.name, _type_name(hints[field.name]), default, notes.get(field.name, ""))


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


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
                notes[ast.unparse(node.target)] = " ".join(str(after.value.value).split())
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
        parts = [part for part in arguments if typing.get_args(part) != (AS_PROFILE,)]
        return " or ".join("null" if part is type(None) else _type_name(part) for part in parts)
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
    size = sum(file.size for file in inputs)
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
        yield f"  after the global stage {segment.global_stage.name}: {_inline(segment.global_stage.stage)}"
    for step in segment.steps:
        yield f"  {step.name}{f' ({step.type})' if step.type != step.name else ''}: {_inline(step.stage)}"
    if segment.summarizes:
        yield f"  summary for the global stage {segment.summarizes.name}"
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
            yield f"  global stage {segment.global_stage.name}: {segment.global_stage.stage.footprint}"
