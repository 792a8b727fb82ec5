"""Drop documents made of digits, by NeMo Curator's rule.

digits_frac: share of the characters (code points) that are one of 0 to 9. An empty or null text measures 1.

Source: NVIDIA NeMo Curator, `NumbersFilter` (stages/text/filters/heuristic/string.py) and the limit of its pipeline for
English (config/text/heuristic_filter_english_pipeline.yaml).

Decisions. NeMo's expression is `[[:digit:]]`, which means ASCII in the package `regex`: digits of other scripts do not count,
here either. An empty document is dropped as if it were all digits, as there; `gopher_quality` before this stage gives the
better reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Digits(RuleStage):
    """Drops documents by their share of digits."""

    profile: Literal["nemo"] = "nemo"
    max_digits_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measure as column `digits_frac`."""

    profiles = {
        "nemo": Profile(
            "`NumbersFilter` of NVIDIA NeMo Curator, as in its pipelines for English and other languages.",
            (Rule("too_many_digits", "digits_frac", "max_digits_frac", 0.15),),
        )
    }

    def open(self) -> Kernel:
        from curate.text.rules.char_shares import count_shares, share

        def kernel(batch: Batch) -> Batch:
            counts = batch.view("shares", lambda: count_shares(batch.buffers))
            return self.apply_rules(batch, {"digits_frac": share(counts, "digits")})

        return kernel
