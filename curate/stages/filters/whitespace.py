"""Drop documents made of white space, by NeMo Curator's rule.

whitespace_frac: share of the characters (code points) that are a blank, tab, line feed, carriage return or backspace.
An empty or null text measures 1.

Source: NVIDIA NeMo Curator, `WhiteSpaceFilter` (stages/text/filters/heuristic/string.py), its list of characters
(stages/text/utils/constants.py), and the limit of its pipeline for English.

Decisions. The list is unchanged: backspace counts, although no standard calls it white space; no-break and ideographic spaces
do not. White space at both ends of a text counts. An empty document is dropped, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Whitespace(RuleStage):
    """Drops documents by their share of white space."""

    profile: Literal["nemo"] = "nemo"
    max_whitespace_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measure as column `whitespace_frac`."""

    profiles = {
        "nemo": Profile(
            "`WhiteSpaceFilter` of NVIDIA NeMo Curator: blanks, tabs, line breaks and backspaces, nothing beyond ASCII.",
            (Rule("too_much_whitespace", "whitespace_frac", "max_whitespace_frac", 0.25),),
        )
    }

    def open(self) -> Kernel:
        from curate.text.rules.char_shares import count_shares, share

        def kernel(batch: Batch) -> Batch:
            counts = batch.view("shares", lambda: count_shares(batch.buffers))
            return self.apply_rules(batch, {"whitespace_frac": share(counts, "spaces")})

        return kernel
