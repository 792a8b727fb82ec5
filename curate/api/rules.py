"""Rules: what is measured, held against what, in which order, under which reason; and profiles, which are lists of rules.

A stage whose rules differ from one published implementation to the next has an option `profile` and a mapping `profiles`
of its own. An option left at "profile" takes the number of the profile; null switches its rule off. A profile that
reproduces a peer has that peer's measures, operators, order and labels; `curate stages NAME` prints them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.batch import Batch, drop_where
from curate.api.stage import Stage
from curate.errors import known_values

AsProfile = Literal["profile"]
"""The value of an option that the profile decides."""
AS_PROFILE: AsProfile = "profile"

Measures = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Rule:
    """Drop a document for `reason` when `measure` lies beyond the option, whose prefix (`min_`, `max_`) says on which side."""

    reason: str
    measure: str
    option: str
    limit: float | None
    """The option's value in this profile; null where the profile has the rule, but switched off."""
    strict: bool = True
    """False where a document is dropped at the limit itself too."""

    def shown(self, limit: float) -> float | None:
        """The limit as the ledger has it."""
        return limit

    def fails(self, values: npt.NDArray[Any], limit: float) -> npt.NDArray[np.bool_]:
        """Where the rule drops a document. A value that is not a number (a mean of nothing) never fails."""
        if self.option.startswith("min_"):
            return values < limit if self.strict else values <= limit
        return values > limit if self.strict else values >= limit

    def __str__(self) -> str:
        sign = ("<" if self.option.startswith("min_") else ">") + ("" if self.strict else "=")
        return f"{self.reason}: {self.measure} {sign} {self.option}"


@dataclass(frozen=True)
class Profile:
    """One published implementation, or our own: its rules in the order in which they are tried."""

    about: str
    """What it reproduces and where it does not, in a sentence or two."""
    rules: tuple[Rule, ...]


class RuleStage(Stage):
    """A stage that holds measured values against limits. Its first rule that fails gives the verdict.

    Subclasses have an option `profile`, one option per rule that is `"profile"` by default, an option `values`, and set
    the two class attributes below.
    """

    profiles: Mapping[str, Profile] = {}
    prefix: str = ""
    """Of the columns that `values: true` writes: the prefix and the measure."""

    def __post_init__(self) -> None:
        rules = {rule.option: rule for rule in self.chosen.rules}
        for option in dict.fromkeys(rule.option for profile in self.profiles.values() for rule in profile.rules):
            value = getattr(self, option)
            if value == AS_PROFILE:
                object.__setattr__(self, option, rules[option].limit if option in rules else None)
            elif value is not None and option not in rules:
                raise ValueError(f"{option}: the profile {self.profile_name!r} has no such rule. {known_values(option, rules)}")
        if not self.values_wanted and all(getattr(self, option) is None for option in rules):
            raise ValueError("every rule is off and 'values' is false: there is nothing to do")

    @property
    def profile_name(self) -> str:
        return str(self.profile)  # type: ignore[attr-defined]

    @property
    def chosen(self) -> Profile:
        return self.profiles[self.profile_name]

    @property
    def values_wanted(self) -> bool:
        return bool(self.values)  # type: ignore[attr-defined]

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.reason for rule in self.chosen.rules))

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        if not self.values_wanted:
            return {}
        return {self.prefix + rule.measure: pa.float64() for rule in self.chosen.rules}

    def judge(self, batch: Batch, measures: Measures) -> Batch:
        """Verdicts by the profile's rules in their order, and the measured values as columns where they are wanted."""
        rules = [(rule, getattr(self, rule.option)) for rule in self.chosen.rules]
        first = np.full(len(batch), len(rules))
        value, limits = np.zeros(len(batch)), [np.nan] * (len(rules) + 1)
        for number, (rule, limit) in enumerate(rules):
            if limit is not None:
                failed = rule.fails(measures[rule.measure], limit) & (first == len(rules))
                first[failed], value[failed] = number, measures[rule.measure][failed]
                limits[number] = np.nan if rule.shown(limit) is None else limit
        reason = pa.array([*(rule.reason for rule, _ in rules), ""]).take(pa.array(first))
        limit = pa.array(np.array(limits)[first], from_pandas=True)
        batch = drop_where(batch, first < len(rules), reason, value=value, limit=limit)
        for column in self.writes:
            if column.startswith(self.prefix):
                values = measures[column.removeprefix(self.prefix)]
                batch = batch.put(column, pa.array(values.astype(np.float64)))
        return batch
