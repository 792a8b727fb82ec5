"""Rules compare a measured value with a limit and drop the document. A profile is an ordered list of rules.

A stage whose rules differ between published implementations has an option `profile` and a mapping `profiles`. An option
left at "profile" takes the limit of the profile; null switches its rule off. A profile that reproduces an implementation has
its measures, comparisons, order and labels. `curate stages NAME` prints them.
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
AS_PROFILE: AsProfile = "profile"
"""Default of an option whose limit comes from the profile."""

Measures = Mapping[str, npt.NDArray[Any]]
"""Measure -> its value for every row of a batch. Shape (rows,)."""


@dataclass(frozen=True)
class Rule:
    """Drop a document for `reason` when `measure` is below (`min_...`) or above (`max_...`) the limit in `option`.

    >>> rule = Rule("too_few_words", "words", "min_words", 50)
    >>> print(rule)
    too_few_words: words < min_words
    >>> rule.fails(np.array([49, 50]), 50)
    array([ True, False])
    """

    reason: str
    measure: str
    option: str
    limit: float | None
    """Limit of this profile. None where the profile has the rule switched off."""
    strict: bool = True
    """False when a value equal to the limit fails too."""

    def recorded_limit(self, limit: float) -> float | None:
        """The limit written to the column `drop`."""
        return limit

    def fails(self, values: npt.NDArray[Any], limit: float) -> npt.NDArray[np.bool_]:
        """Rows the rule drops. Shape (rows,). NaN, such as the mean of no values, never fails."""
        if self.option.startswith("min_"):
            return values < limit if self.strict else values <= limit
        return values > limit if self.strict else values >= limit

    def __str__(self) -> str:
        sign = ("<" if self.option.startswith("min_") else ">") + ("" if self.strict else "=")
        return f"{self.reason}: {self.measure} {sign} {self.option}"


@dataclass(frozen=True)
class Profile:
    """The rules of one implementation, in the order in which they are tried."""

    about: str
    """What the profile reproduces, and its known differences, in a sentence or two."""
    rules: tuple[Rule, ...]


class RuleStage(Stage):
    """A stage that compares measured values with limits. The first rule that fails gives the drop reason.

    Subclasses have an option `profile`, one option per rule with the default `AS_PROFILE`, and an option `values`. They set
    the two class attributes below and call `apply_rules` with the measures.
    """

    profiles: Mapping[str, Profile] = {}
    prefix: str = ""
    """Prefix of the columns that `values: true` writes, one per measure."""

    def __post_init__(self) -> None:
        rules = {rule.option: rule for rule in self.chosen_profile.rules}
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
    def chosen_profile(self) -> Profile:
        return self.profiles[self.profile_name]

    @property
    def values_wanted(self) -> bool:
        return bool(self.values)  # type: ignore[attr-defined]

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.reason for rule in self.chosen_profile.rules))

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        if not self.values_wanted:
            return {}
        return {self.prefix + rule.measure: pa.float64() for rule in self.chosen_profile.rules}

    def apply_rules(self, batch: Batch, measures: Measures) -> Batch:
        """Try the profile's rules in order: add drop reasons, and the measured values as columns if `values` is true."""
        rules = [(rule, getattr(self, rule.option)) for rule in self.chosen_profile.rules]
        first = np.full(len(batch), len(rules))
        value, limits = np.zeros(len(batch)), [np.nan] * (len(rules) + 1)
        for number, (rule, limit) in enumerate(rules):
            if limit is not None:
                failed = rule.fails(measures[rule.measure], limit) & (first == len(rules))
                first[failed], value[failed] = number, measures[rule.measure][failed]
                limits[number] = np.nan if rule.recorded_limit(limit) is None else limit
        reason = pa.array([*(rule.reason for rule, _ in rules), ""]).take(pa.array(first))
        limit = pa.array(np.array(limits)[first], from_pandas=True)
        batch = drop_where(batch, first < len(rules), reason, value=value, limit=limit)
        for column in self.writes:
            if column.startswith(self.prefix):
                values = measures[column.removeprefix(self.prefix)]
                batch = batch.put(column, pa.array(values.astype(np.float64)))
        return batch
