"""Stages of a finished run with changed limits: their rules before and after.

A stage can be replayed if it compares measured values with limits (`RuleStage`, `keep`, `toxicity` of documents) and
these values were recorded, by it or by a stage before it, so that every document which came as far as the stage has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.api.rules import RuleStage
from curate.api.stage import Stage
from curate.config.options import OptionError, build
from curate.config.registry import load_class, table_of
from curate.errors import SpecError, known_values
from curate.execution.accounting import SOURCE
from curate.pipeline.steps import REMOVE
from curate.stages import STAGES
from curate.stages.filters.toxicity import Toxicity
from curate.stages.score.keep import Keep
from curate.storage.store import Store

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DropReason:
    """Why a document is dropped: the value of the measure lies beyond the limit."""

    stage: str
    reason: str
    measure: str
    value: float
    limit: float | None


class PastRun:
    """The stages of a run by its lockfile: their order, classes and options."""

    def __init__(self, store: Store, saved: Mapping[str, Any]) -> None:
        self.root = store.root
        self.recorded: dict[str, list[str]] = saved.get("values", {})
        self.edits = {*saved.get("edits", [])}
        self.order = [SOURCE, *saved["identities"]]
        self.end = len(self.order)
        self.kinds: dict[str, str] = {}
        self.options: dict[str, dict[str, Any]] = {}
        for entry in saved["stages"]:
            ((kind, options),) = entry.items()
            name = options.get("as", kind)
            self.kinds[name] = kind
            self.options[name] = {key: value for key, value in options.items() if key != "as"}

    def class_of(self, name: str) -> type[Stage]:
        if self.kinds[name] == REMOVE:
            from curate.stages.filters.remove import Removal

            return Removal
        return load_class(self.kinds[name], table_of("curate.stages", STAGES), "stage")

    def stage(self, name: str, changes: Mapping[str, Any] | None = None) -> Stage:
        try:
            return build(self.class_of(name), {**self.options[name], **(changes or {})})
        except OptionError as error:
            raise SpecError(f"stage {name!r}: {error}") from error

    def later(self, position: int) -> list[str]:
        return self.order[position + 1 :]

    def recorded_by(self, position: int) -> set[str]:
        """Measured columns that every document has that reached this stage."""
        return {column for name in self.order[: position + 1] for column in self.recorded.get(name, [])}


@dataclass(frozen=True)
class LimitCheck:
    """One rule with its limit."""

    reason: str
    column: str
    limit: float | None
    fails: Callable[[npt.NDArray[np.float64]], Flags]


@dataclass(frozen=True)
class StageReplay:
    """A changed stage: its rules before and after the change."""

    position: int
    name: str
    prefix: str
    reasons: tuple[str, ...]
    before: tuple[LimitCheck, ...]
    after: tuple[LimitCheck, ...]
    last: bool
    """No later stage can drop a document."""
    edits: bool
    """This stage or a later one writes texts."""

    @property
    def columns(self) -> list[str]:
        return [check.column for check in (*self.before, *self.after)]

    def drop_reason(self, checks: Sequence[LimitCheck], values: Mapping[str, float]) -> DropReason | None:
        for check in checks:
            value = values[check.column]
            if check.fails(np.array([value]))[0]:
                return DropReason(self.name, check.reason, check.column.removeprefix(self.prefix), value, check.limit)
        return None


def checks_of(stage: Stage) -> tuple[LimitCheck, ...]:
    """The active rules of a stage, in the order in which they are applied."""
    if isinstance(stage, Keep):
        return _bounds(stage.column, (("too_low", stage.min, np.less), ("too_high", stage.max, np.greater)))
    if isinstance(stage, Toxicity):
        assert stage.column is not None
        return _bounds(stage.column, (("toxic", stage.max, np.greater),))
    assert isinstance(stage, RuleStage)
    limits = [(rule, getattr(stage, rule.option)) for rule in stage.chosen_profile.rules]
    return tuple(
        LimitCheck(rule.reason, stage.prefix + rule.measure, _number(limit), partial(rule.fails, limit=limit))
        for rule, limit in limits
        if limit is not None
    )


def _bounds(column: str, bounds: Sequence[tuple[str, float | None, Any]]) -> tuple[LimitCheck, ...]:
    """Bounds on one column (reason, limit, what lies beyond); where one is set, what has no value fails first."""
    own = [
        LimitCheck(reason, column, limit, partial(_exceeds, beyond, limit))
        for reason, limit, beyond in bounds
        if limit is not None
    ]
    return (LimitCheck("no_score", column, None, np.isnan), *own) if own else ()


def _number(limit: float) -> float | None:
    """The limit to show. A switch has none."""
    return None if isinstance(limit, bool) else limit


def _exceeds(beyond: Any, limit: float, values: npt.NDArray[np.float64]) -> Flags:
    """Where a value exceeds the limit by the comparison `beyond`."""
    return np.asarray(beyond(values, limit))


def thresholds_of(stage: Stage) -> tuple[str, ...]:
    """Options that are limits on measured values. A switch is not one, because measured values may depend on it."""
    if isinstance(stage, Keep):
        return ("min", "max")
    if isinstance(stage, Toxicity):
        return () if stage.unit == "line" else ("max",)  # lines are cut: other texts, other scores further on
    options = [rule.option for rule in stage.chosen_profile.rules] if isinstance(stage, RuleStage) else []
    return tuple(dict.fromkeys(option for option in options if option.startswith(("min_", "max_"))))


def replays_of(run: PastRun, changes: Mapping[str, Any]) -> list[StageReplay]:
    """The changed stages in the order of the run. Raises SpecError for what cannot be recounted."""
    wanted: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        stage, _, option = name.rpartition(".")
        wanted.setdefault(stage, {})[option] = value
    for stage in wanted:
        if not stage:
            raise SpecError(
                f"{next(iter(wanted[stage]))!r} names no stage: write STAGE.OPTION, such as gopher_quality.min_words"
            )
        if stage not in run.kinds:
            raise SpecError(f"no stage {stage!r} in {run.root!r}. {known_values(stage, run.kinds)}")
    return [_replay(run, name, wanted[name]) for name in run.order if name in wanted]


def _replay(run: PastRun, name: str, options: Mapping[str, Any]) -> StageReplay:
    stage = run.stage(name)
    thresholds = thresholds_of(stage)
    if not thresholds:
        replayable = Keep | RuleStage | Toxicity
        able = [other for other in run.kinds if other != name and issubclass(run.class_of(other), replayable)]
        raise SpecError(
            f"stage {name!r} does not hold measured values against limits. Stages of this run that do: "
            f"{', '.join(able) or 'none'}. For others, run again with --reuse {run.root}."
        )
    for option in options:
        if option not in run.options[name]:
            raise SpecError(f"stage {name!r}: unknown option {option!r}. {known_values(option, thresholds)}")
        if option not in thresholds:
            raise SpecError(f"stage {name!r}: {option!r} is no limit on a recorded value. {known_values(option, thresholds)}")
    position = run.order.index(name)
    last = all(run.class_of(later).reasons is Stage.reasons for later in run.later(position))
    reasons = (
        tuple(dict.fromkeys(rule.reason for rule in stage.chosen_profile.rules))
        if isinstance(stage, RuleStage)
        else stage.reasons
    )
    prefix = stage.prefix if isinstance(stage, RuleStage) else ""
    edits = not run.edits.isdisjoint(run.order[position:])
    replay = StageReplay(position, name, prefix, reasons, checks_of(stage), checks_of(run.stage(name, options)), last, edits)
    missing = [column for column in replay.columns if column not in run.recorded_by(position)]
    if missing:
        raise SpecError(
            f"{run.root} has not recorded {missing[0]!r} for stage {name!r}. Set 'values: true' there and run into another "
            f"--out (with --reuse {run.root} to take over the steps before it)."
        )
    return replay
